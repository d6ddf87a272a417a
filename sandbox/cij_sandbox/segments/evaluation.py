"""The members of a segment: (query or included) and not excluded."""

# ruff: noqa: S608 - the names are those of tables.py, every value is a parameter

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator

from cij_sandbox.core import assumptions, errors, guid
from cij_sandbox.core.assumptions import assumed
from cij_sandbox.core.schema import Table
from cij_sandbox.dataverse.expressions import MismatchError, QueryError
from cij_sandbox.dataverse.sql import Sql
from cij_sandbox.dataverse.tables import CONTACT, LEAD
from cij_sandbox.mql.language import REAL_TIME, parse
from cij_sandbox.mql.sql import Compiler
from cij_sandbox.segments.definitions import BASE_TABLES
from cij_sandbox.segments.members import PAGE

_OF_GROUP = "SELECT member FROM static_member WHERE group_number = ?"


def check(segment: sqlite3.Row, definition: sqlite3.Row) -> None:
    """Raise the error for a segment that cannot be published."""
    if segment["msdynmkt_baseentitylogicalname"] not in BASE_TABLES:
        raise errors.plug_in("The segment has no msdynmkt_baseentitylogicalname")
    query = (definition["msdynmkt_segmentquery"] or "").strip()
    if not query:
        return
    try:
        parse(query, REAL_TIME)
    except QueryError as problem:
        if assumed("segments.publish-bad-query") not in ("fails later", "goes live"):
            reason = f"The segment query cannot be parsed. {problem.message}"
            raise assumptions.refusal("segments.publish-bad-query", reason) from None


def member_pages(connection: sqlite3.Connection, definition: sqlite3.Row, base: str) -> Iterator[list[bytes]]:
    """Yield (query or included) and not excluded, sorted by id: "exclusion takes precedence over inclusion"."""
    groups = connection.execute(
        "SELECT number, include FROM static_group WHERE definition_id = ?",
        (definition["msdynmkt_segmentdefinitionid"],),
    ).fetchall()
    included = [group["number"] for group in groups if group["include"]]
    excluded = [group["number"] for group in groups if not group["include"]]
    text = (definition["msdynmkt_segmentquery"] or "").strip()
    found, parameters = _found(text, base) if text else ("SELECT NULL WHERE 0", [])
    static = _OF_GROUP
    if assumed("segments.unknown-members") == "left out":
        table = LEAD if base == LEAD.logical_name else CONTACT
        static += f' AND member IN (SELECT packed("{table.key}") FROM "{table.logical_name}")'
    sources = [f"SELECT * FROM ({found})", *[static] * len(included)]
    query = f"SELECT * FROM ({' UNION '.join(sources)}) ORDER BY 1"
    if excluded:
        query = (
            f"SELECT * FROM ({' UNION '.join(sources)} {' '.join(['EXCEPT ' + _OF_GROUP] * len(excluded))}) ORDER BY 1"
        )
    cursor = connection.execute(query, [*parameters, *included, *excluded])
    with_ids = _ids(definition["msdynmkt_includedmembers"])
    without_ids = _ids(definition["msdynmkt_excludedmembers"])
    rows = (row[0] for row in cursor)
    kept = (member for member in rows if member not in without_ids and member not in with_ids)
    merged = itertools.chain(kept, sorted(with_ids - without_ids)) if with_ids or without_ids else rows
    while page := list(itertools.islice(merged, PAGE)):
        yield page


def has_unknown(connection: sqlite3.Connection, definition: sqlite3.Row, base: str) -> bool:
    """Return whether an included group has an id that is no row of the base table."""
    table = LEAD if base == LEAD.logical_name else CONTACT
    query = (
        "SELECT 1 FROM static_member JOIN static_group ON group_number = number "
        "WHERE definition_id = ? AND include = 1 "
        f'AND member NOT IN (SELECT packed("{table.key}") FROM "{table.logical_name}") LIMIT 1'
    )
    return connection.execute(query, (definition["msdynmkt_segmentdefinitionid"],)).fetchone() is not None


def _found(text: str, base: str) -> Sql:
    """Return the SQL that selects the packed ids of the rows a query finds in the base table."""

    def packed(table: Table) -> str:
        if table.logical_name != base:
            raise MismatchError(f"The query selects '{table.logical_name}', the segment's base table is '{base}'.")
        return f'packed("{table.key}")'

    try:
        return Compiler((CONTACT, LEAD), packed).compile(parse(text, REAL_TIME))[1]
    except QueryError as problem:
        if assumed("segments.publish-bad-query") == "goes live":
            return "SELECT NULL WHERE 0", []
        raise MismatchError(f"The segment query cannot be parsed. {problem.message}") from None


def _ids(text: str | None) -> frozenset[bytes]:
    """Read the older generation's comma-separated GUIDs."""
    written = [part.strip().strip('"') for part in (text or "").split(",") if part.strip()]
    read = [guid.parse(part) for part in written]
    if None in read:
        raise MismatchError(f"'{written[read.index(None)]}' is not the GUID of a member.")
    return frozenset(guid.to_bytes(part) for part in read if part)
