"""Members of real-time segments: add to, remove from and list static groups, list the members of a segment.

Source: "Create a Customer Insights - Journeys segment using the Web API", sections "Add Static Segment Members",
"Remove Static Segment Members", "View Static Segment Members" and "View members".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import aclosing, asynccontextmanager
from math import ceil
from typing import TYPE_CHECKING

from airflow_provider_cij.api.concurrency import beside
from airflow_provider_cij.api.custom_apis import inputs_of
from airflow_provider_cij.api.members.group_count import count_up_to
from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.api.members.pages import (
    MAX_IDS,
    Page,
    PageConsistencyCheck,
    following_pages,
    page_of,
    page_of_text,
    paging_inputs,
)
from airflow_provider_cij.api.members.sync_plan import GROUP_LIMIT, GroupPlan, Plan, check_room
from airflow_provider_cij.api.members.upload import GroupQuota, MemberUpload, OnBatch, UploadCheckpoint
from airflow_provider_cij.api.segments.models import MemberGroup, Segment
from airflow_provider_cij.errors import CijError, CijIncompleteError, CijInputError, CijMovedError, CijReplyError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

log = logging.getLogger(__name__)

_ADD, _REMOVE = "msdynmkt_AddStaticMembers", "msdynmkt_RemoveStaticMembers"
_PAGE_SIZE = 5000


class Members:
    """The verbs on members, over one open client.

    Segments and groups are given as the models that ``cij.segments`` returns, or by their ids.

    :param client: an open client
    """

    def __init__(self, client: DataverseClient) -> None:
        self._client = client

    async def add(
        self,
        segment: Segment | str,
        group: MemberGroup | str,
        ids: IdSet,
        on_batch: OnBatch | None = None,
        checkpoint: UploadCheckpoint | None = None,
    ) -> int:
        """Add ids to a static group, 1,000 a call, as many calls at once as the connection allows. Idempotent.

        :param segment: the segment, or its id
        :param group: the group, or its id
        :param ids: the ids to add
        :param on_batch: called after each call that succeeded
        :param checkpoint: how far an earlier try got with the same ids; default None, from the start
        :return: the number of calls
        :raises CijInputError: there are more ids than a group holds; nothing was sent
        :raises CijError: a call failed after its retries; the error says how many had succeeded
        """
        check_room(ids)
        return await self._upload(_ADD, segment, ids, [_whole(group, ids)], on_batch, checkpoint)

    async def remove(
        self,
        segment: Segment | str,
        group: MemberGroup | str,
        ids: IdSet,
        on_batch: OnBatch | None = None,
        checkpoint: UploadCheckpoint | None = None,
    ) -> int:
        """Remove ids from a static group, 1,000 a call, as many calls at once as the connection allows. Idempotent.

        An id that is not in the group is no error.

        :param segment: the segment, or its id
        :param group: the group, or its id
        :param ids: the ids to remove
        :param on_batch: called after each call that succeeded
        :param checkpoint: how far an earlier try got with the same ids; default None, from the start
        :return: the number of calls
        :raises CijError: a call failed after its retries; the error says how many had succeeded
        """
        return await self._upload(_REMOVE, segment, ids, [_whole(group, ids)], on_batch, checkpoint)

    async def plan(self, segment: Segment | str, groups: Sequence[MemberGroup], wanted: IdSet) -> Plan:
        """Read groups, and return what has to change for them to equal a list. Changes nothing.

        :param segment: the segment, or its id
        :param groups: its groups that hold the list together; usually one
        :param wanted: the ids of the list
        :raises CijInputError: there are more ids than the groups hold, or some groups include and others exclude
        :raises CijIncompleteError: a group changed while it was listed
        """
        check_room(wanted, len(groups))
        if len({group.include for group in groups}) > 1:
            raise CijInputError("Some of the groups include their members, others exclude them: no list is for both.")
        missing, parts = wanted, list[GroupPlan]()
        for group in groups:
            listed = PageConsistencyCheck(most=GROUP_LIMIT, of="the group")
            async with aclosing(self._of_group(segment, group, listed, likely=len(wanted))) as pages:
                async for _ in pages:
                    pass
            present = listed.ids()
            removed, absent = present.compare(wanted)
            listed.check_distinct(len(present))
            missing = missing.minus(present) if parts else absent
            parts.append(GroupPlan(group, len(present), removed))
        return Plan(tuple(parts), missing, len(wanted) - len(missing))

    async def add_missing(self, segment: Segment | str, plan: Plan, on_batch: OnBatch | None = None) -> int:
        """Send the additions of a plan, and none of its removals.

        :param segment: the segment, or its id
        :param plan: what ``plan`` returned
        :param on_batch: called after each call that succeeded
        :return: the number of calls
        :raises CijInputError: the groups have no room for all; nothing was sent
        :raises CijError: a call failed after its retries; a new plan does the rest
        """
        return await self._upload(_ADD, segment, plan.missing, plan.allocate(removing=False), on_batch)

    async def mirror(self, segment: Segment | str, plan: Plan, on_batch: OnBatch | None = None) -> int:
        """Send the additions and removals of a plan, so that its groups equal the list.

        People who must not get mail are excluded before others are included: groups that include have members removed
        first. Groups that exclude have members added first, where there is room for that.

        :param segment: the segment, or its id
        :param plan: what ``plan`` returned
        :param on_batch: called after each call that succeeded
        :return: the number of calls
        :raises CijInputError: the groups have no room for all; nothing was sent
        :raises CijError: a call failed after its retries; a new plan does the rest
        """
        quotas = plan.allocate(removing=True)
        add = (_ADD, plan.missing, quotas)
        removals = [(_REMOVE, part.removed, [_whole(part.group, part.removed)]) for part in plan.parts]
        steps = [add, *removals] if plan.adds_first(quotas) else [*removals, add]
        return sum([await self._upload(action, segment, ids, parts, on_batch) for action, ids, parts in steps])

    async def verify(
        self,
        segment: Segment | str,
        groups: Sequence[MemberGroup],
        wanted: IdSet,
        waits: Sequence[float] = (1.0, 2.0, 4.0),
    ) -> Plan:
        """List groups until they equal a list, because a listing may lag behind writes.

        :param segment: the segment, or its id
        :param groups: its groups that hold the list together
        :param wanted: the ids of the list
        :param waits: seconds to wait before each further listing; default 1, 2 and 4
        :return: what is left to do; ``done`` when the groups equal the list
        :raises CijIncompleteError: the groups change each time they are listed
        """
        for wait in waits:
            try:
                plan = await self.plan(segment, groups, wanted)
            except CijMovedError:
                log.info("The groups changed while they were listed, listing them again in %.0f s", wait)
            else:
                if plan.done:
                    return plan
                log.info("The groups are not listed as they were sent, listing them again in %.0f s", wait)
            await asyncio.sleep(wait)
        return await self.plan(segment, groups, wanted)

    async def _upload(
        self,
        action: str,
        segment: Segment | str,
        ids: IdSet,
        quotas: Sequence[GroupQuota],
        on_batch: OnBatch | None,
        checkpoint: UploadCheckpoint | None = None,
    ) -> int:
        return await MemberUpload(self._client, action, _id_of(segment), on_batch, checkpoint).send(ids, quotas)

    async def count(self, segment: Segment | str, group: MemberGroup | str, at_least: int | None = None) -> int:
        """Count the members of a static group by listing them.

        :param segment: the segment, or its id
        :param group: the group, or its id
        :param at_least: stop counting at this number; default None, count all
        :return: the number of members
        :raises CijIncompleteError: the group changed while it was listed
        """
        count = 0
        listed = PageConsistencyCheck(most=GROUP_LIMIT, of="the group")
        async with aclosing(self._of_group(segment, group, listed, wanted=at_least or 0)) as pages:
            async for ids in pages:
                count += len(ids)
                if at_least is not None and count >= at_least:
                    return count
        listed.check_distinct()
        return count

    async def group_page(
        self, segment: Segment | str, group: MemberGroup | str, number: int, size: int = _PAGE_SIZE
    ) -> list[str]:
        """Read one page of a static group.

        :param segment: the segment, or its id
        :param group: the group, or its id
        :param number: the page's number, from 1
        :param size: ids a page; default 5000
        :return: the ids on the page; empty after the last page
        :raises CijError: the service refuses, or is not there
        """
        return (await self._group_page(segment, group, number, size)).ids

    async def count_up_to(self, segment: Segment, group: MemberGroup, min_members: int) -> int | None:
        """Count the members of a static group for a wait, reading as few of its pages as possible.

        :param segment: the segment
        :param group: its group
        :param min_members: stop counting at this number
        :return: the number of members; None when it is known to be less than ``min_members``, and not by how much
        """
        return await count_up_to(self, segment, group, min_members)

    async def of_group(self, segment: Segment | str, group: MemberGroup | str) -> AsyncIterator[list[str]]:
        """List a static group, page by page, until a page is empty. Pages are read side by side.

        A short page is not the last one: it may be the service's own limit.

        :param segment: the segment, or its id
        :param group: the group, or its id
        :return: ids, a page at a time
        :raises CijIncompleteError: pages repeat members, or the group changed while it was listed
        """
        listed = PageConsistencyCheck(most=GROUP_LIMIT, of="the group")
        async with aclosing(self._of_group(segment, group, listed)) as pages:
            async for ids in pages:
                yield ids
        listed.check_distinct()

    async def _of_group(
        self,
        segment: Segment | str,
        group: MemberGroup | str,
        listed: PageConsistencyCheck,
        *,
        wanted: int = 0,
        likely: int = 0,
    ) -> AsyncGenerator[list[str], None]:
        """List a static group into ``listed``, reading ahead up to ``wanted`` ids; 0 for all of them.

        Pages that are likely there, of ``likely`` ids, are read beside the first one. Whether the ids are distinct is
        checked by the caller.
        """
        being_read = {
            number: asyncio.create_task(self._group_page(segment, group, number))
            for number in range(2, 1 + min(ceil(likely / _PAGE_SIZE), self._client.settings.max_concurrency))
        }

        def read(number: int) -> Awaitable[Page]:
            return being_read.pop(number, None) or self._group_page(segment, group, number)

        try:
            page = await read(1)
            total = page.total or 0
            async with aclosing(following_pages(page, 1, read, self._client, size=_PAGE_SIZE, wanted=wanted)) as pages:
                while page.ids:
                    listed.add(page)
                    yield page.ids
                    page = await anext(pages)
                    total = max(total, page.total or 0)
        finally:
            self._client.let_end(being_read.values())
        if page.has_next:
            raise CijMovedError(f"The service says that there is more after page {listed.pages}, and gives none.")
        listed.check_count(total)

    async def of_segment(self, segment: Segment | str) -> AsyncIterator[list[str]]:
        """List the members of a segment as of its last evaluation, page by page. Pages are read side by side.

        :param segment: the segment, or its id
        :return: ids, a page at a time
        :raises CijIncompleteError: the service returned a part of the list and no way to the rest, or the members
            changed while they were listed
        """
        action = "msdynmkt_MembersList"
        body: dict[str, object] = {"SegmentId": _id_of(segment)}
        async with self._paging_inputs_beside(segment, action) as inputs_read:
            page = first = await self._page(action, body, "ResultText", "members")
            inputs = await (inputs_read or self._paging_inputs(action)) if first.has_next else {}
        # All pages in the size of the first: in another size they would begin elsewhere.
        body |= {inputs["size"]: first.size} if "size" in inputs and first.size else {}
        number = 1 if first.number is None else first.number
        listed = PageConsistencyCheck(most=MAX_IDS if first.total is None else first.total, of="the segment")

        def read(number: int) -> Awaitable[Page]:
            return self._page(action, body | {inputs["number"]: number}, "ResultText", "members")

        async with aclosing(following_pages(first, number, read, self._client)) as pages:
            while True:
                if not page.ids and page.has_next:
                    raise CijMovedError("The service gave an empty page of members, and says that there are more.")
                listed.add(page)
                yield page.ids
                if not page.has_next:
                    break
                number += 1
                page = await anext(pages)
                if not page.ids or page.number not in (None, number):
                    raise CijIncompleteError(
                        f"The service was asked for page {number} of the members and gave another."
                    )
                if page.total != first.total:
                    raise CijMovedError("The members changed while they were listed.", hint="List them again.")
        listed.check(first.total)

    async def _group_page(
        self, segment: Segment | str, group: MemberGroup | str, number: int, size: int = _PAGE_SIZE
    ) -> Page:
        group_id = group if isinstance(group, str) else group.group_id
        where: dict[str, object] = {"SegmentId": _id_of(segment), "GroupId": group_id}
        body = where | {"PageSize": size, "PageNo": number}
        return await self._page("msdynmkt_ListGroupMembers", body, "Response", "entityIds")

    async def _page(self, action: str, body: dict[str, object], output: str, list_name: str) -> Page:
        try:
            return page_of(await self._client.action(action, body, repeatable=True), output, list_name)
        except CijReplyError as error:
            if not error.raw:
                raise
            return page_of_text(error.raw, list_name)

    @asynccontextmanager
    async def _paging_inputs_beside(
        self, segment: Segment | str, action: str
    ) -> AsyncIterator[asyncio.Task[dict[str, str]] | None]:
        """Read an action's inputs while the first page is read, where the segment's count says that there are more."""
        if isinstance(segment, str) or (segment.member_count or 0) <= _PAGE_SIZE:
            yield None
            return
        async with beside(self._paging_inputs(action)) as inputs_read:
            yield inputs_read

    async def _paging_inputs(self, action: str) -> dict[str, str]:
        try:
            inputs = await inputs_of(self._client, action)
        except CijError as error:
            raise CijIncompleteError(
                f"The list of members goes on, but {action}'s inputs can't be read: {error}",
                hint="Give the application user read access to custom APIs, or export the groups one by one.",
            ) from error
        return paging_inputs(inputs)


def _id_of(segment: Segment | str) -> str:
    return segment if isinstance(segment, str) else segment.segment_id


def _whole(group: MemberGroup | str, ids: IdSet) -> GroupQuota:
    """Return the quota of a group that takes a whole list."""
    return GroupQuota(group if isinstance(group, str) else group.group_id, len(ids))
