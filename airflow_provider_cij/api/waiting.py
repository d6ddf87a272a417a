"""Looking again and again until something is as it should be."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from airflow_provider_cij.dataverse.clock import Clock
from airflow_provider_cij.errors import CijError, CijTimeoutError

log = logging.getLogger(__name__)

T = TypeVar("T")


async def wait_for(
    look: Callable[[], Awaitable[tuple[T, str, bool]]],
    *,
    what: str,
    timed_out: Callable[[T | None], str],
    hint: str,
    poll_interval: float,
    deadline: float,
    first_after: float = 0.0,
    clock: Clock | None = None,
) -> T:
    """Look until a look says that it is done.

    :param look: gives what it sees, that in words for the log, and whether it is done
    :param what: what is looked at, for the log
    :param timed_out: says what did not happen, given what was seen last, for the error
    :param hint: what to do then
    :param poll_interval: seconds between looks
    :param deadline: epoch seconds to give up at
    :param first_after: seconds before the first look
    :param clock: where time comes from
    :raises CijTimeoutError: the deadline passed
    :raises CijError: a look failed for good
    """
    clock = clock or Clock()
    last: T | None = None
    said = trouble = ""
    pause = first_after
    while True:
        await clock.sleep(min(pause, max(0.0, deadline - clock.now())))
        pause = poll_interval
        try:
            seen, words, done = await look()
        except CijError as error:
            if error.permanent:
                raise
            # A blip while polling must not fail the task.
            log.warning("%s could not be read, going on: %s", what, error)
            trouble = f" The last look failed: {error}"
            pause = max(poll_interval, error.retry_after or 0.0)
        else:
            trouble, last = "", seen
            if words != said:
                log.info("%s %s", what, words)
            said = words
            if done:
                return seen
        if clock.now() >= deadline:
            raise CijTimeoutError(f"{what} {timed_out(last)}.{trouble}", hint=hint)
