"""Publishing segments: requests, and the evaluations that follow them in the background."""

from __future__ import annotations

import math
import sqlite3
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor

from cij_sandbox.core import assumptions, values
from cij_sandbox.core.assumptions import assumed
from cij_sandbox.core.background import Background
from cij_sandbox.core.store import Store, next_number
from cij_sandbox.dataverse.expressions import MismatchError
from cij_sandbox.dataverse.rows import fetch
from cij_sandbox.dataverse.sql import too_complex
from cij_sandbox.segments import evaluation, scheduling, transitions
from cij_sandbox.segments.definitions import definition_of, find_segment
from cij_sandbox.segments.tables import DEFINITION, SEGMENT


class Publisher:
    """Takes requests, and adds the background steps that carry them out."""

    def __init__(self, store: Store, background: Background) -> None:
        self._store = store
        self._background = background
        self._evaluations = _Evaluations(store, background)
        background.steps += [transitions.Stops(), scheduling.Refreshes(background), self._evaluations]

    def stop(self) -> None:
        """Stop the evaluations, after the background has stopped."""
        self._evaluations.stop()

    def publish(self, segment_id: str) -> None:
        """Check the grammar of the query and plan a run."""
        for name in ("segments.unknown-members", "segments.error-definition"):
            assumed(name)  # what can't be played is refused now
        with self._store.transaction() as connection:
            if assumed("segments.publish-unknown") == "accepted" and not fetch(connection, SEGMENT, segment_id):
                return
            segment = find_segment(connection, segment_id, "segments.publish-unknown")
            definition = definition_of(connection, segment)
            evaluation.check(segment, definition)
            if transitions.is_busy(connection, segment_id):
                assumptions.check("segments.publish-busy", f"Segment {segment_id} is being evaluated")
                if assumed("segments.publish-busy") == "dropped":
                    return
            transitions.go_live(connection, segment, definition, self._background.soon())
        self._background.notify()

    def stop_segments(self, ids: list[str]) -> dict[str, object]:
        """Stop segments one by one, in the order of the list."""
        with self._store.transaction() as connection:
            results = [transitions.stop(connection, written, self._background.soon()) for written in ids]
        self._background.notify()
        stopped = sum(result["WasStopped"] is True for result in results)
        summary = f"Complete StopSegments operation. Successfully stopped {stopped} of {len(results)} in total"
        return {"summary": summary, "stopSingleSegmentResults": results}

    def status(self, segment_id: str) -> dict[str, object]:
        """Return what ``msdynmkt_SegmentStatus`` answers, about the last finished run."""
        connection = self._store.reader()
        find_segment(connection, segment_id)
        outcome = connection.execute("SELECT * FROM outcome WHERE segment_id = ?", (segment_id,)).fetchone()
        if outcome is None:
            assumptions.check("segments.status-before-run", f"Segment {segment_id} has not been evaluated")
            if assumed("segments.status-before-run") == "missing":
                return {"segmentId": segment_id, "additionalProperties": {}}
        assumed("segments.status-names")  # what can't be played is refused
        last = (
            None
            if outcome is None
            else {
                "currentStrategy": "Synapse",
                "lastUsedStrategy": "Synapse",
                "strategyCalculationTime": values.write_moment(outcome["ended_at"]),
                "lastRunTime": values.write_moment(outcome["ended_at"]),
                "status": "Failed" if outcome["failure"] else "Success",
                "statusMessage": outcome["failure"],
                "executionStatus": None,
                "executionReasonForUser": "Unknown",
                "nonLocalizedExecutionReasonForUser": "",
                "executionReasonMetadata": None,
            }
        )
        return {"segmentId": segment_id, "lastExecution": last, "additionalProperties": {}}


class _Evaluations:
    """The step that computes runs, in two threads, once they have been exported."""

    def __init__(self, store: Store, background: Background) -> None:
        self._store = store
        self._background = background
        self._busy: set[str] = set()
        self._reading: set[sqlite3.Connection] = set()
        self._workers = ThreadPoolExecutor(2, "evaluation")
        with store.transaction() as connection:
            connection.execute("DELETE FROM evaluation_page WHERE evaluation NOT IN (SELECT number FROM evaluation)")

    def stop(self) -> None:
        for connection in tuple(self._reading):
            connection.interrupt()
        self._workers.shutdown(cancel_futures=True)

    def wait(self, connection: sqlite3.Connection, now: float) -> float:
        """Return the real seconds until a run begins or ends."""
        jobs = connection.execute(transitions.JOBS).fetchall()
        return min((job["due"] - now for job in jobs if job["execution_id"] not in self._busy), default=math.inf)

    def carry_out(self, connection: sqlite3.Connection, now: float) -> None:
        """Begin the runs that have been exported, and compute those that have begun."""
        for job in connection.execute(transitions.JOBS).fetchall():
            if job["execution_id"] in self._busy or job["due"] > now:
                continue
            if job["started"]:
                self._busy.add(job["execution_id"])
                self._workers.submit(self._evaluate, job)
            else:
                transitions.begin(connection, job, job["due"] + self._background.compute_seconds * 2 / 3)

    def _evaluate(self, job: sqlite3.Row) -> None:
        try:
            try:
                number, members, warned = self._compute(job)
            except MismatchError as problem:
                self._fail(job, str(problem))
            except sqlite3.OperationalError as problem:
                if not too_complex(problem):
                    raise
                self._fail(job, "The query is too complex for the sandbox.")
            else:
                with self._store.transaction() as connection:
                    if transitions.is_pending(connection, job):
                        transitions.succeed(connection, job, number, members, warned=warned)
                    else:
                        connection.execute("DELETE FROM evaluation_page WHERE evaluation = ?", (number,))
        except Exception:
            if not self._background.stopping:
                traceback.print_exc(file=sys.stderr)
                self._fail(job, "An unexpected error occurred.")
        finally:
            self._busy.discard(job["execution_id"])
            # What waits for this run is due now, or at a time that is known only now.
            self._background.notify()

    def _compute(self, job: sqlite3.Row) -> tuple[int, int, bool]:
        """Store the members in pages, so that other writers get their turn between two pages."""
        segment = fetch(self._store.reader(), SEGMENT, job["segment_id"])
        definition = fetch(self._store.reader(), DEFINITION, job["definition_id"])
        if segment is None or definition is None:
            raise MismatchError("The segment was deleted.")
        with self._store.transaction() as writer:
            number = next_number(writer, "evaluation")
        base = segment["msdynmkt_baseentitylogicalname"] or "contact"
        total = 0
        with self._store.snapshot() as connection:
            self._reading.add(connection)
            try:
                for page_number, page in enumerate(evaluation.member_pages(connection, definition, base)):
                    if self._background.stopping:
                        raise MismatchError("The sandbox was stopped.")
                    with self._store.transaction() as writer:
                        ids = b"".join(page)
                        writer.execute("INSERT INTO evaluation_page VALUES (?, ?, ?)", (number, page_number, ids))
                    total += len(page)
                warns = assumed("segments.unknown-members") == "counted, with warnings"
                warned = warns and evaluation.has_unknown(connection, definition, base)
            finally:
                self._reading.discard(connection)
        return number, total, warned

    def _fail(self, job: sqlite3.Row, reason: str) -> None:
        if self._background.stopping:
            return
        with self._store.transaction() as connection:
            if transitions.is_pending(connection, job):
                transitions.fail(connection, job, reason)
