"""The pair of rows a segment is made of, and the static groups its definition declares."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from cij_sandbox.core import errors, guid
from cij_sandbox.core.values import SqlValue

MAXIMUM_GROUPS = 10
BASE_TABLES = ("contact", "lead")
# Active, and Computed with warnings.
LIVE_STATUSES = (1, 7)


@dataclass(frozen=True)
class Group:
    """A static group as its definition declares it."""

    group_id: str
    include: bool


def check_segment(content: Mapping[str, SqlValue]) -> None:
    """Refuse a base table other than those of the document's note, which wins over the comment in its example."""
    base = content.get("msdynmkt_baseentitylogicalname")
    if base is not None and base not in BASE_TABLES:
        # Assumption: the documents name the rule and not the answer.
        raise errors.plug_in(
            f"Base table {base!r} is not supported: Customer Insights - Journeys only supports contact and lead"
        )


def check_definition(content: Mapping[str, SqlValue]) -> tuple[Group, ...]:
    """Read ``msdynmkt_staticlistmembers``: JSON in a string, at most ten groups, each id a GUID of its own."""
    text = content.get("msdynmkt_staticlistmembers")
    if not isinstance(text, str) or not text.strip():
        return ()
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        raise _bad_groups("it is not valid JSON") from None
    if not isinstance(entries, list):
        raise _bad_groups("it is not an array of groups")
    if len(entries) > MAXIMUM_GROUPS:
        raise _bad_groups(f"it has {len(entries)} groups, at most {MAXIMUM_GROUPS} are allowed")
    groups = tuple(_group(entry) for entry in entries)
    if len({group.group_id for group in groups}) < len(groups):
        raise _bad_groups("a groupId is used twice")
    return groups


def _group(entry: object) -> Group:
    if not isinstance(entry, dict):
        raise _bad_groups("an element is not an object")
    written = entry.get("groupId")
    group_id = guid.loose(written) if isinstance(written, str) else None
    if group_id is None:
        raise _bad_groups(f"groupId '{written}' is not a GUID")
    include = entry.get("includeType")
    if include not in ("Include", "Exclude"):
        raise _bad_groups(f"includeType '{include}' of group {group_id} is neither Include nor Exclude")
    return Group(group_id, include == "Include")


def _bad_groups(why: str) -> errors.ODataError:
    return errors.plug_in(f"msdynmkt_staticlistmembers cannot be read: {why}")


def definition_written(connection: sqlite3.Connection, definition_id: str, groups: tuple[Group, ...]) -> None:
    """Make the stored groups those of the definition; a group that is gone forgets its members."""
    wanted = {group.group_id: group.include for group in groups}
    for row in connection.execute(
        "SELECT group_id FROM static_group WHERE definition_id = ?", (definition_id,)
    ).fetchall():
        if row["group_id"] not in wanted:
            _forget_group(connection, definition_id, row["group_id"])
    for group_id, include in wanted.items():
        connection.execute(
            "INSERT INTO static_group (definition_id, group_id, include) VALUES (?, ?, ?) "
            "ON CONFLICT (definition_id, group_id) DO UPDATE SET include = excluded.include",
            (definition_id, group_id, include),
        )


def definition_deleted(connection: sqlite3.Connection, definition_id: str) -> None:
    """Forget what hangs on a definition: groups, members, runs."""
    for row in connection.execute(
        "SELECT group_id FROM static_group WHERE definition_id = ?", (definition_id,)
    ).fetchall():
        _forget_group(connection, definition_id, row["group_id"])
    for table in ("job", "schedule", "stopping"):
        connection.execute(f"DELETE FROM {table} WHERE definition_id = ?", (definition_id,))  # noqa: S608
    connection.execute("DELETE FROM msdynmkt_segmentexecution WHERE msdynmkt_segmentdefinitionid = ?", (definition_id,))


def segment_deleted(connection: sqlite3.Connection, segment_id: str) -> None:
    """Forget what hangs on a segment: its computed members and its pending run."""
    connection.execute(
        "DELETE FROM evaluation_page WHERE evaluation IN (SELECT number FROM evaluation WHERE segment_id = ?)",
        (segment_id,),
    )
    for table in ("evaluation", "outcome", "schedule", "stopping"):
        connection.execute(f"DELETE FROM {table} WHERE segment_id = ?", (segment_id,))  # noqa: S608
    for job in connection.execute("SELECT execution_id FROM job WHERE segment_id = ?", (segment_id,)).fetchall():
        connection.execute(
            "UPDATE msdynmkt_segmentexecution SET statuscode = 723270005 WHERE msdynmkt_segmentexecutionid = ?",
            (job["execution_id"],),
        )
    connection.execute("DELETE FROM job WHERE segment_id = ?", (segment_id,))


def _forget_group(connection: sqlite3.Connection, definition_id: str, group_id: str) -> None:
    connection.execute(
        "DELETE FROM static_member WHERE group_number = "
        "(SELECT number FROM static_group WHERE definition_id = ? AND group_id = ?)",
        (definition_id, group_id),
    )
    connection.execute("DELETE FROM static_group WHERE definition_id = ? AND group_id = ?", (definition_id, group_id))


def find_segment(connection: sqlite3.Connection, segment_id: str) -> sqlite3.Row:
    """Return the row of a segment whose id an action was given."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM msdynmkt_segment WHERE msdynmkt_segmentid = ?", (segment_id,)
    ).fetchone()
    if row is None:
        definition = find_definition(connection, segment_id)
        hint = " (it is the id of a segment definition; SegmentId is the id of the segment)" if definition else ""
        raise errors.plug_in(f"Segment {segment_id} was not found{hint}")
    return row


def find_definition(connection: sqlite3.Connection, definition_id: str) -> sqlite3.Row | None:
    """Return the row of a definition, or None."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM msdynmkt_segmentdefinition WHERE msdynmkt_segmentdefinitionid = ?", (definition_id,)
    ).fetchone()
    return row


def segments_of(connection: sqlite3.Connection, definition_id: str) -> list[str]:
    """Return the ids of the segments that have this definition: one, as a rule."""
    query = "SELECT msdynmkt_segmentid FROM msdynmkt_segment WHERE fold(msdynmkt_sourcesegmentuid) = ?"
    return [row[0] for row in connection.execute(query, (definition_id,))]


def definition_of(connection: sqlite3.Connection, segment: sqlite3.Row) -> sqlite3.Row:
    """Return the definition of a segment: the two are tied by ``msdynmkt_sourcesegmentuid`` and nothing else."""
    definition_id = guid.loose(segment["msdynmkt_sourcesegmentuid"] or "")
    row = find_definition(connection, definition_id) if definition_id else None
    if row is None:
        raise errors.plug_in(f"Segment {segment['msdynmkt_segmentid']} has no segment definition")
    return row
