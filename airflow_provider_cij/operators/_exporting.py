"""Write a list of members to a file, only when it is as long as the service says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_cij.api.bounds import Bound
from airflow_provider_cij.errors import CijIncompleteError, CijMovedError
from airflow_provider_cij.files import outside, writing


@dataclass(frozen=True)
class EvaluationState:
    """What a segment's row says while its members are listed.

    :param member_count: the number of members as of the last evaluation; None when the service does not say
    :param evaluation: values that differ from one evaluation to the next
    """

    member_count: int | None
    evaluation: tuple[Any, ...] = ()


async def export(
    log: Any,
    path: str,
    column: str,
    pages: Callable[[], AsyncIterator[list[str]]],
    read: Callable[[], Awaitable[EvaluationState]] | None = None,
    max_missing: Bound | None = None,
    waits: Sequence[float] = (3.0, 7.0, 15.0),
    state: EvaluationState | None = None,
) -> int:
    """Write members to a file; the older file stays until the list is whole.

    A list that is shorter than the count of the same evaluation is read again: right after an evaluation, the service's
    list may lag behind its count.

    :param log: the task's logger
    :param path: the file
    :param column: its only column
    :param pages: lists the members from the start, page by page
    :param read: reads the segment's row; default None, there is no count to compare with, which is so for a group
    :param max_missing: how many members the list may lack; a share is one of the count. Default None, any number
    :param waits: seconds to wait before each further listing; default 3, 7 and 15
    :param state: what ``read`` would return now, when the caller has read the row already; default None, read it
    :return: the number of members written
    :raises CijIncompleteError: the list stays too short, or changes each time it is read
    """
    for number, wait in enumerate((*waits, None)):
        try:
            async with outside(writing(path, (column,))) as file:
                before, state = state or (await read() if read else None), None
                count = 0
                async for page in pages():
                    file.write(page)
                    count += len(page)
                    log.info("%s members listed", f"{count:,}")
                if read and before and max_missing:
                    _check(count, before, await read(), max_missing)
            return count
        except CijMovedError as error:
            if wait is None:
                hint = f"{error.hint} {path!r} was not touched.".strip()
                message = f"{error.message} It was read {number + 1} times."
                raise CijIncompleteError(message, hint=hint) from None
            log.warning("%s Reading the list again in %.0f s", error.message, wait)
            await asyncio.sleep(wait)
    raise AssertionError  # the last wait is None


def _check(count: int, before: EvaluationState, after: EvaluationState, max_missing: Bound) -> None:
    if before != after:
        raise CijMovedError("The segment was evaluated while its members were listed.", hint="List them again.")
    expected = after.member_count
    if max_missing.unlimited:
        return
    if expected is None:
        if not count:
            raise CijMovedError(
                "The service lists no members, and gives no member count.",
                hint="Was the segment ever evaluated? max_missing=None writes an empty file.",
            )
        return
    missing = expected - count
    if missing > 0 and not max_missing.allows(missing, expected):
        raise CijMovedError(
            f"The segment has {expected:,} members, and the service lists {count:,} of them: {missing:,} are missing, "
            f"more than {max_missing}.",
            hint="Members that were deleted since the last evaluation are not listed: refresh it, or allow more.",
        )
