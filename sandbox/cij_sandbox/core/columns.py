"""Shorthands for the columns of tables."""

from __future__ import annotations

from cij_sandbox.core.schema import Column, Kind


def text(name: str, limit: int = 100) -> Column:
    """Return a column of text."""
    return Column(name, max_length=limit)


def number(name: str, low: int = -2147483648, high: int = 2147483647) -> Column:
    """Return a column of whole numbers."""
    return Column(name, Kind.INTEGER, minimum=low, maximum=high)


def money(name: str) -> Column:
    """Return a column of money."""
    return Column(name, Kind.DECIMAL, minimum=0, maximum=100_000_000_000)


def flag(name: str) -> Column:
    """Return a yes/no column."""
    return Column(name, Kind.BOOLEAN)


def moment(name: str) -> Column:
    """Return a column of dates with times."""
    return Column(name, Kind.DATETIME)


def choice(name: str, *labels: str, first: int = 1) -> Column:
    """Return a column of choices, numbered from ``first``."""
    return Column(name, Kind.INTEGER, options=dict(enumerate(labels, first)))


def lookup(name: str, target: str, navigation: str) -> Column:
    """Return a column that refers to a row; ``navigation`` is the name by which it is bound."""
    return Column(name, Kind.GUID, target=target, navigation=navigation)
