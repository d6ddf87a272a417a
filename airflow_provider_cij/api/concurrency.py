"""Run one coroutine function over many items, a limited number at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from airflow_provider_cij.errors import CijError

T = TypeVar("T")
R = TypeVar("R")

# Seconds that reads have to end when nobody needs their results any more.
_GRACE = 1.0


async def for_each(items: Iterable[T] | AsyncIterator[T], work: Callable[[T], Awaitable[object]], limit: int) -> None:
    """Run ``work`` on every item, at most ``limit`` at a time; the first error cancels the other workers.

    :param items: what to work on. The next item of an iterable is taken when a worker is free, that of an asynchronous
        iterator while all are at work. None can't be an item
    :param work: the coroutine function, called once for each item
    :param limit: the number of workers, 1 or more
    :raises Exception: what ``work`` or ``items`` raised; an error that is no ``CijError``, such as Airflow's timeout,
        takes precedence
    """
    iterator = items if isinstance(items, AsyncIterator) else iter(items)
    lock = asyncio.Lock()
    following: asyncio.Task[T | None] | None = None

    async def take() -> T | None:
        nonlocal following
        if not isinstance(iterator, AsyncIterator):
            return next(iterator, None)
        async with lock:
            item = await (following or anext(iterator, None))
            following = asyncio.create_task(anext(iterator, None)) if item is not None else None
            return item

    async def worker() -> None:
        while (item := await take()) is not None:
            await work(item)

    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(limit):
                workers.create_task(worker())
    except BaseExceptionGroup as group:
        raise min(group.exceptions, key=lambda error: isinstance(error, CijError)) from None
    finally:
        await _discard([following] if following else [], 0.0)


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Run a coroutine while the body of the ``async with`` runs, and discard it when that ends first.

    :param work: the coroutine
    :return: its task, to be awaited in the body: an error of a task that is not awaited is discarded
    """
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        await _discard([task], _GRACE)


async def _discard(tasks: Iterable[asyncio.Task[Any]], grace: float) -> None:
    """End tasks whose results nobody needs.

    A request that is cancelled closes its connection: they have some seconds to end by themselves.
    """
    tasks = list(tasks)
    try:
        if tasks and grace:
            await asyncio.wait(tasks, timeout=grace)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_ahead(
    items: Iterable[T],
    read: Callable[[T], Awaitable[R]],
    limit: int,
    let_end: Callable[[Iterable[asyncio.Task[R]]], None],
    ends: Callable[[R], bool] = lambda _: False,
    *,
    at_once: int,
) -> AsyncGenerator[R, None]:
    """Yield what ``read`` returns for each item, in the order of the items, and read the following ones meanwhile.

    An error is raised in the place of the item that caused it: one after the last item that the caller takes is
    discarded with its request. Close the generator (``contextlib.aclosing``) when no more items are needed.

    :param items: what to read; may be endless
    :param read: the coroutine function, called once for each item
    :param limit: the items that are being read, or are read and not yet taken, at most
    :param let_end: called with the reads whose results are not needed, such as ``DataverseClient.let_end``
    :param ends: whether no item should be started after this result; default never. Those in flight are still yielded
    :param at_once: the items that are being read, at most
    """
    following, pending, being_read, ended = iter(items), deque[asyncio.Task[R]](), 0, False

    async def one(item: T) -> R:
        nonlocal being_read, ended
        result = await read(item)
        being_read -= 1
        ended = ended or ends(result)
        start()
        return result

    def start() -> None:
        nonlocal being_read
        while not ended and being_read < at_once and len(pending) < limit:
            for item in following:
                pending.append(asyncio.create_task(one(item)))
                being_read += 1
                break
            else:
                return

    try:
        start()
        while pending:
            result = await pending[0]
            pending.popleft()
            start()
            yield result
    except asyncio.CancelledError:
        ended = True
        await _discard(pending, 0.0)
        raise
    finally:
        ended = True
        let_end(pending)
