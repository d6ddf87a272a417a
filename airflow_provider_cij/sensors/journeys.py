"""Wait for real-time journeys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_provider_cij._arguments import words
from airflow_provider_cij.links import CijJourneyLink
from airflow_provider_cij.sensors._waiting import WaitSensor

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.journeys.wait import JourneyWait


class CijJourneySensor(WaitSensor):
    """Wait until a journey is live, completed or stopped, the same in poke, reschedule and deferrable mode.

    A journey in a status that no document names is waited for. One that can't become it any more (deleted; or stopped,
    which is final, when it was to be live or completed) fails the task, with ``soft_fail`` as well: only a timeout
    skips. It only looks: nothing is changed.

    :param journey_id: the journey: its id, ``"name:Welcome"``, or another task's whole result
    :param until: ``"live"`` (default); ``"completed"``: it has ended by itself; ``"stopped"``: it runs no more, by a
        stop or by itself
    :param deferrable: True waits in the triggerer, without a worker; then ``poke_interval`` is the triggerer's. Default
        Airflow's ``default_deferrable``
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"journey_id", "status"}``
    :raises AirflowFailException: it can't become it any more
    :raises AirflowSensorTimeout: it is not so within ``timeout``
    """

    operator_extra_links = (CijJourneyLink(),)
    readers: ClassVar = {"until": words("live", "completed", "stopped")}

    def __init__(
        self, *, journey_id: str, until: Literal["live", "completed", "stopped"] = "live", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.journey_id = journey_id
        self.until = until

    def _wait(self, context: Context) -> JourneyWait:
        from airflow_provider_cij.api.journeys.wait import JourneyWait

        return JourneyWait(self.journey_id, self.until)
