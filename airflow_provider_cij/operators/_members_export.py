"""Write the members of a segment to a file."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from logging import INFO, WARNING
from typing import TYPE_CHECKING, Any

from airflow_provider_cij._arguments import filled_text
from airflow_provider_cij._base import CijOperator, log_group
from airflow_provider_cij.api.bounds import bound_of
from airflow_provider_cij.errors import CijRefusedError
from airflow_provider_cij.files import check_writable
from airflow_provider_cij.links import CijSegmentLink

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.cij import Cij
    from airflow_provider_cij.api.segments.models import Segment
    from airflow_provider_cij.operators._exporting import EvaluationState


class CijExportSegmentMembersOperator(CijOperator):
    """Write the members of a segment, or of one of its static groups, to a CSV or Parquet file.

    The file has one column, named ``contactid`` or ``leadid``. It appears when it is whole, in place of an older one.

    Source: "Create a Customer Insights - Journeys segment using the Web API", sections "View members" (the segment as
    of its last evaluation) and "View Static Segment Members".

    :param segment_id: the segment: its id, ``"name:VIP customers"``, or another task's whole result
    :param path: the file to write, in a folder that exists, or a URL that Airflow's ``ObjectStoragePath`` takes;
        ``.parquet`` needs the extra ``parquet``
    :param group: a static group's name or id. Default None, the members of the segment
    :param max_missing: how many members the list may lack against the segment's count as of the same evaluation: a
        number, a share of the count such as ``"1%"``, or None for any number. Default 0. A shorter list is read again
        for half a minute, then the task fails and the older file stays. A group has no count
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"count", "path"}``
    :raises AirflowFailException: there is no such segment, group or folder
    :raises CijIncompleteError: the service returned a part of the list; nothing was written
    """

    operator_extra_links = (CijSegmentLink(),)

    relist_waits: Sequence[float] = (3.0, 7.0, 15.0)
    """Seconds to wait before each further listing: the list may lag behind the count after an evaluation."""

    def __init__(
        self,
        *,
        segment_id: str,
        path: str,
        group: str | None = None,
        max_missing: int | float | str | None = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.segment_id = segment_id
        self.path = path
        self.group = group
        self.max_missing = max_missing

    def _execute(self, context: Context) -> dict[str, Any]:
        """List the members and write them."""
        target = str(self.path or "")
        if self.group is not None:
            filled_text("group", self.group)
        check_writable(target)
        bound_of("max_missing", self.max_missing)
        with log_group(self.log, f"Export to {target}"):
            count = self.call(lambda cij: self._export(cij, context, target))
        self.log.info("Wrote %s members to %s", f"{count:,}", target)
        return {"count": count, "path": target}

    async def _export(self, cij: Cij, context: Context, target: str) -> int:
        from airflow_provider_cij.api.segments.models import LIVE
        from airflow_provider_cij.operators._exporting import EvaluationState, export

        segment = await cij.segments.get(self.segment_id)
        self.show_link(context, segment.summary(), segment.display_name)
        column = f"{segment.base_table or 'contact'}id"
        if self.group is not None:
            group = await cij.segments.group(segment, self.group)
            return await export(
                self.log, target, column, lambda: cij.members.of_group(segment, group), waits=self.relist_waits
            )
        self.log.log(
            INFO if segment.status in LIVE else WARNING,
            "Segment %r (%s) is %s: these are the members of its last evaluation",
            *(segment.display_name, segment.segment_id, segment.status_name),
        )

        async def state_of(row: Segment) -> EvaluationState:
            last = None
            with suppress(CijRefusedError):  # without the log the count alone tells one evaluation from the next
                last = next(iter(await cij.segments.newest_executions(row, 1) if row.definition_id else ()), None)
            return EvaluationState(row.member_count, (row.status, last and (last.execution_id, last.status)))

        async def read() -> EvaluationState:
            return await state_of(await cij.segments.get(segment.segment_id))

        return await export(
            *(self.log, target, column, lambda: cij.members.of_segment(segment), read),
            max_missing=bound_of("max_missing", self.max_missing),
            waits=self.relist_waits,
            state=await state_of(segment),
        )
