"""Publishing: the walk of a segment from Exporting over Computing to Active or Error, done behind the API."""

# ruff: noqa: S608 - the names are those of tables.py, every value is a parameter

from __future__ import annotations

import itertools
import sqlite3
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from . import errors, guid, mql, values
from .expressions import MismatchError, QueryError, UnsupportedError
from .members import PAGE
from .rows import change, fetch, insert
from .segments import BASE_TABLES, definition_of, find_segment
from .sql import segment_query, too_complex
from .store import Store, next_number
from .tables import DEFINITION, EXECUTION, SEGMENT
from .values import SqlValue

_DRAFT, _LIVE, _GOING_LIVE = 723270001, 723270000, 723270002
_RUNNING, _FINISHED, _FAILED = 723270000, 723270001, 723270002
_NOT_STARTED, _IN_PROGRESS, _SUCCEEDED, _FAILED_RUN, _SKIPPED = 723270000, 723270001, 723270002, 723270003, 723270005
_ACTIVE, _ERROR, _EXPORTING, _COMPUTING = 1, 3, 5, 6


class Publisher:
    """Accepts publish requests and carries them out when their time has come."""

    def __init__(self, store: Store, compute_seconds: float) -> None:
        self._store = store
        self._compute_seconds = compute_seconds
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

    def publish(self, segment_id: str) -> None:
        """Take a publish request: check the query's grammar, write down the run, and leave."""
        with self._store.transaction() as connection:
            segment = find_segment(connection, segment_id)
            definition = definition_of(connection, segment)
            _check(segment, definition)
            definition_id = definition["msdynmkt_segmentdefinitionid"]
            _supersede(connection, segment_id)
            execution_id = insert(
                connection,
                EXECUTION,
                {
                    "msdynmkt_name": segment["msdynmkt_displayname"],
                    "msdynmkt_segmentdefinitionid": definition_id,
                    "msdynmkt_type": 723270000,
                    "statecode": 0,
                    "statuscode": _NOT_STARTED,
                },
            )
            change(connection, SEGMENT, segment_id, {"statecode": 1, "statuscode": _EXPORTING})
            going_live: dict[str, SqlValue] = {
                "statecode": 0,
                "statuscode": _GOING_LIVE,
                "msdynmkt_computationstatus": _RUNNING,
                "msdynmkt_computationstartedon": values.now(),
                "msdynmkt_computationfinishedon": None,
            }
            change(connection, DEFINITION, definition_id, going_live)
            connection.execute(
                "INSERT INTO job VALUES (?, ?, ?, 0, ?)",
                (execution_id, segment_id, definition_id, time.time() + self._compute_seconds / 3),
            )
        self.wake()

    def wake(self) -> None:
        """Look for work: there may be some since the last look."""
        with self._wake:
            self._wake.notify_all()

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

    def _step(self) -> float:
        """Do what is due; return the seconds until there is more to do."""
        now = time.time()
        pause = 60.0
        for job in self._store.reader().execute("SELECT * FROM job ORDER BY due").fetchall():
            if job["execution_id"] in self._busy:
                continue
            if job["due"] > now:
                pause = min(pause, job["due"] - now)
            elif job["started"]:
                self._busy.add(job["execution_id"])
                self._workers.submit(self._evaluate, job)
            else:
                self._begin(job)
                pause = 0.0
        return pause

    def _begin(self, job: sqlite3.Row) -> None:
        with self._store.transaction() as connection:
            if not _is_current(connection, job):
                return
            connection.execute(
                "UPDATE job SET started = 1, due = ? WHERE execution_id = ?",
                (job["due"] + self._compute_seconds * 2 / 3, job["execution_id"]),
            )
            run: dict[str, SqlValue] = {"statuscode": _IN_PROGRESS, "msdynmkt_startedon": values.now()}
            change(connection, EXECUTION, job["execution_id"], run)
            change(connection, SEGMENT, job["segment_id"], {"statecode": 1, "statuscode": _COMPUTING})

    def _evaluate(self, job: sqlite3.Row) -> None:
        try:
            try:
                evaluation, members = self._compute(job)
            except MismatchError as problem:
                self._fail(job, str(problem))
            except sqlite3.OperationalError as problem:
                if not too_complex(problem):
                    raise
                self._fail(job, "The query is too complex for the sandbox.")
            else:
                self._succeed(job, evaluation, members)
        except Exception:
            if not self._stopping:
                traceback.print_exc(file=sys.stderr)
                self._fail(job, "An unexpected error occurred.")
        finally:
            self._busy.discard(job["execution_id"])

    def _compute(self, job: sqlite3.Row) -> tuple[int, int]:
        """Write down the members; in pages, so that other writers get their turn between two of them."""
        segment = fetch(self._store.reader(), SEGMENT, job["segment_id"])
        definition = fetch(self._store.reader(), DEFINITION, job["definition_id"])
        if segment is None or definition is None:
            raise MismatchError("The segment was deleted.")
        with self._store.transaction() as writer:
            evaluation = next_number(writer, "evaluation")
        base = segment["msdynmkt_baseentitylogicalname"] or "contact"
        total = 0
        with self._store.snapshot() as connection:
            self._reading.add(connection)
            try:
                for number, page in enumerate(_member_pages(connection, definition, base)):
                    if self._stopping:
                        raise MismatchError("The sandbox was stopped.")
                    with self._store.transaction() as writer:
                        ids = b"".join(page)
                        writer.execute("INSERT INTO evaluation_page VALUES (?, ?, ?)", (evaluation, number, ids))
                    total += len(page)
            finally:
                self._reading.discard(connection)
        return evaluation, total

    def _succeed(self, job: sqlite3.Row, evaluation: int, members: int) -> None:
        with self._store.transaction() as connection:
            if not _is_current(connection, job):
                connection.execute("DELETE FROM evaluation_page WHERE evaluation = ?", (evaluation,))
                return
            now = values.now()
            connection.execute(
                "DELETE FROM evaluation_page WHERE evaluation = (SELECT number FROM evaluation WHERE segment_id = ?)",
                (job["segment_id"],),
            )
            connection.execute(
                "INSERT OR REPLACE INTO evaluation VALUES (?, ?, ?)", (job["segment_id"], evaluation, members)
            )
            change(
                connection,
                SEGMENT,
                job["segment_id"],
                {
                    "statecode": 0,
                    "statuscode": _ACTIVE,
                    "msdynmkt_membercount": members,
                    "msdynmkt_membercount_date": now,
                    "msdynmkt_membercount_state": 1,
                    "msdynmkt_lastevaluated": now,
                    "msdynmkt_lastupdatedon": now,
                },
            )
            self._end(connection, job, _LIVE, _FINISHED, _SUCCEEDED, members)
            connection.execute("INSERT OR REPLACE INTO outcome VALUES (?, ?, NULL)", (job["segment_id"], now))

    def _fail(self, job: sqlite3.Row, words: str) -> None:
        if self._stopping:
            return
        with self._store.transaction() as connection:
            if not _is_current(connection, job):
                return
            change(connection, SEGMENT, job["segment_id"], {"statecode": 1, "statuscode": _ERROR})
            # Assumption: the definition of a segment in Error is a draft again.
            self._end(connection, job, _DRAFT, _FAILED, _FAILED_RUN, None)
            connection.execute(
                "INSERT OR REPLACE INTO outcome VALUES (?, ?, ?)", (job["segment_id"], values.now(), words)
            )

    def _end(
        self,
        connection: sqlite3.Connection,
        job: sqlite3.Row,
        definition_status: int,
        computation: int,
        run_status: int,
        members: int | None,
    ) -> None:
        now = values.now()
        change(
            connection,
            DEFINITION,
            job["definition_id"],
            {
                "statecode": 0,
                "statuscode": definition_status,
                "msdynmkt_computationstatus": computation,
                "msdynmkt_computationfinishedon": now,
            },
        )
        run: dict[str, SqlValue] = {
            "statuscode": run_status,
            "msdynmkt_finishedon": now,
            "msdynmkt_membershipcount": members,
        }
        change(connection, EXECUTION, job["execution_id"], run)
        connection.execute("DELETE FROM job WHERE execution_id = ?", (job["execution_id"],))


