"""Values that columns of Dataverse hold: whole numbers in range, codes of choices, and JSON as text. Pure."""

from __future__ import annotations

import json
from enum import IntEnum
from typing import Any

from airflow_provider_cij.errors import CijInputError

MAX_INT = 2**31 - 1
"""The largest number that a whole-number column of Dataverse holds."""


def whole_number(name: str, value: object, least: int = 0) -> int:
    """Return a whole number that a column can hold, up to ``MAX_INT``.

    :param name: the argument's name, for the error
    :param value: the number
    :param least: the smallest accepted number; default 0
    :raises CijInputError: the value is no int, or out of range
    """
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= MAX_INT:
        return value
    shown = repr(value)[:60] if not isinstance(value, int) or abs(value) < 10**60 else "a number of many digits"
    raise CijInputError(f"{name} is {shown}.", hint=f"A whole number, from {least:,} to {MAX_INT:,}.")


def code_name(names: type[IntEnum], code: int) -> str:
    """Return the code of a choice in one word; an unknown code as its number.

    :param names: the known codes
    :param code: the code
    """
    try:
        return names(code).name.lower()
    except ValueError:
        return f"status {code}"


def json_text(name: str, value: object, **options: Any) -> str:
    """Return a value as JSON.

    :param name: what the value is, for the error
    :param value: the value
    :param options: passed on to ``json.dumps``
    :raises CijInputError: the value holds what JSON can't express, or is nested too deeply
    """
    try:
        return json.dumps(value, allow_nan=False, **options)
    except (RecursionError, TypeError, ValueError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise CijInputError(f"{name} can't be written as JSON: {reason}.") from None
