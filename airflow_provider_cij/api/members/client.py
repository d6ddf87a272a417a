"""Members of real-time segments: add to a static group, list who is in.

Source: "Create a Customer Insights - Journeys segment using the Web API", sections "Add Static Segment Members",
"View Static Segment Members" and "View members".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from airflow_provider_cij.api.custom_apis import inputs_of
from airflow_provider_cij.api.members.group_count import GroupMemberCounter
from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.api.members.pages import Page, page_of, page_of_text, paging_inputs
from airflow_provider_cij.api.members.sync_plan import GROUP_LIMIT, GroupPlan, Plan, check_room
from airflow_provider_cij.api.members.upload import GroupQuota, MemberUpload, OnBatch, UploadCheckpoint
from airflow_provider_cij.api.segments.models import MemberGroup
from airflow_provider_cij.dataverse.guids import pack_guids
from airflow_provider_cij.errors import CijError, CijIncompleteError, CijInputError, CijMovedError, CijReplyError

if TYPE_CHECKING:
    from airflow_provider_cij.api.segments.client import Segments
    from airflow_provider_cij.dataverse.client import DataverseClient

_PAGE_SIZE = 5000
# More than any organisation has people, and pages of them: lists without an end are told by these.
_MOST_IDS = 100_000_000
_MOST_PAGES = 50_000


class Members:
    """The verbs on members, over one open client."""

    def __init__(self, client: DataverseClient) -> None:
        self._client = client

    async def add(
        self,
        segment_id: str,
        group_id: str,
        ids: IdSet,
        on_batch: OnBatch | None = None,
        resume: UploadCheckpoint | None = None,
    ) -> int:
        """Add ids to a static group, 1000 a call, as many calls at once as the connection allows.

        Groups are sets: adding twice is as good as once.

        :param segment_id: the segment
        :param group_id: the group's id
        :param ids: whom to add
        :param on_batch: is told of every call that succeeded
        :param resume: where an earlier try got to with the same ids
        :return: the number of calls
        :raises CijInputError: there are more ids than a group holds; nothing was sent
        :raises CijError: a call failed for good; the error says how many had succeeded
        """
        check_room(ids)
        return await self._send(
            "msdynmkt_AddStaticMembers", segment_id, ids, [GroupQuota(group_id, len(ids))], on_batch, resume
        )

    async def remove(
        self,
        segment_id: str,
        group_id: str,
        ids: IdSet,
        on_batch: OnBatch | None = None,
        resume: UploadCheckpoint | None = None,
    ) -> int:
        """Remove ids from a static group, likewise. Somebody who is not in it is no error."""
        quotas = [GroupQuota(group_id, len(ids))]
        return await self._send("msdynmkt_RemoveStaticMembers", segment_id, ids, quotas, on_batch, resume)

    async def plan(self, segment_id: str, groups: Sequence[MemberGroup], wanted: IdSet) -> Plan:
        """Work out how groups become equal to a list: reads the groups, changes nothing.

        :param segment_id: the segment
        :param groups: its groups that hold the list together; one, as a rule
        :param wanted: whom they shall hold
        :raises CijInputError: there are more ids than the groups hold, or some groups include and others exclude
        :raises CijIncompleteError: a group changed while it was listed
        """
        check_room(wanted, len(groups))
        if len({group.include for group in groups}) > 1:
            raise CijInputError("Some of the groups include their members, others exclude them: no list is for both.")
        missing, parts = wanted, []
        for group in groups:
            there = IdSet()
            async for page in self.of_group(segment_id, group.group_id):
                there.update(pack_guids(page)[0])
            missing = missing.minus(there)
            parts.append(GroupPlan(group, len(there), there.minus(wanted)))
        return Plan(tuple(parts), missing, len(wanted) - len(missing))

    async def add_missing(self, segment_id: str, plan: Plan, on_batch: OnBatch | None = None) -> int:
        """Carry the additions of a plan out, and nothing else. Returns the number of calls."""
        quotas = plan.allocate(removing=False)
        return await self._send("msdynmkt_AddStaticMembers", segment_id, plan.missing, quotas, on_batch)

    async def mirror(self, segment_id: str, plan: Plan, on_batch: OnBatch | None = None) -> int:
        """Carry a plan out: then the groups hold who is in the list, and nobody else.

        Who must not be mailed is out before anybody is let in: from groups that include, people are removed first; to
        groups that exclude, they are added first, where there is room for that.

        :param segment_id: the segment
        :param plan: what ``plan`` gave
        :param on_batch: is told of every call that succeeded
        :return: the number of calls
        :raises CijInputError: there is no room; nothing was sent
        :raises CijError: a call failed for good; a plan made anew does the rest
        """
        quotas = plan.allocate(removing=True)
        add = ("msdynmkt_AddStaticMembers", plan.missing, quotas)
        removals = [
            ("msdynmkt_RemoveStaticMembers", part.removed, [GroupQuota(part.group.group_id, len(part.removed))])
            for part in plan.parts
        ]
        steps = [add, *removals] if plan.adds_first(quotas) else [*removals, add]
        return sum([await self._send(action, segment_id, ids, parts, on_batch) for action, ids, parts in steps])

    async def _send(
        self,
        action: str,
        segment_id: str,
        ids: IdSet,
        quotas: Sequence[GroupQuota],
        on_batch: OnBatch | None,
        resume: UploadCheckpoint | None = None,
    ) -> int:
        return await MemberUpload(self._client, action, segment_id, on_batch, resume).send(ids, quotas)

    async def count(self, segment_id: str, group_id: str | None = None, at_least: int | None = None) -> int:
        """Count the members of a segment as of its last evaluation, or of a static group as they are now.

        :param segment_id: the segment
        :param group_id: the group's id
        :param at_least: stop counting there
        """
        if group_id is None:
            page = await self._page("msdynmkt_MembersList", {"SegmentId": segment_id}, "ResultText", "members")
            if page.total is not None:
                return page.total
        count = 0
        pages = self.of_segment(segment_id) if group_id is None else self.of_group(segment_id, group_id)
        async for ids in pages:
            count += len(ids)
            if at_least is not None and count >= at_least:
                break
        return count

    async def group_page(self, segment_id: str, group_id: str, number: int) -> list[str]:
        """Read one page of a static group.

        :param segment_id: the segment
        :param group_id: the group's id
        :param number: of the page, from 1
        :return: the ids on it; none behind the last page
        """
        body: dict[str, object] = {"SegmentId": segment_id, "GroupId": group_id, "PageSize": _PAGE_SIZE}
        asked = body | {"PageNo": number}
        return (await self._page("msdynmkt_ListGroupMembers", asked, "Response", "entityIds")).ids

    def group_counter(self, segments: Segments, group: str, min_members: int) -> GroupMemberCounter:
        """Return what reads a segment with the member count of one of its static groups, for a wait.

        :param segments: reads the segment
        :param group: the group's name or id
        :param min_members: count no further
        """
        return GroupMemberCounter(segments, self, group, min_members)

    async def of_group(self, segment_id: str, group_id: str) -> AsyncIterator[list[str]]:
        """List a static group, page by page, until a page is empty: a short one may be the service's own limit.

        :raises CijIncompleteError: pages came twice, or the group changed while it was listed
        """
        listed, total = PageConsistencyCheck(most=GROUP_LIMIT, of="the group"), 0
        body: dict[str, object] = {"SegmentId": segment_id, "GroupId": group_id, "PageSize": _PAGE_SIZE}
        while True:
            asked = body | {"PageNo": listed.pages + 1}
            page = await self._page("msdynmkt_ListGroupMembers", asked, "Response", "entityIds")
            total = max(total, page.total or 0)
            if not page.ids:
                break
            listed.add(page)
            yield page.ids
        if page.has_next:
            raise CijMovedError(f"The service says that there is more after page {listed.pages}, and gives none.")
        listed.check(total)

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
        listed = PageConsistencyCheck(most=_MOST_IDS if first.total is None else first.total, of="the segment")
        while True:
            if not page.ids and page.has_next:
                raise CijMovedError("The service gave an empty page of members, and says that there are more.")
            listed.add(page)
            yield page.ids
            if not page.has_next:
                break
            number += 1
            page = await self._page(action, body | {inputs["number"]: number}, "ResultText", "members")
            if not page.ids or page.number not in (None, number):
                raise CijIncompleteError(f"The service was asked for page {number} of the members and gave another.")
            if page.total != first.total:
                raise CijMovedError("The members changed while they were listed.", hint="List them again.")
        listed.check(first.total)

    async def _page(self, action: str, body: dict[str, object], output: str, list_name: str) -> Page:
        try:
            return page_of(await self._client.action(action, body, repeatable=True), output, list_name)
        except CijReplyError as error:
            if not error.raw:
                raise
            return page_of_text(error.raw, list_name)

    async def _paging_inputs(self, action: str) -> dict[str, str]:
        try:
            inputs = await inputs_of(self._client, action)
        except CijError as error:
            raise CijIncompleteError(
                f"The list of members goes on, but {action}'s inputs can't be read: {error}",
                hint="Give the application user read access to custom APIs, or export the groups one by one.",
            ) from error
        return paging_inputs(inputs)


class PageConsistencyCheck:
    """What a list has given so far: pages that shift while they are turned lose members without a word.

    :param most: how many ids it can have; more are refused, for a list may have no end
    :param of: whose members these are, for errors
    """

    def __init__(self, most: int = _MOST_IDS, of: str = "the segment") -> None:
        self._most = most
        self._of = of
        self.pages = 0
        self._read = 0
        self._ids = IdSet()
        self._last: list[str] = []

    def add(self, page: Page) -> None:
        """Take note of a page.

        :raises CijIncompleteError: it is the last one once more, or the list has no end
        """
        if self.pages and page.ids == self._last:
            raise CijIncompleteError("The service gave the same page of members twice: it does not turn pages.")
        self.pages += 1
        self._read += len(page.ids)
        self._ids.update(pack_guids(page.ids)[0])
        self._last = page.ids
        if self.pages & (self.pages - 1) == 0:  # 1, 2, 4, 8, … pages: a list that goes in a circle is told early
            self._check_distinct()
        if self._read > self._most or self.pages > _MOST_PAGES:
            raise CijMovedError(
                f"The service lists more members of {self._of} than there can be: {self._read:,} on {self.pages:,} "
                f"pages, of {self._most:,} at the most.",
                hint="List them again. If this stays so, the service's list has no end.",
            )

    def check(self, total: int | None = None) -> None:
        """Check the list at its end.

        :raises CijIncompleteError: somebody came twice, or fewer came than the service speaks of
        """
        if total is not None and self._read < total:
            raise CijMovedError(f"The service speaks of {total} members and listed {self._read}.")
        self._check_distinct()

    def _check_distinct(self) -> None:
        if self.pages > 1 and len(self._ids) < self._read:
            twice = self._read - len(self._ids)
            raise CijMovedError(
                f"{twice} members came twice: the list changed while it was read, so others may be missing.",
                hint="List them again.",
            )
