"""The documented tree of exceptions matches the classes."""

from __future__ import annotations

import re

from airflow_provider_cij import errors
from airflow_provider_cij.errors import CijError


def _lines(kind, depth=0):
    yield depth, kind.__name__, kind.permanent
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _lines(child, depth + 1)


def test_the_documented_tree_matches_the_classes():
    """The tree in the docstring of ``errors`` has each class under its parent, with a star when it is permanent."""
    drawn = [
        (len(indent) // 4, name, bool(star))
        for indent, name, star in re.findall(r"^    ([ │├└─]*)(Cij\w+)( \*)?", errors.__doc__, re.MULTILINE)
    ]

    def paths(lines):
        above: list[str] = []
        for depth, name, permanent in lines:
            above[depth:] = [name]
            yield "/".join(above), permanent

    assert sorted(paths(drawn)) == sorted(paths(_lines(CijError)))
    assert sorted(errors.__all__) == sorted(name for _, name, _ in drawn)
