"""Column values: JSON in, SQLite inside, JSON out."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from cij_sandbox.core import errors, guid
from cij_sandbox.core.clock import CLOCK
from cij_sandbox.core.schema import Column, Kind, Table

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,7})?)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST = datetime(1753, 1, 1, tzinfo=UTC)

SqlValue = str | int | float | bytes | None


def now() -> int:
    """Return the time in whole seconds, the precision of Dataverse."""
    return int(CLOCK.now())


def read_moment(text: str) -> float | None:
    """Read an ISO 8601 date or date and time (UTC when it names no offset) into seconds since 1970."""
    if not _MOMENT.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return (moment - _EPOCH).total_seconds() if moment >= _EARLIEST else None


def read_date(text: str) -> str | None:
    """Read a date without a time."""
    if not _DATE.fullmatch(text):
        return None
    try:
        date.fromisoformat(text)
    except ValueError:
        return None
    return text


def write_moment(seconds: float) -> str:
    """Write seconds since 1970 the way Dataverse does."""
    return (_EPOCH + timedelta(seconds=int(seconds))).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_json(column: Column, value: SqlValue) -> object:
    """Convert a stored value to JSON."""
    if value is None:
        return None
    if column.kind is Kind.BOOLEAN:
        return bool(value)
    if column.kind is Kind.DATETIME and not isinstance(value, str | bytes):
        return write_moment(value)
    return value


def from_json(table: Table, column: Column, value: object) -> SqlValue:
    """Check a value of a request body against its column and convert it to what is stored."""
    if value is None:
        return None
    read = _READERS.get(column.kind, _whole_number)(table.logical_name, column, value)
    if read is None:
        raise _wrong_type(table.logical_name, column, value)
    return read


def _flag(_entity: str, _column: Column, value: object) -> int | None:
    return int(value) if isinstance(value, bool) else None


def _decimal(entity: str, column: Column, value: object) -> int | float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    if not column.minimum <= value <= column.maximum:
        raise errors.number_out_of_range(entity, column.name, "0x80044330")
    return value


def _written_as_text(_entity: str, column: Column, value: object) -> SqlValue:
    if not isinstance(value, str):
        return None
    return {Kind.GUID: guid.parse_strict, Kind.DATE: read_date, Kind.DATETIME: _whole_moment}[column.kind](value)


def _whole_moment(text: str) -> int | None:
    seconds = read_moment(text)
    return None if seconds is None else int(seconds // 1)


def _text(entity: str, column: Column, value: object) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair is JSON, but it is not text
        return None
    if len(value) > column.max_length:
        raise errors.too_long(entity, column.name, column.max_length)
    return value


def _whole_number(entity: str, column: Column, value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    if column.options and value not in column.options:
        raise errors.option_out_of_range(entity, column.name, value, sorted(column.options))
    if not column.minimum <= value <= column.maximum:
        raise errors.number_out_of_range(entity, column.name, "0x8004432F")
    return value


def _wrong_type(entity: str, column: Column, value: object) -> errors.ODataError:
    kind = "StartObject" if isinstance(value, dict) else "StartArray" if isinstance(value, list) else "PrimitiveValue"
    return errors.bad_payload(
        entity,
        f"Microsoft.OData.ODataException: Cannot convert the value of property '{column.property_name}' to the "
        f"expected type '{column.kind.value}' (a node of type '{kind}' was read from the JSON reader).",
    )


_READERS: dict[Kind, Callable[[str, Column, object], SqlValue]] = {
    Kind.STRING: _text,
    Kind.BOOLEAN: _flag,
    Kind.DECIMAL: _decimal,
    Kind.GUID: _written_as_text,
    Kind.DATE: _written_as_text,
    Kind.DATETIME: _written_as_text,
}