def _is_current(connection: sqlite3.Connection, job: sqlite3.Row) -> bool:
    query = "SELECT 1 FROM job WHERE execution_id = ?"
    return connection.execute(query, (job["execution_id"],)).fetchone() is not None


def _supersede(connection: sqlite3.Connection, segment_id: str) -> None:
    # Assumption: publishing again while a run is pending starts anew and leaves the earlier run as Skipped.
    for job in connection.execute("SELECT execution_id FROM job WHERE segment_id = ?", (segment_id,)).fetchall():
        run: dict[str, SqlValue] = {"statuscode": _SKIPPED, "msdynmkt_finishedon": values.now()}
        change(connection, EXECUTION, job["execution_id"], run)
    connection.execute("DELETE FROM job WHERE segment_id = ?", (segment_id,))


def _check(segment: sqlite3.Row, definition: sqlite3.Row) -> None:
    if segment["msdynmkt_baseentitylogicalname"] not in BASE_TABLES:
        raise errors.plug_in("The segment has no msdynmkt_baseentitylogicalname")
    query = (definition["msdynmkt_segmentquery"] or "").strip()
    if not query:
        return
    try:
        mql.parse(query)
    except UnsupportedError as problem:
        raise errors.not_implemented(problem.message) from None
    except QueryError as problem:
        raise errors.plug_in(f"The segment query cannot be parsed. {problem.message}") from None


