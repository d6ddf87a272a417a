"""Pages of rows that meet a condition, in order: the common part of OData queries and FetchXML."""

# ruff: noqa: S608 - the names are those of tables.py, every value is a parameter

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from cij_sandbox.core import errors
from cij_sandbox.core.schema import Column, Table
from cij_sandbox.core.values import SqlValue
from cij_sandbox.dataverse.annotations import Annotations
from cij_sandbox.dataverse.sql import Sql, comparable, too_complex

MAXIMUM_PAGE = 5000
Order = list[tuple[Column, str]]


@dataclass(frozen=True)
class Selection:
    """A table, a condition, and an order that ends with the key, so that it is total."""

    table: Table
    where: Sql
    order: Order

    def page(
        self, connection: sqlite3.Connection, limit: int, position: Sequence[SqlValue] = (), offset: int = 0
    ) -> tuple[list[sqlite3.Row], bool]:
        """Return the rows that follow a position, and whether there are more of them."""
        where, parameters = self.where
        seek, seek_parameters = _after(self.order, position)
        order = ", ".join(f"{comparable(column)} {way}" for column, way in self.order)
        rows = self._run(
            connection,
            f'SELECT * FROM "{self.table.logical_name}" WHERE ({where}) AND ({seek}) ORDER BY {order} LIMIT ? OFFSET ?',
            [*parameters, *seek_parameters, limit + 1, offset],
        )
        return rows[:limit], len(rows) > limit

    def count(self, connection: sqlite3.Connection, limit: int) -> int:
        """Return the number of rows, but at most one more than the limit."""
        where, parameters = self.where
        text = f'SELECT count(*) FROM (SELECT 1 FROM "{self.table.logical_name}" WHERE {where} LIMIT ?)'
        return int(self._run(connection, text, [*parameters, limit + 1])[0][0])

    def counted(self, connection: sqlite3.Connection, annotations: Annotations, *, wanted: bool) -> dict[str, object]:
        """Return the count in a collection ("Count rows"): at most 5,000, and whether there are more."""
        number = self.count(connection, MAXIMUM_PAGE) if wanted else None
        shown = {} if number is None else {"@odata.count": min(number, MAXIMUM_PAGE)}
        return {**shown, **annotations.total(number, MAXIMUM_PAGE)}

    def position(self, row: sqlite3.Row) -> list[SqlValue]:
        """Return the position of a row in the order."""
        return [row[column.name] for column, _ in self.order]

    def _run(self, connection: sqlite3.Connection, text: str, parameters: list[SqlValue]) -> list[sqlite3.Row]:
        try:
            return connection.execute(text, parameters).fetchall()
        except sqlite3.OperationalError as problem:
            if too_complex(problem):
                raise errors.not_implemented("a query as complex as this one") from None
            raise


def _after(order: Order, position: Sequence[SqlValue]) -> Sql:
    """Return the condition for rows after a position. Rows without a value sort first, as in SQL Server."""
    if not position:
        return "1", []
    (column, way), value, name = order[0], position[0], comparable(order[0][0])
    if isinstance(value, str) and name.startswith("fold"):
        value = value.casefold()
    rest, parameters = _after(order[1:], position[1:]) if len(order) > 1 else ("0", [])
    if value is None:
        beyond, beyond_parameters = (f'"{column.name}" IS NOT NULL' if way == "ASC" else "0"), []
    else:
        beyond_parameters = [value]
        beyond = f"{name} > ?" if way == "ASC" else f'({name} < ? OR "{column.name}" IS NULL)'
    return f"{beyond} OR ({name} IS ? AND ({rest}))", [*beyond_parameters, value, *parameters]
