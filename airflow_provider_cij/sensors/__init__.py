"""Sensors of the CIJ provider."""
