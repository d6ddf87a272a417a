"""The two rows of a segment, and how they are connected."""

from __future__ import annotations

import sqlite3

from cij_sandbox.core import assumptions, errors, guid
from cij_sandbox.dataverse.rows import fetch
from cij_sandbox.segments.tables import DEFINITION, SEGMENT

BASE_TABLES = ("contact", "lead")
# Active, and Computed with warnings.
LIVE_STATUSES = (1, 7)


def find_segment(
    connection: sqlite3.Connection, segment_id: str, unknown: str = "segments.unknown-segment"
) -> sqlite3.Row:
    """Return the row of a segment, or raise the error of an action that was given its id: ``unknown`` is assumed."""
    row = fetch(connection, SEGMENT, segment_id)
    if row is None:
        definition = fetch(connection, DEFINITION, segment_id)
        hint = " (it is the id of a segment definition; SegmentId is the id of the segment)" if definition else ""
        reason = f"Segment {segment_id} was not found{hint}"
        assumptions.check(unknown, reason)
        raise errors.plug_in(reason)
    return row


def segments_of(connection: sqlite3.Connection, definition_id: str) -> list[str]:
    """Return the ids of the segments that have a definition, usually one."""
    query = "SELECT msdynmkt_segmentid FROM msdynmkt_segment WHERE fold(msdynmkt_sourcesegmentuid) = ?"
    return [row[0] for row in connection.execute(query, (definition_id,))]


def find_definition(connection: sqlite3.Connection, segment: sqlite3.Row) -> sqlite3.Row | None:
    """Return the definition of a segment. Only ``msdynmkt_sourcesegmentuid`` connects the two."""
    return fetch(connection, DEFINITION, guid.parse(segment["msdynmkt_sourcesegmentuid"]))


def definition_of(connection: sqlite3.Connection, segment: sqlite3.Row) -> sqlite3.Row:
    """Return the definition of a segment, or raise the error of an action that needs one."""
    row = find_definition(connection, segment)
    if row is None:
        raise errors.plug_in(f"Segment {segment['msdynmkt_segmentid']} has no segment definition")
    return row
