"""Segments: their rows, what they shall be, and waiting for them."""
