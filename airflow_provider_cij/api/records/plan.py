"""Rows of a list, checked and turned into what is written. Pure."""

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
from airflow_provider_cij.api.records.metadata import Reference, TableInfo
from airflow_provider_cij.api.records.spec import Lookup
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
"""Bytes of a digest that are equal for all keys that the service may take for the same."""
_FORBIDDEN = re.compile(r"[/<>*%&:\\?+]")
# Text in which nothing needs a closer look.
_is_plain = re.compile("[!-~][ -~]*").fullmatch
_ACTIVE = "Active"

Value = Json | EllipsisType
"""A value of a row: JSON, or ``...`` where the row has none and the column is left alone."""


class PlannedRow(NamedTuple):
    """One row, ready to be written.

    :param key: a digest of its key
    :param line: where it stands in the list
    :param values: its values, in the order of the plan's columns
    """

    key: bytes
    line: int
    values: list[Any]


class Rejected(NamedTuple):
    """One row that can't be written.

    :param line: where it stands in the list
    :param reason: why, without its values
    """

    line: int
    reason: str


class Column:
    """One column that is written.

    :param source: its name in the rows
    :param kind: what the metadata says of it
    :param reference: how a lookup is bound; default None, it is no lookup
    :param lookup: how the row that it refers to is found; default None
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
        # The longest text that is taken as it is when it is plain ASCII; 0 for what is no text.
        longest = sys.maxsize if kind.max_length is None else kind.max_length
        self.plain_length = longest if kind.type in ("String", "Memo") else 0
        self.read_name = kind.name if reference is None else f"_{kind.name}_value"
        self.write_name = kind.name if reference is None else f"{reference.navigation}@odata.bind"

    def to_body(self, value: Json) -> Json:
        """Return a value as it stands in the body of a request.

        :param value: the value
        """
        if self.reference is None or value is None:
            return value
        return f"/{self.reference.target.entity_set}({value})"

    def key_literal(self, value: Json) -> str:
        """Return a value as it stands in the key of a URL or in a filter, not percent-encoded.

        :param value: the value
        """
        return str(value) if self.reference or self.kind.type in ("DateTime", "Uniqueidentifier") else literal(value)


def _by_id(lookup: Lookup | None) -> bool:
    return lookup is None or lookup.key is None


def _lookup_text(value: object) -> str:
    return trimmed(text_of(value))


def alternate_key(table: TableInfo, key: Sequence[str]) -> bool:
    """Return whether columns are an alternate key that can be used.

    :param table: the table
    :param key: the columns' logical names
    :raises CijInputError: they are one whose index is not Active
    """
    found = {name: status for name, (columns, status) in table.keys.items() if columns == frozenset(key)}
    if not found or _ACTIVE in found.values():
        return bool(found)
    name, status = next(iter(found.items()))
    raise CijInputError(
        f"The alternate key {name!r} of table {table.name!r} is {status}, not {_ACTIVE}.",
        hint="Wait until its index is built, or mend the rows that share values and reactivate it. Nothing was sent.",
    )


class Plan:
    """The columns of an upsert, and what they make of a row.

    :param table: the table
    :param key: the logical names of the columns that tell rows apart
    :param columns: all columns, those of the key included
    :param alternate: the key is an alternate key
    :param clear_empty: an empty value clears its column
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

    def read(self, line: int, row: Mapping[str, object]) -> PlannedRow | Rejected:
        """Check one row, and return it with its values by the types of their columns.

        :param line: where it stands in the list
        :param row: its values as they were read
        """
        values: list[Value] = []
        reasons: list[str] = []
        for column in self.columns:
            value = row.get(column.source)
            if type(value) is str and len(value) <= column.plain_length and _is_plain(value):
                values.append(value)
            elif is_empty(value):
                values.append(None if self._clear_empty else ...)
            else:
                try:
                    values.append(column.read(value))
                except UnfitError as error:
                    reasons.append(f"{column.name}: {error}")
                    values.append(...)
        reasons += self._finish_key(values, reasons)
        if reasons:
            return Rejected(line, "; ".join(reasons))
        return PlannedRow(self.digest(values), line, values)

    def _finish_key(self, values: list[Value], known: Sequence[str]) -> list[str]:
        """Trim the values of the key, and return what is wrong with them besides."""
        reasons: list[str] = []
        for position in self.key_positions:
            value = values[position]
            name = self.columns[position].name
            if isinstance(value, str):
                values[position] = value = trimmed(value)
                if self.alternate and _FORBIDDEN.search(value) and self.columns[position].kind.type != "DateTime":
                    reasons.append(f"{name}: a key can't hold any of / < > * % & : \\ ? +")
            if value in (None, ...) and not any(reason.startswith(f"{name}:") for reason in known):
                reasons.append(f"{name}: empty, and the key needs it")
        return reasons

    def completed(self, row: PlannedRow) -> PlannedRow:
        """Return a row with a value for each column. A row has none for columns that first appear in later rows.

        :param row: the row
        """
        missing = len(self.columns) - len(row.values)
        empty = None if self._clear_empty else ...
        return row._replace(values=[*row.values, *[empty] * missing]) if missing else row

    def resolved(self, row: PlannedRow) -> PlannedRow:
        """Return a row whose lookups were replaced by ids.

        :param row: the row
        """
        return row._replace(key=self.digest(row.values)) if set(self.lookups) & set(self.key_positions) else row

    def digest(self, values: Sequence[Any]) -> bytes:
        """Return the digest of a row's key. Keys that differ in case only are equal.

        :param values: the row's values
        """
        return self.digest_of([values[position] for position in self.key_positions])

    def digest_of(self, key: Sequence[Any]) -> bytes:
        """Return the digest of a key: one half as the service may compare it at its widest, one exact.

        :param key: the values of its columns
        """
        if len(key) == 1 and type(key[0]) is str and key[0].isascii():  # the usual key
            half = _digest([trimmed(key[0]).lower()])
            return half + half
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
        """Return the id that a new row gets. It derives from the key, so that no repeat can make a second row.

        :param row: the row
        """
        key = self.key_of(row)
        if self.by_id:
            return str(key[0])
        names = ",".join(column.name for column in self.key_columns)
        words = json.dumps([_normal(value) for value in key], ensure_ascii=False)
        return str(uuid5(NAMESPACE_URL, f"airflow-provider-cij:record:{self.table.name}:{names}:{words}"))

    def key_link(self, row: PlannedRow) -> str:
        """Return the key of a row as it stands in a URL's parentheses, not percent-encoded.

        :param row: the row
        """
        pairs = zip(self.key_columns, self.key_of(row), strict=True)
        return ",".join(f"{column.read_name}={column.key_literal(value)}" for column, value in pairs)

    def creation(self, row: PlannedRow, *, with_key: bool) -> dict[str, Json]:
        """Return the body of a new row.

        :param row: the row
        :param with_key: True includes the columns of the key
        """
        positions = range(len(self.columns)) if with_key and not self.by_id else self.others
        body: dict[str, Json] = {}
        for position in positions:
            column, value = self.columns[position], row.values[position]
            if value is not ... and value is not None and column.kind.creatable:
                body[column.write_name] = value if column.reference is None else column.to_body(value)
        return body

    def changes(self, row: PlannedRow, there: Mapping[str, Any], *, changed_only: bool) -> dict[str, Json]:
        """Return the body of a change of an existing row, which has no column of the key.

        :param row: the row
        :param there: the row as the service has it
        :param changed_only: True leaves out what it has already
        """
        body: dict[str, Json] = {}
        for position in self.others:
            column, value = self.columns[position], row.values[position]
            if value is ... or not column.kind.updatable:
                continue
            if not changed_only or not column.same(value, there.get(column.read_name)):
                body[column.write_name] = column.to_body(value)
        return body


def _is_resolved(column: Column) -> bool:
    return column.reference is None or _by_id(column.lookup)


def _digest(key: Sequence[Any]) -> bytes:
    texts = [value if type(value) is str else json.dumps(value) for value in key]
    return blake2b("\x1f".join(texts).encode(), digest_size=HALF).digest()


def _normal(value: Any) -> Any:
    if isinstance(value, str):
        return trimmed(value).lower() if value.isascii() else normalize(trimmed(value))
    return int(value) if isinstance(value, float) and value.is_integer() else value
