"""Outbound segment queries as parameterised SQL."""

# ruff: noqa: S608 - the names are those of tables.py, every value is a parameter

from __future__ import annotations

import sqlite3

from cij_sandbox.core.schema import Table
from cij_sandbox.dataverse.expressions import MismatchError
from cij_sandbox.dataverse.sql import ConditionSql, Sql
from cij_sandbox.dataverse.tables import BY_LOGICAL_NAME, CONTACT, LEAD
from cij_sandbox.mql.outbound import Combined, Everyone, InSegment, Query, Reached
from cij_sandbox.outbound.tables import ACCOUNT

_PROFILES = (CONTACT, LEAD, ACCOUNT)


def contacts_query(connection: sqlite3.Connection, query: Query) -> Sql:
    """Return the SQL that selects the ids of the contacts a query finds."""
    table, sql = _compiled(connection, query)
    if table is not CONTACT:
        raise MismatchError(f"The query selects '{table.logical_name}', a segment has members of 'contact'.")
    return sql


def _compiled(connection: sqlite3.Connection, query: Query) -> tuple[Table, Sql]:
    if isinstance(query, Everyone):
        table = BY_LOGICAL_NAME.get(query.table)
        if table not in _PROFILES or table is None:
            raise MismatchError(f"There is no profile table '{query.table}'.")
        return table, (f'SELECT "{table.key}" FROM "{table.logical_name}"', [])
    if isinstance(query, InSegment):
        return CONTACT, _members(find_segment(connection, query.name))
    if isinstance(query, Combined):
        return _combined(connection, query)
    table, (origin, parameters) = _compiled(connection, query.origin)
    if isinstance(query, Reached):
        return _reached(table, (origin, parameters), query.relationship)
    where, more = ConditionSql(table, segment_query=True).compile(query.condition)
    found = f'SELECT "{table.key}" FROM "{table.logical_name}" WHERE ({where})'
    if isinstance(query.origin, Everyone):
        return table, (found, more)
    return table, (f'{found} AND "{table.key}" IN ({origin})', [*more, *parameters])


def _combined(connection: sqlite3.Connection, query: Combined) -> tuple[Table, Sql]:
    table, (left, first) = _compiled(connection, query.left)
    other, (right, second) = _compiled(connection, query.right)
    if other is not table:
        raise MismatchError(
            f"{query.how} joins '{table.logical_name}' and '{other.logical_name}'; both must select the same."
        )
    # SQLite reads a chain from the left, as the language does: only a bracket on the right needs one in SQL.
    if isinstance(query.right, Combined):
        right = f"SELECT * FROM ({right})"
    return table, (f"{left} {query.how} {right}", first + second)


def _reached(table: Table, origin: Sql, relationship: str) -> tuple[Table, Sql]:
    """Follow a relationship, named child_parent_lookup, to its other end."""
    found, parameters = origin
    for child in _PROFILES:
        for column in child.columns:
            parent = BY_LOGICAL_NAME.get(column.target)
            if relationship != f"{child.logical_name}_{column.target}_{column.name}" or parent not in _PROFILES:
                continue
            if table is parent:
                text = f'SELECT "{child.key}" FROM "{child.logical_name}" WHERE "{column.name}" IN ({found})'
                return child, (text, parameters)
            if table is child and parent is not None:
                text = (
                    f'SELECT DISTINCT "{column.name}" FROM "{child.logical_name}" '
                    f'WHERE "{child.key}" IN ({found}) AND "{column.name}" IS NOT NULL'
                )
                return parent, (text, parameters)
    raise MismatchError(f"There is no relationship '{relationship}' from '{table.logical_name}'.")


def find_segment(connection: sqlite3.Connection, name: str) -> sqlite3.Row:
    """Return the segment of a name: the one in the backend, or the one people gave it when that is unambiguous."""
    rows = connection.execute(
        "SELECT * FROM msdyncrm_segment WHERE msdyncrm_segmentqueryname = ? COLLATE NOCASE", (name,)
    ).fetchall()
    rows = (
        rows
        or connection.execute(
            "SELECT * FROM msdyncrm_segment WHERE fold(msdyncrm_segmentname) = ? LIMIT 2", (name.casefold(),)
        ).fetchall()
    )
    if len(rows) != 1:
        problem = "There are several segments" if rows else "There is no segment"
        raise MismatchError(f"{problem} '{name}'.")
    found: sqlite3.Row = rows[0]
    return found


def _members(segment: sqlite3.Row) -> Sql:
    if segment["msdyncrm_lastevaluationtime"] is None:
        return "SELECT NULL WHERE 0", []
    return "SELECT member FROM outbound_member WHERE segment_id = ?", [segment["msdyncrm_segmentid"]]
