"""The status transitions of a segment: its runs, its stop and its end, and the rows that show them."""

from __future__ import annotations

import math
import sqlite3

from cij_sandbox.core import assumptions, guid, values
from cij_sandbox.core.assumptions import assumed
from cij_sandbox.core.clock import CLOCK
from cij_sandbox.core.values import SqlValue
from cij_sandbox.dataverse.rows import change, fetch, insert
from cij_sandbox.segments.definitions import LIVE_STATUSES
from cij_sandbox.segments.dependents import Users, usage_changed, users
from cij_sandbox.segments.tables import DEFINITION, EXECUTION, SEGMENT, expired_status

ON_DEMAND, SCHEDULED = 723270000, 723270001
# The kind of a job is that of its execution, a row that clients may delete.
JOBS = (
    "SELECT job.*, msdynmkt_type AS kind FROM job "
    "LEFT JOIN msdynmkt_segmentexecution ON msdynmkt_segmentexecutionid = execution_id ORDER BY due"
)
_LIVE, _DRAFT, _GOING_LIVE, _LIVE_WITH_WARNINGS = 723270000, 723270001, 723270002, 723270004
_RUNNING, _FINISHED, _FAILED = 723270000, 723270001, 723270002
_NOT_STARTED, _IN_PROGRESS, _SUCCEEDED, _FAILED_RUN, _SKIPPED = 723270000, 723270001, 723270002, 723270003, 723270005
_ACTIVE, _ERROR, _EXPORTING, _COMPUTING, _WITH_WARNINGS, _STOPPING = 1, 3, 5, 6, 7, 8
_INACTIVE = 2
_DEFINITION_STOPPING, _DEFINITION_STOPPED = 723270005, 723270006


def go_live(connection: sqlite3.Connection, segment: sqlite3.Row, definition: sqlite3.Row, begin_at: float) -> None:
    """Begin to publish a segment; its run begins at ``begin_at``, in real time."""
    segment_id, definition_id = segment["msdynmkt_segmentid"], definition["msdynmkt_segmentdefinitionid"]
    plan(connection, segment_id, definition_id, segment["msdynmkt_displayname"], ON_DEMAND, begin_at)
    if segment["statuscode"] not in LIVE_STATUSES:
        connection.execute("DELETE FROM schedule WHERE segment_id = ?", (segment_id,))
    connection.execute("DELETE FROM stopping WHERE segment_id = ?", (segment_id,))
    if segment["statuscode"] in LIVE_STATUSES and assumed("segments.republish-status") == "stays Active":
        change(connection, DEFINITION, definition_id, _running())
    else:
        change(connection, SEGMENT, segment_id, {"statecode": 1, "statuscode": _EXPORTING})
        change(connection, DEFINITION, definition_id, {"statecode": 0, "statuscode": _GOING_LIVE, **_running()})
    usage_changed(connection)


def plan(
    connection: sqlite3.Connection, segment_id: str, definition_id: str, name: str | None, kind: int, begin_at: float
) -> None:
    """Plan a run, which begins at ``begin_at``, in real time."""
    skip(connection, segment_id)
    entry: dict[str, SqlValue] = {
        "msdynmkt_name": name,
        "msdynmkt_segmentdefinitionid": definition_id,
        "msdynmkt_type": kind,
        "statecode": 0,
        "statuscode": _NOT_STARTED,
    }
    execution_id = insert(connection, EXECUTION, entry)
    connection.execute("INSERT INTO job VALUES (?, ?, ?, 0, ?)", (execution_id, segment_id, definition_id, begin_at))


def skip(connection: sqlite3.Connection, segment_id: str) -> None:
    """Skip the pending run of a segment, if there is one."""
    for job in connection.execute("SELECT execution_id FROM job WHERE segment_id = ?", (segment_id,)).fetchall():
        run: dict[str, SqlValue] = {"statuscode": _SKIPPED, "msdynmkt_finishedon": values.now()}
        change(connection, EXECUTION, job["execution_id"], run)
    connection.execute("DELETE FROM job WHERE segment_id = ?", (segment_id,))


def is_pending(connection: sqlite3.Connection, job: sqlite3.Row) -> bool:
    """Return whether a run has neither ended nor been skipped."""
    query = "SELECT 1 FROM job WHERE execution_id = ?"
    return connection.execute(query, (job["execution_id"],)).fetchone() is not None


