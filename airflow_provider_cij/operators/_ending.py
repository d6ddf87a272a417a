"""Stop and delete real-time segments, behind ``operators.segments``."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_cij._arguments import positive, row_ids, set_switches
from airflow_provider_cij._base import CijOperator
from airflow_provider_cij._task import failing_for_good, log_group, summary_of
from airflow_provider_cij.errors import (
    CijError,
    CijInputError,
    CijNotFoundError,
    CijSegmentFailedError,
    CijStoppedError,
)
from airflow_provider_cij.version_compat import conf

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

    A definition that was left without its segment, by a create or a delete that died half-way, is deleted as well. A
    segment that another task deletes meanwhile counts as missing.

    :param segment_id: the segment; a definition's id is taken too (templated)
    :param missing_ok: False fails when there is nothing to delete; default True (templated)
    :param stop_first: True stops a live segment before, and waits until it is stopped; default False (templated)
    :param poll_interval: seconds between looks while it stops; default 5. The first look of a deferred task comes after
        5 s at the earliest
    :param timeout: seconds to wait until it is stopped; default 600
    :param deferrable: True waits in the triggerer, without a worker; the default is Airflow's ``default_deferrable``
    :param cij_conn_id: the Airflow connection
    :raises AirflowFailException: live journeys use it, it could not be stopped, or the service refuses
    :raises CijTimeoutError: it is not stopped in time; nothing was deleted
    """

    template_fields: Sequence[str] = ("segment_id", "missing_ok", "stop_first")

    def __init__(
        self,
        *,
        segment_id: str,
        missing_ok: bool = True,
        stop_first: bool = False,
        poll_interval: float = 5,
        timeout: float = 600,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.segment_id = segment_id
        self.missing_ok = missing_ok
        self.stop_first = stop_first
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.deferrable = deferrable

    def execute(self, context: Context) -> None:
        """Stop it where that is asked for, wait or defer, and delete it."""
        with failing_for_good():
            set_switches(self, "missing_ok", "stop_first", "deferrable")
            positive(poll_interval=self.poll_interval, timeout=self.timeout)
            row_ids(segment_id=self.segment_id)
        deadline = time.time() + self.timeout
        if self.stop_first and (stopping := self.call(self._stop)):
            self._until_stopped(*stopping, deadline)
        self._delete(context)

    def delete_stopped(self, context: Context, event: dict[str, Any] | None = None) -> None:
        """Delete it, once the trigger has seen that it is stopped."""
        with failing_for_good():
            try:
                summary_of(event)
            except (CijNotFoundError, CijSegmentFailedError):
                if not self.call(self._is_gone):
                    raise
            set_switches(self, "missing_ok")
        self._delete(context)

    def _delete(self, context: Context) -> None:
        # The row that names the definition goes first: a retry must know it all the same. The note outlives success:
        # a retry of a task that was killed after its last request must not fail because nothing is left to delete.
        store = context.get("task_state_store")
        kept = str(store.get(_DEFINITION) or "") if store else ""

        async def delete(cij: Cij) -> None:
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

    async def _stop(self, cij: Cij) -> tuple[str, float] | None:
        """Stop the segment if it is live, and look once.

        :return: None when it is at rest or gone; else its id, and the epoch seconds at which the service may be asked
            again
        """
        from airflow_provider_cij.api.segments.models import AT_REST, SegmentStatus
        from airflow_provider_cij.api.segments.wait import Goal, look

        try:
            segment = await cij.segments.get(self.segment_id)
            if segment.status in (AT_REST | {SegmentStatus.DELETED}) - {SegmentStatus.STOPPING}:
                return None
            if segment.status != SegmentStatus.STOPPING:
                await cij.segments.stop([segment.segment_id])
        except CijNotFoundError:
            return None
        self.log.info("Stopping segment %s, waiting until it is stopped", segment.segment_id)
        try:
            seen = await look(cij.segments, segment.segment_id, Goal("stopped"))
        except CijError as error:
            # The stop was accepted: what fails from here on is waited out.
            if isinstance(error, CijStoppedError):
                raise
            if error.permanent and not await self._is_gone(cij):
                raise
            self.log.warning("Stopping; the segment could not be read, going on: %s", error)
            return segment.segment_id, time.time() + (error.retry_after or 0.0)
        return None if seen.outcome == "done" else (segment.segment_id, 0.0)

    async def _is_gone(self, cij: Cij) -> bool:
        from airflow_provider_cij.api.segments.models import SegmentStatus

        try:
            return (await cij.segments.get(self.segment_id)).status == SegmentStatus.DELETED
        except CijNotFoundError:
            return True

    def _until_stopped(self, segment_id: str, not_before: float, deadline: float) -> None:
        from airflow_provider_cij.api.segments.wait import Goal, wait

        if self.deferrable:
            from airflow_provider_cij.triggers.segments import CijSegmentTrigger

            self.defer(
                trigger=CijSegmentTrigger.towards(
                    Goal("stopped"),
                    cij_conn_id=self.cij_conn_id,
                    segment_id=segment_id,
                    poll_interval=self.poll_interval,
                    deadline=deadline,
                    not_before=not_before,
                ),
                method_name="delete_stopped",
                # The trigger keeps the deadline; this is for a triggerer that never ran it.
                timeout=timedelta(seconds=self.timeout + 60),
            )

        async def until_stopped(cij: Cij) -> None:
            try:
                await wait(
                    cij.segments,
                    segment_id,
                    Goal("stopped"),
                    poll_interval=self.poll_interval,
                    deadline=deadline,
                    first_after=max(self.poll_interval, not_before - time.time()),
                )
            except (CijNotFoundError, CijSegmentFailedError):
                if not await self._is_gone(cij):
                    raise

        with log_group(self.log, "Wait until stopped"):
            self.call(until_stopped)
