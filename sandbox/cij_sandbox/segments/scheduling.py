"""When a live segment is refreshed and when it expires ("Automated segment management")."""

# ruff: noqa: S608 - nothing but constants of the code is put into the text

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from cij_sandbox.core.background import Background
from cij_sandbox.core.clock import CLOCK
from cij_sandbox.segments import transitions
from cij_sandbox.segments.definitions import LIVE_STATUSES
from cij_sandbox.segments.dependents import usage_changed

HALF_HOUR, DAY = 1_800, 86_400
UNUSED_DAYS = 120
_LIVE_SEGMENTS = (
    "SELECT schedule.*, msdynmkt_displayname, msdynmkt_disablesegmentrefresh FROM schedule "
    "JOIN msdynmkt_segment AS segment ON msdynmkt_segmentid = segment_id "
    "JOIN msdynmkt_segmentdefinition ON msdynmkt_segmentdefinitionid = definition_id "
    f"WHERE segment.statuscode IN {LIVE_STATUSES} AND segment_id NOT IN (SELECT segment_id FROM job)"
)


@dataclass(frozen=True)
class Cadence:
    """What decides when a live segment is refreshed and expires, in seconds since 1970."""

    published_at: float
    evaluated_at: float
    unused_since: float | None
    frozen: bool = False

    @property
    def refresh_at(self) -> float:
        """The next refresh: half-hourly while it is used or new, else daily; never for a static snapshot.

        Assumption: "new" is the first day after it was published.
        """
        if self.frozen:
            return math.inf
        soon = self.evaluated_at + HALF_HOUR
        is_new = soon <= self.published_at + DAY
        return soon if self.unused_since is None or is_new else self.evaluated_at + DAY

    @property
    def expires_at(self) -> float:
        """The time at which an unused segment expires."""
        return math.inf if self.unused_since is None else self.unused_since + UNUSED_DAYS * DAY


class Refreshes:
    """The step that refreshes live segments and expires unused ones."""

    def __init__(self, background: Background) -> None:
        self._background = background

    def wait(self, connection: sqlite3.Connection, now: float) -> float:
        """Return the real seconds until a segment is refreshed or expires."""
        moments = (min(cadence.refresh_at, cadence.expires_at) for _, cadence in _cadences(connection))
        return CLOCK.until(min(moments, default=math.inf))

    def carry_out(self, connection: sqlite3.Connection, now: float) -> None:
        """Plan the refreshes that are due, and expire unused segments.

        Assumption: one run catches up with any time that passed at once.
        """
        time = CLOCK.now()
        for row, cadence in list(_cadences(connection)):
            segment_id, definition_id, name = row["segment_id"], row["definition_id"], row["msdynmkt_displayname"]
            if cadence.expires_at <= time:
                transitions.expire(connection, segment_id, definition_id)
            elif cadence.refresh_at <= time:
                begin_at = self._background.soon()
                transitions.plan(connection, segment_id, definition_id, name, transitions.SCHEDULED, begin_at)
                connection.execute("UPDATE schedule SET evaluated_at = ? WHERE segment_id = ?", (time, segment_id))
        usage_changed(connection)


def _cadences(connection: sqlite3.Connection) -> Iterator[tuple[sqlite3.Row, Cadence]]:
    for row in connection.execute(_LIVE_SEGMENTS):
        frozen = bool(row["msdynmkt_disablesegmentrefresh"])
        yield row, Cadence(row["published_at"], row["evaluated_at"], row["unused_since"], frozen)
