"""Waiting for a journey: what one look means.

Sources: the table reference of msdynmkt_journey; the pages on a journey's life (a stop is final).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from airflow_provider_cij.api.journeys.models import SUPERSEDED, Journey, JourneyStatus
from airflow_provider_cij.api.wait import poll
from airflow_provider_cij.dataverse.clock import Clock
from airflow_provider_cij.errors import CijJourneyFailedError

log = logging.getLogger(__name__)

JourneyUntil = Literal["live", "completed", "stopped"]
Outcome = Literal["waiting", "done", "failed"]

_S = JourneyStatus
# One that ended by itself between two looks has been live.
_DONE = {
    "live": {_S.LIVE, _S.COMPLETING, _S.COMPLETED},
    "completed": {_S.COMPLETED},
    "stopped": {_S.STOPPED, _S.COMPLETED},
}
_FAILED = {
    "live": {_S.STOPPING, _S.STOPPED, _S.DRAINING, _S.DELETED},
    "completed": {_S.STOPPING, _S.STOPPED, _S.DRAINING, _S.DELETED},
    "stopped": {_S.DELETED},
}


@dataclass(frozen=True)
class JourneyGoal:
    """What is waited for.

    :param until: ``live``; ``completed``: it has ended by itself; ``stopped``: it runs no more, by a stop or by itself
    :param publishing: it was seen on its way to live: a draft by now is a publish that failed
    """

    until: JourneyUntil = "live"
    publishing: bool = False

    def after(self, journey: Journey) -> JourneyGoal:
        """Remember that it was seen on its way."""
        return replace(self, publishing=True) if journey.status == _S.PUBLISHING else self


def judge(journey: Journey, goal: JourneyGoal) -> Outcome:
    """Say what one look at a journey means.

    :return: ``waiting`` for every status that is neither the goal nor its end, unknown ones included
    """
    if journey.status in _DONE[goal.until]:
        return "done"
    if journey.status in _FAILED[goal.until]:
        return "failed"
    return "failed" if goal.until == "live" and goal.publishing and journey.status == _S.DRAFT else "waiting"


class JourneyLooks(Protocol):
    """Where looks come from: the journeys themselves, or a poll that many waits share."""

    async def get(self, journey_id: str) -> Journey:
        """Read a journey."""

    async def last_words(self, journey_id: str) -> str:
        """Ask why its last publish failed, or whether a later version runs (``SUPERSEDED``)."""


async def look(looks: JourneyLooks, journey_id: str, goal: JourneyGoal) -> tuple[Journey, Outcome]:
    """Look once.

    :raises CijJourneyFailedError: it can't become what is waited for any more, with the service's words
    """
    journey = await looks.get(journey_id)
    outcome = judge(journey, goal)
    if outcome == "failed":
        words = await looks.last_words(journey.journey_id)
        later = words == SUPERSEDED
        raise CijJourneyFailedError(
            f"Journey {journey.name!r} ({journey.journey_id}) is {journey.status_name}, and was to become "
            f"{goal.until}: {f'{words}.' if later else words or 'the service gives no reason.'}",
            hint="Wait for the id of the later version."
            if later
            else ""
            if words
            else "Open the journey in Dynamics 365 to see why.",
        )
    if outcome == "done" and goal.until == "stopped" and await looks.last_words(journey.journey_id) == SUPERSEDED:
        log.warning("Journey %s is %s, but %s", journey.journey_id, journey.status_name, SUPERSEDED)
    return journey, outcome


async def wait(
    looks: JourneyLooks,
    journey_id: str,
    goal: JourneyGoal,
    *,
    poll_interval: float,
    deadline: float,
    first_after: float = 0.0,
    clock: Clock | None = None,
) -> Journey:
    """Look again and again until the goal is reached; arguments as those of ``waiting.poll``.

    :raises CijJourneyFailedError: it can't be reached any more
    :raises CijTimeoutError: the deadline passed
    """
    seen = "never seen"

    async def once() -> Journey | None:
        nonlocal goal, seen
        journey, outcome = await look(looks, journey_id, goal)
        goal = goal.after(journey)
        if seen != f"last seen {journey.status_name}":
            log.info("Journey %s is %s", journey_id, journey.status_name)
        seen = f"last seen {journey.status_name}"
        return journey if outcome == "done" else None

    return await poll(
        once,
        what=f"Journey {journey_id}",
        too_late=lambda: f"is not {goal.until} in the time given ({seen}).",
        hint="Allow more time, or look at the journey in Dynamics 365.",
        poll_interval=poll_interval,
        deadline=deadline,
        first_after=first_after,
        clock=clock,
    )
