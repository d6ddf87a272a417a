"""Time, as something a test can give."""

from __future__ import annotations

import asyncio
import time


class Clock:
    """The real time."""

    def now(self) -> float:
        """Epoch seconds."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
