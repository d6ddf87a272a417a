"""The organisation's time: the machine's, unless it was told to run faster or to jump.

One for the process, which is one organisation. How long computing takes and how long tokens live is in real seconds:
the people who wait for it live in real time.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

# Four-digit years end here, and a little before it there must be room for what is planned ahead.
_END = 253_000_000_000.0


class Clock:
    """A clock that never goes back, whatever the machine's does."""

    def __init__(self, real: Callable[[], float] = time.time) -> None:
        self._turn = threading.Lock()
        self._real = real
        self._speed = 1.0
        self._from_real = self._shown = real()

    def start(self, not_before: float, speed: float) -> None:
        """Go on from a time that was shown before, ``speed`` seconds in each real one."""
        with self._turn:
            self._from_real = self._real()
            self._shown = max(self._from_real, not_before)
            self._speed = speed

    def now(self) -> float:
        """Return the time in seconds since 1970."""
        with self._turn:
            real = self._real()
            self._shown += max(real - self._from_real, 0) * self._speed
            self._from_real = real
            return self._shown

    def advance(self, seconds: float) -> None:
        """Jump forward."""
        if not 0 <= seconds < _END - self.now():
            raise ValueError("the time can only go forward, and not beyond the year 9987")
        with self._turn:
            self._shown += seconds

    def until(self, moment: float) -> float:
        """Return the real seconds until a time of the organisation."""
        return math.inf if moment == math.inf else max(moment - self.now(), 0) / self._speed


CLOCK = Clock()
