"""Plan how groups become equal to a list, before anything is changed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from airflow_provider_cij.api.bounds import Bound
from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.api.members.upload import GroupQuota
from airflow_provider_cij.api.segments.models import MemberGroup
from airflow_provider_cij.errors import CijInputError

GROUP_LIMIT = 200_000
"""The most members that a static group holds."""


@dataclass(frozen=True)
class GroupPlan:
    """What changes in one group.

    :param group: the group
    :param size: how many members it has now
    :param removed: the ids of members that are not in the list
    :param limit: the most members it can hold; default 200,000
    """

    group: MemberGroup
    size: int
    removed: IdSet
    limit: int = GROUP_LIMIT

    def room(self, *, removing: bool) -> int:
        """Return how many more members the group can hold.

        :param removing: True counts the room that the planned removals leave
        """
        return self.limit - self.size + (len(self.removed) if removing else 0)


@dataclass(frozen=True)
class Plan:
    """What changes in the groups that hold a list together; usually one group.

    :param parts: the groups' own plans
    :param missing: the ids of the list that are in none of the groups
    :param unchanged: how many ids of the list are in a group already
    """

    parts: tuple[GroupPlan, ...]
    missing: IdSet
    unchanged: int

    @property
    def there(self) -> int:
        """The number of members that the groups hold now."""
        return sum(part.size for part in self.parts)

    @property
    def removals(self) -> int:
        """The number of members that are not in the list."""
        return sum(len(part.removed) for part in self.parts)

    @property
    def done(self) -> bool:
        """True when the groups equal the list."""
        return not len(self.missing) and not self.removals

    def allocate(self, *, removing: bool) -> list[GroupQuota]:
        """Allocate the missing members to the groups, in the groups' order.

        :param removing: True when members that are not in the list have been removed before
        :return: a quota for each group, 0 for a full one
        :raises CijInputError: there is no room for all
        """
        left, quotas = len(self.missing), list[GroupQuota]()
        for part in self.parts:
            taken = min(left, max(0, part.room(removing=removing)))
            quotas.append(GroupQuota(part.group.group_id, taken))
            left -= taken
        if left:
            raise CijInputError(
                f"There is no room for {left:,} of {len(self.missing):,} new members: a group holds {GROUP_LIMIT:,}.",
                hint="Spread them over more groups (a segment has up to 10). Nothing was sent.",
            )
        return quotas

    def adds_first(self, quotas: Sequence[GroupQuota]) -> bool:
        """Return whether to add before removing: in groups that exclude, where there is room for both.

        :param quotas: what ``allocate`` returned
        """
        excluding = not any(part.group.include for part in self.parts)
        return excluding and all(
            size <= part.room(removing=False) for part, (_, size) in zip(self.parts, quotas, strict=True)
        )

    def check(self, max_removals: Bound) -> None:
        """Check that no more members would be removed than a whole list would remove.

        :param max_removals: how many may be removed; a share is one of the members that the groups hold now
        :raises CijInputError: more would be removed
        """
        if not max_removals.allows(self.removals, self.there):
            raise CijInputError(
                f"{self.removals:,} of {self.there:,} members ({self.removals / self.there:.0%}) are not in the list "
                f"and would be removed, more than {max_removals}.",
                hint="Is the list whole? If it is, allow more. Nothing was changed.",
            )


def check_room(ids: IdSet, groups: int = 1) -> None:
    """Check that empty groups could hold a list.

    :param ids: the list
    :param groups: the number of groups; default 1
    :raises CijInputError: there are more ids than that many groups hold
    """
    if len(ids) > groups * GROUP_LIMIT:
        holds = f"a group holds {GROUP_LIMIT:,}" if groups == 1 else f"{groups} groups hold {groups * GROUP_LIMIT:,}"
        raise CijInputError(
            f"There are {len(ids):,} different ids; {holds}.",
            hint="Spread them over several groups (a segment has up to 10). Nothing was sent.",
        )
