"""Convert lists to the streams that sources are, and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, TypeVar

from airflow_provider_cij.api.members.id_list import Chunk, MemberIdList, read_member_ids
from airflow_provider_cij.sources import Source

T = TypeVar("T")


async def stream(items: Iterable[T]) -> AsyncIterator[T]:
    """Return a list as a stream."""
    for item in items:
        yield item


def read_source(source: Source, client: Any = None) -> list[tuple[int, object]]:
    """Return the lines and values of a source, read to its end."""

    async def main() -> list[tuple[int, object]]:
        chunks = source.chunks(client)
        return [pair async for lines, values in chunks for pair in zip(lines, values, strict=True)]

    return asyncio.run(main())


def read_rows(
    source: Source, columns: Sequence[str] | None = None, client: Any = None
) -> list[tuple[int, dict[str, object]]]:
    """Return the lines and whole rows of a source, read to its end."""

    async def main() -> list[tuple[int, dict[str, object]]]:
        pages = source.rows(client, columns)
        return [pair async for lines, rows in pages for pair in zip(lines, rows, strict=True)]

    return asyncio.run(main())


def read_ids(chunks: Iterable[Chunk], max_invalid: int | None = None) -> MemberIdList:
    """Return the ids of a list."""
    return asyncio.run(read_member_ids(stream(chunks), max_invalid))
