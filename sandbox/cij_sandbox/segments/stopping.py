"""``msdynmkt_StopSegments``: each segment of the list is stopped or refused on its own."""

from __future__ import annotations

import math
import sqlite3

from cij_sandbox.core import guid
from cij_sandbox.dataverse.rows import change, fetch
from cij_sandbox.segments import transitions
from cij_sandbox.segments.definitions import LIVE_STATUSES
from cij_sandbox.segments.dependents import Users, usage_changed, users
from cij_sandbox.segments.tables import DEFINITION, SEGMENT

_STOPPING, _STOPPED = 8, 9
_DEFINITION_STOPPING, _DEFINITION_STOPPED = 723270005, 723270006


def stop(connection: sqlite3.Connection, written: str, end_at: float) -> dict[str, object]:
    """Begin to stop a segment, done at a moment of real time; return its entry in the answer."""
    segment_id = guid.parse(written)
    segment = fetch(connection, SEGMENT, segment_id) if segment_id else None
    if segment_id is None or segment is None:
        return _entry(segment_id or written, "Segment was not found")
    if segment["statuscode"] not in LIVE_STATUSES:
        label = SEGMENT.statuses[segment["statuscode"]][1]
        return _entry(segment_id, f"Segment is not live, it is {label}")
    if using := users(connection)[segment_id]:
        return _entry(segment_id, "Segment is used by active journeys or segments", using)
    definition_id = guid.parse(segment["msdynmkt_sourcesegmentuid"] or "") or ""
    transitions.skip(connection, segment_id)
    connection.execute("DELETE FROM schedule WHERE segment_id = ?", (segment_id,))
    connection.execute("INSERT OR REPLACE INTO stopping VALUES (?, ?, ?)", (segment_id, definition_id, end_at))
    change(connection, SEGMENT, segment_id, {"statecode": 1, "statuscode": _STOPPING})
    change(connection, DEFINITION, definition_id, {"statecode": 0, "statuscode": _DEFINITION_STOPPING})
    usage_changed(connection)
    return _entry(segment_id, None)


class Stops:
    """The step that ends what is being stopped."""

    def wait(self, connection: sqlite3.Connection, now: float) -> float:
        """Return the real seconds until a segment has stopped."""
        due = connection.execute("SELECT min(due) FROM stopping").fetchone()[0]
        return math.inf if due is None else due - now

    def carry_out(self, connection: sqlite3.Connection, now: float) -> None:
        """Give the status Stopped to what has been stopping long enough."""
        for row in connection.execute("SELECT * FROM stopping WHERE due <= ?", (now,)).fetchall():
            connection.execute("DELETE FROM stopping WHERE segment_id = ?", (row["segment_id"],))
            change(connection, SEGMENT, row["segment_id"], {"statecode": 1, "statuscode": _STOPPED})
            change(connection, DEFINITION, row["definition_id"], {"statecode": 0, "statuscode": _DEFINITION_STOPPED})


def _entry(segment_id: str, refusal: str | None, using: Users | None = None) -> dict[str, object]:
    # Assumption: the two lists are of ids; no document shows one that is not null.
    return {
        "SegmentId": segment_id,
        "WasStopped": refusal is None,
        "Message": refusal,
        "DependentJourneys": using.journeys if using else None,
        "DependentSegments": using.segments if using else None,
    }
