"""Waiting for journeys without a worker."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

from airflow_provider_cij.triggers._waiting import WaitTrigger


class CijJourneyTrigger(WaitTrigger):
    """Looks at a journey until it is as it should be. It only looks.

    All triggers of a connection in one process share a client, a token and a poll.

    Its event is ``{"status": "live", "journey": {…}, "name": …}``, with ``until`` in place of ``live``; or
    ``"failed"``, ``"timeout"`` or ``"error"`` with ``error``.

    :param cij_conn_id: the Airflow connection
    :param journey_id: which to look at
    :param until: ``live``, ``completed`` or ``stopped``
    :param publishing: it was seen on its way to live
    :param poll_interval: seconds between looks
    :param deadline: epoch seconds to give up at; absolute, so that it outlives a restart
    :param not_before: epoch seconds: the service has told us to stay away until then
    """

    arguments = ("cij_conn_id", "journey_id", "until", "publishing", "poll_interval", "deadline", "not_before")

    # Rows of this class lie in Airflow's database across upgrades: it never moves, it never raises here, and every
    # argument has a default.
    def __init__(
        self,
        cij_conn_id: str = "cij_default",
        journey_id: str = "",
        until: str = "live",
        publishing: bool = False,
        poll_interval: float = 60.0,
        deadline: float = 0.0,
        not_before: float = 0.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.cij_conn_id = cij_conn_id
        self.journey_id = journey_id
        self.until = until
        self.publishing = publishing
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.not_before = not_before

    async def _wait(self) -> dict[str, Any]:
        # What the hook needs takes 0.2 s to load the first time: too long for a loop that others share.
        await asyncio.to_thread(importlib.import_module, "airflow_provider_cij.triggers._session")
        from airflow_provider_cij.api.journeys.models import journey_summary
        from airflow_provider_cij.api.journeys.wait import JourneyGoal, wait
        from airflow_provider_cij.triggers._session import shared_session

        async with shared_session(self.cij_conn_id) as (_, poll):
            journey = await wait(
                poll.journeys,
                self.journey_id,
                JourneyGoal(self.until, self.publishing),  # type: ignore[arg-type]  # from the database
                poll_interval=self.poll_interval,
                deadline=self.deadline,
                first_after=self._first_after(),
            )
        return {"journey": journey_summary(journey), "name": journey.name}