def _member_pages(connection: sqlite3.Connection, definition: sqlite3.Row, base: str) -> Iterator[list[bytes]]:
    """Yield (query or included) and not excluded, sorted by id: "exclusion takes precedence over inclusion"."""
    groups = connection.execute(
        "SELECT number, include FROM static_group WHERE definition_id = ?",
        (definition["msdynmkt_segmentdefinitionid"],),
    ).fetchall()
    text = (definition["msdynmkt_segmentquery"] or "").strip()
    found, parameters = segment_query(mql.parse(text), base) if text else ("SELECT NULL WHERE 0", [])
    of_groups = "SELECT member FROM static_member WHERE group_number = ?"
    included = [group["number"] for group in groups if group["include"]]
    excluded = [group["number"] for group in groups if not group["include"]]
    sources = [f"SELECT * FROM ({found})", *[of_groups] * len(included)]
    query = f"SELECT * FROM ({' UNION '.join(sources)}) ORDER BY 1"
    if excluded:
        query = (
            f"SELECT * FROM ({' UNION '.join(sources)} {' '.join(['EXCEPT ' + of_groups] * len(excluded))}) ORDER BY 1"
        )
    cursor = connection.execute(query, [*parameters, *included, *excluded])
    with_ids = _ids(definition["msdynmkt_includedmembers"])
    without_ids = _ids(definition["msdynmkt_excludedmembers"])
    rows = (row[0] for row in cursor)
    kept = (member for member in rows if member not in without_ids and member not in with_ids)
    merged = itertools.chain(kept, sorted(with_ids - without_ids)) if with_ids or without_ids else rows
    while page := list(itertools.islice(merged, PAGE)):
        yield page


def _ids(text: str | None) -> frozenset[bytes]:
    """Read the older generation's comma-separated GUIDs."""
    written = [part.strip().strip('"') for part in (text or "").split(",") if part.strip()]
    read = [guid.loose(part) for part in written]
    if None in read:
        raise MismatchError(f"'{written[read.index(None)]}' is not the GUID of a member.")
    return frozenset(guid.to_bytes(part) for part in read if part)
