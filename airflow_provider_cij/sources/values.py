"""Members given as they are, and what an operator makes of its ``members``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterable, Sequence
from contextlib import aclosing
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.sources.base import ROWS, InThread, Source

if TYPE_CHECKING:
    from airflow_provider_cij.api.intake import Chunk
    from airflow_provider_cij.dataverse.client import DataverseClient


class FromValues:
    """Members given as they are: a list, a set, a generator.

    :param values: ids, or rows of one column as SQL operators give them; lines count from 1
    """

    def __init__(self, values: Iterable[object]) -> None:
        self.values = values

    async def chunks(self, client: DataverseClient) -> AsyncIterator[Chunk]:
        """Give the rows, some at a time."""
        # Another task's output is fetched by blocking calls.
        async with aclosing(InThread(self._parts(), "FromValues")) as parts:
            async for part in parts:
                yield part

    def _parts(self) -> Generator[Chunk, None, None]:
        values, first = iter(self.values), 1
        while part := list(islice(values, ROWS)):
            if isinstance(part[0], (list, tuple)):
                part = [row[0] if isinstance(row, (list, tuple)) and len(row) == 1 else row for row in part]
            yield range(first, first + len(part)), part
            first += len(part)

    def __repr__(self) -> str:
        # Shown as the rendered template: how many, never who.
        return f"{len(self.values)} values" if isinstance(self.values, Sequence) else type(self.values).__name__


def as_source(members: Any) -> Any:
    """Make a source of a list or the like; leave a source, a template and what Airflow has yet to resolve alone."""
    plain = isinstance(members, Iterable) and not isinstance(members, (str, bytes, dict, Source))
    return FromValues(members) if plain and not hasattr(members, "resolve") else members


def checked(members: Any) -> Source:
    """Give the source that members have become.

    :raises CijInputError: they are none
    """
    if isinstance(members, Source):
        return members
    raise CijInputError(
        f"members is a {type(members).__name__}.",
        hint="Give a list of ids, another task's output, FromFile(…), FromSql(…) or FromDataverse(…).",
    )
