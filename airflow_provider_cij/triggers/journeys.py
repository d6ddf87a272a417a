"""Waiting for journeys without a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.triggers._waiting import WaitTrigger

if TYPE_CHECKING:
    from airflow_provider_cij.api.journeys.wait import JourneyWait


@dataclass(eq=False)
class CijJourneyTrigger(WaitTrigger):
    """Check a journey until it is as it should be.

    Its event is ``{"status": "live", "journey": {…}, "name": …, "deadline": …, "state": {…}}``, with ``until`` in place
    of ``live``; or ``"failed"``, ``"timeout"`` or ``"error"`` with ``error``.

    The other arguments are those of ``WaitTrigger``.

    :param journey_id: the journey
    :param until: ``live``, ``completed`` or ``stopped``
    :param publishing: True when it was seen in Publishing
    """

    event_key = "journey"

    journey_id: str = ""
    publishing: bool = False

    @classmethod
    def of(cls, wait: JourneyWait, **how: Any) -> CijJourneyTrigger:
        """Return the trigger of a wait, in arguments that Airflow can store.

        :param wait: what is waited for
        :param how: the arguments of ``WaitTrigger``
        """
        return cls(journey_id=wait.journey_id, until=wait.until, publishing=wait.publishing, **how)

    def wait(self) -> JourneyWait:
        """Return what is waited for."""
        from airflow_provider_cij.api.journeys.wait import JourneyWait

        return JourneyWait(self.journey_id, self.until, self.publishing)  # type: ignore[arg-type]  # from the database
