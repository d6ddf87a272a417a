"""Values of rows, read by the type of their column. Pure.

Source: Dataverse docs, "Column data types", and the metadata of a table's columns. A reason never repeats a value.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any

from airflow_provider_cij.dataverse.guids import normalize_guid, parse_guid
from airflow_provider_cij.dataverse.values import is_nothing, kind_of, text_of_value, trimmed
from airflow_provider_cij.errors import CijInputError

Json = str | int | float | bool | None
Read = Callable[[object], Json]

_TRUE, _FALSE = ("true", "yes", "1", "y", "t"), ("false", "no", "0", "n", "f")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
_DATE_LENGTH = 10
_EARLIEST = datetime(1753, 1, 1, tzinfo=UTC)
_DEFAULT_PRECISION = 10
_FIRST_FILLER = "\u1100"
_MOST_DIGITS = 100


class UnfitError(ValueError):
    """A value does not fit its column. The text is the reason, without the value."""


@dataclass(frozen=True)
class ColumnType:
    """The definition of a column.

    :param name: the logical name
    :param type: ``AttributeType``, such as ``String`` or ``Picklist``
    :param creatable: True when it can be set in a new row
    :param updatable: True when it can be changed in an existing row
    :param max_length: the most characters of a text; default None, any number
    :param minimum: the smallest number; default None, any
    :param maximum: the largest number; default None, any
    :param precision: decimal places; default 10
    :param date_only: a date without a time; default False
    :param options: the labels of a choice's options, by number; default none
    """

    name: str
    type: str
    creatable: bool = True
    updatable: bool = True
    max_length: int | None = None
    minimum: float | None = None
    maximum: float | None = None
    precision: int = _DEFAULT_PRECISION
    date_only: bool = False
    options: Mapping[int, tuple[str, ...]] = field(default_factory=dict)


def is_empty(value: object) -> bool:
    """Return whether a row has no value: None, a text of white space, or the NaN of data frames.

    :param value: the value as it was read
    """
    if isinstance(value, str):
        # A visible letter; other ranges of Unicode have invisible ones.
        return not ("" < value[:1] < _FIRST_FILLER and value[:1].isalnum()) and not trimmed(value)
    return is_nothing(value)


def reader_of(column: ColumnType) -> Read:
    """Return the function that reads values of a column, and raises ``UnfitError`` for one that does not fit.

    :param column: the column
    :raises CijInputError: values of its type can't be written
    """
    maker = _READERS.get(column.type)
    if maker is None:
        raise CijInputError(
            f"Column {column.name!r} is of the type {column.type}, which can't be written from rows.",
            hint="A lookup needs lookup(table, key) in columns." if column.type in LOOKUPS else "",
        )
    return maker(column)


LOOKUPS = ("Lookup", "Customer", "Owner")
"""The types of columns that refer to a row of another table."""


def same_value(column: ColumnType) -> Callable[[Any, Any], bool]:
    """Return the function that compares a value of the list with one of the service.

    :param column: the column
    """
    if column.type in ("Decimal", "Money", "Double"):
        # The service rounds to the column's precision.
        half = 0.5 * 10.0**-column.precision
        return lambda ours, theirs: ours == theirs or (None not in (ours, theirs) and abs(ours - theirs) < half)
    if column.type == "DateTime" and not column.date_only:
        return lambda ours, theirs: (
            ours == theirs or (bool(theirs) and bool(ours) and _seconds(ours) == _seconds(theirs))
        )
    if column.type in ("String", "Memo"):
        return lambda ours, theirs: (ours or None) == (theirs or None)
    return lambda ours, theirs: bool(ours == theirs)


def text_of(value: object) -> str:
    """Return a value as text.

    :param value: text, a number, a time, or the bytes of an id
    """
    try:
        return text_of_value(value)
    except CijInputError:
        raise UnfitError(f"{kind_of(value)}, where one text is expected") from None


def _text(column: ColumnType) -> Read:
    limit = column.max_length
    short = sys.maxsize if limit is None else limit

    def read(value: object) -> Json:
        text = value if type(value) is str else text_of(value)
        if 2 * len(text) <= short and text.isprintable():
            return text
        # .NET counts UTF-16 units.
        if limit is not None and len(text) + (0 if text.isascii() else len(_ASTRAL.findall(text))) > limit:
            raise UnfitError(f"longer than {limit:,} characters")
        if _UNSTORABLE.search(text):
            raise UnfitError("text with characters that can't be stored")
        return text

    return read


def _integer(column: ColumnType) -> Read:
    def read(value: object) -> Json:
        number = _decimal(value)
        if number != number.to_integral_value():
            raise UnfitError("no whole number")
        return _in_range(int(number), column)

    return read


def _fraction(column: ColumnType) -> Read:
    def read(value: object) -> Json:
        number = _decimal(value)
        return _in_range(int(number) if number == number.to_integral_value() else float(number), column)

    return read


def _decimal(value: object) -> Decimal:
    # Scalars of numpy and Arrow are read by their text.
    text = value if isinstance(value, (int, float, Decimal)) else trimmed(text_of(value))
    try:
        number = Decimal(text)
        fits = number.is_finite() and abs(number.adjusted()) < _MOST_DIGITS
    except (InvalidOperation, ValueError):
        fits = False
    if not fits or isinstance(value, bool) or (isinstance(text, str) and "_" in text):
        raise UnfitError("no number")
    return number


def _in_range(number: float, column: ColumnType) -> Json:
    low, high = column.minimum, column.maximum
    if (low is not None and number < low) or (high is not None and number > high):
        raise UnfitError(f"outside {_number(low)} to {_number(high)}")
    return number


def _number(bound: float | None) -> str:
    if bound is None or not isfinite(bound):
        return "any"
    return f"{bound:,.0f}" if bound == int(bound) else f"{bound:,}"


def _boolean(_column: ColumnType) -> Read:
    def read(value: object) -> Json:
        if isinstance(value, bool):
            return value
        word = trimmed(text_of(value)).lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        raise UnfitError("neither true nor false")

    return read


def _moment(column: ColumnType) -> Read:
    return _read_date if column.date_only else _read_moment


def _read_date(value: object) -> Json:
    if isinstance(value, datetime):
        return value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    text = trimmed(text_of(value))
    try:
        if len(text) == _DATE_LENGTH:
            return date.fromisoformat(text).isoformat()
        return datetime.fromisoformat(text).date().isoformat()
    except ValueError:
        raise UnfitError("no date such as 2026-12-31") from None


def _read_moment(value: object) -> Json:
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(trimmed(text_of(value)))
        # Without an offset it is UTC, as Airflow's own times are.
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UnfitError("no date and time such as 2026-12-31T12:00:00Z") from None
    if moment < _EARLIEST:
        raise UnfitError("before 1753")
    # Columns hold whole seconds.
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(text: str) -> str:
    try:
        return str(_read_moment(text))
    except UnfitError:
        return text


def _choice(column: ColumnType) -> Read:
    numbers = _numbers_by_label(column.options)

    def read(value: object) -> Json:
        text = trimmed(text_of(value))
        number = numbers.get(text.casefold())
        if number is None and re.fullmatch(r"-?[0-9]{1,10}", text):
            number = int(text)
        if number is None or number not in column.options:
            raise UnfitError("an unknown choice")
        return number

    return read


def _choices(column: ColumnType) -> Read:
    read_one = _choice(column)

    def read(value: object) -> Json:
        listed: Iterable[object] = re.split("[,;]", value) if isinstance(value, str) else _listed(value)
        return ",".join(str(number) for number in sorted({int(str(read_one(choice))) for choice in listed}))

    return read


def _listed(value: object) -> Iterable[object]:
    return value if isinstance(value, (list, tuple, set, frozenset)) else (value,)


def _numbers_by_label(options: Mapping[int, tuple[str, ...]]) -> dict[str, int]:
    """Return numbers by their labels in lower case, without those that several numbers have."""
    numbers: dict[str, int] = {}
    shared: set[str] = set()
    for number, labels in options.items():
        for label in {label.strip().casefold() for label in labels}:
            if label in numbers:
                shared.add(label)
            numbers[label] = number
    return {label: number for label, number in numbers.items() if label not in shared}


def read_guid(value: object) -> str:
    """Return an id as the service writes it.

    :param value: the id in any spelling
    :raises UnfitError: it is no GUID
    """
    if isinstance(value, (bytes, bytearray, memoryview)) and len(bytes(value)) == 16:
        value = bytes(value).hex()
    if parse_guid(value) is None:
        raise UnfitError("no id")
    return normalize_guid(value)


_READERS: Mapping[str, Callable[[ColumnType], Read]] = {
    "String": _text,
    "Memo": _text,
    "Integer": _integer,
    "BigInt": _integer,
    "Decimal": _fraction,
    "Money": _fraction,
    "Double": _fraction,
    "Boolean": _boolean,
    "DateTime": _moment,
    "Picklist": _choice,
    "State": _choice,
    "Status": _choice,
    "MultiSelectPicklist": _choices,
    "Uniqueidentifier": lambda _column: read_guid,
}
