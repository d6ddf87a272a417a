"""Waiting for a journey: what one check means.

Sources: the table reference of msdynmkt_journey; the pages on the states of a journey (a stop is final).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from airflow_provider_cij.api.journeys.models import SUPERSEDED, Journey, JourneyStatus
from airflow_provider_cij.api.wait import Check
from airflow_provider_cij.errors import CijJourneyFailedError

if TYPE_CHECKING:
    from airflow_provider_cij.api.cij import Cij

log = logging.getLogger(__name__)

JourneyUntil = Literal["live", "completed", "stopped"]
Outcome = Literal["waiting", "done", "failed"]

_S = JourneyStatus
# A journey that ended by itself between two checks has been live.
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
JOURNEY_NEWS: Mapping[str, Set[int]] = {"live": {_S.LIVE}, "completed": {_S.COMPLETED}, "stopped": {_S.STOPPED}}
"""The states that a watcher reports when a journey gets into one of them."""


@dataclass
class JourneyWait:
    """Wait for a journey.

    :param journey_id: the journey
    :param until: ``live``; ``completed``: it has ended by itself; ``stopped``: it does not run any more, after a stop
        or by itself
    :param publishing: True when it was seen in Publishing: a draft after that is a publish that failed. A check sets it
    """

    journey_id: str
    until: JourneyUntil = "live"
    publishing: bool = False

    @property
    def subject(self) -> str:
        """What is waited for, for errors."""
        return f"Journey {self.journey_id}"

    @property
    def unmet(self) -> str:
        """What it was not in time."""
        return f"is not {self.until}"

    async def check(self, cij: Cij) -> Check:
        """Check once.

        :raises CijJourneyFailedError: it can't become what is waited for any more, with the service's reason
        """
        journey = await cij.journeys.get(self.journey_id)
        outcome = classify(journey, self)
        self.publishing |= journey.status == _S.PUBLISHING
        if outcome == "failed":
            raise _failed(journey, self.until, await cij.journeys.failure_reason(journey.journey_id))
        if outcome == "done" and self.until == "stopped":
            reason = await cij.journeys.failure_reason(journey.journey_id)
            if reason == SUPERSEDED:
                log.warning("Journey %r (%s) is %s, but %s", journey.name, self.journey_id, journey.status_name, reason)
        return found(journey, done=outcome == "done")


def classify(journey: Journey, wait: JourneyWait) -> Outcome:
    """Return what one check of a journey means.

    :param journey: as it is now
    :param wait: what is waited for
    :return: ``waiting`` for every status that is neither what is waited for nor its end, unknown ones included
    """
    if journey.status in _DONE[wait.until]:
        return "done"
    if journey.status in _FAILED[wait.until]:
        return "failed"
    return "failed" if wait.until == "live" and wait.publishing and journey.status == _S.DRAFT else "waiting"


def found(journey: Journey, *, done: bool) -> Check:
    """Return what a check of a journey has found.

    :param journey: the journey
    :param done: True when the wait is over
    """
    message = f"Journey {journey.name!r} ({journey.journey_id}) is {journey.status_name}"
    return Check(done, journey.name, message, journey.summary())


def _failed(journey: Journey, until: str, reason: str) -> CijJourneyFailedError:
    said = f"Journey {journey.name!r} ({journey.journey_id}) is {journey.status_name}, and was to become {until}"
    if reason == SUPERSEDED:
        return CijJourneyFailedError(f"{said}: {reason}.", hint="Wait for the id of the later version.")
    hint = "" if reason else "Open the journey in Dynamics 365 to see why."
    return CijJourneyFailedError(f"{said}: {reason or 'the service gives no reason.'}", hint=hint)
