"""Alternate keys: their definitions, and rows by their values ("Define alternate keys for a table").

Assumptions: the index of a key is built at once, while the service builds it in a job; a value with a character that
the document forbids in URLs is refused with 400; a key is listed under its schema name in lower case.
"""

# ruff: noqa: S608 - the names are those of the tables, every value is a parameter

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from cij_sandbox.core import errors, guid, values
from cij_sandbox.core.errors import ODataError
from cij_sandbox.core.schema import Column, Kind, Table
from cij_sandbox.core.store import Store
from cij_sandbox.core.values import SqlValue

ACTIVE, FAILED, PENDING = "Active", "Failed", "Pending"
STATE = """
CREATE TABLE IF NOT EXISTS alternate_key (
    entity TEXT, name TEXT, schema_name TEXT, columns TEXT, status TEXT, PRIMARY KEY (entity, name)
);
"""
_FORBIDDEN = frozenset("/<>*%&:\\?+")
_MOST_KEYS, _MOST_COLUMNS = 10, 16
_NAME = re.compile(r"[a-z][a-z0-9]*_\w+", re.ASCII | re.IGNORECASE)
_PAIR = re.compile(r"\s*(\w+)\s*=\s*('(?:[^']|'')*'|[^,']*?)\s*(,|$)", re.ASCII)
_INDEX = re.compile(r"index '(\w+)'")


@dataclass(frozen=True)
class AlternateKey:
    """One alternate key of a table, with the status of its index."""

    name: str
    schema_name: str
    columns: tuple[str, ...]
    status: str


@dataclass(frozen=True)
class Target:
    """What a URL names: a row id, or the values of an alternate key with the row that has them, if any."""

    row_id: str | None
    key: Mapping[str, SqlValue]
    text: str

    @property
    def link(self) -> str:
        """What stands between the parentheses of the row's URL."""
        return self.text if self.key else str(self.row_id)


class Keys:
    """The alternate keys of all tables. With ``pending`` the index of a new one is never built."""

    def __init__(self, store: Store, *, pending: bool = False) -> None:
        self._store = store
        self._pending = pending

    def of(self, table: Table) -> list[AlternateKey]:
        """Return the keys of a table."""
        rows = self._store.reader().execute(
            "SELECT * FROM alternate_key WHERE entity = ? ORDER BY name", (table.logical_name,)
        )
        return [
            AlternateKey(row["name"], row["schema_name"], tuple(json.loads(row["columns"])), row["status"])
            for row in rows
        ]

    def define(self, table: Table, body: Mapping[str, object]) -> AlternateKey:
        """Define a key and build its index, which fails when rows share values."""
        names, schema_name = body.get("KeyAttributes"), body.get("SchemaName")
        if not isinstance(schema_name, str) or not _NAME.fullmatch(schema_name):
            raise errors.bad_parameter("SchemaName of an alternate key begins with a publisher's prefix.")
        if not isinstance(names, list) or not 1 <= len(names) <= _MOST_COLUMNS:
            raise errors.bad_parameter(f"KeyAttributes of an alternate key names 1 to {_MOST_COLUMNS} columns.")
        for name in names:
            column = table.by_name.get(name)
            if column is None or name == table.key or column.kind in (Kind.BOOLEAN, Kind.BIGINT):
                raise errors.bad_parameter(f"'{name}' cannot be a column of an alternate key.")
        if len(self.of(table)) >= _MOST_KEYS:
            raise errors.bad_parameter(f"The table '{table.logical_name}' has {_MOST_KEYS} alternate keys already.")
        with self._store.transaction() as connection:
            status = PENDING if self._pending else _build(connection, table, schema_name.lower(), tuple(names))
            key = AlternateKey(schema_name.lower(), schema_name, tuple(names), status)
            try:
                connection.execute(
                    "INSERT INTO alternate_key VALUES (?, ?, ?, ?, ?)",
                    (table.logical_name, key.name, schema_name, json.dumps(names), status),
                )
            except sqlite3.IntegrityError:
                raise errors.duplicate_row() from None
        return key

    def remove(self, table: Table, name: str) -> None:
        """Delete a key with its index."""
        self._named(table, name)
        with self._store.transaction() as connection:
            connection.execute(f'DROP INDEX IF EXISTS "{_index(table, name)}"')
            connection.execute(
                "DELETE FROM alternate_key WHERE entity = ? AND name = ?", (table.logical_name, name.lower())
            )

    def locate(self, table: Table, text: str) -> Target:
        """Read what stands between the parentheses of a row's URL."""
        if (row_id := guid.parse_strict(text.strip())) is not None:
            return Target(row_id, {}, text)
        pairs = _pairs(text)
        if len(pairs) == 1 and table.key in pairs and (row_id := guid.parse_strict(pairs[table.key])) is not None:
            return Target(row_id, {}, text)
        if not pairs or table.key in pairs:
            raise errors.bad_query(f"Bad Request - Error in query syntax. '{text[:100]}' is not a GUID.")
        content = {self._key_column(table, name).name: (name, literal) for name, literal in pairs.items()}
        if not any(key.status == ACTIVE and set(key.columns) == set(content) for key in self.of(table)):
            raise ODataError(
                400,
                "0x80060890",
                f"The specified key attributes are not a defined key for the {table.logical_name} entity",
            )
        key = {name: _literal(table, table.by_name[name], literal) for name, (_, literal) in content.items()}
        return Target(self._find(table, key), key, text)

    def _named(self, table: Table, name: str) -> AlternateKey:
        for key in self.of(table):
            if key.name == name.lower():
                return key
        raise ODataError(404, "0x80060888", f"Could not find a key with name '{name}'.")

    def _key_column(self, table: Table, name: str) -> Column:
        # A lookup stands in a key as it is read.
        column = table.by_property.get(name)
        if column is None:
            raise errors.undeclared_in_query(table.logical_name, name)
        return column

    def _find(self, table: Table, key: Mapping[str, SqlValue]) -> str | None:
        where = " AND ".join(f'fold("{name}") = fold(?) AND "{name}" IS NOT NULL' for name in key)
        query = f'SELECT "{table.key}" FROM "{table.logical_name}" WHERE {where}'
        row = self._store.reader().execute(query, list(key.values())).fetchone()
        return None if row is None else str(row[0])


