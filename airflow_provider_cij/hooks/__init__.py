"""Hooks of the CIJ provider."""
