"""Waiting: one protocol for everything that is waited for, and one loop."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_cij.api.standing import PHASE, Reads
from airflow_provider_cij.dataverse.clock import Clock
from airflow_provider_cij.errors import CijError, CijTimeoutError

if TYPE_CHECKING:
    from airflow_provider_cij.api.cij import Cij

log = logging.getLogger(__name__)

# Seconds over which the checks of one moment begin: thousands at once would block the event loop.
_SPREAD = 0.15


@dataclass(frozen=True)
class Check:
    """What one check has found.

    :param done: True when the wait is over
    :param name: the name of the segment or journey
    :param message: what was found, for the log
    :param result: what was found, for XCom
    :param status: how a wait that is over has ended; ``""`` when it has ended as wanted
    :param evaluated_at: when the evaluation that decided ended, as the service writes it; ``""`` when none was read
    :param execution_id: of that evaluation; ``""`` when none was read
    :param good_for: seconds after which to check again, though nothing that was read has changed; default 600
    """

    done: bool
    name: str
    message: str
    result: dict[str, Any]
    status: str = ""
    evaluated_at: str = ""
    execution_id: str = ""
    good_for: float = 600.0


class Wait(Protocol):
    """Something that is waited for."""

    @property
    def until(self) -> str:
        """What it is to become, such as ``live``."""

    @property
    def subject(self) -> str:
        """What is waited for, such as ``Segment <id>``."""

    @property
    def unmet(self) -> str:
        """What it was not in time, such as ``did not become live``."""

    async def check(self, cij: Cij) -> Check:
        """Check once.

        :param cij: the organisation
        :raises CijError: it failed, or can't be read
        """


class _Pauses:
    """Seconds to sleep before each check."""

    def __init__(self, interval: float) -> None:
        self._interval = interval

    def first(self, least: float) -> float:
        return least

    def next(self) -> float:
        return self._interval


class _CommonMoments(_Pauses):
    """The same, up to moments that all waits of a process with an interval have in common."""

    def __init__(self, clock: Clock, interval: float) -> None:
        super().__init__(max(interval, 0.001))
        self._clock = clock
        self._begin = PHASE + random.random() * min(_SPREAD, interval / 20)  # noqa: S311

    def first(self, least: float) -> float:
        return least + self._interval - (self._clock.monotonic() + least - self._begin) % self._interval

    def next(self) -> float:
        return self.first(0.0)


async def wait_until(
    wait: Wait,
    cij: Cij,
    *,
    poll_interval: float,
    deadline: float,
    first_after: float = 0.0,
    clock: Clock | None = None,
    together: bool = False,
) -> Check:
    """Check again and again, until the wait is over.

    :param wait: what is waited for
    :param cij: the organisation
    :param poll_interval: seconds between checks
    :param deadline: epoch seconds to give up at
    :param first_after: seconds before the first check; default 0
    :param clock: where time comes from; default the real one
    :param together: True checks at moments that all waits of a process with this interval have in common, so that
        they share requests. After a check that read in batches alone, what it read is polled, and the next check is
        when that has changed. Default False
    :return: the last check
    :raises CijTimeoutError: the deadline passed
    :raises CijError: a check failed, and no later one can succeed
    """
    clock = clock or Clock()
    rhythm = _CommonMoments(clock, poll_interval) if together else _Pauses(poll_interval)
    reads, standing = Reads(poll_interval), False
    pause, retry_after, trouble, last = rhythm.first(first_after), 0.0, "", ""
    while True:
        left = max(0.0, deadline - clock.now())
        pause = min(max(pause, retry_after), left)
        try:
            await (reads.change(pause) if standing else clock.sleep(pause))
            standing = False
            if retry_after <= left:  # never earlier than the service asked for
                retry_after, trouble = 0.0, ""
                with reads.recorded():
                    found = await wait.check(cij)
                if found.message != last:
                    log.info("%s", found.message)
                last = found.message
                if found.done:
                    return found
                standing = together and reads.can_stand
        except CijError as error:
            if error.permanent:
                raise
            # A request that fails while waiting must not fail the task.
            log.warning("%s could not be read, checking again: %s", wait.subject, error)
            trouble, retry_after, standing = f" The last check failed: {error}", error.retry_after or 0.0, False
        pause = rhythm.first(found.good_for) if standing else rhythm.next()
        if clock.now() >= deadline:
            seen = f"Last seen: {last}." if last else "It was never read."
            raise CijTimeoutError(
                f"{wait.subject} {wait.unmet} in the time given. {seen}{trouble}",
                hint="Allow more time (a large segment takes hours), or look at it in Dynamics 365.",
            )
