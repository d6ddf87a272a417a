"""Counting a static group while it is waited for."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING

from airflow_provider_cij.api.segments.models import Segment

if TYPE_CHECKING:
    from airflow_provider_cij.api.members.client import Members
    from airflow_provider_cij.api.segments.client import Segments


class GroupMemberCounter:
    """Reads a segment with the member count of one of its static groups.

    The service gives no total of a group. So a check reads the first page and the page on which the last wanted member
    would be; only when that has one is the group listed up to there, which is the count that decides.

    :param segments: reads the segment
    :param members: lists the group
    :param group: the group's name or id
    :param min_members: count no further
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
        """Read the segment, and count the group; the count is None when only that it is too small is known."""
        segment = await self._segments.get(segment_id)
        group = await self._segments.group(segment, self._group)
        return replace(segment, member_count=await self._count(segment.segment_id, group.group_id))

    async def _count(self, segment_id: str, group_id: str) -> int | None:
        first = len(await self._members.group_page(segment_id, group_id, 1))
        if first < self._min_members:
            number = ceil(self._min_members / first) if first else 1
            if number > 1 and not await self._members.group_page(segment_id, group_id, number):
                return first if number == 2 else None
        return await self._members.count(segment_id, group_id, self._min_members) if first else 0