def violated(problem: sqlite3.IntegrityError, connection: sqlite3.Connection, table: Table) -> ODataError:
    """Return the error for a row that repeats a primary key or the values of an alternate key."""
    found = _INDEX.search(str(problem))
    if found is None:
        return errors.duplicate_row()
    name = found[1].removeprefix(_index(table, ""))
    row = connection.execute(
        "SELECT * FROM alternate_key WHERE entity = ? AND name = ?", (table.logical_name, name)
    ).fetchone()
    columns = ", ".join(json.loads(row["columns"]))
    return ODataError(
        412,
        "0x80060892",
        f"Entity Key {row['schema_name']} violated. A record with the same value for {columns} already exists. A "
        "duplicate record cannot be created. Select one or more unique values and try again.",
    )


def no_row_with_key(table: Table) -> ODataError:
    """Return the error for an alternate key whose values no row has."""
    return ODataError(
        404, "0x80060891", f"A record with the specified key values does not exist in {table.logical_name} entity"
    )


def _build(connection: sqlite3.Connection, table: Table, name: str, columns: tuple[str, ...]) -> str:
    indexed = ", ".join(f'fold("{column}")' for column in columns)
    given = " AND ".join(f'"{column}" IS NOT NULL' for column in columns)
    try:
        connection.execute(
            f'CREATE UNIQUE INDEX "{_index(table, name)}" ON "{table.logical_name}" ({indexed}) WHERE {given}'
        )
    except sqlite3.IntegrityError:
        return FAILED
    return ACTIVE


def _index(table: Table, name: str) -> str:
    return f"key__{table.logical_name}__{name.lower()}"


def _pairs(text: str) -> dict[str, str]:
    """Return the names and literals of a key, nothing when it is not written as one."""
    pairs: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _PAIR.match(text, position)
        if match is None or match[1] in pairs:
            return {}
        pairs[match[1]] = match[2]
        position = match.end()
    return pairs


def _literal(table: Table, column: Column, literal: str) -> SqlValue:
    value: object = literal
    if literal.startswith("'"):
        value = literal[1:-1].replace("''", "'")
    elif column.kind in (Kind.INTEGER, Kind.DECIMAL):
        try:
            value = json.loads(literal)
        except ValueError:
            value = literal
    if _FORBIDDEN & set(str(value)) and column.kind is not Kind.DATETIME:
        raise errors.bad_query(f"The value of '{column.name}' holds a character that a key in a URL cannot hold.")
    if column.kind is Kind.STRING and not literal.startswith("'"):
        raise errors.bad_query(f"The value of '{column.name}' is a string and stands in single quotes.")
    return values.from_json(table, column, value)
