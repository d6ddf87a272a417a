"""Wait for outbound segments, journeys and changes of members."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_provider_cij._base import CijTask
from airflow_provider_cij._compat import AirflowSensorTimeout, conf
from airflow_provider_cij._task import failing_for_good, name_of, positive, run, summary_of
from airflow_provider_cij.errors import CijError, CijInputError, CijTimeoutError
from airflow_provider_cij.links import CijOutboundJourneyLink, CijSegmentLink

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.outbound_watching import Seen, What
    from airflow_provider_cij.hooks.cij import Cij


class _OutboundWait(CijTask, BaseSensorOperator):
    """Waits until something is as it should be, the same in poke, reschedule and deferrable mode."""

    ui_color = "#e4f1de"
    what: ClassVar[What]
    table: ClassVar = "msdyncrm_segment"
    link: ClassVar = CijSegmentLink()
    until = "finished"

    def __init__(
        self,
        *,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable

    def _row_id(self) -> str:
        raise NotImplementedError

    def execute(self, context: Context) -> Any:
        """Wait, in the worker or in the triggerer."""
        with failing_for_good():
            if self.until not in (("finished",) if self.what == "operations" else ("live", "stopped")):
                raise CijInputError(f"until is {self.until!r}.", hint="Use 'live' or 'stopped'.")
            positive(poke_interval=self.poke_interval)
        if not self.deferrable:
            return super().execute(context)
        deadline = time.time() + self.timeout
        first = self.poke(context)
        if not first:
            from airflow_provider_cij.triggers.outbound import CijOutboundTrigger

            self.defer(
                trigger=CijOutboundTrigger(
                    cij_conn_id=self.cij_conn_id,
                    what=self.what,
                    row_id=self._row_id(),
                    until=self.until,
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
        from airflow_provider_cij.api.outbound_watching import look

        async def once(cij: Cij) -> Seen:
            return await look(cij.outbound, self.what, self._row_id(), self.until)

        try:
            seen = run(self.hook, once, self.soft_fail)
        except CijError as error:
            if error.permanent:
                raise
            self.log.warning("It could not be read, going on: %s", error)
            return PokeReturnValue(is_done=False)
        self.link.show(self, context, self.hook.row_url(self.table, self._row_id()), seen.name)
        self.log.info("%s", seen.said)
        return PokeReturnValue(is_done=seen.done, xcom_value=seen.result if seen.done else None)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Take the trigger's word."""
        try:
            with failing_for_good(self.soft_fail):
                result = summary_of(event, of="outbound")
        except CijTimeoutError as error:
            raise AirflowSensorTimeout(str(error)) from error
        self.link.show(self, context, self.hook.row_url(self.table, self._row_id()), name_of(event))
        self.log.info("%s", result)
        return result


class CijOutboundSegmentSensor(_OutboundWait):
    """Waits until an outbound segment is live or stopped, the same in poke, reschedule and deferrable mode.

    A status that no document names is waited for. Error fails the task, and so does Expired unless ``"stopped"`` is
    waited for, with ``soft_fail`` as well: only a timeout skips.

    Microsoft removed outbound marketing in 2026: an organisation without it fails the task, in words that say so.

    :param segment_id: the segment (templated)
    :param until: ``"live"`` or ``"stopped"`` (expired counts)
    :param deferrable: True waits in the triggerer, without a worker; then ``poke_interval`` is the triggerer's
    :param cij_conn_id: the Airflow connection
    :return: ``{"segment_id", "status", "member_count"}``, the last as of its last evaluation
    :raises AirflowFailException: the segment failed
    :raises AirflowSensorTimeout: it is not so within ``timeout``
    """

    template_fields: Sequence[str] = ("segment_id",)
    operator_extra_links = (CijSegmentLink(),)
    what = "segment"

    def __init__(self, *, segment_id: str, until: Literal["live", "stopped"] = "live", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.segment_id = segment_id
        self.until = until

    def _row_id(self) -> str:
        return self.segment_id


class CijOutboundMemberOperationsSensor(_OutboundWait):
    """Waits until the changes of an outbound segment's members are done, in each mode.

    The service makes them behind its reply, and is asked how far they are (``getState``). What it answers is documented
    nowhere: a clear word, or a count of pending operations, is understood, and the log shows each answer. One that
    can't be understood is waited for until ``timeout``; it never passes for done.

    Source: "Basic operations on segments using API in outbound marketing", section "Get status of pending operations".

    :param segment_id: the segment (templated)
    :param deferrable: True waits in the triggerer, without a worker; then ``poke_interval`` is the triggerer's
    :param cij_conn_id: the Airflow connection
    :return: ``{"segment_id", "state"}``
    :raises AirflowFailException: the answer speaks of a failure
    :raises AirflowSensorTimeout: they are not done within ``timeout``
    """

    template_fields: Sequence[str] = ("segment_id",)
    operator_extra_links = (CijSegmentLink(),)
    what = "operations"

    def __init__(self, *, segment_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.segment_id = segment_id

    def _row_id(self) -> str:
        return self.segment_id


class CijOutboundJourneySensor(_OutboundWait):
    """Waits until an outbound journey is live or stopped, as ``CijOutboundSegmentSensor`` does for segments.

    :param journey_id: the journey (templated)
    :param until: ``"live"`` or ``"stopped"`` (expired counts)
    :param deferrable: True waits in the triggerer, without a worker; then ``poke_interval`` is the triggerer's
    :param cij_conn_id: the Airflow connection
    :return: ``{"journey_id", "status"}``
    :raises AirflowFailException: the journey failed, with what its check for errors found
    :raises AirflowSensorTimeout: it is not so within ``timeout``
    """

    template_fields: Sequence[str] = ("journey_id",)
    operator_extra_links = (CijOutboundJourneyLink(),)
    what = "journey"
    table = "msdyncrm_customerjourney"
    link = CijOutboundJourneyLink()

    def __init__(self, *, journey_id: str, until: Literal["live", "stopped"] = "live", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.journey_id = journey_id
        self.until = until

    def _row_id(self) -> str:
        return self.journey_id
