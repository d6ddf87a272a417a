"""Wait for real-time segments."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_provider_cij._compat import AirflowSensorTimeout, conf
from airflow_provider_cij._task import failing_for_good, hook_of, run, summary, summary_of
from airflow_provider_cij.errors import CijError, CijInputError, CijTimeoutError
from airflow_provider_cij.links import CijSegmentLink

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.models import Segment
    from airflow_provider_cij.hooks.cij import Cij


class CijSegmentSensor(BaseSensorOperator):
    """Waits until a segment is live, the same in poke, reschedule and deferrable mode.

    A draft, a stopped and a computing segment are waited for, and so is one whose status no document names. Error,
    Deleted and Faulted fail the task, with ``soft_fail`` as well: only a timeout skips.

    :param segment_id: the segment; a definition's id is taken too (templated)
    :param until: ``"live"``
    :param deferrable: True waits in the triggerer, without a worker; then ``poke_interval`` is the triggerer's
    :param cij_conn_id: the Airflow connection
    :return: ``{"segment_id", "status", "member_count"}``
    :raises AirflowFailException: the segment failed, with the service's words
    :raises AirflowSensorTimeout: it is not live within ``timeout``
    """

    template_fields: Sequence[str] = ("segment_id",)
    operator_extra_links = (CijSegmentLink(),)
    ui_color = "#e4f1de"

    def __init__(
        self,
        *,
        segment_id: str,
        until: Literal["live"] = "live",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        cij_conn_id: str = "cij_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.segment_id = segment_id
        self.until = until
        self.deferrable = deferrable
        self.cij_conn_id = cij_conn_id

    def execute(self, context: Context) -> Any:
        """Wait, in the worker or in the triggerer."""
        with failing_for_good():
            if self.until != "live":
                raise CijInputError(f"until is {self.until!r}.", hint="Use 'live'.")
        if not self.deferrable:
            return super().execute(context)
        deadline = time.time() + self.timeout
        first = self.poke(context)
        if not first:
            from airflow_provider_cij.triggers.segments import CijSegmentTrigger

            self.defer(
                trigger=CijSegmentTrigger(
                    cij_conn_id=self.cij_conn_id,
                    segment_id=self.segment_id,
                    poll_interval=self.poke_interval,
                    deadline=deadline,
                ),
                method_name="execute_complete",
                # The trigger keeps the deadline; this is for a triggerer that never ran it.
                timeout=timedelta(seconds=self.timeout + 60),
            )
        return first.xcom_value

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once."""
        from airflow_provider_cij.api.watching import look

        async def once(cij: Cij) -> tuple[Segment, bool]:
            segment, outcome = await look(cij.segments, self.segment_id)
            CijSegmentLink().show(self, context, cij.segment_url(segment.segment_id))
            return segment, outcome == "live"

        try:
            segment, live = run(hook_of(self), once, self.soft_fail)
        except CijError as error:
            if error.permanent:
                raise
            self.log.warning("The segment could not be read, going on: %s", error)
            return PokeReturnValue(is_done=False)
        self.log.info("Segment %s is %s", segment.segment_id, segment.status_name)
        return PokeReturnValue(is_done=live, xcom_value=summary(segment) if live else None)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Take the trigger's word."""
        try:
            with failing_for_good(self.soft_fail):
                result = summary_of(event)
        except CijTimeoutError as error:
            raise AirflowSensorTimeout(str(error)) from error
        CijSegmentLink().show(self, context, hook_of(self).segment_url(result["segment_id"]))
        self.log.info("Segment %(segment_id)s is %(status)s with %(member_count)s members", result)
        return result
