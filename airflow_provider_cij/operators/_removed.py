"""Keep the ids that a mirror removes, so that it can be undone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.errors import CijError
from airflow_provider_cij.files import Writer, outside, writing
from airflow_provider_cij.sources import FromFile

if TYPE_CHECKING:
    from airflow_provider_cij.api.members.id_set import IdSet
    from airflow_provider_cij.api.members.sync_plan import Plan

_KEY = "cij_removed_path"
_AT_ONCE = 5000


class Removed:
    """The file of ``removed_path``, which is written before a removal is sent.

    A retry of the task adds to what the tries before it have written. It knows that by Airflow's task state store
    (3.3 and newer); before, a retry's file holds what that try removes.

    :param path: the file
    :param column: its only column
    :param context: of the task's run
    :param log: the task's
    """

    def __init__(self, path: str, column: str, context: Any, log: Any) -> None:
        self._path = path
        self._column = column
        self._store = context.get("task_state_store")
        self._log = log
        self._ids: IdSet | None = None

    async def keep(self, plan: Plan) -> None:
        """Write the ids that a plan removes, and those kept before.

        :param plan: it has not been carried out yet
        :raises CijError: the file can't be written
        """
        from airflow_provider_cij.api.members.id_set import IdSet
        from airflow_provider_cij.dataverse.guids import pack_guids

        if self._ids is None:
            self._ids = IdSet()
            await self._read_earlier(self._ids)
        for part in plan.parts:
            for batch in part.removed.batches(_AT_ONCE):
                self._ids.update(pack_guids(batch)[0])
        async with outside(writing(self._path, (self._column,))) as file:
            await asyncio.to_thread(_write, file, self._ids.batches(_AT_ONCE))
        if self._store:
            # Never deleted: a try that dies after its last removal must not replace the file by an empty one.
            await asyncio.to_thread(self._store.set, _KEY, self._path)
        self._log.info("%s ids to remove are in %s", f"{len(self._ids):,}", self._path)

    async def _read_earlier(self, ids: IdSet) -> None:
        from airflow_provider_cij.dataverse.guids import pack_guids

        if not self._store or await asyncio.to_thread(self._store.get, _KEY) != self._path:
            return
        try:
            async for _, values in FromFile(self._path, self._column).chunks(None):  # type: ignore[arg-type]
                ids.update(pack_guids(values)[0])
        except CijError as error:
            self._log.warning("The ids that an earlier try of this task removed can't be read any more: %s", error)


def _write(file: Writer, batches: Iterator[list[str]]) -> None:
    for batch in batches:
        file.write(batch)
