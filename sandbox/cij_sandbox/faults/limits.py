"""Service protection: what one user may use in a sliding window, and the answer to more."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from cij_sandbox.core import errors

REQUESTS = "0x80072322"
EXECUTION = "0x80072321"
CONCURRENT = "0x80072326"


@dataclass(frozen=True)
class Limits:
    """The limits of one user on one web server; infinite is unlimited."""

    requests: float = math.inf
    execution_seconds: float = math.inf
    concurrent: float = math.inf
    window_seconds: float = 300

    def message(self, code: str) -> str:
        """Return the message of the service for the limit with this code."""
        window = f"over time window of {self.window_seconds:g} seconds."
        return {
            REQUESTS: f"Number of requests exceeded the limit of {self.requests} {window}",
            EXECUTION: "Combined execution time of incoming requests exceeded limit of "
            f"{self.execution_seconds * 1000:,.0f} milliseconds {window} Decrease number of concurrent requests or "
            "reduce the duration of requests and try again later.",
            CONCURRENT: f"Number of concurrent requests exceeded the limit of {self.concurrent}.",
        }[code]


DOCUMENTED = Limits(requests=6000, execution_seconds=1200, concurrent=52)


class Usage:
    """What the only user has used of the limits.

    Assumptions: a refused request counts as a request, which prolongs the penalty of a client that does not
    wait; the time of a request counts from its end; after too many concurrent requests Retry-After is 1.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._arrivals: deque[float] = deque()
        self._finished: deque[tuple[float, float]] = deque()
        self._spent = 0.0
        self._running = 0

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Count a request while the block lasts, or raise the 429 for it."""
        started = self._clock()
        self._admit(started)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            if self._limits.execution_seconds < math.inf:
                ended = self._clock()
                self._finished.append((ended, ended - started))
                self._spent += ended - started

    def shorten(self, window_seconds: float) -> None:
        """Shorten the window to at most this many seconds."""
        self._limits = replace(self._limits, window_seconds=min(self._limits.window_seconds, window_seconds))

    def headers(self) -> dict[str, str]:
        """Return the headers that say what is left."""
        self._forget(self._clock())
        left: dict[str, str] = {}
        if self._limits.requests < math.inf:
            left["x-ms-ratelimit-burst-remaining-xrm-requests"] = str(
                max(0, self._limits.requests - len(self._arrivals))
            )
        if self._limits.execution_seconds < math.inf:
            seconds = max(0.0, self._limits.execution_seconds - self._spent)
            left["x-ms-ratelimit-time-remaining-xrm-requests"] = f"{seconds:.2f}"
        return left

    def _admit(self, now: float) -> None:
        self._forget(now)
        if self._limits.requests < math.inf:
            self._arrivals.append(now)
            over = len(self._arrivals) - int(self._limits.requests)
            if over > 0:
                raise self._refusal(REQUESTS, self._arrivals[over] + self._limits.window_seconds - now)
        spent = self._spent
        for ended, seconds in self._finished if spent >= self._limits.execution_seconds else ():
            spent -= seconds
            if spent < self._limits.execution_seconds:
                raise self._refusal(EXECUTION, ended + self._limits.window_seconds - now)
        if self._running >= self._limits.concurrent:
            raise self._refusal(CONCURRENT, 1)

    def _refusal(self, code: str, seconds: float) -> errors.ODataError:
        headers = {"Retry-After": str(max(1, math.ceil(seconds))), **self.headers()}
        return errors.ODataError(429, code, self._limits.message(code), headers)

    def _forget(self, now: float) -> None:
        since = now - self._limits.window_seconds
        while self._arrivals and self._arrivals[0] <= since:
            self._arrivals.popleft()
        while self._finished and self._finished[0][0] <= since:
            self._spent -= self._finished.popleft()[1]
        if not self._finished:
            self._spent = 0.0
