"""Check rendered arguments of tasks, before the first request."""

from __future__ import annotations

from typing import Any

from airflow_provider_cij.errors import CijInputError

_TEN_YEARS = 10 * 366 * 86_400
_SWITCH = {"true": True, "false": False}


def _wrong(name: str, value: object, hint: str) -> CijInputError:
    return CijInputError(f"{name} is {_shown(value)}.", hint=hint)


def _shown(value: object) -> str:
    if isinstance(value, str):
        return repr(value[:40])
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of more than 60 digits"  # thousands of them can't be written out
    return repr(value) if value is None or isinstance(value, (int, float)) else f"a {type(value).__name__}"


def switch(name: str, value: object, hint: str = "Give True or False.") -> bool:
    """Return a switch as a bool.

    :param name: the argument's name, for the error
    :param value: a bool, or the text ``true`` or ``false`` in any case, as a template renders it
    :param hint: what to give, for the error; default ``Give True or False.``
    :raises CijInputError: the value is anything else
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and (found := _SWITCH.get(value.strip().lower())) is not None:
        return found
    raise _wrong(name, value, hint)


def set_switches(task: Any, *names: str, or_none: bool = False) -> None:
    """Replace rendered switches of a task by bools.

    :param task: the operator
    :param names: its attributes that hold switches
    :param or_none: True lets None stay None, for a switch that may be left out. Default False
    :raises CijInputError: one of them is no switch
    """
    for name in names:
        if not (or_none and getattr(task, name) is None):
            setattr(task, name, switch(name, getattr(task, name)))


def one_of(name: str, value: object, *words: str) -> str:
    """Return a word, checked against the accepted ones.

    :param name: the argument's name, for the error
    :param value: the argument
    :param words: the accepted words
    :raises CijInputError: the value is none of these words
    """
    if isinstance(value, str) and value in words:
        return value
    *most, last = map(repr, words)
    raise _wrong(name, value, f"Use {', '.join(most)} or {last}." if most else f"Use {last}.")


def positive(hint: str = "Give seconds, more than 0.", /, **numbers: object) -> None:
    """Check seconds and other numbers that must be more than 0, and at most ten years of seconds.

    :param hint: what to give, for the error; default ``Give seconds, more than 0.``
    :param numbers: the arguments by their names
    :raises CijInputError: one is no number, not more than 0, or more than ten years of seconds
    """
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not number > 0:
            raise _wrong(name, number, hint)
        if number > _TEN_YEARS:
            raise _wrong(name, number, "Give seconds, up to ten years.")


def whole(**numbers: object) -> None:
    """Check whole numbers of 1 or more; None, an argument that was left out, is accepted.

    :param numbers: the arguments by their names
    :raises CijInputError: one is no whole number, or less than 1
    """
    for name, number in numbers.items():
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
            raise _wrong(name, number, "Give a whole number, 1 or more.")


def filled(**texts: object) -> None:
    """Check texts that must not be empty.

    :param texts: the arguments by their names
    :raises CijInputError: one is no text, or an empty one
    """
    for name, text in texts.items():
        if not isinstance(text, str) or not text.strip():
            raise _wrong(name, text, "Give text that is not empty.")


def row_ids(**given: object) -> None:
    """Check ids of rows, in any spelling of a GUID.

    :param given: the arguments by their names
    :raises CijInputError: one is no GUID
    """
    from airflow_provider_cij.dataverse.guids import normalize_guid

    for name, row_id in given.items():
        normalize_guid(row_id, name)
