"""What all triggers of one process share: one client, one token and one poll a connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakKeyDictionary

from airflow_provider_cij.api.batching import BATCH_WINDOW
from airflow_provider_cij.api.cij import Cij
from airflow_provider_cij.api.shared import SharedCij
from airflow_provider_cij.dataverse.settings import Settings
from airflow_provider_cij.hooks.cij import CijHook, settings_of
from airflow_provider_cij.version_compat import aget_connection


class _Open:
    """A session that is open as long as it has users."""

    def __init__(self) -> None:
        self.users = 0
        self.lock = asyncio.Lock()
        self.stack = AsyncExitStack()
        self.given: Cij | None = None


# A client belongs to the event loop it was opened on.
_open: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Settings, _Open]] = WeakKeyDictionary()
# When a connection was read last, and what came of it. No task of an event loop stays here, for it would keep the loop.
_Reads = dict[str, tuple[float, "Settings | asyncio.Task[Settings]"]]
_read: WeakKeyDictionary[asyncio.AbstractEventLoop, _Reads] = WeakKeyDictionary()
# Seconds for which triggers that start together share what was read: a burst of thousands would block the event loop.
_READ_TOGETHER = 1.0


async def _settings(cij_conn_id: str) -> Settings:
    """Return a connection's settings, read within the last second."""
    loop = asyncio.get_running_loop()
    reads, now = _read.setdefault(loop, {}), loop.time()
    if cij_conn_id not in reads or now - reads[cij_conn_id][0] > _READ_TOGETHER:
        reads[cij_conn_id] = now, asyncio.create_task(_settings_read_now(cij_conn_id, reads, now))
    found = reads[cij_conn_id][1]
    # One that waits may be cancelled: the others still need the task.
    return found if isinstance(found, Settings) else await asyncio.shield(found)


async def _settings_read_now(cij_conn_id: str, reads: _Reads, now: float) -> Settings:
    try:
        settings = settings_of(await aget_connection(cij_conn_id))
    except BaseException:
        reads.pop(cij_conn_id, None)
        raise
    reads[cij_conn_id] = now, settings
    return settings


@asynccontextmanager
async def shared_session(cij_conn_id: str, poll_interval: float) -> AsyncIterator[Cij]:
    """Return the session of a connection, which the first user opens and the last one closes.

    :param cij_conn_id: the Airflow connection
    :param poll_interval: seconds between the checks of the caller; the batch window of a new session is a tenth of it
    """
    hook = CijHook(cij_conn_id)
    settings = await _settings(cij_conn_id)
    here = _open.setdefault(asyncio.get_running_loop(), {})
    session = here.setdefault(settings, _Open())
    session.users += 1
    try:
        async with session.lock:
            if session.given is None:
                cij = await session.stack.enter_async_context(hook.session())
                shortest = min(poll_interval, settings.max_poll_seconds)
                session.given = SharedCij(cij.dataverse, min(BATCH_WINDOW, shortest / 10))
        yield session.given
    finally:
        session.users -= 1
        if not session.users:
            del here[settings]
            await session.stack.aclose()
