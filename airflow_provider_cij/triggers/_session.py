"""What all triggers of one process share: one client, one token and one poll a connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakKeyDictionary

from airflow_provider_cij.api.segments.shared_poll import SharedPoll
from airflow_provider_cij.dataverse.settings import Settings
from airflow_provider_cij.hooks.cij import Cij, CijHook, settings_of


class _Open:
    """A session that is open as long as somebody uses it."""

    def __init__(self) -> None:
        self.users = 0
        self.lock = asyncio.Lock()
        self.stack = AsyncExitStack()
        self.given: tuple[Cij, SharedPoll] | None = None


# A client belongs to the event loop it was opened on.
_open: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Settings, _Open]] = WeakKeyDictionary()


@asynccontextmanager
async def shared_session(cij_conn_id: str) -> AsyncIterator[tuple[Cij, SharedPoll]]:
    """Lend the session of a connection, which the first to come opens and the last to leave closes.

    :param cij_conn_id: the Airflow connection
    """
    hook = CijHook(cij_conn_id)
    settings = settings_of(await hook.aget_connection(cij_conn_id))
    here = _open.setdefault(asyncio.get_running_loop(), {})
    session = here.setdefault(settings, _Open())
    session.users += 1
    try:
        async with session.lock:
            if session.given is None:
                cij = await session.stack.enter_async_context(hook.session())
                session.given = cij, SharedPoll(cij.segments, cij.journeys)
        yield session.given
    finally:
        session.users -= 1
        if not session.users:
            del here[settings]
            await session.stack.aclose()
