"""Looking again and again: the loop that all waits share."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from airflow_provider_cij.dataverse.clock import Clock
from airflow_provider_cij.errors import CijError, CijTimeoutError

log = logging.getLogger(__name__)

T = TypeVar("T")


async def poll(
    once: Callable[[], Awaitable[T | None]],
    *,
    what: str,
    too_late: Callable[[], str],
    hint: str,
    poll_interval: float,
    deadline: float,
    first_after: float = 0.0,
    clock: Clock | None = None,
) -> T:
    """Look until there is something to give.

    :param once: looks; gives None for "not yet"
    :param what: is looked at
    :param too_late: says what it did not become, when the time is over
    :param hint: what to do then
    :param poll_interval: seconds between looks
    :param deadline: epoch seconds to give up at
    :param first_after: seconds before the first look
    :param clock: where time comes from
    :raises CijTimeoutError: the deadline passed
    """
    clock = clock or Clock()
    pause = first_after
    told, trouble = 0.0, ""
    while True:
        left = max(0.0, deadline - clock.now())
        await clock.sleep(min(max(pause, told), left))
        if told <= left:  # never earlier than the service said
            pause, told, trouble = poll_interval, 0.0, ""
            try:
                if (found := await once()) is not None:
                    return found
            except CijError as error:
                if error.permanent:
                    raise
                # A blip while polling must not fail the task.
                log.warning("%s could not be read, going on: %s", what, error)
                trouble = f" The last look failed: {error}"
                told = error.retry_after or 0.0
        if clock.now() >= deadline:
            raise CijTimeoutError(f"{what} {too_late()}{trouble}", hint=hint)
