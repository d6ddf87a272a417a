"""Stop and delete real-time segments, behind ``operators.segments``."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow_provider_cij._arguments import positive, row_ids, set_switches
from airflow_provider_cij._base import CijOperator
from airflow_provider_cij._task import failing_for_good, log_group
from airflow_provider_cij.errors import CijInputError, CijNotFoundError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.hooks.cij import Cij

_DEFINITION = "cij_definition"


class CijStopSegmentsOperator(CijOperator):
    """Stops segments: they are evaluated no more, and can be edited, published again or deleted.

    The service stops them behind its reply: wait with ``CijSegmentSensor(until="stopped")``. It needs the application
    version of April 2026.

    Source: "Create a Customer Insights - Journeys segment using the Web API", section "Stop segments".

    :param segment_ids: the segments (templated)
    :param cij_conn_id: the Airflow connection
    :return: ``{"stopped": [ids]}``: all of them, those included that were at rest before
    :raises AirflowFailException: some were not stopped; the error names the journeys and segments that use them
    """

    template_fields: Sequence[str] = ("segment_ids",)

    def __init__(self, *, segment_ids: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.segment_ids = segment_ids

    def execute(self, context: Context) -> dict[str, Any]:
        """Stop them."""
        with failing_for_good():
            # A single id would be read letter by letter.
            given = self.segment_ids
            if isinstance(given, (str, dict)) or not isinstance(given, Iterable) or not given:
                raise CijInputError(f"segment_ids is {given!r}.", hint="Give a list of ids.")
            segment_ids = [str(segment_id) for segment_id in given]
            for segment_id in segment_ids:
                row_ids(segment_id=segment_id)
        stopped = self.call(lambda cij: cij.segments.stop(segment_ids))
        self.log.info("Stopped: %s", ", ".join(stopped))
        return {"stopped": stopped}


class CijDeleteSegmentOperator(CijOperator):
    """Deletes a segment, both rows of it.

    A definition that was left without its segment, by a create or a delete that died half-way, is deleted as well.

    :param segment_id: the segment; a definition's id is taken too (templated)
    :param missing_ok: False fails when there is nothing to delete; default True (templated)
    :param stop_first: True stops a live segment before, and waits until it is stopped; default False (templated)
    :param timeout: seconds to wait for that; default 600
    :param cij_conn_id: the Airflow connection
    :raises AirflowFailException: live journeys use it, it could not be stopped, or the service refuses
    """

    template_fields: Sequence[str] = ("segment_id", "missing_ok", "stop_first")

    def __init__(
        self,
        *,
        segment_id: str,
        missing_ok: bool = True,
        stop_first: bool = False,
        timeout: float = 600,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.segment_id = segment_id
        self.missing_ok = missing_ok
        self.stop_first = stop_first
        self.timeout = timeout

    def execute(self, context: Context) -> None:
        """Delete it."""
        with failing_for_good():
            set_switches(self, "missing_ok", "stop_first")
            positive(timeout=self.timeout)
            row_ids(segment_id=self.segment_id)
        # The row that names the definition goes first: a retry must know it all the same. The note outlives success:
        # a retry of a task that was killed after its last request must not fail because nothing is left to delete.
        store = context.get("task_state_store")
        kept = str(store.get(_DEFINITION) or "") if store else ""

        async def delete(cij: Cij) -> None:
            if self.stop_first:
                await self._stop(cij)
            with suppress(CijNotFoundError):
                segment = await cij.segments.get(self.segment_id)
                if store and segment.definition_id:
                    store.set(_DEFINITION, segment.definition_id)
            if not await cij.segments.delete(self.segment_id, kept):
                if not self.missing_ok and not kept:
                    raise CijNotFoundError(f"There is no segment {self.segment_id}, and no definition of this id.")
                self.log.info("There is no segment %s: nothing to delete", self.segment_id)

        with log_group(self.log, f"Delete segment {self.segment_id}"):
            self.call(delete)

    async def _stop(self, cij: Cij) -> None:
        from airflow_provider_cij.api.models import AT_REST, SegmentStatus
        from airflow_provider_cij.api.watching import Goal, wait

        try:
            segment = await cij.segments.get(self.segment_id)
        except CijNotFoundError:
            return
        if segment.status not in AT_REST:
            await cij.segments.stop([segment.segment_id])
        if segment.status not in AT_REST or segment.status == SegmentStatus.STOPPING:
            deadline = time.time() + self.timeout
            await wait(cij.segments, segment.segment_id, Goal("stopped"), poll_interval=5, deadline=deadline)
