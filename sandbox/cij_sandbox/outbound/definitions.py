"""The definition of an outbound segment: validation, and the SQL of its query."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from cij_sandbox.core import guid
from cij_sandbox.dataverse.expressions import MismatchError, QueryError
from cij_sandbox.dataverse.sql import Sql
from cij_sandbox.dataverse.tables import ACCOUNT, CONTACT, LEAD
from cij_sandbox.mql.language import OUTBOUND, Query, parse
from cij_sandbox.mql.sql import Compiler
from cij_sandbox.outbound.tables import STATIC

_PREFIX = "crm"


@dataclass(frozen=True)
class Problem:
    """An invalid column, under its name in the validation, and the reason."""

    field: str
    why: str

    def as_json(self) -> list[dict[str, str]]:
        """Return the documented result. Assumption: there is one error code, and one error at a time."""
        return [{"ErrorCode": "SegmentDciValidator_SegmentInvalid", "FieldName": self.field}]


def problem_of(connection: sqlite3.Connection, segment: Mapping[str, object]) -> Problem | None:
    """Return the first problem of a segment's definition, or None."""
    if not segment.get("msdyncrm_segmentname"):
        return Problem("msdyncrm_segmentname", "It has no name.")
    kind = segment.get("msdyncrm_segmenttype")
    if kind is None:
        return Problem("msdyncrm_segmenttype", "It has no type.")
    if kind == STATIC:
        text = segment.get("msdyncrm_segmentmemberids")
        return None if read_prefixed(text) is not None else Problem("msdyncrm_segmentmemberids", _MEMBERS_WRONG)
    query = str(segment.get("msdyncrm_segmentquery") or "").strip()
    if not query:
        return Problem("msdyncrm_query", "It has no query.")
    try:
        contacts_of(connection, query)
    except QueryError as problem:
        return Problem("msdyncrm_query", problem.message)
    except MismatchError as problem:
        return Problem("msdyncrm_query", str(problem))
    return None


_MEMBERS_WRONG = f"Its members are not a JSON array of ids with the prefix '{_PREFIX}'."


def contacts_of(connection: sqlite3.Connection, query: str) -> Sql:
    """Return the SQL that selects the ids of the contacts a segment's query finds."""
    return contacts_query(connection, parse(query, OUTBOUND))


def contacts_query(connection: sqlite3.Connection, query: Query) -> Sql:
    """Return the SQL that selects the ids of the contacts a query finds."""

    def members(name: str) -> Sql:
        segment = _find_segment(connection, name)
        if segment["msdyncrm_lastevaluationtime"] is None:
            return "SELECT NULL WHERE 0", []
        return "SELECT member FROM outbound_member WHERE segment_id = ?", [segment["msdyncrm_segmentid"]]

    table, sql = Compiler((CONTACT, LEAD, ACCOUNT), members=members).compile(query)
    if table is not CONTACT:
        raise MismatchError(f"The query selects '{table.logical_name}', a segment has members of 'contact'.")
    return sql


def _find_segment(connection: sqlite3.Connection, name: str) -> sqlite3.Row:
    """Return a segment by its name in the backend, or by its given name if only one segment has it."""
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


def read_prefixed(text: object) -> list[str] | None:
    """Read ``msdyncrm_segmentmemberids``: JSON in a string, each id with the prefix."""
    return read_ids(text, _PREFIX) if text else []


def read_ids(text: object, prefix: str = "") -> list[str] | None:
    """Read ids from a JSON array in a string; return None when they cannot be read."""
    try:
        written = json.loads(str(text))
    except (ValueError, RecursionError):
        return None
    if not isinstance(written, list):
        return None
    found = [
        guid.parse(entry.removeprefix(prefix)) if isinstance(entry, str) and entry.startswith(prefix) else None
        for entry in written
    ]
    ids = [entry for entry in found if entry is not None]
    return ids if len(ids) == len(found) else None
