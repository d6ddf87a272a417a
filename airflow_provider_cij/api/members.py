"""Members of real-time segments: take in a list, add it to a static group, list who is in.

Source: "Create a Customer Insights - Journeys segment using the Web API", sections "Add Static Segment Members",
"View Static Segment Members" and "View members".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from airflow_provider_cij.api.idset import IdSet
from airflow_provider_cij.api.listing import Page, page_of, page_of_text, paging_inputs
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.dataverse.odata import keys_of, literal, query
from airflow_provider_cij.errors import CijError, CijIncompleteError, CijInputError, CijReplyError

log = logging.getLogger(__name__)

IDS_A_CALL = 1000
IDS_A_GROUP = 200_000
_PAGE_SIZE = 5000
_REJECTS_SHOWN = 100

Chunk = tuple[Sequence[int], Sequence[object]]
"""Some rows: their line numbers, and what stands where an id should."""

OnBatch = Callable[[int, int, int], None]
"""Called after each batch with batches done, batches in all, members sent."""


@dataclass
class Intake:
    """A list of members taken in: checked, distinct, ready to send."""

    ids: IdSet = field(default_factory=IdSet)
    read: int = 0
    invalid: int = 0
    bad_lines: list[int] = field(default_factory=list)
    """The first lines without an id."""

    @property
    def duplicate(self) -> int:
        """Rows whose id had been there before."""
        return self.read - self.invalid - len(self.ids)


def take_in(chunks: Iterable[Chunk], max_invalid: int | None = None) -> Intake:
    """Read a whole list and check it, before anything is sent.

    :param chunks: the rows
    :param max_invalid: how many rows may hold no id; None for any number
    :raises CijInputError: too many rows hold no id, or none does, or there are too many ids for one group
    """
    intake = Intake()
    for lines, values in chunks:
        keys, bad = keys_of(values)
        intake.ids.update(keys)
        intake.read += len(values)
        intake.invalid += len(bad)
        for position in bad[: _REJECTS_SHOWN - len(intake.bad_lines)]:
            intake.bad_lines.append(lines[position])
            # The value itself may be somebody's address: it stays out of the log.
            log.warning("Line %d holds no id: %s", lines[position], _looks(values[position]))
        if max_invalid is not None and intake.invalid > max_invalid:
            raise CijInputError(
                f"{intake.invalid} of the first {intake.read} rows hold no id, more than max_invalid={max_invalid}.",
                hint=f"The first are on lines {', '.join(map(str, intake.bad_lines[:20]))}. Nothing was sent.",
            )
    if intake.invalid > len(intake.bad_lines):
        log.warning("%d more lines hold no id", intake.invalid - len(intake.bad_lines))
    if intake.invalid and intake.invalid == intake.read:
        raise CijInputError(
            f"None of the {intake.read} rows holds an id.", hint="Is it the right column? Nothing was sent."
        )
    if len(intake.ids) > IDS_A_GROUP:
        raise CijInputError(
            f"There are {len(intake.ids)} different ids; a group holds {IDS_A_GROUP}.",
            hint="Spread them over several groups (a segment has up to 10). Nothing was sent.",
        )
    return intake


def _looks(value: object) -> str:
    text = "" if value is None else str(value).strip()
    if not text:
        return "it is empty"
    return "it looks like an e-mail address" if "@" in text else f"{len(text)} characters that are no GUID"


class Members:
    """The verbs on members, over one open client."""

    def __init__(self, client: DataverseClient) -> None:
        self._client = client

    async def add(self, segment_id: str, group_id: str, ids: IdSet, on_batch: OnBatch | None = None) -> int:
        """Add ids to a static group, 1000 a call, as many calls at once as the connection allows.

        Groups are sets: adding twice is as good as once.

        :param segment_id: the segment
        :param group_id: the group's id
        :param ids: whom to add
        :param on_batch: is told of every call that succeeded
        :return: the number of calls
        :raises CijError: a call failed for good; the error says how many had succeeded
        """
        total = -(-len(ids) // IDS_A_CALL)
        done = sent = 0
        batches = ids.batches(IDS_A_CALL)

        async def work() -> None:
            nonlocal done, sent
            for batch in batches:  # shared: each takes the next one
                body = {"SegmentId": segment_id, "GroupId": group_id, "EntityIds": batch}
                await self._client.action("msdynmkt_AddStaticMembers", body, repeatable=True)
                done, sent = done + 1, sent + len(batch)
                if on_batch:
                    on_batch(done, total, sent)

        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(self._client.settings.max_concurrency, total)):
                    tasks.create_task(work())
        except BaseExceptionGroup as group:
            # What is not ours, such as Airflow's own timeout, goes first.
            error = min(group.exceptions, key=lambda error: isinstance(error, CijError))
            if isinstance(error, CijError) and done:
                error.hint = f"{error.hint} {done} of {total} calls had succeeded; adding them again is safe.".strip()
            raise error from None
        return total

    async def of_group(self, segment_id: str, group_id: str) -> AsyncIterator[list[str]]:
        """List a static group, page by page, until a page is empty: a short one may be the service's own limit.

        :raises CijIncompleteError: pages came twice, or the group changed while it was listed
        """
        listed = _Listed()
        body: dict[str, object] = {"SegmentId": segment_id, "GroupId": group_id, "PageSize": _PAGE_SIZE}
        while True:
            asked = body | {"PageNo": listed.pages + 1}
            page = await self._page("msdynmkt_ListGroupMembers", asked, "Response", "entityIds")
            if not page.ids:
                break
            listed.add(page)
            yield page.ids
        listed.check()

    async def of_segment(self, segment_id: str) -> AsyncIterator[list[str]]:
        """List the members of a segment as of its last evaluation, page by page.

        :raises CijIncompleteError: the service gave a part of the list and no way to the rest, or the members changed
            while they were listed
        """
        action = "msdynmkt_MembersList"
        body: dict[str, object] = {"SegmentId": segment_id}
        page = first = await self._page(action, body, "ResultText", "members")
        inputs = await self._paging_inputs(action) if first.has_next else {}
        # All pages in the size of the first: in another size they would begin elsewhere.
        body |= {inputs["size"]: first.size} if "size" in inputs and first.size else {}
        number = 1 if first.number is None else first.number
        listed = _Listed()
        while True:
            listed.add(page)
            yield page.ids
            if not page.has_next:
                break
            number += 1
            page = await self._page(action, body | {inputs["number"]: number}, "ResultText", "members")
            if not page.ids or page.number not in (None, number):
                raise CijIncompleteError(f"The service was asked for page {number} of the members and gave another.")
            if page.total != first.total:
                raise CijIncompleteError("The members changed while they were listed.", hint="List them again.")
        listed.check(first.total)

    async def _page(self, action: str, body: dict[str, object], output: str, list_name: str) -> Page:
        try:
            return page_of(await self._client.action(action, body, repeatable=True), output, list_name)
        except CijReplyError as error:
            if not error.raw:
                raise
            return page_of_text(error.raw, list_name)

    async def _paging_inputs(self, action: str) -> dict[str, str]:
        """Ask the organisation itself how the action is asked for a page (table CustomAPIRequestParameter)."""
        path = query(
            "customapis",
            select=("uniquename",),
            where=f"uniquename eq {literal(action)}",
            expand="CustomAPIRequestParameters($select=uniquename,type,isoptional)",
        )
        try:
            rows = (await self._client.get(path)).get("value") or [{}]
        except CijError as error:
            raise CijIncompleteError(
                f"The list of members goes on, but {action}'s inputs can't be read: {error}",
                hint="Give the application user read access to custom APIs, or export the groups one by one.",
            ) from error
        return paging_inputs(rows[0].get("CustomAPIRequestParameters") or [])


class _Listed:
    """What a list has given so far: pages that shift while they are turned lose members without a word."""

    def __init__(self) -> None:
        self.pages = 0
        self._read = 0
        self._ids = IdSet()
        self._last: list[str] = []

    def add(self, page: Page) -> None:
        if self.pages and page.ids == self._last:
            raise CijIncompleteError("The service gave the same page of members twice: it does not turn pages.")
        self.pages += 1
        self._read += len(page.ids)
        self._ids.update(keys_of(page.ids)[0])
        self._last = page.ids

    def check(self, total: int | None = None) -> None:
        if total is not None and self._read < total:
            raise CijIncompleteError(f"The service speaks of {total} members and listed {self._read}.")
        if self.pages > 1 and len(self._ids) < self._read:
            twice = self._read - len(self._ids)
            raise CijIncompleteError(
                f"{twice} members came twice: the list changed while it was read, so others may be missing.",
                hint="List them again.",
            )
