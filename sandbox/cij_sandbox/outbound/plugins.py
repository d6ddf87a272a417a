"""The plug-ins of outbound marketing: status transitions, validation, and the tasks that a new status starts."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Mapping

from cij_sandbox.core import assumptions, errors
from cij_sandbox.core.schema import Table
from cij_sandbox.core.values import SqlValue
from cij_sandbox.dataverse.plugins import Plugin, Row
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
from cij_sandbox.outbound.transitions import PUBLISH, STOP, add_task


class _Outbound(Plugin):
    """Status transitions, which segments and journeys have in common."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def before_write(self, connection: sqlite3.Connection, row: Row | None, content: dict[str, SqlValue]) -> None:
        """Refuse a status that may not follow the current one."""
        after = content.get("statuscode")
        if row is None or after in (None, row["statuscode"]):
            return
        name, before = self._table.logical_name, int(row["statuscode"] or 0)
        if after not in TRANSITIONS[name][before]:
            # The message is that of another table's documents, the code is the usual one for statuses.
            raise errors.ODataError(
                *assumptions.status_and_code("outbound.bad-transition"),
                "The status transition is not valid. Please check the entity's status transition rules. "
                f"({self._table.statuses[before][1]} to {self._table.statuses[int(after or 0)][1]} on {name})",
            )

    def after_write(self, connection: sqlite3.Connection, row_id: str, row: Row | None, content: Row) -> None:
        """Replace the pending task of a row by the one that its new status starts."""
        status = content.get("statuscode")
        if status is None or (row is not None and status == row["statuscode"]):
            return
        connection.execute("DELETE FROM outbound_task WHERE row_id = ? AND kind IN (?, ?)", (row_id, PUBLISH, STOP))
        if status in (GOING_LIVE, STOPPING):
            add_task(connection, row_id, PUBLISH if status == GOING_LIVE else STOP)
        elif status == LIVE and self._table is OUTBOUND_SEGMENT:
            # Assumption: a segment that is created or set live is evaluated at once.
            add_task(connection, row_id, PUBLISH, since=0)

    def after_delete(self, connection: sqlite3.Connection, row_id: str) -> None:
        """Delete the pending tasks of a row."""
        connection.execute("DELETE FROM outbound_task WHERE row_id = ?", (row_id,))


class _Segment(_Outbound):
    def before_write(self, connection: sqlite3.Connection, row: Row | None, content: dict[str, SqlValue]) -> None:
        """Complete a segment, and validate one that is more than a draft."""
        super().before_write(connection, row, content)
        if row is None:
            segment_id = content[self._table.key] = str(content.get(self._table.key) or uuid.uuid4())
            content["msdyncrm_segmentqueryname"] = f"SEGMENT_CRM_ID_{segment_id.replace('-', '')}"
            content.setdefault("msdyncrm_scope", WHOLE_ORGANIZATION)
        status = content.get("statuscode")
        if status is not None:
            content["msdyncrm_islive"] = int(status in (LIVE, LIVE_EDITABLE))
        # "Validated on the creation of the record, and the status code set to Going Live"; skipped for a draft.
        whole = {**(row or {}), **content}
        new_members = "msdyncrm_segmentmemberids" in content and whole["statuscode"] != DRAFT
        if status == GOING_LIVE or (row is None and status != DRAFT) or new_members:
            problem = problem_of(connection, whole)
            if problem is not None:
                # Assumption: the status is documented, code and message are not.
                raise errors.ODataError(
                    400,
                    "0x80040265",
                    f"The segment is not valid. {problem.why} ValidationResult: {json.dumps(problem.as_json())}",
                )

    def after_write(self, connection: sqlite3.Connection, row_id: str, row: Row | None, content: Row) -> None:
        """Replace the members of a static segment. Ids that are no contacts are ignored."""
        is_static = {**(row or {}), **content}.get("msdyncrm_segmenttype") == STATIC
        if is_static and "msdyncrm_segmentmemberids" in content:
            ids = read_prefixed(content["msdyncrm_segmentmemberids"]) or []
            connection.execute("DELETE FROM outbound_member WHERE segment_id = ?", (row_id,))
            connection.execute(
                "INSERT OR IGNORE INTO outbound_member "
                "SELECT ?, contactid FROM json_each(?) JOIN contact ON contactid = value",
                (row_id, json.dumps(ids)),
            )
            connection.execute(
                "UPDATE msdyncrm_segment SET msdyncrm_segmentsize = "
                "(SELECT count(*) FROM outbound_member WHERE segment_id = msdyncrm_segmentid) "
                "WHERE msdyncrm_segmentid = ? AND msdyncrm_lastevaluationtime IS NOT NULL",
                (row_id,),
            )
        super().after_write(connection, row_id, row, content)

    def before_delete(self, connection: sqlite3.Connection, row: Row) -> None:
        """Refuse to delete a segment that suppresses the contacts of a journey."""
        used = "SELECT 1 FROM msdyncrm_customerjourney WHERE msdyncrm_suppressionsegmentid = ? LIMIT 1"
        if connection.execute(used, (row["msdyncrm_segmentid"],)).fetchone():
            raise errors.in_use()

    def after_delete(self, connection: sqlite3.Connection, row_id: str) -> None:
        """Delete the members of a segment."""
        connection.execute("DELETE FROM outbound_member WHERE segment_id = ?", (row_id,))
        super().after_delete(connection, row_id)


class _Journey(_Outbound):
    def before_write(self, connection: sqlite3.Connection, row: Row | None, content: dict[str, SqlValue]) -> None:
        """Round the times of a journey down to minutes."""
        super().before_write(connection, row, content)
        for name in ("msdyncrm_startdatetime", "msdyncrm_enddatetime"):
            if isinstance(moment := content.get(name), int):
                content[name] = moment - moment % 60  # "seconds and milliseconds precision will be disregarded"


PLUGINS: Mapping[str, Plugin] = {
    OUTBOUND_SEGMENT.logical_name: _Segment(OUTBOUND_SEGMENT),
    OUTBOUND_JOURNEY.logical_name: _Journey(OUTBOUND_JOURNEY),
}
