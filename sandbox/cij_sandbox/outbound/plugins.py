"""What writing a row of outbound marketing checks and sets off."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Mapping

from cij_sandbox.core import errors
from cij_sandbox.core.schema import Table
from cij_sandbox.core.values import SqlValue
from cij_sandbox.outbound.definitions import problem_of, read_prefixed
from cij_sandbox.outbound.tables import (
    DRAFT,
    GOING_LIVE,
    LIVE,
    LIVE_EDITABLE,
    OUTBOUND_JOURNEY,
    OUTBOUND_SEGMENT,
    STATIC,
    STOPPING,
    TRANSITIONS,
    WHOLE_ORGANIZATION,
)

PUBLISH, STOP = "publish", "stop"


def prepare(
    connection: sqlite3.Connection, table: Table, row: Mapping[str, SqlValue] | None, content: dict[str, SqlValue]
) -> None:
    """Check what is about to be written to a row (None: to a new one) and complete it."""
    if table.logical_name not in TRANSITIONS:
        return
    status = content.get("statuscode")
    if row is not None and status not in (None, row["statuscode"]):
        _check_transition(table, row["statuscode"], status)
    if table is OUTBOUND_JOURNEY:
        for name in ("msdyncrm_startdatetime", "msdyncrm_enddatetime"):
            if isinstance(moment := content.get(name), int):
                content[name] = moment - moment % 60  # "seconds and milliseconds precision will be disregarded"
        return
    if row is None:
        segment_id = content[table.key] = str(content.get(table.key) or uuid.uuid4())
        content["msdyncrm_segmentqueryname"] = f"SEGMENT_CRM_ID_{segment_id.replace('-', '')}"
        content.setdefault("msdyncrm_scope", WHOLE_ORGANIZATION)
    if status is not None:
        content["msdyncrm_islive"] = int(status in (LIVE, LIVE_EDITABLE))
    # "Validated on the creation of the record, and the status code set to Going Live"; skipped for a draft.
    whole = {**(row or {}), **content}
    new_members = "msdyncrm_segmentmemberids" in content and whole["statuscode"] != DRAFT
    if status == GOING_LIVE or (row is None and status != DRAFT) or new_members:
        problem = problem_of(connection, whole)
        if problem is not None:
            # Assumption: the status is documented, code and words are not.
            raise errors.ODataError(
                400,
                "0x80040265",
                f"The segment is not valid. {problem.why} ValidationResult: {json.dumps(problem.as_json())}",
            )


def _check_transition(table: Table, before: SqlValue, after: SqlValue) -> None:
    if after not in TRANSITIONS[table.logical_name][int(before or 0)]:
        # Assumption: the words are those of another table's documents, the code is the usual one for statuses.
        raise errors.ODataError(
            400,
            "0x80048408",
            "The status transition is not valid. Please check the entity's status transition rules. "
            f"({table.statuses[int(before or 0)][1]} to {table.statuses[int(after or 0)][1]} on {table.logical_name})",
        )


def written(
    connection: sqlite3.Connection,
    table: Table,
    row_id: str,
    row: Mapping[str, SqlValue] | None,
    content: Mapping[str, SqlValue],
) -> None:
    """Take notice of what has been written: the members a static segment is to have, and where a row is to go."""
    if table.logical_name not in TRANSITIONS:
        return
    is_static = {**(row or {}), **content}.get("msdyncrm_segmenttype") == STATIC
    if is_static and "msdyncrm_segmentmemberids" in content:
        _replace_members(connection, row_id, read_prefixed(content["msdyncrm_segmentmemberids"]) or [])
    status = content.get("statuscode")
    if status is None or (row is not None and status == row["statuscode"]):
        return
    connection.execute("DELETE FROM outbound_task WHERE row_id = ? AND kind IN (?, ?)", (row_id, PUBLISH, STOP))
    if status in (GOING_LIVE, STOPPING):
        add_task(connection, row_id, PUBLISH if status == GOING_LIVE else STOP)
    elif status == LIVE and table is OUTBOUND_SEGMENT:
        # Assumption: a segment that was made live by hand is evaluated at once.
        add_task(connection, row_id, PUBLISH, since=0)


def deleting(connection: sqlite3.Connection, table: Table, row_id: str) -> None:
    """Refuse to delete what is in use, and forget what hangs on the rest."""
    if table is OUTBOUND_SEGMENT:
        used = "SELECT 1 FROM msdyncrm_customerjourney WHERE msdyncrm_suppressionsegmentid = ? LIMIT 1"
        if connection.execute(used, (row_id,)).fetchone():
            raise errors.in_use()
        connection.execute("DELETE FROM outbound_member WHERE segment_id = ?", (row_id,))
    if table.logical_name in TRANSITIONS:
        connection.execute("DELETE FROM outbound_task WHERE row_id = ?", (row_id,))


def add_task(
    connection: sqlite3.Connection, row_id: str, kind: str, content: str = "", since: float | None = None
) -> None:
    """Write down what is to be done when its time has come."""
    connection.execute(
        "INSERT INTO outbound_task (row_id, kind, content, since) VALUES (?, ?, ?, ?)",
        (row_id, kind, content, time.time() if since is None else since),
    )


def _replace_members(connection: sqlite3.Connection, segment_id: str, ids: list[str]) -> None:
    """Make these contacts the members of a static segment; ids of nobody are ignored."""
    connection.execute("DELETE FROM outbound_member WHERE segment_id = ?", (segment_id,))
    connection.execute(
        "INSERT OR IGNORE INTO outbound_member SELECT ?, contactid FROM json_each(?) JOIN contact ON contactid = value",
        (segment_id, json.dumps(ids)),
    )
    connection.execute(
        "UPDATE msdyncrm_segment SET msdyncrm_segmentsize = "
        "(SELECT count(*) FROM outbound_member WHERE segment_id = msdyncrm_segmentid) "
        "WHERE msdyncrm_segmentid = ? AND msdyncrm_lastevaluationtime IS NOT NULL",
        (segment_id,),
    )