def is_busy(connection: sqlite3.Connection, segment_id: str) -> bool:
    """Return whether a segment has a run that has not ended."""
    return connection.execute("SELECT 1 FROM job WHERE segment_id = ?", (segment_id,)).fetchone() is not None


def begin(connection: sqlite3.Connection, job: sqlite3.Row, end_at: float) -> None:
    """Begin a run, which ends at ``end_at``, in real time."""
    connection.execute("UPDATE job SET started = 1, due = ? WHERE execution_id = ?", (end_at, job["execution_id"]))
    run: dict[str, SqlValue] = {"statuscode": _IN_PROGRESS, "msdynmkt_startedon": values.now()}
    change(connection, EXECUTION, job["execution_id"], run)
    segment = fetch(connection, SEGMENT, job["segment_id"])
    if job["kind"] == SCHEDULED or (segment and segment["statuscode"] in LIVE_STATUSES):
        # Assumption: a live segment stays Active while it is refreshed.
        change(connection, DEFINITION, job["definition_id"], _running())
    else:
        change(connection, SEGMENT, job["segment_id"], {"statecode": 1, "statuscode": _COMPUTING})


def succeed(connection: sqlite3.Connection, job: sqlite3.Row, evaluation: int, members: int, *, warned: bool) -> None:
    """End a run, whose evaluation becomes the members of its segment."""
    now = values.now()
    segment_id = job["segment_id"]
    connection.execute(
        "DELETE FROM evaluation_page WHERE evaluation = (SELECT number FROM evaluation WHERE segment_id = ?)",
        (segment_id,),
    )
    connection.execute("INSERT OR REPLACE INTO evaluation VALUES (?, ?, ?)", (segment_id, evaluation, members))
    change(
        connection,
        SEGMENT,
        segment_id,
        {
            "statecode": int(warned),
            "statuscode": _WITH_WARNINGS if warned else _ACTIVE,
            "msdynmkt_membercount": members,
            "msdynmkt_membercount_date": now,
            "msdynmkt_membercount_state": 1,
            "msdynmkt_lastevaluated": now,
            "msdynmkt_lastupdatedon": now,
        },
    )
    _end(connection, job, _LIVE_WITH_WARNINGS if warned else _LIVE, _FINISHED, _SUCCEEDED, members)
    connection.execute("INSERT OR REPLACE INTO outcome VALUES (?, ?, NULL)", (segment_id, now))
    if job["kind"] != SCHEDULED:
        time = CLOCK.now()
        # Assumption: to publish a live segment is not to use it, so its unused days go on.
        connection.execute(
            "INSERT INTO schedule VALUES (?, ?, ?, ?, ?) ON CONFLICT (segment_id) DO UPDATE SET "
            "published_at = excluded.published_at, evaluated_at = excluded.evaluated_at",
            (segment_id, job["definition_id"], *[time] * 3),
        )
        usage_changed(connection)


def fail(connection: sqlite3.Connection, job: sqlite3.Row, reason: str) -> None:
    """End a run that failed."""
    change(connection, SEGMENT, job["segment_id"], {"statecode": 1, "statuscode": _ERROR})
    _end(connection, job, int(assumed("segments.error-definition")), _FAILED, _FAILED_RUN, None)
    connection.execute("DELETE FROM schedule WHERE segment_id = ?", (job["segment_id"],))
    connection.execute("INSERT OR REPLACE INTO outcome VALUES (?, ?, ?)", (job["segment_id"], values.now(), reason))
    usage_changed(connection)


