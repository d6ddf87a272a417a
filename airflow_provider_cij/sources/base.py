"""What sources share: their protocol, the thread they read in, the column they read, and values as text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, runtime_checkable
from uuid import UUID

from airflow_provider_cij.dataverse.guids import parse_guid
from airflow_provider_cij.errors import CijInputError

if TYPE_CHECKING:
    from airflow_provider_cij.api.members.id_list import Chunk
    from airflow_provider_cij.dataverse.client import DataverseClient

T = TypeVar("T")

ROWS = 1000
"""The number of rows in a chunk."""


@runtime_checkable
class Source(Protocol):
    """Anything that streams members."""

    def chunks(self, client: DataverseClient) -> AsyncIterator[Chunk]:
        """Yield the rows in chunks: their line numbers, and the values of the column.

        :param client: the task's open client
        """


class InThread(Generic[T]):
    """Run a generator in one thread of its own, outside the running event loop.

    What a source reads from (a file system, an object store, a driver) blocks, may run an event loop itself, and may
    be bound to the thread that opened it. This is no asynchronous generator, because a loop that ends closes all of
    those at once, in no order.

    :param items: the generator; it is closed in that thread
    :param name: the thread's name
    """

    def __init__(self, items: Generator[T, None, None], name: str) -> None:
        self._items = items
        self._thread = ThreadPoolExecutor(1, name)

    def __aiter__(self) -> InThread[T]:
        return self

    async def __anext__(self) -> T:
        item = await asyncio.get_running_loop().run_in_executor(self._thread, next, self._items, None)
        if item is None:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        """Close the generator, then the thread."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._items.close)
        finally:
            self._thread.shutdown(wait=False)


def position_of(names: Sequence[str], wanted: str | int | None, where: str) -> int:
    """Return the position of the column that holds the ids.

    :param names: the names of all columns
    :param wanted: the column's name, or its number from 0. None finds the only column, or the one named ``contactid``,
        ``leadid`` or ``id``
    :param where: what has these columns, for the error
    :raises CijInputError: there is no such column, or more than one
    """
    if isinstance(wanted, int):
        if 0 <= wanted < len(names):
            return wanted
        places: list[int] = []
    elif wanted is not None:
        places = [place for place, name in enumerate(names) if name == wanted]
    elif len(names) == 1:
        return 0
    else:
        places = [place for place, name in enumerate(names) if name.lower() in ("contactid", "leadid", "id")]
    if len(places) == 1:
        return places[0]
    if any("@" in name or parse_guid(name) for name in names):  # may be a person's address: not to be shown
        raise CijInputError(
            f"{where}: its first row is no header, but holds values already.",
            hint="Give the column's number, from 0, as column.",
        )
    if wanted is None:
        what = "which column holds the ids is not clear"
    else:
        what = f"there are {len(places)} columns {wanted!r}" if places else f"there is no column {wanted!r}"
    raise CijInputError(f"{where}: {what}. Its columns: {', '.join(map(repr, names)) or 'none'}.")


def texts(values: Iterable[object]) -> list[str]:
    """Return values as text, as a CSV file holds them: ids of any type as ids, None as an empty text.

    :param values: the values of a column
    """
    return [value if type(value) is str else _text(value) for value in values]


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, (bytes, bytearray, memoryview)):
        value = bytes(value)
        # A GUID in binary, in the order it is written in.
        return str(UUID(bytes=value)) if len(value) == 16 else value.decode(errors="replace")
    return str(value)
