"""One view of the throttle for all requests of a process on one connection: told once, all wait.

``Pace`` decides and is pure; ``Throttle`` shares it over threads, clients and event loops. The service counts per user
and not per client, so whoever goes on after a 429 prolongs it for everybody.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from airflow_provider_cij.dataverse.clock import Clock
from airflow_provider_cij.dataverse.responses import DAY
from airflow_provider_cij.dataverse.settings import Settings
from airflow_provider_cij.errors import CijThrottledError

log = logging.getLogger(__name__)

# After this many answers in a row one more may be sent at once.
_RUN = 20
# Seconds over which those who waited start: the first of them finds out whether the wait was long enough.
_SPREAD = 1.0


@dataclass(frozen=True)
class Pace:
    """How many requests at once, and none before when.

    :param most: the connection's ``max_concurrency``
    :param limit: how many now
    :param closed_until: epoch seconds
    :param cut_at: when ``limit`` came down
    :param run: answers since it was last changed
    """

    most: int
    limit: int
    closed_until: float = 0.0
    cut_at: float = -1.0
    run: int = 0

    def told_to_wait(self, seconds: float, *, sent_at: float, now: float) -> Pace:
        """Close until then, a day at most; half as many from then on, once for all that were on their way together."""
        closed = replace(self, closed_until=max(self.closed_until, now + min(seconds, DAY)), run=0)
        return closed if sent_at <= self.cut_at else replace(closed, limit=max(1, self.limit // 2), cut_at=now)

    def answered(self) -> Pace:
        """Go back up, one by one."""
        if self.limit >= self.most:
            return self
        return replace(self, run=self.run + 1) if self.run + 1 < _RUN else replace(self, run=0, limit=self.limit + 1)


class Throttle:
    """Who may send now; safe to use from any thread and any event loop.

    :param most: requests at once
    """

    def __init__(self, most: int) -> None:
        self._lock = threading.Lock()
        self._pace = Pace(most, most)
        self._busy = 0
        # Each future belongs to the loop that waits for it, and is only touched there.
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def pace(self) -> Pace:
        """What has been learnt so far."""
        return self._pace

    @asynccontextmanager
    async def turn(self, clock: Clock, max_hold: float, request_name: str) -> AsyncIterator[None]:
        """Wait until the service lets us and one of the places is free; keep it while within.

        :param clock: where time comes from
        :param max_hold: seconds of the service's waits to sit out at the most
        :param request_name: the request in words
        :raises CijThrottledError: it would be longer
        """
        held = 0.0
        while True:
            while (pause := self._pace.closed_until - clock.now()) > 0:
                if held + pause > min(max_hold, DAY - 1):
                    raise CijThrottledError(
                        f"{request_name} was not sent: the service wants no request for another {pause:.0f} s.",
                        hint=f"The connection's max_hold_seconds is {max_hold:g}: come back later.",
                        retry_after=pause,
                    )
                held += pause
                await clock.sleep(pause + random.random() * _SPREAD)  # noqa: S311  # spreads, guards nothing
            await self._enter()
            if self._pace.closed_until <= clock.now():
                break
            self._leave()  # closed while we queued
        try:
            yield
        finally:
            self._leave()

    def told_to_wait(self, seconds: float, *, sent_at: float, now: float) -> None:
        """Have everybody wait: the service said so to one."""
        with self._lock:
            before, self._pace = self._pace, self._pace.told_to_wait(seconds, sent_at=sent_at, now=now)
        if self._pace.limit != before.limit:
            log.info("Throttled: nothing is sent for %.1f s, then %d at once", seconds, self._pace.limit)

    def answered(self) -> None:
        """Note that a request was answered."""
        if self._pace.limit < self._pace.most:
            with self._lock:
                self._pace = self._pace.answered()

    async def _enter(self) -> None:
        with self._lock:
            if self._busy < self._pace.limit and not self._queue:
                self._busy += 1
                return
            place = asyncio.get_running_loop().create_future()
            self._queue.append(place)
        try:
            await place
        except asyncio.CancelledError:
            with self._lock:
                given = place not in self._queue
                if not given:
                    self._queue.remove(place)
            if given:
                self._leave()
            raise

    def _leave(self) -> None:
        with self._lock:
            self._busy -= 1
            free = max(0, self._pace.limit - self._busy)
            called = [self._queue.popleft() for _ in range(min(free, len(self._queue)))]
            self._busy += len(called)
        for place in called:
            try:
                place.get_loop().call_soon_threadsafe(_give, place)
            except RuntimeError:  # its loop was closed, and who waited there is gone
                self._leave()


def _give(place: asyncio.Future[None]) -> None:
    if not place.done():
        place.set_result(None)


_throttles: dict[Settings, Throttle] = {}


def throttle_of(settings: Settings) -> Throttle:
    """Give the process's throttle of a connection."""
    # setdefault is atomic: threads that start together get the same one.
    return _throttles.setdefault(settings, Throttle(settings.max_concurrency))