def stop(connection: sqlite3.Connection, written: str, end_at: float) -> dict[str, object]:
    """Begin to stop a segment, until ``end_at`` in real time; return its entry in the answer."""
    segment_id = guid.parse(written)
    segment = fetch(connection, SEGMENT, segment_id)
    if segment_id is None or segment is None:
        return _not_stopped("segments.stop-unknown", segment_id or written, "Segment was not found")
    if segment["statuscode"] not in LIVE_STATUSES:
        label = SEGMENT.statuses[segment["statuscode"]][1]
        name = "segments.stop-draft" if segment["statuscode"] == _INACTIVE else "segments.stop-stopped"
        return _not_stopped(name, segment_id, f"Segment is not live, it is {label}")
    assumed("segments.stopped-status")  # what can't be played is refused now
    if using := users(connection)[segment_id]:
        return _entry(segment_id, "Segment is used by active journeys or segments", using)
    definition_id = guid.parse(segment["msdynmkt_sourcesegmentuid"]) or ""
    skip(connection, segment_id)
    connection.execute("DELETE FROM schedule WHERE segment_id = ?", (segment_id,))
    connection.execute("INSERT OR REPLACE INTO stopping VALUES (?, ?, ?)", (segment_id, definition_id, end_at))
    change(connection, SEGMENT, segment_id, {"statecode": 1, "statuscode": _STOPPING})
    change(connection, DEFINITION, definition_id, {"statecode": 0, "statuscode": _DEFINITION_STOPPING})
    usage_changed(connection)
    return _entry(segment_id, None)


class Stops:
    """The step that ends the status Stopping."""

    def wait(self, connection: sqlite3.Connection, now: float) -> float:
        """Return the real seconds until a segment has stopped."""
        due = connection.execute("SELECT min(due) FROM stopping").fetchone()[0]
        return math.inf if due is None else due - now

    def carry_out(self, connection: sqlite3.Connection, now: float) -> None:
        """Set the segments to Stopped whose time is up."""
        for row in connection.execute("SELECT * FROM stopping WHERE due <= ?", (now,)).fetchall():
            connection.execute("DELETE FROM stopping WHERE segment_id = ?", (row["segment_id"],))
            status, of_definition = map(int, assumed("segments.stopped-status").split())
            change(connection, SEGMENT, row["segment_id"], {"statecode": 1, "statuscode": status})
            change(connection, DEFINITION, row["definition_id"], {"statecode": 0, "statuscode": of_definition})


def expire(connection: sqlite3.Connection, segment_id: str, definition_id: str) -> None:
    """Set an unused live segment to Expired."""
    change(connection, SEGMENT, segment_id, {"statecode": 1, "statuscode": expired_status()})
    # Assumption: definitions have no status Expired, so that of an expired segment is Stopped.
    change(connection, DEFINITION, definition_id, {"statecode": 0, "statuscode": _DEFINITION_STOPPED})
    connection.execute("DELETE FROM schedule WHERE segment_id = ?", (segment_id,))


def _end(
    connection: sqlite3.Connection,
    job: sqlite3.Row,
    definition_status: int,
    computation: int,
    run_status: int,
    members: int | None,
) -> None:
    now = values.now()
    definition: dict[str, SqlValue] = {
        "statecode": 0,
        "statuscode": definition_status,
        "msdynmkt_computationstatus": computation,
        "msdynmkt_computationfinishedon": now,
    }
    change(connection, DEFINITION, job["definition_id"], definition)
    run: dict[str, SqlValue] = {
        "statuscode": run_status,
        "msdynmkt_finishedon": now,
        "msdynmkt_membershipcount": members,
    }
    change(connection, EXECUTION, job["execution_id"], run)
    connection.execute("DELETE FROM job WHERE execution_id = ?", (job["execution_id"],))


def _running() -> dict[str, SqlValue]:
    return {
        "msdynmkt_computationstatus": _RUNNING,
        "msdynmkt_computationstartedon": values.now(),
        "msdynmkt_computationfinishedon": None,
    }


def _not_stopped(name: str, segment_id: str, reason: str) -> dict[str, object]:
    """Return the entry of a segment that is not live, as ``name`` is assumed."""
    assumptions.check(name, reason)
    return _entry(segment_id, None if assumed(name) == "WasStopped true" else reason)


def _dependents(ids: list[str]) -> list[object]:
    kind, _, names = assumed("segments.stop-dependents").partition(" ")
    if kind == "ids":
        return list(ids)
    first, second = names.split(", ")
    return [{first: found, second: None} for found in ids]


def _entry(segment_id: str, refusal: str | None, using: Users | None = None) -> dict[str, object]:
    return {
        "SegmentId": segment_id,
        "WasStopped": refusal is None,
        "Message": refusal,
        "DependentJourneys": _dependents(using.journeys) if using else None,
        "DependentSegments": _dependents(using.segments) if using else None,
    }
