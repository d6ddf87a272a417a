"""Pages of members, which the service sends as JSON in a string: read them, and check that they fit together. Pure.

The documents print an answer that is no JSON (an unescaped quote) and that has two ids in one string. The service
itself sends sound JSON. Both are read, but a list that was cut short never passes for a whole one.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from itertools import count, islice
from math import ceil
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.api.concurrency import read_ahead
from airflow_provider_cij.api.members.id_set import BUCKET_COUNT, ID_BYTES, Buckets, IdSet
from airflow_provider_cij.dataverse.guids import read_guids
from airflow_provider_cij.errors import CijIncompleteError, CijMovedError, CijReplyError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

# More than any organisation has contacts, and pages of them: a list without an end exceeds these.
MAX_IDS = 100_000_000
_MAX_PAGES = 50_000
_IN_MEMORY = 250_000


@dataclass(frozen=True)
class Page:
    """One page of ids.

    :param ids: the ids, lower case, dashed
    :param keys: the same ids, 16 bytes each, joined
    :param has_next: True when the service says that there are more pages; default False
    :param number: the page's number as the service counts; None when it gives none
    :param size: ids a page; None when the service gives no size
    :param total: ids on all pages; None when the service gives no total
    """

    ids: list[str]
    keys: bytes
    has_next: bool = False
    number: int | None = None
    size: int | None = None
    total: int | None = None


def page_of(answer: Mapping[str, Any], output: str, list_name: str) -> Page:
    """Read a page out of an action's answer.

    :param answer: the action's outputs
    :param output: the name of the output that holds the text, such as ``ResultText``
    :param list_name: the name of the list within the text, such as ``members``
    :raises CijReplyError: the answer holds no such list
    """
    fields = {name.lower(): value for name, value in answer.items()}
    text = fields.get(output.lower())
    if not isinstance(text, str):
        raise CijReplyError(f"The answer has no text in {output}.")
    return page_of_text(text, list_name)


def page_of_text(text: str, list_name: str) -> Page:
    """Read a page out of a text, sound JSON or not.

    :param text: the text
    :param list_name: the name of the list within the text, such as ``members``
    :raises CijReplyError: the text holds no such list, or the list has an entry that is no id
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _rescued(text, list_name)
    if value is None or value == "":
        return Page([], b"")
    fields = {name.lower(): item for name, item in value.items()} if isinstance(value, dict) else {}
    entries = fields.get(list_name.lower())
    if not isinstance(entries, list):
        raise CijReplyError(f"The answer holds no list of {list_name}.")
    return Page(
        *_ids(entries),
        has_next=fields.get("hasnextpage") is True,
        number=_number(fields.get("pagenumber")),
        size=_number(fields.get("pagesize")),
        total=_number(fields.get("totalcount")),
    )


def _ids(entries: list[Any]) -> tuple[list[str], bytes]:
    """Return the ids of a list's entries, and their keys. The documents put several ids into one string."""
    ids, keys, bad = read_guids(entries)
    if bad:
        ids, keys, bad = read_guids([word for entry in entries for word in re.split(r"[,\s]+", str(entry)) if word])
    if bad:
        raise CijReplyError("The list of members has an entry that is no id.")
    return ids, keys


def _rescued(text: str, list_name: str) -> Page:
    # Without the closing bracket it may be half of a list.
    found = re.search(rf'{list_name}\W*?"\s*:\s*\[([^\]]*)\]', text, re.IGNORECASE)
    if not found or not text.rstrip().endswith("}"):
        raise CijReplyError(f"The answer holds no whole list of {list_name}.")

    def stated(name: str) -> str | None:
        pair = re.search(rf'"{name}\W*?"\s*:\s*(\w+)', text, re.IGNORECASE)
        return pair[1] if pair else None

    return Page(
        *_ids([re.sub(r'[\\"]', " ", found[1])]),
        has_next=stated("hasNextPage") == "true",
        number=_number(stated("pageNumber")),
        size=_number(stated("pageSize")),
        total=_number(stated("totalCount")),
    )


def _number(value: Any) -> int | None:
    try:
        return None if value is None else int(value)
    except (OverflowError, TypeError, ValueError):
        return None


def paging_inputs(parameters: list[Any]) -> dict[str, str]:
    """Return the names of an action's inputs for paging, which no document gives.

    :param parameters: the action's rows of customapirequestparameter
    :return: the input's name for ``number`` and, where the action has one, for ``size``
    :raises CijIncompleteError: the action has no input for a page's number
    """
    names = [str(row.get("uniquename") or "") for row in parameters if isinstance(row, dict)]
    number = [name for name in names if re.search(r"page_?(no|num|number|index)$", name, re.IGNORECASE)]
    size = [name for name in names if re.search(r"(page_?size|page_?count|max_?page_?size)$", name, re.IGNORECASE)]
    if len(number) != 1 or len(size) > 1:
        raise CijIncompleteError(
            "The list of members goes on, but the action has no known input for its pages.",
            hint="Export the static groups one by one instead.",
        )
    return {"number": number[0], **({"size": size[0]} if size else {})}


