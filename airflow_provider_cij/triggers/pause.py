"""Waiting until a moment, without a worker."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_cij.dataverse.clock import DAY
from airflow_provider_cij.triggers._waiting import event_of


class CijPauseTrigger(BaseTrigger):
    """Wait until a moment. Its event is ``{"status": "go_on", "since": …}``.

    :param until: epoch seconds; absolute, so that it outlives a restart
    :param since: epoch seconds of the first pause in a row, handed back with the event
    """

    # Rows of this class lie in Airflow's database across upgrades: it never moves, it never raises here, and every
    # argument has a default.
    def __init__(self, until: float = 0.0, since: float = 0.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.until = until
        self.since = since

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class and arguments, as Airflow stores them."""
        return "airflow_provider_cij.triggers.pause.CijPauseTrigger", {"until": self.until, "since": self.since}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, a day at most; tasks that were throttled together do not start together."""
        pause = self.until - time.time()
        # "nan" compares as no pause.
        pause = min(pause, DAY) if pause > 0 else 0.0
        await asyncio.sleep(pause + random.random() * 5)  # noqa: S311
        yield event_of({"status": "go_on", "since": self.since})
