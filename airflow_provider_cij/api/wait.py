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


def _to_common_moment(least: float, interval: float, begin: float, clock: Clock) -> float:
    """Return the seconds to the first moment after ``least`` that all waits of a process have in common.

    Those of an interval are that far apart, from ``begin`` on.
    """
    return least + interval - (clock.monotonic() + least - begin) % interval


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
    interval = max(poll_interval, 0.001)
    begin = PHASE + random.random() * min(_SPREAD, poll_interval / 20)  # noqa: S311
    reads, standing = Reads(poll_interval), False
    pause = _to_common_moment(first_after, interval, begin, clock) if together else first_after
    retry_after, trouble, last = 0.0, "", ""
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
        pause = _to_common_moment(found.good_for if standing else 0.0, interval, begin, clock) if together else interval
        if clock.now() >= deadline:
            seen = f"Last seen: {last}." if last else "It was never read."
            raise CijTimeoutError(
                f"{wait.subject} {wait.unmet} in the time given. {seen}{trouble}",
                hint="Allow more time (a large segment takes hours), or look at it in Dynamics 365.",
            )
