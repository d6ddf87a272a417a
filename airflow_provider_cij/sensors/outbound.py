"""Wait for outbound segments, journeys and changes of members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_provider_cij._arguments import words
from airflow_provider_cij.links import CijJourneyLink, CijSegmentLink
from airflow_provider_cij.sensors._waiting import WaitSensor

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.outbound.wait import OutboundWait, Until, What


class _OutboundWait(WaitSensor):
    """Waits until something is as it should be, the same in poke, reschedule and deferrable mode."""

    what: What
    outbound = True
    readers: ClassVar = {"until": words("live", "stopped")}
    until: Until = "finished"

    def _wait(self, context: Context) -> OutboundWait:
        from airflow_provider_cij.api.outbound.wait import OutboundWait

        row_id: str = getattr(self, "journey_id" if self.what == "journey" else "segment_id")
        return OutboundWait(self.what, row_id, self.until)


class CijOutboundSegmentSensor(_OutboundWait):
    """Wait until an outbound segment is live or stopped, the same in poke, reschedule and deferrable mode.

    A status that no document names is waited for. Error fails the task, and so does Expired unless ``"stopped"`` is
    waited for, with ``soft_fail`` as well: only a timeout skips.

    Microsoft removed outbound marketing in 2026. In an organisation without it the task fails, and the error says so.

    :param segment_id: the segment: its id, ``"name:VIP customers"``, or another task's whole result
    :param until: ``"live"`` (default) or ``"stopped"`` (expired counts)
    :param deferrable: True waits in the triggerer, without a worker; then ``poke_interval`` is the triggerer's. Default
        Airflow's ``default_deferrable``
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"segment_id", "status", "member_count"}``, the last as of its last evaluation
    :raises AirflowFailException: the segment failed
    :raises AirflowSensorTimeout: it is not so within ``timeout``
    """

    operator_extra_links = (CijSegmentLink(),)
    what = "segment"

    def __init__(self, *, segment_id: str, until: Literal["live", "stopped"] = "live", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.segment_id = segment_id
        self.until = until


class CijOutboundMemberOperationsSensor(_OutboundWait):
    """Wait until the changes of an outbound segment's members are done, in each mode.

    The service makes them after its response, and is asked how far they are (``getState``). What it answers is not
    documented: a clear word, or a count of pending operations, is understood, and the log shows each answer. One that
    can't be understood is waited for until ``timeout``; it never passes for done.

    Source: "Basic operations on segments using API in outbound marketing", section "Get status of pending operations".

    :param segment_id: the segment: its id, ``"name:VIP customers"``, or another task's whole result
    :param deferrable: True waits in the triggerer, without a worker; then ``poke_interval`` is the triggerer's. Default
        Airflow's ``default_deferrable``
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"segment_id", "state"}``
    :raises AirflowFailException: the answer speaks of a failure
    :raises AirflowSensorTimeout: they are not done within ``timeout``
    """

    operator_extra_links = (CijSegmentLink(),)
    what = "operations"

    def __init__(self, *, segment_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.segment_id = segment_id


class CijOutboundJourneySensor(_OutboundWait):
    """Wait until an outbound journey is live or stopped, as ``CijOutboundSegmentSensor`` does for segments.

    :param journey_id: the journey: its id, ``"name:Welcome"``, or another task's whole result
    :param until: ``"live"`` (default) or ``"stopped"`` (expired counts)
    :param deferrable: True waits in the triggerer, without a worker; then ``poke_interval`` is the triggerer's. Default
        Airflow's ``default_deferrable``
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"journey_id", "status"}``
    :raises AirflowFailException: the journey failed, with what its check for errors found
    :raises AirflowSensorTimeout: it is not so within ``timeout``
    """

    operator_extra_links = (CijJourneyLink(),)
    what = "journey"

    def __init__(self, *, journey_id: str, until: Literal["live", "stopped"] = "live", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.journey_id = journey_id
        self.until = until
