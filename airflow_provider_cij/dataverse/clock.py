"""Time, injected so that tests can supply their own."""

from __future__ import annotations

import asyncio
import time

DAY = 86_400.0
"""Seconds of the longest ``Retry-After`` that is obeyed. A service that asks for more is down."""


class Clock:
    """The real time."""

    def now(self) -> float:
        """Return the time as epoch seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return the seconds since the system was started, the same in every process."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep without blocking the event loop.

        :param seconds: how long
        """
        await asyncio.sleep(seconds)