async def following_pages(
    first: Page,
    number: int,
    read: Callable[[int], Awaitable[Page]],
    client: DataverseClient,
    *,
    size: int = 0,
    wanted: int = 0,
) -> AsyncGenerator[Page, None]:
    """Yield the pages after the first one in their order, without an end: the caller stops at the end of its list.

    Pages that surely exist are read side by side. Where their number is not known, pages are read ahead until one has
    fewer ids than the first or is said to be the last, and what was asked for beyond the caller's end is discarded.

    :param first: the first page
    :param number: its number
    :param read: reads the page of a number
    :param client: what ``read`` sends requests with
    :param size: ids a page that were asked for; after a first page with fewer, the second is read alone. Default 0
    :param wanted: ids that the caller wants at most; default 0, all
    """
    full, total, limit = len(first.ids), wanted or first.total, client.settings.max_concurrency
    numbers = count(number + 1)
    if total and full:
        # The client sends no more than it may at once: the next request is sent before this response is parsed.
        exist = islice(numbers, ceil(total / full) - 1)
        ahead = read_ahead(exist, read, 2 * limit, client.let_end, at_once=2 * limit)
    else:
        if full < size:
            yield await read(next(numbers))

        def is_last(page: Page) -> bool:
            # Some actions never say that there are more.
            return len(page.ids) < full or (first.has_next and not page.has_next)

        ahead = read_ahead(numbers, read, 2 * limit, client.let_end, is_last, at_once=limit)
    async with aclosing(ahead):
        async for page in ahead:
            yield page
    while True:
        yield await read(next(numbers))


class PageConsistencyCheck:
    """Checks that the pages of a list fit together: pages that shift while they are read lose members silently.

    :param most: the most ids that the list can have; more are refused, because a list may have no end. Default
        100 million
    :param of: what the members belong to, for errors; default ``the segment``
    """

    def __init__(self, most: int = MAX_IDS, of: str = "the segment") -> None:
        self._most = most
        self._of = of
        self.pages = 0
        self._read = 0
        self._keys = Buckets(_IN_MEMORY)
        self._last: list[str] = []

    def add(self, page: Page) -> None:
        """Check the next page.

        :param page: the page
        :raises CijIncompleteError: the page repeats the one before, or the list has no end
        """
        if self.pages and page.ids == self._last:
            raise CijIncompleteError("The service gave the same page of members twice: it does not turn pages.")
        self.pages += 1
        self._read += len(page.ids)
        self._keys.add(page.keys)
        self._last = page.ids
        # A page that repeats or overlaps an earlier one begins with an id that was read already.
        if page.keys and self._keys.repeats(page.keys[:ID_BYTES]):
            self.check_distinct()
        if self._read > self._most or self.pages > _MAX_PAGES:
            raise CijMovedError(
                f"The service lists more members of {self._of} than there can be: {self._read:,} on {self.pages:,} "
                f"pages, of {self._most:,} at the most.",
                hint="List them again. If this stays so, the service's list has no end.",
            )

    def check(self, total: int | None = None) -> None:
        """Check the list at its end.

        :param total: how many ids the service says there are; default None, it does not say
        :raises CijIncompleteError: an id came twice, or fewer came than the service says
        """
        self.check_count(total)
        self.check_distinct()

    def check_count(self, total: int | None) -> None:
        """Check at the list's end how many ids came.

        :param total: how many the service says there are; None, it does not say
        :raises CijIncompleteError: fewer came
        """
        if total is not None and self._read < total:
            raise CijMovedError(f"The service counts {total:,} members and listed {self._read:,}.")

    def check_distinct(self, distinct: int | None = None) -> None:
        """Check that no id of several pages came twice.

        :param distinct: how many distinct ids there are, where that was counted; default None, count them
        :raises CijIncompleteError: an id came twice
        """
        if distinct is None:
            distinct = sum(len(set(self._keys.keys(number))) for number in range(BUCKET_COUNT))
        if self.pages > 1 and (twice := self._read - distinct):
            raise CijMovedError(
                f"{twice:,} members came twice: the list changed while it was read, so others may be missing.",
                hint="List them again.",
            )

    def ids(self) -> IdSet:
        """Return the ids that were listed, at the list's end."""
        return IdSet.taking(self._keys, self._read)
