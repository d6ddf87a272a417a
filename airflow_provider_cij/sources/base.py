"""What sources share: their protocol, the thread they read in, the columns they read, and values as text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from inspect import signature
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

from airflow_provider_cij._nested import NestedTemplate
from airflow_provider_cij.dataverse.guids import parse_guid
from airflow_provider_cij.dataverse.values import is_nothing, text_of_value, trimmed
from airflow_provider_cij.errors import CijInputError

if TYPE_CHECKING:
    from airflow_provider_cij.api.members.id_list import Chunk
    from airflow_provider_cij.dataverse.client import DataverseClient

T = TypeVar("T")

ROWS = 1000
"""The number of rows in a chunk."""


Rows = tuple[Sequence[int], list[dict[str, object]]]
"""Some whole rows of a source: their line numbers, and a dict a row."""


@runtime_checkable
class Source(Protocol):
    """Anything that streams members and rows."""

    def chunks(self, client: DataverseClient) -> AsyncIterator[Chunk]:
        """Yield the rows in chunks: their line numbers, and the values of one column, as text.

        :param client: the task's open client
        """

    def rows(self, client: DataverseClient, columns: Sequence[str] | None = None) -> AsyncIterator[Rows]:
        """Yield whole rows in chunks: their line numbers, and a dict a row, with the values as they are read.

        :param client: the task's open client
        :param columns: the names of the columns to read. Default None, all columns
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


class Shape(Protocol[T]):
    """What rows are turned into: the text of one column, or whole rows."""

    def select(self, names: Sequence[str]) -> list[int]:
        """Return the positions of the columns to read.

        :param names: the names of all columns
        :raises CijInputError: a column to read is not among them
        """

    def shaped(self, lines: Sequence[int], names: Sequence[str], columns: Sequence[Sequence[object]]) -> list[T]:
        """Return some rows.

        :param lines: the rows' line numbers
        :param names: the names of the selected columns
        :param columns: the values of each
        """


class OneColumn(Shape[str | None]):
    """Rows as the text of the column that holds the ids, or what is matched.

    :param column: the column's name or number; None as ``position_of`` says
    :param where: what has the columns, for errors
    """

    def __init__(self, column: str | int | None, where: str) -> None:
        self._column = column
        self._where = where

    def select(self, names: Sequence[str]) -> list[int]:
        """Return the position of the column."""
        return [position_of(names, self._column, self._where)]

    def shaped(
        self, lines: Sequence[int], names: Sequence[str], columns: Sequence[Sequence[object]]
    ) -> list[str | None]:
        """Return the values of the column as text."""
        return texts(lines, columns[0], f"column {names[0]!r}", self._where)


class WholeRows(Shape[dict[str, object]]):
    """Rows as dicts, with the values as they are read.

    :param columns: the names of the columns to read. None reads all columns that have a name
    :param where: what has the columns, for errors
    """

    def __init__(self, columns: Sequence[str] | None, where: str) -> None:
        self.columns = columns
        self._where = where

    def select(self, names: Sequence[str]) -> list[int]:
        """Return the positions of the columns."""
        wanted = self.columns if self.columns is not None else [name for name in names if name]
        return [position_of(names, name, self._where) for name in wanted]

    def shaped(
        self, lines: Sequence[int], names: Sequence[str], columns: Sequence[Sequence[object]]
    ) -> list[dict[str, object]]:
        """Return a dict for each row."""
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


class PlainSource(NestedTemplate):
    """A source that can be written as plain JSON, so that a task can return it for another task's ``members``."""

    plain_key: ClassVar[str]
    """What the first argument is called there: it tells the sources apart."""

    def as_dict(self) -> dict[str, Any]:
        """Return the source as plain JSON.

        :return: the arguments by their names, without those that have their defaults
        """
        first, *others = signature(type(self)).parameters.values()
        given = {
            argument.name: value for argument in others if (value := getattr(self, argument.name)) != argument.default
        }
        return {self.plain_key: getattr(self, first.name), **given}


class Streaming(NestedTemplate):
    """A source that a generator reads, in a thread of its own."""

    column: str | int | None = None

    async def chunks(self, client: DataverseClient) -> AsyncIterator[Chunk]:
        """Yield the rows in chunks: their line numbers, and the values of the column as text.

        :param client: the task's open client; not used
        :raises CijInputError: what is read is not as the arguments say; the error names it, and the line
        :raises CijError: it can't be read to its end
        """
        self._check()
        async with aclosing(InThread(self._pages(OneColumn(self.column, self._where())), type(self).__name__)) as pages:
            async for chunk in pages:
                yield chunk

    async def rows(self, client: DataverseClient, columns: Sequence[str] | None = None) -> AsyncIterator[Rows]:
        """Yield whole rows in chunks: their line numbers, and a dict a row, with the values as they are read.

        :param client: the task's open client; not used
        :param columns: the names of the columns to read. Default None, all columns
        :raises CijInputError: what is read is not as the arguments say; the error names it, and the line
        :raises CijError: it can't be read to its end
        """
        self._check()
        async with aclosing(InThread(self._pages(WholeRows(columns, self._where())), type(self).__name__)) as pages:
            async for rows in pages:
                yield rows

    def _where(self) -> str:
        """Return what is read, for errors."""
        return repr(self)

    def _check(self) -> None:
        """Check the arguments, after rendering."""

    def _pages(self, shape: Shape[T]) -> Generator[tuple[Sequence[int], list[T]], None, None]:
        """Yield the rows in the shape that is asked for."""
        raise NotImplementedError


def shaped_objects(
    shape: Shape[T], pages: Iterable[tuple[Sequence[int], Sequence[Mapping[str, object]]]]
) -> Iterator[tuple[Sequence[int], list[T]]]:
    """Yield objects in the shape that is asked for. An object may leave out a column that is empty.

    :param shape: the shape
    :param pages: line numbers and objects
    :raises CijInputError: no object of the first page has a column that is asked for
    """
    names: list[str] | None = None
    for lines, rows in pages:
        if isinstance(shape, WholeRows) and shape.columns is None:
            yield lines, [dict(row) for row in rows]  # type: ignore[misc]
            continue
        if names is None:
            known = list(dict.fromkeys(chain.from_iterable(rows)))
            names = [known[place] for place in shape.select(known)]
        yield lines, shape.shaped(lines, names, [[row.get(name) for row in rows] for name in names])


def position_of(names: Sequence[str], wanted: str | int | None, where: str) -> int:
    """Return the position of a column.

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
        places = [place for place, name in enumerate(names) if trimmed(name) == trimmed(wanted)]
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
        what = f"there are {len(places):,} columns {wanted!r}" if places else f"there is no column {wanted!r}"
    raise CijInputError(f"{where}: {what}. Its columns: {', '.join(map(repr, names)) or 'none'}.")


def texts(lines: Sequence[int], values: Sequence[object], what: str, where: str) -> list[str | None]:
    """Return the values of some rows as text, as ``text_of_value`` does. What its type says is no value is None.

    :param lines: the rows' line numbers
    :param values: the values
    :param what: what holds them, such as a column, for errors
    :param where: what has the rows, for errors
    :raises CijInputError: a row holds several values, or bytes that are no text
    """
    try:
        return [
            value if type(value) is str else None if is_nothing(value) else text_of_value(value) for value in values
        ]
    except CijInputError:
        pass
    for line, value in zip(lines, values, strict=True):
        try:
            text_of_value(value)
        except CijInputError as error:
            message = f"{where}, line {line}: {what} holds {error.message} Nothing was sent."
            raise CijInputError(message, hint=error.hint) from None
    raise AssertionError("unreachable: one of the values can't be text")
