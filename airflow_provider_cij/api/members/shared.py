"""Members for many that wait at once in a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_cij.api.members.client import Members
from airflow_provider_cij.api.members.group_count import GroupMemberCounter, PagesOfOne

if TYPE_CHECKING:
    from airflow_provider_cij.api.batching import BatchedActions
    from airflow_provider_cij.api.segments.client import Segments
    from airflow_provider_cij.dataverse.client import DataverseClient


class SharedMembers(Members):
    """The verbs on members. What waits ask of groups is batched, a member for each group: no lists of thousands.

    :param client: open
    :param actions: sends the actions of those that wait
    """

    def __init__(self, client: DataverseClient, actions: BatchedActions) -> None:
        super().__init__(client)
        self._probe = PagesOfOne(Members(actions))  # type: ignore[arg-type]  # they read pages only

    def group_counter(self, segments: Segments, group: str, min_members: int) -> GroupMemberCounter:
        """Return a reader of a segment with the member count of one of its static groups, for a wait.

        :param segments: reads the segment
        :param group: the group's name or id
        :param min_members: stop counting at this number
        """
        return GroupMemberCounter(segments, self, group, min_members, self._probe)
