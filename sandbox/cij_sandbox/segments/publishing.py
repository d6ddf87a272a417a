"""Publishing, refreshing, stopping: what goes on behind the API, carried out when its time has come."""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

from cij_sandbox.core import values
from cij_sandbox.core.behaviours import Switches
from cij_sandbox.core.clock import CLOCK
from cij_sandbox.core.store import Store, next_number
from cij_sandbox.dataverse.expressions import MismatchError
from cij_sandbox.dataverse.rows import fetch
from cij_sandbox.dataverse.sql import too_complex
from cij_sandbox.dataverse.tables import DEFINITION, SEGMENT
from cij_sandbox.journeys import transitions as life
from cij_sandbox.segments import evaluation, runs, scheduling, stopping
from cij_sandbox.segments.definitions import definition_of, find_segment

# How often to look whether a segment came into use, which brings its refresh forward.
_LOOK_SECONDS = 1.0


class Publisher:
    """Accepts requests and carries them out when their time has come."""

    def __init__(self, store: Store, compute_seconds: float, switches: Switches) -> None:
        self._store = store
        self._compute_seconds = compute_seconds
        self._switches = switches
        self._wake = threading.Condition()
        self._busy: set[str] = set()
        self._reading: set[sqlite3.Connection] = set()
        self._stopping = False
        self._workers = ThreadPoolExecutor(2, "evaluation")
        self._thread = threading.Thread(target=self._run, name="publishing", daemon=True)

    def start(self) -> None:
        """Begin, with the runs a stopped sandbox left behind."""
        with self._store.transaction() as connection:
            connection.execute("DELETE FROM evaluation_page WHERE evaluation NOT IN (SELECT number FROM evaluation)")
        self._thread.start()

    def stop(self) -> None:
        """Stop without waiting for runs: they are on file and go on after the next start."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        for connection in tuple(self._reading):
            connection.interrupt()
        self._workers.shutdown(cancel_futures=True)
        self._thread.join(5)
        with self._store.transaction():
            pass  # the time is kept with every transaction

    def publish(self, segment_id: str) -> None:
        """Take a publish request: check the query's grammar, write down the run, and leave."""
        with self._store.transaction() as connection:
            segment = find_segment(connection, segment_id)
            definition = definition_of(connection, segment)
            evaluation.check(segment, definition)
            if self._switches.drop_busy_publish and runs.is_busy(connection, segment_id):
                return
            runs.go_live(connection, segment, definition, self._soon())
        self.notify()

    def stop_segments(self, ids: list[str]) -> dict[str, object]:
        """Take a stop request: one by one, in the order of the list."""
        with self._store.transaction() as connection:
            results = [stopping.stop(connection, written, self._soon()) for written in ids]
        self.notify()
        stopped = sum(result["WasStopped"] is True for result in results)
        summary = f"Complete StopSegments operation. Successfully stopped {stopped} of {len(results)} in total"
        return {"summary": summary, "stopSingleSegmentResults": results}

    def publish_journey(self, journey_id: str) -> None:
        """Take a request to publish a journey."""
        with self._store.transaction() as connection:
            life.publish(connection, journey_id, self.done())
        self.notify()

    def done(self) -> float:
        """Return the real time at which what is asked for now has been computed."""
        return time.time() + self._compute_seconds

    def catch_up(self) -> None:
        """Write down, before this returns, what a jump of the clock made due; a run under way has to end first."""
        with self._store.transaction() as connection:
            scheduling.carry_out(connection, self._soon())
            life.carry_out(connection, time.time(), self._soon())
        self.notify()

    def status(self, segment_id: str) -> dict[str, object]:
        """Return what ``msdynmkt_SegmentStatus`` tells of the last finished run."""
        connection = self._store.reader()
        find_segment(connection, segment_id)
        outcome = connection.execute("SELECT * FROM outcome WHERE segment_id = ?", (segment_id,)).fetchone()
        # Assumption: before the first run ended there is no last execution; the shape is that of one recording.
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

    def _run(self) -> None:
        while not self._stopping:
            try:
                pause = self._step()
            except Exception:  # the thread must outlive whatever one run does
                traceback.print_exc(file=sys.stderr)
                pause = 1.0
            with self._wake:
                if not self._stopping and pause > 0:
                    self._wake.wait(pause)

    def _soon(self) -> float:
        """Return the real time at which what is asked for now has been exported, or has stopped."""
        return time.time() + self._compute_seconds / 3

    def notify(self) -> None:
        """Look for work: there may be some since the last look."""
        with self._wake:
            self._wake.notify_all()

    def _step(self) -> float:
        """Do what is due; return the real seconds until there is more to do."""
        now = time.time()
        connection = self._store.reader()
        next_stop = connection.execute("SELECT min(due) FROM stopping").fetchone()[0]
        if next_stop is not None and next_stop <= now:
            with self._store.transaction() as writer:
                stopping.finish(writer, now)
            return 0.0
        if (next_moment := scheduling.next_moment(connection)) <= CLOCK.now():
            with self._store.transaction() as writer:
                scheduling.carry_out(writer, self._soon())
            return 0.0
        if (next_journey := life.wait(connection, now)) <= 0:
            with self._store.transaction() as writer:
                life.carry_out(writer, now, self._soon())
            return 0.0
        pause = min(_LOOK_SECONDS, CLOCK.until(next_moment), next_journey)
        if next_stop is not None:
            pause = min(pause, next_stop - now)
        for job in connection.execute(runs.JOBS).fetchall():
            if job["execution_id"] in self._busy:
                continue
            if job["due"] > now:
                pause = min(pause, job["due"] - now)
            elif job["started"]:
                self._busy.add(job["execution_id"])
                self._workers.submit(self._evaluate, job)
            else:
                with self._store.transaction() as writer:
                    if runs.is_pending(writer, job):
                        runs.begin(writer, job, job["due"] + self._compute_seconds * 2 / 3)
                pause = 0.0
        return pause

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
                    if runs.is_pending(connection, job):
                        runs.succeed(connection, job, number, members, warned=warned)
                    else:
                        connection.execute("DELETE FROM evaluation_page WHERE evaluation = ?", (number,))
        except Exception:
            if not self._stopping:
                traceback.print_exc(file=sys.stderr)
                self._fail(job, "An unexpected error occurred.")
        finally:
            self._busy.discard(job["execution_id"])
            # What waited for this run is due, or due at a known time, only now.
            self.notify()

    def _compute(self, job: sqlite3.Row) -> tuple[int, int, bool]:
        """Write down the members; in pages, so that other writers get their turn between two of them."""
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
                    if self._stopping:
                        raise MismatchError("The sandbox was stopped.")
                    with self._store.transaction() as writer:
                        ids = b"".join(page)
                        writer.execute("INSERT INTO evaluation_page VALUES (?, ?, ?)", (number, page_number, ids))
                    total += len(page)
                warned = self._switches.warn_of_unknown_members and evaluation.has_unknown(connection, definition, base)
            finally:
                self._reading.discard(connection)
        return number, total, warned

    def _fail(self, job: sqlite3.Row, words: str) -> None:
        if self._stopping:
            return
        with self._store.transaction() as connection:
            if runs.is_pending(connection, job):
                runs.fail(connection, job, words)
