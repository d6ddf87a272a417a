"""Check values of arguments before they are sent: moments, whole numbers, JSON. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from airflow_provider_cij.errors import CijInputError

MOST = 2**31 - 1
"""The largest number that a whole-number column of Dataverse holds."""


def moment_of(name: str, value: object) -> datetime:
    """Return a moment in UTC.

    :param name: the argument's name, for the error
    :param value: a datetime with its time zone, or ISO 8601 with one
    :raises CijInputError: the value is none, has no time zone, or is before the year 1 or after the year 9999 in UTC
    """
    said = repr(value)[:60]
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        if moment.utcoffset() is None:
            raise CijInputError(f"{name} is {said}, without a time zone.", hint="Add one, such as +00:00.")
        return moment.astimezone(UTC)
    except OverflowError:
        raise CijInputError(f"{name} is {said}, which is out of range.", hint="Years go from 1 to 9999.") from None
    except (TypeError, ValueError):
        raise CijInputError(f"{name} is {said}.", hint="Give a datetime, or ISO 8601.") from None


def iso(moment: datetime) -> str:
    """Write a moment with a time zone as the service does: UTC, whole seconds, a year of four digits."""
    return moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def whole(name: str, value: object, least: int = 0, most: int = MOST) -> int:
    """Return a whole number.

    :param name: the argument's name, for the error
    :param value: the number
    :param least: the smallest that is accepted; default 0
    :param most: the largest that is accepted; default that of a column of Dataverse
    :raises CijInputError: the value is no int, or out of range
    """
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return value
    said = repr(value)[:60] if not isinstance(value, int) or abs(value) < 10**60 else "a number of many digits"
    raise CijInputError(f"{name} is {said}.", hint=f"A whole number, from {least:,} to {most:,}.")


def json_text(name: str, value: object, **how: Any) -> str:
    """Write JSON.

    :param name: what the value is, for the error
    :param value: what is written
    :param how: passed on to ``json.dumps``
    :raises CijInputError: it holds what JSON has no word for, or is nested too deeply
    """
    try:
        return json.dumps(value, allow_nan=False, **how)
    except (RecursionError, TypeError, ValueError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise CijInputError(f"{name} can't be written as JSON: {said}.") from None
