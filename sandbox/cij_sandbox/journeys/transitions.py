"""Set the status of journeys: Draft, Publishing, Live, and at the end Completing and Completed.

Publishing takes real time, as computing a segment does. The end of a journey is a time of the organisation's clock.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable

from cij_sandbox.core import errors
from cij_sandbox.core.background import Background
from cij_sandbox.core.clock import CLOCK
from cij_sandbox.dataverse.rows import change, fetch
from cij_sandbox.journeys.checks import name_problems, problems
from cij_sandbox.journeys.definition import Problem, RefusedError, as_text, document_of, read
from cij_sandbox.journeys.participants import IN_PROGRESS, journeys_moved, next_move, people_moved
from cij_sandbox.journeys.tables import JOURNEY
from cij_sandbox.journeys.versions import drained, went_live
from cij_sandbox.segments.dependents import journeys_changed

DRAFT, LIVE, PUBLISHING, COMPLETING, COMPLETED = (0, 1), (1, 2), (3, 4), (5, 7), (6, 8)


def publish(connection: sqlite3.Connection, journey_id: str, due: float) -> None:
    """Start to publish a draft, which ends at ``due``, in real time.

    Assumption: only drafts can be published, and their problems are found after the request.
    """
    journey = fetch(connection, JOURNEY, journey_id)
    if journey is None:
        raise errors.plug_in(f"Journey {journey_id} was not found")
    if journey["statuscode"] != DRAFT[1]:
        label = JOURNEY.statuses[journey["statuscode"]][1]
        raise errors.plug_in(f"Journey {journey_id} is {label}; only a Draft can be published")
    begin(connection, journey_id, due)


def begin(connection: sqlite3.Connection, journey_id: str, due: float) -> None:
    """Start to publish a journey, which ends at ``due``, in real time."""
    _move(connection, journey_id, PUBLISHING)
    _plan(connection, journey_id, due)


class Transitions:
    """The background step that publishes and completes journeys."""

    def __init__(self, background: Background) -> None:
        self._background = background

    def wait(self, connection: sqlite3.Connection, now: float) -> float:
        """Return the real seconds until a journey is published or reaches its end time."""
        due = connection.execute("SELECT min(due) FROM journey_job").fetchone()[0]
        moments = (_next_end(connection), next_move(connection))
        return min(math.inf if due is None else due - now, CLOCK.until(min(moments)))

    def carry_out(self, connection: sqlite3.Connection, now: float) -> None:
        """Make the transitions that are due."""
        changed = False
        for job in connection.execute("SELECT * FROM journey_job WHERE due <= ?", (now,)).fetchall():
            connection.execute("DELETE FROM journey_job WHERE journey_id = ?", (job["journey_id"],))
            journey = fetch(connection, JOURNEY, job["journey_id"])
            status = journey["statuscode"] if journey else None
            if journey and status == PUBLISHING[1]:
                found = _problems(connection, journey, job["asked"])
                _move(connection, job["journey_id"], DRAFT if found else LIVE, found)
                if not found:
                    went_live(connection, job["journey_id"])
            elif status == COMPLETING[1]:
                _move(connection, job["journey_id"], COMPLETED)
            changed = True
        for (journey_id,) in connection.execute(
            "SELECT msdynmkt_journeyid FROM msdynmkt_journey WHERE statuscode = ? AND msdynmkt_journeyendtime <= ?",
            (LIVE[1], CLOCK.now()),
        ).fetchall():
            _move(connection, journey_id, COMPLETING)
            _plan(connection, journey_id, self._background.soon())
            changed = True
        if changed:
            journeys_changed(connection)
            journeys_moved(connection)
        people_moved(connection)
        if drained(connection, IN_PROGRESS):
            journeys_changed(connection)


def _next_end(connection: sqlite3.Connection) -> float:
    query = "SELECT min(msdynmkt_journeyendtime) FROM msdynmkt_journey WHERE statuscode = ?"
    end: float | None = connection.execute(query, (LIVE[1],)).fetchone()[0]
    return math.inf if end is None else end


def _problems(connection: sqlite3.Connection, journey: sqlite3.Row, asked: float) -> list[Problem]:
    name = journey["msdynmkt_name"] or ""
    found = list(name_problems(connection, name, journey["msdynmkt_journeyid"]))
    try:
        definition = read(document_of(journey["msdynmkt_journeyjson"] or ""))
    except RefusedError as refusal:
        return [*found, *refusal.problems]
    # A later version has the start time of the first one, which has usually passed.
    begun = journey["msdynmkt_journeystarttime"] if journey["msdynmkt_baseversionjourneyid"] else None
    return [*found, *problems(connection, definition, asked if begun is None else min(asked, begun))]


def _move(
    connection: sqlite3.Connection, journey_id: str, status: tuple[int, int], found: Iterable[Problem] = ()
) -> None:
    details = as_text(found) if found else None
    content = {"statecode": status[0], "statuscode": status[1], "msdynmkt_errorDetails": details}
    change(connection, JOURNEY, journey_id, content)


def _plan(connection: sqlite3.Connection, journey_id: str, due: float) -> None:
    connection.execute("INSERT OR REPLACE INTO journey_job VALUES (?, ?, ?)", (journey_id, CLOCK.now(), due))
