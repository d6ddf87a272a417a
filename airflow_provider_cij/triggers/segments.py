"""Waiting for segments without a worker."""

from __future__ import annotations

import asyncio
import importlib
import random
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_cij.errors import CijError, CijSegmentFailedError, CijTimeoutError

# An event within seconds of the deferral can meet the worker's own "I have deferred", and then fails the task
# (apache/airflow#66374).
FIRST_LOOK_AFTER = 5.0


class CijSegmentTrigger(BaseTrigger):
    """Looks at a segment until it is live. It only looks: what changes anything runs in the worker.

    Its event is ``{"status": "live", "segment": {…}}``, or ``"failed"``, ``"timeout"`` or ``"error"`` with ``error``.

    :param cij_conn_id: the Airflow connection
    :param segment_id: whom to look at
    :param before_status: its status before it was published; None when no publish is waited for
    :param before_execution_id: its newest evaluation before it was published
    :param poll_interval: seconds between looks
    :param deadline: epoch seconds to give up at; absolute, so that it outlives a restart
    """

    # Rows of this class lie in Airflow's database across upgrades: it never moves, it never raises here, and every
    # argument has a default.
    def __init__(
        self,
        cij_conn_id: str = "cij_default",
        segment_id: str = "",
        before_status: int | None = None,
        before_execution_id: str = "",
        poll_interval: float = 60.0,
        deadline: float = 0.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.cij_conn_id = cij_conn_id
        self.segment_id = segment_id
        self.before_status = before_status
        self.before_execution_id = before_execution_id
        self.poll_interval = poll_interval
        self.deadline = deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Give class and arguments, as Airflow stores them: plain JSON, no secret."""
        return (
            "airflow_provider_cij.triggers.segments.CijSegmentTrigger",
            {
                "cij_conn_id": self.cij_conn_id,
                "segment_id": self.segment_id,
                "before_status": self.before_status,
                "before_execution_id": self.before_execution_id,
                "poll_interval": self.poll_interval,
                "deadline": self.deadline,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until there is something to say; every end is an event."""
        try:
            yield TriggerEvent({"status": "live", "segment": await self._wait()})  # type: ignore[no-untyped-call]
        except CijError as error:
            yield _sad_event(error)
        except Exception as error:
            # Raised, it would reach the task as a bare "Trigger failure".
            yield _sad_event(CijError(f"The trigger failed: {type(error).__name__}: {error}"))

    async def _wait(self) -> dict[str, Any]:
        # What the hook needs takes 0.2 s to load the first time: too long for a loop that others share.
        await asyncio.to_thread(importlib.import_module, "airflow_provider_cij.hooks.cij")
        from airflow_provider_cij._task import summary
        from airflow_provider_cij.api.watching import Before, wait_until_live
        from airflow_provider_cij.hooks.cij import CijHook

        before = None if self.before_status is None else Before(self.before_status, self.before_execution_id)
        # Spread, so that triggers which start together do not ask together ever after.
        spread = 1 + random.random() / 10  # noqa: S311
        async with CijHook(self.cij_conn_id).session() as cij:
            segment = await wait_until_live(
                cij.segments,
                self.segment_id,
                before=before,
                poll_interval=self.poll_interval,
                deadline=self.deadline,
                first_after=max(FIRST_LOOK_AFTER, self.poll_interval) * spread,
            )
        return summary(segment)


def _sad_event(error: CijError) -> TriggerEvent:
    status = (
        "timeout"
        if isinstance(error, CijTimeoutError)
        else "failed"
        if isinstance(error, CijSegmentFailedError)
        else "error"
    )
    return TriggerEvent({"status": status, "error": error.as_dict()})  # type: ignore[no-untyped-call]
