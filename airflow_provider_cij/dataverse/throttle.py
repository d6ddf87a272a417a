"""One view of the throttle for all requests of a process on one connection.

``ConcurrencyLimit`` decides and is pure; ``Throttle`` shares it over threads, clients and event loops, and with the
other processes of the host what concerns the user (``host_throttle``). The service counts requests per user and not
per client, so a request that is sent during the wait prolongs it for all of them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from airflow_provider_cij.dataverse.clock import DAY, Clock
from airflow_provider_cij.dataverse.host_throttle import SERVICE_LIMIT, HostThrottle, host_throttle_of
from airflow_provider_cij.dataverse.settings import Settings
from airflow_provider_cij.errors import CijThrottledError

log = logging.getLogger(__name__)

# Error codes of a 429 (Dataverse docs, Service protection API limits): too many at once; too many, or too long, in a
# window of time.
_TOO_MANY_AT_ONCE = "0x80072326"
_WINDOW_IS_FULL = ("0x80072322", "0x80072321")

# Responses in a row after which one more request may be sent at once.
_RESPONSES_UNTIL_RAISE = 20
# Seconds over which waiting requests start: the first of them finds out whether the wait was long enough.
_SPREAD = 1.0


class ConcurrencyLimit(NamedTuple):
    """How many requests may be in flight, and until when none may be sent: lowered by a 429, raised one by one.

    :param maximum: the connection's ``max_concurrency``
    :param limit: requests that may be in flight now
    :param closed_until: epoch seconds before which nothing is sent, by default 0 (open)
    :param reduced_at: epoch seconds at which ``limit`` was last lowered, by default -1 (never)
    :param responses: responses since ``limit`` or ``closed_until`` last changed, by default 0
    """

    maximum: int
    limit: int
    closed_until: float = 0.0
    reduced_at: float = -1.0
    responses: int = 0

    def on_throttled(
        self, seconds: float, *, sent_at: float, now: float, in_flight: int = 0, code: str = ""
    ) -> ConcurrencyLimit:
        """Return the limit after a 429.

        Too many at once: the limit is what was in flight before the refused request. Too many in the service's window
        of time: it stays, because fewer at once are as many in the end. Any other: it is halved, once for all requests
        that were in flight together.

        :param seconds: the wait that the service asked for; cut to a day
        :param sent_at: when the throttled request was sent, in epoch seconds
        :param now: the time in epoch seconds
        :param in_flight: requests in flight when it was sent, with itself; by default 0, not known
        :param code: the error's code; by default none
        """
        closed = self._replace(closed_until=max(self.closed_until, now + min(seconds, DAY)), responses=0)
        if code.lower() in _WINDOW_IS_FULL:
            return closed
        if code.lower() == _TOO_MANY_AT_ONCE and in_flight:
            return closed._replace(limit=max(1, min(self.limit, in_flight - 1)), reduced_at=now)
        return closed if sent_at <= self.reduced_at else closed._replace(limit=max(1, self.limit // 2), reduced_at=now)

    def on_response(self) -> ConcurrencyLimit:
        """Return the limit after a success: one more once enough of them came in a row."""
        if self.limit >= self.maximum:
            return self
        if self.responses + 1 < _RESPONSES_UNTIL_RAISE:
            return self._replace(responses=self.responses + 1)
        return self._replace(responses=0, limit=self.limit + 1)


class Throttle:
    """Lets requests through one connection's concurrency limit. Safe to use from any thread and any event loop.

    :param maximum: requests in flight at most
    :param host: what other processes share; default None, nothing
    """

    def __init__(self, maximum: int, host: HostThrottle | None = None) -> None:
        self._host = host or HostThrottle("")
        self._lock = threading.Lock()
        self._state = ConcurrencyLimit(maximum, maximum)
        self._in_flight = 0
        # Each future belongs to the loop that waits for it, and is only touched there.
        self._queue: deque[asyncio.Future[None]] = deque()

    def open(self) -> None:
        """Count one more client that uses this."""
        self._host.open()

    def close(self, clock: Clock) -> None:
        """Count one client less.

        :param clock: where time comes from
        """
        self._host.close(clock)

    @property
    def concurrency(self) -> ConcurrencyLimit:
        """The limit as it stands now."""
        return self._state

    @asynccontextmanager
    async def slot(self, clock: Clock, max_wait: float, request_name: str) -> AsyncIterator[int]:
        """Wait for a free slot while the service accepts requests, and hold it inside the ``async with``.

        It gives the requests of this process that are in flight then, with this one.

        :param clock: where time comes from
        :param max_wait: seconds to sleep at most while the service accepts no request
        :param request_name: the request in words, for the error
        :raises CijThrottledError: the wait would be longer than ``max_wait``; nothing was sent
        """
        slept = 0.0
        while True:
            while (pause := self._closed_for(clock)) > 0:
                if slept + pause > min(max_wait, DAY - 1):
                    raise CijThrottledError(
                        f"{request_name} was not sent: the service accepts no requests for another {pause:.0f} s.",
                        hint=f"The connection's max_throttle_wait_seconds is {max_wait:g}, so the wait is not slept.",
                        retry_after=pause,
                    )
                slept += pause
                await clock.sleep(pause + random.random() * _SPREAD)  # noqa: S311  # spreads, guards nothing
            await self._enter()
            try:
                async with self._host.slot(max(SERVICE_LIMIT, self._state.maximum), clock):
                    if self._closed_for(clock) <= 0:  # else it was closed while this request was queued
                        yield self._in_flight
                        return
            finally:
                self._leave()

    def _closed_for(self, clock: Clock) -> float:
        return max(self._state.closed_until - clock.now(), self._host.closed_for(clock))

    def on_throttled(self, seconds: float, clock: Clock, *, sent_at: float, in_flight: int = 0, code: str = "") -> None:
        """Hold back all requests of the user after a 429.

        :param seconds: the wait that the service asked for
        :param clock: where time comes from
        :param sent_at: when the throttled request was sent, in epoch seconds
        :param in_flight: what ``slot`` gave it; by default 0, not known
        :param code: the error's code; by default none
        """
        self._host.close_for(seconds, clock)
        with self._lock:
            before, now = self._state, clock.now()
            self._state = before.on_throttled(seconds, sent_at=sent_at, now=now, in_flight=in_flight, code=code)
        if self._state.limit != before.limit:
            log.info("Throttled: nothing is sent for %.1f s, then %d at once", seconds, self._state.limit)

    def note_left(self, count: int, sent_at: float, clock: Clock) -> None:
        """Note how many requests the service still accepts from the user.

        :param count: the header ``x-ms-ratelimit-burst-remaining-xrm-requests``
        :param sent_at: when the request was sent, by the monotonic clock
        :param clock: where time comes from
        """
        self._host.note_left(count, sent_at, clock)

    def on_response(self) -> None:
        """Count a success towards a higher limit."""
        if self._state.limit < self._state.maximum:
            with self._lock:
                self._state = self._state.on_response()

    async def _enter(self) -> None:
        with self._lock:
            if self._in_flight < self._state.limit and not self._queue:
                self._in_flight += 1
                return
            waiter = asyncio.get_running_loop().create_future()
            self._queue.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            with self._lock:
                granted = waiter not in self._queue
                if not granted:
                    self._queue.remove(waiter)
            if granted:
                self._leave()
            raise

    def _leave(self) -> None:
        with self._lock:
            self._in_flight -= 1
            free = max(0, self._state.limit - self._in_flight)
            granted = [self._queue.popleft() for _ in range(min(free, len(self._queue)))]
            self._in_flight += len(granted)
        for waiter in granted:
            try:
                waiter.get_loop().call_soon_threadsafe(_grant, waiter)
            except RuntimeError:  # its event loop was closed, so the request that waited is gone
                self._leave()


def _grant(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


_throttles: dict[Settings, Throttle] = {}


def throttle_of(settings: Settings) -> Throttle:
    """Return the process's throttle of a connection.

    :param settings: the connection; equal settings share one throttle
    """
    # setdefault is atomic: threads that start together get the same one.
    return _throttles.get(settings) or _throttles.setdefault(
        settings, Throttle(settings.max_concurrency, host_throttle_of(settings))
    )


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_throttles.clear)  # the requests in flight are the parent's
