"""Stop and delete real-time segments, behind ``operators.segments``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_cij._base import best_effort, log_group
from airflow_provider_cij.errors import CijError, CijInputError, CijNotFoundError, CijSegmentFailedError
from airflow_provider_cij.operators._missing import MayBeMissing
from airflow_provider_cij.operators._publishing import SegmentWaiting
from airflow_provider_cij.operators._waiting import Started

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.cij import Cij
    from airflow_provider_cij.api.segments.models import Segment
    from airflow_provider_cij.api.wait import Check

_DEFINITION = "cij_definition"
_GONE = "gone"


def _gone() -> Check:
    from airflow_provider_cij.api.wait import Check

    return Check(True, "", "The segment is gone", {}, _GONE)


class CijStopSegmentsOperator(SegmentWaiting):
    """Stop segments, and wait until they are stopped.

    A stopped segment is not evaluated any more, and can be edited, published again or deleted. The action needs the
    application version of April 2026.

    Source: "Create a Customer Insights - Journeys segment using the Web API", section "Stop segments".

    :param segment_ids: the segments, each an id, ``"name:VIP customers"``, or another task's whole result
    :param wait: False returns as soon as the service has accepted; default True
    :param poll_interval: seconds between checks, default 30; the first check of a deferred task comes after 5 s at the
        earliest
    :param timeout: seconds to wait in all, default 24 hours
    :param deferrable: True waits in the triggerer, without a worker; default Airflow's ``default_deferrable``
    :param emit_events: False emits no event on the segments' assets; default True
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"stopped": [ids]}``: all of them, those included that were at rest before
    :raises AirflowFailException: some were not stopped; the error names the journeys and segments that use them
    :raises CijTimeoutError: one is not stopped in time
    """

    def __init__(self, *, segment_ids: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.segment_ids = segment_ids

    def _check_arguments(self) -> None:
        if not self.segment_ids:
            raise CijInputError("segment_ids is an empty list.", hint="Give the segments to stop.")

    async def _start(self, cij: Cij, context: Context, state: Mapping[str, Any]) -> Started:
        """Stop all of them, and check the first; after that, check the next."""
        from airflow_provider_cij.api.segments.models import AT_REST, FOR_DELETE, SegmentStatus
        from airflow_provider_cij.api.segments.wait import SegmentWait
        from airflow_provider_cij.api.wait import Check

        if not state:
            segments = [await cij.segments.get(segment_id, FOR_DELETE) for segment_id in self.segment_ids]
            for segment in segments:
                await _log_usages(cij, segment, self.log)
            stopped = await cij.segments.stop(segments)
            self.log.info("Stopping %s segments: %s", f"{len(stopped):,}", ", ".join(stopped))
            at_rest = AT_REST - {SegmentStatus.STOPPING}
            left = [segment.segment_id for segment in segments if segment.status not in at_rest]
            names = {segment.segment_id: segment.display_name for segment in segments}
            state = {"stopped": stopped, "left": left, "names": names}
        done = Check(True, "", "", {"stopped": state["stopped"]})
        wait = SegmentWait(next(iter(state["left"]), ""), "stopped")
        if not state["left"] or not self.wait:
            return Started(wait, done, state=state)
        return Started(wait, *await self._check_once(cij, wait, replace(done, done=False)), state)

    def show_link(self, context: Any, record: Mapping[str, Any], name: str) -> None:
        """Show nothing: there is no link for several segments."""

    def _complete(self, context: Context, check: Check, deadline: float, state: Mapping[str, Any]) -> dict[str, Any]:
        left = state["left"][1:]
        if self.wait and left:
            return self._run(context, deadline, {**state, "left": left})  # type: ignore[no-any-return]
        for segment_id in state["stopped"]:
            status = "stopped" if self.wait or segment_id not in state["left"] else "stopping"
            name = state.get("names", {}).get(segment_id)
            self.emit_segment(context, {"segment_id": segment_id, "name": name, "status": status})
        return {"stopped": list(state["stopped"])}


async def _log_usages(cij: Cij, segment: Segment, log: Any) -> None:
    """Log what uses a segment, before it is stopped or deleted."""
    from airflow_provider_cij.api.segments.usages import usages_of

    with best_effort(log, f"What uses segment {segment.segment_id}"):
        for usage in await usages_of(cij.dataverse, segment):
            log.info("Segment %r (%s) is used by %s", segment.display_name, segment.segment_id, usage)


class CijDeleteSegmentOperator(MayBeMissing, SegmentWaiting):
    """Delete a segment, both rows of it.

    A definition that was left without its segment, by a create or a delete that was cut off, is deleted as well. A
    segment that another task deletes meanwhile counts as missing.

    :param segment_id: the segment: its id, ``"name:VIP customers"``, or another task's whole result
    :param missing_ok: False fails when there is nothing to delete; default True
    :param stop_first: True stops a live segment before, and waits until it is stopped; default False
    :param poll_interval: seconds between checks while it stops; default 5. The first check of a deferred task comes
        after 5 s at the earliest
    :param timeout: seconds to wait until it is stopped; default 600
    :param deferrable: True waits in the triggerer, without a worker; default Airflow's ``default_deferrable``
    :param emit_events: False emits no event on the segment's asset; default True
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"segment_id", "deleted": bool}``; ``deleted`` is False when there was nothing to delete
    :raises AirflowFailException: live journeys use it, it could not be stopped, or the service refuses
    :raises CijTimeoutError: it is not stopped in time; nothing was deleted
    """

    fixed = ("wait",)
    # As read in this part of the task, when nothing was changed since.
    _as_read: Segment | None = None

    def __init__(
        self,
        *,
        segment_id: str,
        missing_ok: bool = True,
        stop_first: bool = False,
        poll_interval: float = 5,
        timeout: float = 600,
        **kwargs: Any,
    ) -> None:
        # It always waits: a segment that is not stopped is not deleted.
        super().__init__(wait=True, poll_interval=poll_interval, timeout=timeout, **kwargs)
        self.segment_id = segment_id
        self.missing_ok = missing_ok
        self.stop_first = stop_first

    async def _start(self, cij: Cij, context: Context, state: Mapping[str, Any]) -> Started:
        """Read the segment, and stop it where that is asked for and needed."""
        from airflow_provider_cij.api.segments.models import AT_REST, FOR_DELETE, SegmentStatus
        from airflow_provider_cij.api.segments.wait import SegmentWait, found

        wait = SegmentWait(self.segment_id, "stopped")
        try:
            segment = await cij.segments.get(self.segment_id, FOR_DELETE)
        except CijNotFoundError:
            return Started(wait, _gone())
        await _log_usages(cij, segment, self.log)
        wait = replace(wait, segment_id=segment.segment_id)
        at_rest = (AT_REST | {SegmentStatus.DELETED}) - {SegmentStatus.STOPPING}
        if not self.stop_first or segment.status in at_rest:
            self._as_read = segment
            return Started(wait, found(segment, wait))
        try:
            if segment.status != SegmentStatus.STOPPING:
                await cij.segments.stop([segment])
        except CijNotFoundError:
            return Started(wait, _gone())
        self.log.info("Stopping segment %r (%s)", segment.display_name, segment.segment_id)
        try:
            return Started(wait, *await self._check_once(cij, wait, found(segment, wait, "waiting")))
        except CijError as error:
            return Started(wait, await self._recover(cij, error, {}))

    async def _recover(self, cij: Cij, error: CijError, state: Mapping[str, Any]) -> Check:
        """Return that there is nothing left to wait for, when the segment is gone."""
        from airflow_provider_cij.api.segments.models import SegmentStatus

        if isinstance(error, (CijNotFoundError, CijSegmentFailedError)):
            with suppress(CijNotFoundError):
                if (await cij.segments.get(self.segment_id)).status != SegmentStatus.DELETED:
                    raise error
            return _gone()
        raise error

    def _complete(self, context: Context, check: Check, deadline: float, state: Mapping[str, Any]) -> dict[str, Any]:
        """Delete the segment, now that it is stopped or gone."""
        from airflow_provider_cij.api.segments.models import FOR_DELETE

        store = context.get("task_state_store")
        kept = str(store.get(_DEFINITION) or "") if store else ""

        async def delete(cij: Cij) -> bool:
            segment = self._as_read
            if segment is None and check.status != _GONE:
                with suppress(CijNotFoundError):
                    segment = await cij.segments.get(self.segment_id, FOR_DELETE)
            if segment is None:
                return await cij.segments.delete_definition(self.segment_id, kept)
            if store:
                # The row that names the definition is deleted first: a retry must know it all the same. The note
                # outlives success: a retry of a task that was killed after its last request has nothing to delete.
                store.set(_DEFINITION, segment.definition_id)
            return await cij.segments.delete(segment)

        with log_group(self.log, f"Delete segment {self.segment_id}"):
            deleted = self.call(delete)
        if not deleted:
            if not self.missing_ok and not kept:
                raise CijNotFoundError(f"There is no segment {self.segment_id}, and no definition with this id.")
            self.log.info("There is no segment %s: nothing to delete", self.segment_id)
        else:
            segment_id = check.result.get("segment_id", self.segment_id)
            self.emit_segment(context, {"segment_id": segment_id, "name": check.name, "status": "deleted"})
        return {"segment_id": self.segment_id, "deleted": deleted}
