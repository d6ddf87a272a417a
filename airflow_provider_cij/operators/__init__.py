"""Operators of the CIJ provider."""
