"""What the triggers that wait have in common: every end is an event."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_cij.dataverse.redact import words_of
from airflow_provider_cij.dataverse.texts import storable
from airflow_provider_cij.errors import (
    CijError,
    CijJourneyFailedError,
    CijOutboundFailedError,
    CijSegmentFailedError,
    CijTimeoutError,
)

# An event within seconds of the deferral can meet the worker's own "I have deferred", and then fails the task
# (apache/airflow#66374).
FIRST_LOOK_AFTER = 5.0


class WaitTrigger(BaseTrigger):
    """Looks until there is something to say. It only looks: what changes anything runs in the worker."""

    arguments: ClassVar[tuple[str, ...]]
    until: str
    poll_interval: float
    deadline: float
    not_before: float

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Give class and arguments, as Airflow stores them: plain JSON, no secret."""
        kind = type(self)
        return f"{kind.__module__}.{kind.__qualname__}", {name: getattr(self, name) for name in self.arguments}

    async def _wait(self) -> dict[str, Any]:
        """Wait, and return what the event is to hold; its ``status`` is ``until`` unless that holds another."""
        raise NotImplementedError

    def _handed_back(self) -> dict[str, Any]:
        """Return what each event holds besides, for the worker to go on with: ``dag.test()`` keeps no other state."""
        return {}

    async def _waited(self) -> dict[str, Any]:
        if self.not_before <= self.deadline:
            return await self._wait()
        await asyncio.sleep(max(0.0, self.deadline - time.time()))
        raise CijTimeoutError("The service did not want to be asked again in the time given.")

    def _first_after(self) -> float:
        """Give the seconds before the first look."""
        # Spread, so that processes which start together do not ask together ever after.
        spread = 1 + random.random() / 10  # noqa: S311
        return max(max(FIRST_LOOK_AFTER, self.poll_interval) * spread, self.not_before - time.time())

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until there is something to say; every end is an event."""
        try:
            payload = {"status": self.until, **await self._waited()}
        except CijError as error:
            payload = _sad(error)
        except Exception as error:
            # Raised, it would reach the task as a bare "Trigger failure".
            payload = _sad(CijError(f"The trigger failed: {type(error).__name__}: {words_of(str(error), bool)}"))
        yield event_of({**payload, **self._handed_back()})


def event_of(payload: Mapping[str, Any]) -> TriggerEvent:
    """Return an event that Airflow can store: one that it can't would end the triggerer.

    :param payload: what it is to hold
    """
    return TriggerEvent(storable(payload))  # type: ignore[no-untyped-call]


def _sad(error: CijError) -> dict[str, Any]:
    status = (
        "timeout"
        if isinstance(error, CijTimeoutError)
        else "failed"
        if isinstance(error, (CijSegmentFailedError, CijJourneyFailedError, CijOutboundFailedError))
        else "error"
    )
    return {"status": status, "error": error.as_dict()}
