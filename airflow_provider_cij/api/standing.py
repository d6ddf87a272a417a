"""Standing reads: a key that a wait has read stays in its process's poll, which wakes the wait when the value changes.

A check that found nothing new costs a task's turn, several futures and a model of each row. So a wait sleeps instead
until the poll has read anything else than its last check did.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.dataverse.sender import sender

if TYPE_CHECKING:
    from airflow_provider_cij.api.batching import RequestBatcher

    Poll = RequestBatcher[Any, Any]

PHASE = random.random() * 3600  # noqa: S311
"""Offset of the common poll times, in seconds: processes that start together poll at different times."""


def seconds_to_moment(interval: float) -> float:
    """Return the seconds to the next common poll time, shared by all waits of a process with the same interval.

    :param interval: seconds between two polls
    """
    return interval - (time.monotonic() - PHASE) % interval


def moment_now(interval: float) -> int:
    """Return the number of the current common poll time.

    :param interval: seconds between two polls
    """
    return round((time.monotonic() - PHASE) / interval)


class Reads:
    """The reads of the last check of a wait.

    :param interval: seconds between two polls
    """

    def __init__(self, interval: float) -> None:
        self.context = copy_context()
        """The context of a poll that this wait starts, to which its log lines belong."""
        self._interval = max(interval, 0.001)
        self._read: dict[tuple[Poll, Any], Any] = {}
        self._polled: dict[tuple[Poll, Any], Any] = {}
        self._alone = False

    @property
    def can_stand(self) -> bool:
        """True when all reads of the last check were polled together with those of other waits."""
        return bool(self._read) and not self._alone

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record the reads within the block, which is one check."""
        self._read, self._alone = {}, False
        token = sender.set(self)
        try:
            yield
        finally:
            sender.reset(token)
            self._polled = {}

    async def change(self, seconds: float) -> None:
        """Sleep until a poll reads another value than the last check. The next check gets that value.

        :param seconds: the longest sleep
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
            raise sleep.error.with_traceback(None)  # thousands of waits raise the same exception
        if sleep.changed and not sleep.in_flight:
            newest = max(read.moment for read in reads)
            self._polled = {(read.poll, read.key): read.value for read in reads if read.moment == newest}

    def note(self, poll: Poll, key: Any, value: Any) -> None:
        """Record a read. Values of an earlier poll are not used any more.

        :param poll: the poll that can keep the read
        :param key: the key
        :param value: the value that was read
        """
        self._read[poll, key] = value
        self._polled = {}

    def take(self, poll: Poll, key: Any, otherwise: Any) -> Any:
        """Return the value that woke the wait, and record it. Each value is returned once.

        :param poll: the poll that kept the read
        :param key: the key
        :param otherwise: returned when that poll did not read the key, or the check has read anything since
        """
        value = self._polled.pop((poll, key), otherwise)
        if value is not otherwise:
            self._read[poll, key] = value
        return value

    def forget_poll(self) -> None:
        """Ignore the polled values for the rest of the check."""
        self._polled = {}

    def on_request(self) -> None:
        """Record that the check sends its own request, which no poll repeats."""
        self._alone, self._polled = True, {}


class Sleep:
    """The time between two checks of a wait.

    :param interval: seconds between two polls
    :param reads: the reads of the previous check
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
    """One read of a sleeping wait, which the poll answers like a future.

    The wait wakes once the poll has answered all its reads, because each value may have changed.

    :param sleep: the sleep of the wait
    :param poll: the poll that keeps the read
    :param key: the key
    :param value: the value that was read last
    """

    __slots__ = ("key", "moment", "poll", "sleep", "value")

    def __init__(self, sleep: Sleep, poll: Poll, key: Any, value: Any) -> None:
        self.sleep = sleep
        self.poll = poll
        self.key = key
        self.value = value
        self.moment = 0

    def is_due(self, moment: int) -> bool:
        """Return whether the key is to be read now, and record that it is.

        :param moment: the number of the common poll time
        """
        due = not (self.sleep.changed or self.sleep.ended.done())
        if due:
            self.moment = moment
            self.sleep.in_flight += 1
        return due

    def done(self) -> bool:
        """Return whether the wait has ended."""
        return self.sleep.ended.done()

    def set_result(self, value: Any) -> None:
        """Wake the wait when the value has changed; otherwise keep the read in the poll."""
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
        """Cancel the wait, because the poll was cancelled."""
        self.sleep.ended.cancel()


def reads_of_check() -> Reads | None:
    """Return the record of the running check; None outside a recorded check."""
    found = sender.get()
    return found if isinstance(found, Reads) else None


@contextmanager
def read_once() -> Iterator[None]:
    """Keep the reads within the block out of the poll: those that a wait needs once, or repeats by itself."""
    token = sender.set(None)
    try:
        yield
    finally:
        sender.reset(token)


def read_anew() -> None:
    """Read the following after the reads so far. Polled values may be older, so they are ignored."""
    if reads := reads_of_check():
        reads.forget_poll()


def check_again() -> None:
    """Check again at the next poll time, even if no value has changed."""
    if reads := reads_of_check():
        reads.on_request()
