"""The figures of all benches as one table: each a ratio of two sides that were measured in one run."""

from __future__ import annotations

_rows: list[tuple[str, str, str, str]] = []


def note(what: str, against: str, found: str, goal: str) -> None:
    """Keep a figure for the table.

    :param what: what was measured
    :param against: the peer or the limit that it was measured beside
    :param found: the figure, such as ``1.04``
    :param goal: what it is meant to be, such as ``at most 1.1``
    """
    _rows.append((what, against, found, goal))


def show() -> None:
    """Print the table, in Markdown."""
    heads = ("what", "against", "found", "goal")
    widths = [max(map(len, column)) for column in zip(heads, *_rows, strict=True)]
    for row in (heads, tuple("-" * width for width in widths), *_rows):
        print(f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |")
