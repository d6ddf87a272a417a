"""Bounds on how much of a list may be wrong: a number of rows, a share of them, or any number. Pure."""

from __future__ import annotations

import re
from math import isfinite
from typing import Any, NamedTuple

from airflow_provider_cij.errors import CijInputError

_HINT = 'Give a number of rows such as 100, a share such as "5%" or 0.05, or None for any number.'
# Compiled at their first use: every DAG file imports this module.
_WHOLE = r"[+-]?\d{1,18}"
_SHARE = r"(\d{1,9}(?:\.\d{1,9})?)\s*%"


class Bound(NamedTuple):
    """A checked bound, as ``bound_of`` returns it.

    :param name: the argument's name, for errors
    :param given: the argument as the user wrote it, for errors
    :param rows: the most rows; default None, the bound is a share or there is none
    :param share: the largest share, 0.05 for 5 %; default None, the bound is a number of rows or there is none
    """

    name: str
    given: Any
    rows: int | None = None
    share: float | None = None

    @property
    def unlimited(self) -> bool:
        """True when any number is allowed."""
        return self.rows is None and self.share is None

    @property
    def needs_total(self) -> bool:
        """True when the bound is a share, so that a count alone can't be checked against it."""
        return self.share is not None

    def allows(self, count: int, total: int) -> bool:
        """Return whether a count is within the bound.

        :param count: the number of rows
        :param total: the number that a share is of
        """
        if self.rows is not None:
            return count <= self.rows
        # Multiplied out, "5%" of 100 would be 5.000000000000001 for some shares and 4.999… for others.
        return self.share is None or count <= round(self.share * total, 6)

    def __str__(self) -> str:
        return f"{self.name}={self.given!r}"


def bound_of(name: str, value: object, *, above_100_percent: bool = False) -> Bound:
    """Return the bound that an argument stands for.

    :param name: the argument's name, for the error
    :param value: an int is a number of rows; ``"5%"`` or a float between 0 and 1 is a share; None is any number. A text
        that a template has rendered is read as the number it stands for; a ``Bound`` is returned as it is
    :param above_100_percent: True accepts a share above 100 %, for a change against an earlier count. Default False
    :raises CijInputError: it is none of these; 1.0 is refused, because it could mean one row or all of them
    """
    if isinstance(value, Bound):
        return value
    if value is None:
        return Bound(name, value)
    if isinstance(value, str):
        text = value.strip()
        if found := re.fullmatch(_SHARE, text):
            share = float(found[1]) / 100
            if share > 1 and not above_100_percent:
                raise CijInputError(f"{name} is {value!r}, more than everything.", hint=_HINT)
            return Bound(name, value, share=share)
        if re.fullmatch(_WHOLE, text):
            return _rows(name, value, int(text))
        try:
            return _share(name, value, float(text))
        except ValueError:
            raise CijInputError(f"{name} is a text that is no bound.", hint=_HINT) from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise CijInputError(f"{name} is a {type(value).__name__}.", hint=_HINT)
    return _rows(name, value, value) if isinstance(value, int) else _share(name, value, value)


def _rows(name: str, given: object, rows: int) -> Bound:
    if rows < 0:
        raise CijInputError(f"{name} is {given!r}, less than 0.", hint=_HINT)
    return Bound(name, given, rows=rows)


def _share(name: str, given: object, share: float) -> Bound:
    if share == 1:
        raise CijInputError(
            f"{name} is {given!r}, which could mean one row or all of them.", hint='Give 1 for one row, "100%" for all.'
        )
    if not isfinite(share) or not 0 <= share < 1:
        raise CijInputError(f"{name} is {given!r}, which is no bound.", hint=_HINT)
    return Bound(name, given, share=share)
