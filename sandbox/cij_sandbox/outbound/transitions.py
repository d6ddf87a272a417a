"""The tasks of outbound rows: going live, stopping, and changes of static members."""

# ruff: noqa: S608 - the names are those of tables.py, every value is a parameter

from __future__ import annotations

import sqlite3
import time

from cij_sandbox.core import values
from cij_sandbox.core.background import Background
from cij_sandbox.core.errors import ODataError
from cij_sandbox.core.store import Store
from cij_sandbox.core.values import SqlValue
from cij_sandbox.dataverse.expressions import MismatchError, QueryError
from cij_sandbox.dataverse.rows import change, fetch
from cij_sandbox.dataverse.sql import Sql, too_complex
from cij_sandbox.outbound.definitions import contacts_of
from cij_sandbox.outbound.journeys import validate_row
from cij_sandbox.outbound.tables import (
    ERROR,
    LIVE,
    LIVE_EDITABLE,
    ONE_BUSINESS_UNIT,
    OUTBOUND_JOURNEY,
    OUTBOUND_SEGMENT,
    STATIC,
    STOPPED,
)

PUBLISH, STOP = "publish", "stop"
_NEVER = 1e15


def add_task(
    connection: sqlite3.Connection, row_id: str, kind: str, content: str = "", since: float | None = None
) -> None:
    """Record a task; ``since`` is the real time of the request."""
    connection.execute(
        "INSERT INTO outbound_task (row_id, kind, content, since) VALUES (?, ?, ?, ?)",
        (row_id, kind, content, time.time() if since is None else since),
    )


class Tasks:
    """Carries out tasks when they are due. None runs in the background: each request first settles what is due."""

    def __init__(self, store: Store, background: Background) -> None:
        self._store = store
        self._background = background

    def settle(self) -> None:
        """Carry out all tasks that are due, in the order of the requests."""
        due = time.time() - self._background.compute_seconds
        waiting = "SELECT 1 FROM outbound_task WHERE since <= ? LIMIT 1"
        if self._store.reader().execute(waiting, (due,)).fetchone() is None:
            return
        with self._store.transaction() as connection:
            tasks = "SELECT * FROM outbound_task WHERE since <= ? ORDER BY number"
            for task in connection.execute(tasks, (due,)).fetchall():
                hanging = "SELECT 1 FROM outbound_task WHERE row_id = ? AND since = ?"
                if connection.execute(hanging, (task["row_id"], _NEVER)).fetchone() is None:
                    _carry_out(connection, task)


def _carry_out(connection: sqlite3.Connection, task: sqlite3.Row) -> None:
    done = True
    row = fetch(connection, OUTBOUND_SEGMENT, task["row_id"])
    if row is None:
        journey = fetch(connection, OUTBOUND_JOURNEY, task["row_id"])
        if journey is not None:
            _move_journey(connection, journey, task["kind"])
    elif task["kind"] == STOP:
        _set(connection, row, STOPPED)
    else:
        try:
            if task["kind"] == PUBLISH:
                _evaluate(connection, row)
            else:
                done = _change_members(connection, row, task)
        except (MismatchError, QueryError, ODataError, sqlite3.OperationalError) as problem:
            if isinstance(problem, sqlite3.OperationalError) and not too_complex(problem):
                raise
            _set(connection, row, ERROR)
    if done:
        connection.execute("DELETE FROM outbound_task WHERE number = ?", (task["number"],))
    else:
        connection.execute("UPDATE outbound_task SET since = ? WHERE number = ?", (_NEVER, task["number"]))


def _set(connection: sqlite3.Connection, segment: sqlite3.Row, status: int, **more: SqlValue) -> None:
    content: dict[str, SqlValue] = {"statuscode": status, "msdyncrm_islive": int(status in (LIVE, LIVE_EDITABLE))}
    change(connection, OUTBOUND_SEGMENT, segment["msdyncrm_segmentid"], {**content, **more})


def _evaluate(connection: sqlite3.Connection, segment: sqlite3.Row) -> None:
    segment_id = segment["msdyncrm_segmentid"]
    if segment["msdyncrm_segmenttype"] == STATIC:
        gone = "DELETE FROM outbound_member WHERE segment_id = ? AND member NOT IN (SELECT contactid FROM contact)"
        connection.execute(gone, (segment_id,))
    else:
        found, parameters = _within_scope(segment, contacts_of(connection, segment["msdyncrm_segmentquery"] or ""))
        connection.execute("DELETE FROM outbound_member WHERE segment_id = ?", (segment_id,))
        connection.execute(f"INSERT INTO outbound_member SELECT ?, contactid FROM ({found})", [segment_id, *parameters])
    now = values.now()
    _set(
        connection, segment, LIVE, msdyncrm_segmentsize=_count(connection, segment_id), msdyncrm_lastevaluationtime=now
    )


def _within_scope(segment: sqlite3.Row, query: Sql) -> Sql:
    """Return the contacts of a query, only those of its business unit for a segment with that scope."""
    found, parameters = query
    text = f"SELECT contactid FROM contact WHERE contactid IN ({found})"
    if segment["msdyncrm_scope"] == ONE_BUSINESS_UNIT:
        return f"{text} AND owningbusinessunit = ?", [*parameters, segment["owningbusinessunit"]]
    return text, parameters


def _change_members(connection: sqlite3.Connection, segment: sqlite3.Row, task: sqlite3.Row) -> bool:
    """Add or remove members; return False when a contact outside the segment's scope blocks it."""
    segment_id, content = segment["msdyncrm_segmentid"], task["content"]
    wanted: Sql = ("SELECT value FROM json_each(?)", [content])
    if task["kind"].endswith("ByQuery"):
        wanted = contacts_of(connection, content)
    found, parameters = wanted
    if task["kind"].startswith("remove"):
        text = f"DELETE FROM outbound_member WHERE segment_id = ? AND member IN ({found})"
        connection.execute(text, [segment_id, *parameters])
    else:
        contacts = f"FROM contact WHERE contactid IN ({found})"
        if segment["msdyncrm_scope"] == ONE_BUSINESS_UNIT:
            outside = f"SELECT 1 {contacts} AND owningbusinessunit <> ? LIMIT 1"
            if connection.execute(outside, [*parameters, segment["owningbusinessunit"]]).fetchone():
                return False
        text = f"INSERT OR IGNORE INTO outbound_member SELECT ?, contactid {contacts}"
        connection.execute(text, [segment_id, *parameters])
    if segment["msdyncrm_lastevaluationtime"] is not None:
        change(connection, OUTBOUND_SEGMENT, segment_id, {"msdyncrm_segmentsize": _count(connection, segment_id)})
    return True


def _count(connection: sqlite3.Connection, segment_id: str) -> int:
    query = "SELECT count(*) FROM outbound_member WHERE segment_id = ?"
    return int(connection.execute(query, (segment_id,)).fetchone()[0])


def _move_journey(connection: sqlite3.Connection, journey: sqlite3.Row, kind: str) -> None:
    content: dict[str, SqlValue] = {"statuscode": STOPPED}
    if kind == PUBLISH:
        # Assumption: a journey with errors ends in Error, with the reasons on the row.
        result = validate_row(connection, journey)
        content = {"statuscode": ERROR if result.blocks else LIVE, "msdyncrm_validationresults": result.text}
    change(connection, OUTBOUND_JOURNEY, journey["msdyncrm_customerjourneyid"], content)
