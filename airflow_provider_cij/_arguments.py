"""Read the arguments of tasks as what they stand for, and check them, before the first request.

A template renders to text, or in a DAG with ``render_template_as_native_obj=True`` to what Python reads the text as: so
each argument is read by its kind, once, before a task does anything. One name means one kind on every task.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow_provider_cij.errors import CijInputError

if TYPE_CHECKING:
    from airflow_provider_cij.api.consent.consent_to import ConsentTo

Reader = Callable[[str, Any], Any]

NAME_PREFIX = "name:"
"""What precedes the name of a segment or journey that is given in place of its id."""

_LOGICAL_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
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


def text(name: str, value: object) -> str:
    """Return a text as it is, and a whole number as its digits.

    :param name: the argument's name, for the error
    :param value: the argument; a template that renders to digits, such as a date, is a number in a DAG with
        ``render_template_as_native_obj=True``
    :raises CijInputError: the value is anything else, also a float: ``1.50`` and ``1.5`` are the same float
    """
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    hint = "Give text."
    if isinstance(value, (bool, float)):
        hint = "Give text. With render_template_as_native_obj=True, put the template in quotes: \"'{{ … }}'\"."
    raise _wrong(name, value, hint)


def moment(name: str, value: object) -> object:
    """Return a datetime as it is, and anything else as text.

    :param name: the argument's name, for the error
    :param value: a datetime, or its ISO 8601 text
    :raises CijInputError: the value is neither
    """
    return value if hasattr(value, "utcoffset") else text(name, value)


def text_or_texts(name: str, value: object) -> object:
    """Return a text, or a list with its whole numbers as texts; a list is checked where it is used.

    :param name: the argument's name, for the error
    :param value: a text, or a list of texts
    :raises CijInputError: the value is a number that is no text
    """
    if isinstance(value, (str, int, float)):
        return text(name, value)
    if isinstance(value, Iterable) and not isinstance(value, (bytes, Mapping)):
        return [text(name, entry) if isinstance(entry, (int, float)) else entry for entry in value]
    return value


def group_list(name: str, value: object) -> list[object]:
    """Return a list of groups with its whole numbers as texts.

    :param name: the argument's name, for the error
    :param value: names and ``MemberGroup``
    :raises CijInputError: the value is no list, or an entry is a number that is no text
    """
    value = _literal(value, "[")
    # A single name would be read letter by letter.
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise _wrong(name, value, "Give a list of names, or of MemberGroup(name, include=…).")
    return [text(name, entry) if isinstance(entry, (int, float)) else entry for entry in value]


def members(name: str, value: object) -> object:
    """Return a source of members.

    :param name: the argument's name
    :param value: a source, or a list of ids
    :raises CijInputError: the value is neither
    """
    from airflow_provider_cij.sources import checked

    return checked(value)


def number(name: str, value: object) -> object:
    """Return a number as it is, and a text as the number that it stands for.

    :param name: the argument's name, for the error
    :param value: a number, or its text as a template renders it
    :raises CijInputError: the value is a text that is no number
    """
    if not isinstance(value, str):
        return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    raise _wrong(name, value, "Give a number.")


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


def record(name: str, value: object) -> str:
    """Return the id of a segment or journey, or its name after ``name:``.

    :param name: the argument's name, for the error; one with ``journey`` in it means a journey
    :param value: the id, ``"name:…"``, or the whole result of the task that made it, also as a template renders that
    :raises CijInputError: the value is none of these
    """
    key = "journey_id" if "journey" in name else "segment_id"
    value = _literal(value, "{")
    if isinstance(value, Mapping):
        if not isinstance(value.get(key), str):
            found = ", ".join(map(repr, value)) or "nothing"
            raise CijInputError(f"{name} is a result without {key!r}; it holds {found}.", hint=f"Give its {key}.")
        value = value[key]
    if not isinstance(value, (str, UUID)):
        raise _wrong(name, value, "Give an id, 'name:…', or the output of the task that made it.")
    value = str(value).strip()
    if value.startswith(NAME_PREFIX):
        if not value.removeprefix(NAME_PREFIX).strip():
            raise _wrong(name, value, "Give the name after 'name:'.")
        return value
    from airflow_provider_cij.dataverse.guids import normalize_guid

    normalize_guid(value, name)
    return value


def records(name: str, value: object) -> list[str]:
    """Return ids of segments, or their names after ``name:``.

    :param name: the argument's name, for the error
    :param value: a list of what ``record`` reads
    :raises CijInputError: the value is no list, or an entry is no such thing
    """
    value = _literal(value, "[")
    # A single id would be read letter by letter.
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise _wrong(name, value, "Give a list of ids.")
    return [record(name, entry) for entry in value]


def _literal(value: object, first: str) -> object:
    """Return what a rendered text stands for, when it begins as a list or a dict does."""
    if not isinstance(value, str) or not value.lstrip().startswith(first):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


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


def filled_text(name: str, value: object) -> str:
    """Return a text that is not empty.

    :param name: the argument's name, for the error
    :param value: the argument
    :raises CijInputError: the value is no text, or an empty one
    """
    found = text(name, value)
    if not found.strip():
        raise _wrong(name, found, "Give text that is not empty.")
    return found


def bound(name: str, value: object) -> object:
    """Return a bound on rows as it is, once it is known to be one.

    :param name: the argument's name, for the error
    :param value: what ``bound_of`` reads
    :raises CijInputError: the value is no bound
    """
    from airflow_provider_cij.api.bounds import bound_of

    bound_of(name, value)
    return value


def consent_to(name: str, value: object, hint: str = "Give ConsentTo(…).") -> ConsentTo:
    """Return what consent is about, once its fields are known to be right.

    :param name: the argument's name, for the error
    :param value: a ``ConsentTo``
    :param hint: what to give, for the error; default ``Give ConsentTo(…).``
    :raises CijInputError: the value is anything else, or a field can't be right
    """
    from airflow_provider_cij.api.consent.consent_to import ConsentTo

    if not isinstance(value, ConsentTo):
        raise _wrong(name, value, hint)
    value.check()
    return value


def column(name: str, value: object) -> str:
    """Return the logical name of a column.

    :param name: the argument's name, for the error
    :param value: the column's name
    :raises CijInputError: no column can have this name
    """
    given = text(name, value)
    if not re.fullmatch(_LOGICAL_NAME, given.strip()):
        raise _wrong(name, given, "Give a column's logical name, such as emailaddress1.")
    return given.strip()


def words(*accepted: str) -> Reader:
    """Return the reader of an argument that takes one of some words.

    :param accepted: the words
    """

    def read(name: str, value: object) -> str:
        return one_of(name, value, *accepted)

    return read


def word_list(*accepted: str) -> Reader:
    """Return the reader of an argument that takes a list of some words.

    :param accepted: the words
    """

    def read(name: str, value: object) -> list[str]:
        value = _literal(value, "[")
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
            raise _wrong(name, value, f"Give a list of {', '.join(accepted)}.")
        return [one_of(name, entry, *accepted) for entry in value]

    return read


READERS: Mapping[str, Reader] = {
    name: reader
    for reader, names in {
        text: "cij_conn_id display_name query key description business_unit_id path not_found_path removed_path "
        "unclear_path opted_out_path rejects_path name template_id trigger content_settings_id required_consent target "
        "journey_type owner_id",
        text_or_texts: "group",
        group_list: "groups",
        members: "members",
        moment: "starts_at ends_at since",
        column: "match_on",
        switch: "wait deferrable static_snapshot allow_dropping_members missing_ok stop_first verify dry_run publish "
        "raise_again recurring emit_events",
        number: "poll_interval timeout rate_per_minute refresh_interval_minutes max_concurrency time_zone "
        "recurrence_interval_days recurrence_count",
        bound: "max_invalid max_not_found max_removals max_missing",
        record: "segment_id journey_id audience_segment_id suppression_segment_id",
        records: "segment_ids exclusion_segment_ids suppression_segment_ids",
        words("contact", "lead"): "base_table table",
        words("fail", "skip", "ok"): "on_empty",
        words("update", "reuse", "fail"): "if_exists",
        words("error", "warning", "never"): "fail_on",
        words("static", "dynamic", "compound"): "segment_type",
        words("add", "remove"): "operation",
        words("query", "fetchxml"): "how",
    }.items()
    for name in names.split()
}
"""How each argument is read, by its name. An argument that is not listed is read by its task."""


def is_template(value: object, template_ext: Sequence[str] = ()) -> bool:
    """Return whether a value is known only when the task runs: a template, or another task's output.

    :param value: an argument as the DAG file gives it
    :param template_ext: the endings of names of template files
    """
    if isinstance(value, str):
        return any(mark in value for mark in ("{{", "{%", "{#")) or value.endswith(tuple(template_ext))
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(is_template(entry, template_ext) for entry in value)
    if fields := getattr(value, "template_fields", None):
        return any(is_template(getattr(value, field), template_ext) for field in fields)
    return callable(value) or hasattr(value, "resolve")
