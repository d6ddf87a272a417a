"""Count a static group for a wait, reading as few of its pages as possible."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING

from airflow_provider_cij.api.segments.models import MemberGroup, Segment

if TYPE_CHECKING:
    from airflow_provider_cij.api.members.client import Members
    from airflow_provider_cij.api.segments.client import Segments


class GroupMemberCounter:
    """Reads a segment with the member count of one of its static groups.

    The service gives no total of a group. So a check reads the first page, and the page that would hold the last of
    ``min_members``. Only when that page has members is the group listed up to there, for the count that decides.

    :param segments: reads the segment
    :param members: lists the group
    :param group: the group's name or id
    :param min_members: stop counting at this number
    """

    def __init__(self, segments: Segments, members: Members, group: str, min_members: int) -> None:
        self._segments = segments
        self._members = members
        self._group = group
        self._min_members = min_members
        self.newest_executions = segments.newest_executions
        self.executions_since = segments.executions_since
        self.failure_reason = segments.failure_reason

    @property
    def service_ahead(self) -> float:
        """Seconds by which the service's clock is ahead of ours."""
        return self._segments.service_ahead

    async def get(self, segment_id: str) -> Segment:
        """Read the segment, with the group's member count.

        :param segment_id: the segment's id
        :return: the segment; its ``member_count`` is None when the group is known to be too small, not by how much
        :raises CijInputError: the segment has no such group
        """
        segment = await self._segments.get(segment_id)
        group = await self._segments.group(segment, self._group)
        return replace(segment, member_count=await self._count(segment, group))

    async def _count(self, segment: Segment, group: MemberGroup) -> int | None:
        first = len(await self._members.group_page(segment, group, 1))
        if first < self._min_members:
            number = ceil(self._min_members / first) if first else 1
            if number > 1 and not await self._members.group_page(segment, group, number):
                return first if number == 2 else None
        return await self._members.count(segment, group, self._min_members) if first else 0
