"""What the triggers that wait have in common: every end is an event."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_cij.errors import CijError, CijJourneyFailedError, CijSegmentFailedError, CijTimeoutError


class WaitTrigger(BaseTrigger):
    """Looks until there is something to say. It only looks: what changes anything runs in the worker."""

    until: str

    async def _wait(self) -> dict[str, Any]:
        """Wait, and give what the event is to hold besides ``status``."""
        raise NotImplementedError

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until there is something to say; every end is an event."""
        try:
            yield TriggerEvent({"status": self.until, **await self._wait()})  # type: ignore[no-untyped-call]
        except CijError as error:
            yield _sad_event(error)
        except Exception as error:
            # Raised, it would reach the task as a bare "Trigger failure".
            yield _sad_event(CijError(f"The trigger failed: {type(error).__name__}: {error}"))


def _sad_event(error: CijError) -> TriggerEvent:
    status = (
        "timeout"
        if isinstance(error, CijTimeoutError)
        else "failed"
        if isinstance(error, (CijSegmentFailedError, CijJourneyFailedError))
        else "error"
    )
    return TriggerEvent({"status": status, "error": error.as_dict()})  # type: ignore[no-untyped-call]
