"""Members for many that wait at once in a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_cij.api.members.client import Members
from airflow_provider_cij.api.members.group_count import PagesOfOne, count_up_to

if TYPE_CHECKING:
    from airflow_provider_cij.api.batching import BatchedActions
    from airflow_provider_cij.api.segments.models import MemberGroup, Segment
    from airflow_provider_cij.dataverse.client import DataverseClient


class SharedMembers(Members):
    """The verbs on members. What waits ask of groups is batched, a member for each group: no lists of thousands.

    :param client: open
    :param actions: sends the actions of those that wait
    """

    def __init__(self, client: DataverseClient, actions: BatchedActions) -> None:
        super().__init__(client)
        self._probe = PagesOfOne(Members(actions))  # type: ignore[arg-type]  # they read pages only

    async def count_up_to(self, segment: Segment, group: MemberGroup, min_members: int) -> int | None:
        """Count the members of a static group, with what other waits ask of theirs now."""
        return await count_up_to(self, segment, group, min_members, self._probe)
