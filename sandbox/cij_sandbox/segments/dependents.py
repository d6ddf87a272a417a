"""The dependents of a segment: live journeys that use it, and live segments that build upon it."""

# ruff: noqa: S608 - nothing but constants of the code is put into the text

from __future__ import annotations

import json
import re
import sqlite3
from collections import defaultdict
from dataclasses import dataclass, field

from cij_sandbox.core import values
from cij_sandbox.core.clock import CLOCK
from cij_sandbox.core.guid import DASHED
from cij_sandbox.core.store import next_number
from cij_sandbox.segments.definitions import LIVE_STATUSES

_ID = re.compile(DASHED, re.ASCII | re.IGNORECASE)
# Assumption: a journey uses the segments whose ids are anywhere in its definition.
_JOURNEYS = "SELECT msdynmkt_journeyid, msdynmkt_journeyjson FROM msdynmkt_journey WHERE statuscode = 2"
# Assumption: a definition lists in this column the ids of the segments it builds upon.
_SEGMENTS = (
    "SELECT msdynmkt_segmentid, msdynmkt_targetedsegmentids FROM msdynmkt_segmentdefinition "
    "JOIN msdynmkt_segment AS segment ON fold(msdynmkt_sourcesegmentuid) = msdynmkt_segmentdefinitionid "
    f"WHERE msdynmkt_targetedsegmentids <> '' AND segment.statuscode IN {LIVE_STATUSES}"
)


@dataclass
class Users:
    """The ids of the live journeys and of the live segments that use one segment."""

    journeys: list[str] = field(default_factory=list)
    segments: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.journeys or self.segments)


def users(connection: sqlite3.Connection) -> defaultdict[str, Users]:
    """Return the dependents of all segments, by the id of the segment."""
    found: defaultdict[str, Users] = defaultdict(Users)
    for journey_id, text in connection.execute(_JOURNEYS):
        for segment_id in _ids(text):
            found[segment_id].journeys.append(journey_id)
    for user_id, text in connection.execute(_SEGMENTS):
        for segment_id in _ids(text) - {user_id}:
            found[segment_id].segments.append(user_id)
    return found


def usage_changed(connection: sqlite3.Connection) -> None:
    """Record since when each live segment is unused, after a change of journeys or segments."""
    used = json.dumps(list(users(connection)))
    listed = "segment_id {} (SELECT value FROM json_each(?))"
    connection.execute(f"UPDATE schedule SET unused_since = NULL WHERE {listed.format('IN')}", (used,))
    connection.execute(
        f"UPDATE schedule SET unused_since = ? WHERE unused_since IS NULL AND {listed.format('NOT IN')}",
        (CLOCK.now(), used),
    )


def journeys_changed(connection: sqlite3.Connection) -> None:
    """Update the segments' counts of live journeys, after a change of journeys."""
    using = {segment_id: len(found.journeys) for segment_id, found in users(connection).items()}
    columns = "msdynmkt_segmentid, msdynmkt_publishedjourneycount"
    for segment_id, count in connection.execute(f"SELECT {columns} FROM msdynmkt_segment").fetchall():
        if (wanted := using.get(segment_id, 0)) != (count or 0):
            connection.execute(
                "UPDATE msdynmkt_segment SET msdynmkt_publishedjourneycount = ?, msdynmkt_lastusedinjourney = ?, "
                "versionnumber = ? WHERE msdynmkt_segmentid = ?",
                (wanted, values.now(), next_number(connection, "version"), segment_id),
            )
    usage_changed(connection)


def _ids(text: str | None) -> set[str]:
    return {found.lower() for found in _ID.findall(text or "")}
