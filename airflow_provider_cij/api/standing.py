"""Standing reads: what a wait has read stays in the poll of its process until it is read differently.

A check that found nothing new costs a task's turn, several futures and a model of each row. So a wait sleeps instead
until the poll has read anything else than its last check did.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, Protocol

from airflow_provider_cij.dataverse.sender import sender

PHASE = random.random() * 3600  # noqa: S311
"""Seconds at which the common moments of a process begin: processes that start together do not poll together."""


def seconds_to_moment(interval: float) -> float:
    """Return the seconds to the next moment that all waits of a process with an interval have in common.

    :param interval: seconds between two such moments
    """
    return interval - (time.monotonic() - PHASE) % interval


def moment_now(interval: float) -> int:
    """Return the number of the common moment that it is.

    :param interval: seconds between two such moments
    """
    return round((time.monotonic() - PHASE) / interval)


class Poll(Protocol):
    """Where reads can stand."""

    same: Callable[[Any, Any], bool]
    """Returns whether two values of a key mean the same."""

    def stand(self, read: StandingRead) -> None:
        """Read its key again at the next common moment."""


class Reads:
    """What the last check of a wait has read.

    :param interval: seconds between two polls
    """

    def __init__(self, interval: float) -> None:
        self.context = copy_context()
        """In which a poll that this wait starts logs."""
        self._interval = max(interval, 0.001)
        self._read: dict[tuple[Poll, Any], Any] = {}
        self._polled: dict[tuple[Poll, Any], Any] = {}
        self._alone = False

    @property
    def can_stand(self) -> bool:
        """True when all that the last check depends on was read with others."""
        return bool(self._read) and not self._alone

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record what is read within, which is a check."""
        self._read, self._alone = {}, False
        token = sender.set(self)
        try:
            yield
        finally:
            sender.reset(token)
            self._polled = {}

    async def change(self, seconds: float) -> None:
        """Sleep until a poll reads anything else than the last check did. The next check is answered with that.

        :param seconds: to sleep at the most
        :raises CijError: a poll failed
        """
        sleep = Sleep(self._interval, self)
        reads = [StandingRead(sleep, poll, key, value) for (poll, key), value in self._read.items()]
        for read in reads:
            read.poll.stand(read)
        end = asyncio.get_running_loop().call_later(seconds, sleep.end)
        try:
            await sleep.ended
        finally:
            end.cancel()
        if sleep.error:
            raise sleep.error.with_traceback(None)  # thousands of waits raise the same
        if sleep.changed and not sleep.in_flight:
            newest = max(read.moment for read in reads)
            self._polled = {(read.poll, read.key): read.value for read in reads if read.moment == newest}

    def note(self, poll: Poll, key: Any, value: Any) -> None:
        """Record a read. What a poll has read before is not used any more.

        :param poll: where it can stand
        :param key: what was read
        :param value: what it was
        """
        self._read[poll, key] = value
        self._polled = {}

    def take(self, poll: Poll, key: Any, otherwise: Any) -> Any:
        """Return what the poll that woke the wait has read, and record it; once.

        :param poll: where it stood
        :param key: what is read
        :param otherwise: what to return when it was not read in that poll, or anything has been read since
        """
        value = self._polled.pop((poll, key), otherwise)
        if value is not otherwise:
            self._read[poll, key] = value
        return value

    def forget_poll(self) -> None:
        """Read all that follows anew."""
        self._polled = {}

    def on_request(self) -> None:
        """Note that the check sends a request of its own: it depends on what no poll reads."""
        self._alone, self._polled = True, {}


class Sleep:
    """The time between two checks of a wait.

    :param interval: seconds between two polls
    :param reads: what the check before has read
    """

    __slots__ = ("changed", "ended", "error", "in_flight", "interval", "reads")

    def __init__(self, interval: float, reads: Reads) -> None:
        self.interval = interval
        self.reads = reads
        self.ended = asyncio.get_running_loop().create_future()
        self.in_flight = 0
        self.changed = False
        self.error: BaseException | None = None

    def end(self) -> None:
        """Wake the wait."""
        if not self.ended.done():
            self.ended.set_result(None)


class StandingRead:
    """One read of a wait that sleeps. It takes the place of a future in the poll.

    The wait wakes when all its reads of a poll are answered: each of them may have changed.

    :param sleep: of the wait
    :param poll: where it stands
    :param key: what is read
    :param value: as it was read last
    """

    __slots__ = ("key", "moment", "poll", "sleep", "value")

    def __init__(self, sleep: Sleep, poll: Poll, key: Any, value: Any) -> None:
        self.sleep = sleep
        self.poll = poll
        self.key = key
        self.value = value
        self.moment = 0

    def is_due(self, moment: int) -> bool:
        """Return whether it is still to be asked, and note that it is.

        :param moment: the number of the common moment
        """
        due = not (self.sleep.changed or self.sleep.ended.done())
        if due:
            self.moment = moment
            self.sleep.in_flight += 1
        return due

    def done(self) -> bool:
        """Return whether the wait needs no answer any more."""
        return self.sleep.ended.done()

    def set_result(self, value: Any) -> None:
        """Take an answer: wake the wait, or stand again."""
        sleep = self.sleep
        sleep.in_flight -= 1
        if not self.poll.same(value, self.value):
            self.value, sleep.changed = value, True
        if not sleep.changed:
            self.poll.stand(self)
        elif not sleep.in_flight:
            sleep.end()

    def set_exception(self, error: BaseException) -> None:
        """Wake the wait with the failure of a poll."""
        self.sleep.error = error
        self.sleep.end()

    def cancel(self) -> None:
        """End the wait: the poll was cancelled."""
        self.sleep.ended.cancel()


def reads_of_check() -> Reads | None:
    """Return where the reads of the check that is running are recorded; None when nothing records them."""
    found = sender.get()
    return found if isinstance(found, Reads) else None


@contextmanager
def read_once() -> Iterator[None]:
    """Read what a wait needs once, or looks at by itself from time to time: it does not stand in the poll."""
    token = sender.set(None)
    try:
        yield
    finally:
        sender.reset(token)


def read_anew() -> None:
    """Read what follows after what was read so far: a poll may have read it before."""
    if reads := reads_of_check():
        reads.forget_poll()


def check_again() -> None:
    """Check again at the next moment, whatever the poll reads by then."""
    if reads := reads_of_check():
        reads.on_request()
