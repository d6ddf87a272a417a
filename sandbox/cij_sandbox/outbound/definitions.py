"""What makes the definition of an outbound segment valid."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from cij_sandbox.core import errors, guid
from cij_sandbox.dataverse.expressions import MismatchError, QueryError, UnsupportedError
from cij_sandbox.dataverse.sql import Sql
from cij_sandbox.mql import outbound as language
from cij_sandbox.outbound.sql import contacts_query
from cij_sandbox.outbound.tables import STATIC

_PREFIX = "crm"


@dataclass(frozen=True)
class Problem:
    """The column that is wrong, under the name the validation calls it by, and why."""

    field: str
    why: str

    def as_json(self) -> list[dict[str, str]]:
        """Return the documented result. Assumption: there is one error code, and one error at a time."""
        return [{"ErrorCode": "SegmentDciValidator_SegmentInvalid", "FieldName": self.field}]


def problem_of(connection: sqlite3.Connection, segment: Mapping[str, object]) -> Problem | None:
    """Return what is wrong with the definition of a segment."""
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
    """Compile the query of a segment; what the sandbox has not is a 501 whoever asks."""
    try:
        return contacts_query(connection, language.parse(query))
    except UnsupportedError as problem:
        raise errors.not_implemented(problem.message) from None


def read_prefixed(text: object) -> list[str] | None:
    """Read ``msdyncrm_segmentmemberids``: JSON in a string, each id with the prefix; nothing is nobody."""
    return read_ids(text, _PREFIX) if text else []


def read_ids(text: object, prefix: str = "") -> list[str] | None:
    """Read ids written as a JSON array in a string; None when they cannot be read."""
    try:
        written = json.loads(str(text))
    except (ValueError, RecursionError):
        return None
    if not isinstance(written, list):
        return None
    found = [
        guid.loose(entry.removeprefix(prefix)) if isinstance(entry, str) and entry.startswith(prefix) else None
        for entry in written
    ]
    ids = [entry for entry in found if entry is not None]
    return ids if len(ids) == len(found) else None
