"""The organisation's time: that of the machine, unless it is told to run faster or to jump.

There is one clock for the process, which is one organisation. Computing and the lifetime of tokens take real seconds,
because clients wait for them in real time.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

# Years have four digits, and some time before the last one is left for what is planned ahead.
_END = 253_000_000_000.0


class Clock:
    """A clock that never goes back, even when that of the machine does."""

    def __init__(self, real: Callable[[], float] = time.time) -> None:
        self._turn = threading.Lock()
        self._real = real
        self.speed = 1.0
        self._from_real = self._shown = real()

    def start(self, not_before: float, speed: float) -> None:
        """Continue from a time that was shown before, at ``speed`` seconds for each real second."""
        with self._turn:
            self._from_real = self._real()
            self._shown = max(self._from_real, not_before)
            self.speed = speed

    def now(self) -> float:
        """Return the time in seconds since 1970."""
        with self._turn:
            real = self._real()
            self._shown += max(real - self._from_real, 0) * self.speed
            self._from_real = real
            return self._shown

    def set_speed(self, speed: float) -> None:
        """Go on at ``speed`` seconds for each real second."""
        self.now()  # the time so far passed at the former speed
        with self._turn:
            self.speed = speed

    def advance(self, seconds: float) -> None:
        """Move the time forward."""
        if not 0 <= seconds < _END - self.now():
            raise ValueError("the time can only go forward, and not beyond the year 9987")
        with self._turn:
            self._shown += seconds

    def until(self, moment: float) -> float:
        """Return the real seconds until a moment of the organisation's time."""
        return math.inf if moment == math.inf else max(moment - self.now(), 0) / self.speed


CLOCK = Clock()
