"""Reads that are asked for at about the same time become one request.

The service allows a user 6,000 requests in 5 minutes: polled one by one, 200 segments every 10 s are too many.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from airflow_provider_cij.dataverse.guids import normalize_guid
from airflow_provider_cij.errors import CijRefusedError

BATCH_WINDOW = 1.0
"""The most seconds that the first to ask waits for others. Those that asked together sleep and ask together."""
# A URL of 32,768 characters has room for 700.
_ROWS_A_REQUEST = 500

K = TypeVar("K")
V = TypeVar("V")


class RequestBatcher(Generic[K, V]):
    """Gathers keys for a moment, and reads all of them at once.

    :param read_many: reads the values of many keys
    :param most: the most keys of one request
    :param window: seconds to gather for
    """

    def __init__(
        self, read_many: Callable[[list[K]], Awaitable[dict[K, V]]], most: int, window: float = BATCH_WINDOW
    ) -> None:
        self._read_many = read_many
        self._most = most
        self._window = window
        self._gathering: tuple[dict[K, None], asyncio.Task[dict[K, V]]] | None = None

    async def read(self, key: K) -> V | None:
        """Return the value of a key; None when there is none, or when no other key was asked for."""
        if self._gathering is None:
            keys: dict[K, None] = {}
            self._gathering = keys, asyncio.create_task(self._answer(keys))
        keys, answer = self._gathering
        keys[key] = None
        # One caller that is cancelled must not take the answer from the others.
        return (await asyncio.shield(answer)).get(key)

    async def _answer(self, keys: dict[K, None]) -> dict[K, V]:
        await asyncio.sleep(self._window)
        self._gathering = None
        wanted = list(keys)
        if len(wanted) == 1:
            return {}
        parts = [wanted[start : start + self._most] for start in range(0, len(wanted), self._most)]
        try:
            answers = await asyncio.gather(*(self._read_many(part) for part in parts))
        except CijRefusedError:
            return {}  # each reads its own then, and learns what is wrong with it
        return {key: value for answer in answers for key, value in answer.items()}


class BatchedReads:
    """Adds batched reads of rows to verbs that have ``get`` and ``get_many``: ``class _(BatchedReads, Segments)``.

    :param client: open
    :param window: seconds to gather for
    """

    get_many: Any

    def __init__(self, client: Any, window: float = BATCH_WINDOW) -> None:
        super().__init__(client)  # type: ignore[call-arg]
        self._rows: RequestBatcher[str, Any] = RequestBatcher(self.get_many, _ROWS_A_REQUEST, window)

    async def get(self, row_id: str, *also: Any) -> Any:
        """Read a row, with those that others ask for now; with more columns than usual, it is read alone."""
        found = None if also else await self._rows.read(normalize_guid(row_id))
        # Alone, or not found: a definition's id is no segment's.
        return found or await super().get(row_id, *also)  # type: ignore[misc]
