"""What the triggers that wait have in common: every end is an event."""

from __future__ import annotations

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
    not_before: float

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Give class and arguments, as Airflow stores them: plain JSON, no secret."""
        kind = type(self)
        return f"{kind.__module__}.{kind.__qualname__}", {name: getattr(self, name) for name in self.arguments}

    async def _wait(self) -> dict[str, Any]:
        """Wait, and give what the event is to hold besides ``status``."""
        raise NotImplementedError

    def _first_after(self) -> float:
        """Give the seconds before the first look."""
        # Spread, so that processes which start together do not ask together ever after.
        spread = 1 + random.random() / 10  # noqa: S311
        return max(max(FIRST_LOOK_AFTER, self.poll_interval) * spread, self.not_before - time.time())

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until there is something to say; every end is an event."""
        try:
            yield event_of({"status": self.until, **await self._wait()})
        except CijError as error:
            yield _sad_event(error)
        except Exception as error:
            # Raised, it would reach the task as a bare "Trigger failure".
            yield _sad_event(CijError(f"The trigger failed: {type(error).__name__}: {words_of(str(error), bool)}"))


def event_of(payload: Mapping[str, Any]) -> TriggerEvent:
    """Make an event that Airflow can store: one that it can't would end the triggerer.

    :param payload: what it is to hold
    """
    return TriggerEvent(storable(payload))  # type: ignore[no-untyped-call]


def _sad_event(error: CijError) -> TriggerEvent:
    status = (
        "timeout"
        if isinstance(error, CijTimeoutError)
        else "failed"
        if isinstance(error, (CijSegmentFailedError, CijJourneyFailedError, CijOutboundFailedError))
        else "error"
    )
    return event_of({"status": status, "error": error.as_dict()})
