"""Check the rows of a list, and build the bodies of write requests. Pure."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from types import EllipsisType
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, uuid5

from airflow_provider_cij.api.members.match import normalize, widest
from airflow_provider_cij.api.records.arguments import Lookup
from airflow_provider_cij.api.records.metadata import Reference, TableInfo
from airflow_provider_cij.api.records.values import (
    ColumnType,
    Json,
    UnfitError,
    is_empty,
    read_guid,
    reader_of,
    same_value,
    text_of,
)
from airflow_provider_cij.dataverse.odata import literal
from airflow_provider_cij.dataverse.values import trimmed
from airflow_provider_cij.errors import CijInputError

HALF = 16
"""Bytes at the start of a digest, equal for all keys that the service may consider equal."""
_FORBIDDEN = re.compile(r"[/<>*%&:\\?+]")
# A printable text between these begins with a visible character.
_FIRST_VISIBLE, _FIRST_INVISIBLE = "!", "\u0300"
_ACTIVE = "Active"

Value = Json | EllipsisType
"""A value of a row: JSON, or ``...`` where the row has none and the column is left alone."""


class PlannedRow(NamedTuple):
    """One row, ready to be written.

    :param key: the digest of the row's key
    :param line: the row's line in the list
    :param values: the row's values, in the order of the plan's columns
    """

    key: bytes
    line: int
    values: tuple[Any, ...]


class Rejected(NamedTuple):
    """One row that can't be written.

    :param line: the row's line in the list
    :param reason: the reason, without values of the row
    """

    line: int
    reason: str


class Column:
    """One column that is written.

    :param source: the column's name in the rows
    :param kind: the column's definition
    :param reference: the binding of a lookup; default None, the column is no lookup
    :param lookup: the mapping by which the referenced row is looked up; default None
    """

    def __init__(
        self, source: str, kind: ColumnType, reference: Reference | None = None, lookup: Lookup | None = None
    ) -> None:
        self.source = source
        self.name = kind.name
        self.kind = kind
        self.reference = reference
        self.lookup = lookup
        self.read = reader_of(kind) if reference is None else (read_guid if _by_id(lookup) else _lookup_text)
        self.same = same_value(kind)
        # Printable texts up to this length need no check: .NET counts some characters as two. 0 for other types.
        longest = sys.maxsize if kind.max_length is None else kind.max_length
        self.plain_length = longest // 2 if kind.type in ("String", "Memo") else 0
        self.read_name = kind.name if reference is None else f"_{kind.name}_value"
        self.write_name = kind.name if reference is None else f"{reference.navigation}@odata.bind"

    def to_body(self, value: Json) -> Json:
        """Return a value in the form of a request's body.

        :param value: the value
        """
        if self.reference is None or value is None:
            return value
        return f"/{self.reference.target.entity_set}({value})"

    def key_literal(self, value: Json) -> str:
        """Return a value as a literal for the key of a URL or for a filter, not percent-encoded.

        :param value: the value
        """
        return str(value) if self.reference or self.kind.type in ("DateTime", "Uniqueidentifier") else literal(value)


def _by_id(lookup: Lookup | None) -> bool:
    return lookup is None or lookup.key is None


def _lookup_text(value: object) -> str:
    return trimmed(text_of(value))


def alternate_key(table: TableInfo, key: Sequence[str]) -> bool:
    """Return whether columns are an active alternate key.

    :param table: the table
    :param key: the columns' logical names
    :raises CijInputError: they are an alternate key whose index is not Active
    """
    found = {name: status for name, (columns, status) in table.keys.items() if columns == frozenset(key)}
    if not found or _ACTIVE in found.values():
        return bool(found)
    name, status = next(iter(found.items()))
    raise CijInputError(
        f"The alternate key {name!r} of table {table.name!r} is {status}, not {_ACTIVE}.",
        hint="Wait until its index is built, or correct the rows with the same values and reactivate it. Nothing was "
        "sent.",
    )


class Plan:
    """The columns of an upsert, which read rows and build request bodies.

    :param table: the table
    :param key: the logical names of the key columns
    :param columns: all columns, including those of the key
    :param alternate: True when the key is an alternate key
    :param clear_empty: True, an empty value clears its column; False, it leaves the column alone
    :raises CijInputError: a column of the key is not among the columns, or a column can't be written
    """

    def __init__(
        self, table: TableInfo, key: Sequence[str], columns: Sequence[Column], *, alternate: bool, clear_empty: bool
    ) -> None:
        self.table = table
        self.columns = list(columns)
        self.alternate = alternate
        self.by_id = tuple(key) == (table.id_column,)
        self._clear_empty = clear_empty
        names = [column.name for column in columns]
        if missing := [name for name in key if name not in names]:
            raise CijInputError(
                f"No column of the rows is mapped to {', '.join(map(repr, missing))}, which key names.",
                hint="Add it to columns.",
            )
        self.key_positions = [names.index(name) for name in key]
        self.key_columns = [self.columns[position] for position in self.key_positions]
        self.others = [position for position in range(len(names)) if position not in self.key_positions]
        for position in self.others:
            kind = self.columns[position].kind
            if kind.name == table.id_column or not (kind.creatable or kind.updatable):
                raise CijInputError(f"Column {kind.name!r} of table {table.name!r} is read-only.")
        self.lookups = [position for position, column in enumerate(self.columns) if not _is_resolved(column)]
        self._key_has_lookup = not set(self.lookups).isdisjoint(self.key_positions)
        creatable = [(position, column) for position, column in enumerate(self.columns) if column.kind.creatable]
        self._created = [(position, column) for position, column in creatable if position in self.others]
        self._created_with_key = self._created if self.by_id else creatable

    def read(
        self, lines: Sequence[int], rows: Sequence[Mapping[str, object]]
    ) -> tuple[list[PlannedRow], list[Rejected]]:
        """Convert rows to the types of their columns; return the valid rows and the invalid ones.

        :param lines: the rows' lines in the list
        :param rows: the rows as they were read
        """
        # Column by column: most hold plain texts only, which one check of the whole column confirms.
        reasons: dict[int, list[str]] = {}
        values = [self._column(column, [row.get(column.source) for row in rows], reasons) for column in self.columns]
        for position in self.key_positions:
            values[position] = self._key_column(self.columns[position], values[position], reasons)
        planned = [
            PlannedRow(self.digest(row), line, row)
            for place, (line, row) in enumerate(zip(lines, zip(*values, strict=True), strict=True))
            if place not in reasons
        ]
        return planned, [Rejected(lines[place], "; ".join(reasons[place])) for place in sorted(reasons)]

    def _column(self, column: Column, values: list[Any], reasons: dict[int, list[str]]) -> list[Any]:
        """Return the values of a column converted to its type; add the reasons of invalid ones by position."""
        if column.plain_length and _are_plain(values, column.plain_length):
            return values
        empty = None if self._clear_empty else ...
        read: list[Any] = []
        for place, value in enumerate(values):
            if is_empty(value):
                read.append(empty)
                continue
            try:
                read.append(column.read(value))
            except UnfitError as error:
                reasons.setdefault(place, []).append(f"{column.name}: {error}")
                read.append(...)
        return read

    def _key_column(self, column: Column, values: list[Any], reasons: dict[int, list[str]]) -> list[Any]:
        """Return the values of a key column, trimmed; add the reasons of invalid ones by position."""
        forbids = self.alternate and column.kind.type != "DateTime"
        values = [trimmed(value) if isinstance(value, str) else value for value in values]
        for place, value in enumerate(values):
            if value is None or value is ...:
                if not any(reason.startswith(f"{column.name}:") for reason in reasons.get(place, ())):
                    reasons.setdefault(place, []).append(f"{column.name}: empty, and the key needs it")
            elif forbids and isinstance(value, str) and _FORBIDDEN.search(value):
                reasons.setdefault(place, []).append(f"{column.name}: a key can't hold any of / < > * % & : \\ ? +")
        return values

    def completed(self, row: PlannedRow) -> PlannedRow:
        """Return a row with a value for each column, including columns that first appear in later rows.

        :param row: the row
        """
        missing = len(self.columns) - len(row.values)
        empty = None if self._clear_empty else ...
        return row._replace(values=(*row.values, *[empty] * missing)) if missing else row

    def resolved(self, row: PlannedRow) -> PlannedRow:
        """Return a row with the digest of its key, once its lookups are replaced by ids.

        :param row: the row
        """
        return row._replace(key=self.digest(row.values)) if self._key_has_lookup else row

    def digest(self, values: Sequence[Any]) -> bytes:
        """Return the digest of a row's key. Keys that differ in case only are equal.

        :param values: the row's values
        """
        return self.digest_of([values[position] for position in self.key_positions])

    def digest_of(self, key: Sequence[Any]) -> bytes:
        """Return the digest of a key: the first half as the service compares it, the second half exact.

        :param key: the values of the key columns
        """
        if len(key) == 1 and type(key[0]) is str and key[0].isascii():  # the most frequent kind of key
            return blake2b(trimmed(key[0]).lower().encode(), digest_size=HALF).digest() * 2
        normal = [_normal(value) for value in key]
        exact = _digest(normal)
        wide = [widest(value) if isinstance(value, str) else value for value in normal]
        return (exact if wide == normal else _digest(wide)) + exact

    def key_of(self, row: PlannedRow) -> list[Any]:
        """Return the values of a row's key.

        :param row: the row
        """
        return [row.values[position] for position in self.key_positions]

    def new_id(self, row: PlannedRow) -> str:
        """Return the id of a new row. It derives from the key, so that a repeated request creates no second row.

        :param row: the row
        """
        key = self.key_of(row)
        if self.by_id:
            return str(key[0])
        names = ",".join(column.name for column in self.key_columns)
        words = json.dumps([_normal(value) for value in key], ensure_ascii=False)
        return str(uuid5(NAMESPACE_URL, f"airflow-provider-cij:record:{self.table.name}:{names}:{words}"))

    def key_link(self, row: PlannedRow) -> str:
        """Return the key of a row in the form of a URL, without parentheses and percent-encoding.

        :param row: the row
        """
        return ",".join(
            f"{self.columns[place].read_name}={self.columns[place].key_literal(row.values[place])}"
            for place in self.key_positions
        )

    def creation(self, row: PlannedRow, *, with_key: bool) -> dict[str, Json]:
        """Return the body that creates a row.

        :param row: the row
        :param with_key: True includes the key columns
        """
        body: dict[str, Json] = {}
        for position, column in self._created_with_key if with_key else self._created:
            value = row.values[position]
            if value is not ... and value is not None:
                body[column.write_name] = value if column.reference is None else column.to_body(value)
        return body

    def changes(self, row: PlannedRow, there: Mapping[str, Any], *, changed_only: bool) -> dict[str, Json]:
        """Return the body that updates an existing row. It contains no key column.

        :param row: the row
        :param there: the existing row
        :param changed_only: True leaves out values that the existing row has already
        """
        body: dict[str, Json] = {}
        for position in self.others:
            column, value = self.columns[position], row.values[position]
            if value is ... or not column.kind.updatable:
                continue
            if not changed_only or not column.same(value, there.get(column.read_name)):
                body[column.write_name] = column.to_body(value)
        return body


def _are_plain(values: Sequence[Any], longest: int) -> bool:
    """Return whether all values are texts that need no further check."""
    return (
        set(map(type, values)) == {str}
        and min(values) >= _FIRST_VISIBLE
        and max(values) < _FIRST_INVISIBLE
        and max(map(len, values)) <= longest
        and "".join(values).isprintable()
    )


def _is_resolved(column: Column) -> bool:
    return column.reference is None or _by_id(column.lookup)


def _digest(key: Sequence[Any]) -> bytes:
    texts = [value if type(value) is str else json.dumps(value) for value in key]
    return blake2b("\x1f".join(texts).encode(), digest_size=HALF).digest()


def _normal(value: Any) -> Any:
    if isinstance(value, str):
        return trimmed(value).lower() if value.isascii() else normalize(trimmed(value))
    return int(value) if isinstance(value, float) and value.is_integer() else value
