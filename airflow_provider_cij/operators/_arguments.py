"""Check arguments that decide about irreversible things, after rendering and before the first request."""

from __future__ import annotations

from typing import Any

from airflow_provider_cij.errors import CijInputError

_SWITCH = {"true": True, "false": False}


def switch(name: str, value: object) -> bool:
    """Return a switch as a bool.

    :param name: the argument's name, for the error
    :param value: a bool, or the text ``true`` or ``false`` in any case, as a template renders it
    :raises CijInputError: the value is anything else
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and (found := _SWITCH.get(value.strip().lower())) is not None:
        return found
    what = repr(value[:40]) if isinstance(value, str) else f"a {type(value).__name__}"
    raise CijInputError(f"{name} is {what}.", hint="Give True or False.")


def set_switches(task: Any, *names: str) -> None:
    """Replace rendered switches of a task by bools.

    :param task: the operator
    :param names: its attributes that hold switches; None stays None
    :raises CijInputError: one of them is no switch
    """
    for name in names:
        if getattr(task, name) is not None:
            setattr(task, name, switch(name, getattr(task, name)))


def one_of(name: str, value: object, *words: str) -> str:
    """Return a word, checked against those that are known.

    :param name: the argument's name, for the error
    :param value: the argument
    :param words: the accepted values
    :raises CijInputError: the value is none of them
    """
    if isinstance(value, str) and value in words:
        return value
    what = repr(value[:40]) if isinstance(value, str) else f"a {type(value).__name__}"
    raise CijInputError(f"{name} is {what}.", hint=f"Use {' or '.join(map(repr, words))}.")
