"""Lists nested deeper than Python can encode."""

from __future__ import annotations


def deep(levels: int) -> list:
    """Return a list nested to this depth."""
    value: list = []
    for _ in range(levels):
        value = [value]
    return value
