"""Run requests with a client of the scripted server on a fake clock."""

from __future__ import annotations

import asyncio

from airflow_provider_cij.dataverse.client import Clock, DataverseClient
from tests.scripted import Answer, ScriptedServer

ROW = "contacts(0f5b0c7f-395d-447b-b14c-315a601f878e)"


class FakeClock(Clock):
    """A clock that advances only by sleeping."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.waits: list[float] = []

    def now(self) -> float:
        return self.time

    monotonic = now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)


def run_client(server: ScriptedServer, *answers: Answer, work, clock=None, **settings):
    """Run ``work`` with a client of a server that sends these responses."""
    server.script = list(answers)

    async def main():
        async with DataverseClient(server.settings(**settings), clock or FakeClock()) as client:
            return await work(client)

    return asyncio.run(main())
