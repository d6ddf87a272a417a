"""Triggers of the CIJ provider."""
