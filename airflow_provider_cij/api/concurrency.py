"""Run one coroutine function over many items, a limited number at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

from airflow_provider_cij.errors import CijError

T = TypeVar("T")


async def for_each(items: Iterable[T] | AsyncIterator[T], work: Callable[[T], Awaitable[object]], limit: int) -> None:
    """Run ``work`` on every item, at most ``limit`` at a time; an item is taken only when a worker is free for it.

    The first error cancels the other workers.

    :param items: what to work on; an iterable, or an asynchronous iterator. None can't be an item
    :param work: the coroutine function, called once for each item
    :param limit: the number of workers, 1 or more
    :raises Exception: what ``work`` or ``items`` raised; an error that is no ``CijError``, such as Airflow's timeout,
        takes precedence
    """
    iterator = items if isinstance(items, AsyncIterator) else iter(items)
    lock = asyncio.Lock()

    async def take() -> T | None:
        if isinstance(iterator, AsyncIterator):
            async with lock:  # an asynchronous generator can't be advanced by two workers at once
                return await anext(iterator, None)
        return next(iterator, None)

    async def worker() -> None:
        while (item := await take()) is not None:
            await work(item)

    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(limit):
                workers.create_task(worker())
    except BaseExceptionGroup as group:
        raise min(group.exceptions, key=lambda error: isinstance(error, CijError)) from None
