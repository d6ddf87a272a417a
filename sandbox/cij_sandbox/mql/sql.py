"""Segment queries as parameterised SQL."""

# ruff: noqa: S608 - the names are those of the tables, every value is a parameter

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cij_sandbox.core.schema import Table
from cij_sandbox.dataverse.expressions import MismatchError
from cij_sandbox.dataverse.sql import ConditionSql, Sql
from cij_sandbox.dataverse.tables import CONTACT
from cij_sandbox.mql.language import Combined, Filtered, InSegment, Profile, Query


@dataclass(frozen=True)
class Compiler:
    """Compiles queries. ``tables`` have profiles, ``key`` returns the SQL of the id of a row.

    ``members`` returns the SQL that selects the contacts of another segment.
    """

    tables: tuple[Table, ...]
    key: Callable[[Table], str] = lambda table: f'"{table.key}"'
    members: Callable[[str], Sql] = lambda _: ("SELECT NULL WHERE 0", [])

    def compile(self, query: Query) -> tuple[Table, Sql]:
        """Return the table in which a query finds rows, and the SQL that selects their ids."""
        if isinstance(query, Profile):
            table = self._profiles(query.table)
            return table, (f'SELECT {self.key(table)} FROM "{table.logical_name}"', [])
        if isinstance(query, InSegment):
            return CONTACT, self.members(query.name)
        if isinstance(query, Combined):
            return self._combined(query)
        table, (origin, parameters) = self.compile(query.origin)
        if not isinstance(query, Filtered):
            return self._traversed(table, (origin, parameters), query.relationship)
        where, more = ConditionSql(table, segment_query=True).compile(query.condition)
        found = f'SELECT {self.key(table)} FROM "{table.logical_name}" WHERE ({where})'
        if isinstance(query.origin, Profile):
            return table, (found, more)
        return table, (f'{found} AND "{table.key}" IN ({origin})', [*more, *parameters])

    def _profiles(self, name: str) -> Table:
        for table in self.tables:
            if table.logical_name == name:
                return table
        raise MismatchError(f"There is no profile table '{name}'.")

    def _combined(self, query: Combined) -> tuple[Table, Sql]:
        table, (left, first) = self.compile(query.left)
        other, (right, second) = self.compile(query.right)
        if other is not table:
            raise MismatchError(
                f"{query.how} joins '{table.logical_name}' and '{other.logical_name}'; both must select the same."
            )
        # SQLite reads a chain from the left, as the language does: only a bracket on the right needs one in SQL.
        if isinstance(query.right, Combined):
            right = f"SELECT * FROM ({right})"
        return table, (f"{left} {query.how} {right}", first + second)

    def _traversed(self, table: Table, origin: Sql, relationship: str) -> tuple[Table, Sql]:
        """Follow a relationship, named child_parent_lookup, to its other end."""
        found, parameters = origin
        parents = {parent.logical_name: parent for parent in self.tables}
        for child in self.tables:
            for column in child.columns:
                parent = parents.get(column.target)
                if parent is None or relationship != f"{child.logical_name}_{column.target}_{column.name}":
                    continue
                if table is parent:
                    text = f'SELECT "{child.key}" FROM "{child.logical_name}" WHERE "{column.name}" IN ({found})'
                    return child, (text, parameters)
                if table is child:
                    text = (
                        f'SELECT DISTINCT "{column.name}" FROM "{child.logical_name}" '
                        f'WHERE "{child.key}" IN ({found}) AND "{column.name}" IS NOT NULL'
                    )
                    return parent, (text, parameters)
        raise MismatchError(f"There is no relationship '{relationship}' from '{table.logical_name}'.")
