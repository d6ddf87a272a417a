"""How groups become equal to a list: the plan, before anything is changed. Pure."""

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
    """What happens to one group.

    :param group: the group
    :param size: how many it holds now
    :param removed: who is in it and not in the list
    """

    group: MemberGroup
    size: int
    removed: IdSet
    limit: int = GROUP_LIMIT

    def room(self, *, removing: bool) -> int:
        """How many more it can hold."""
        return self.limit - self.size + (len(self.removed) if removing else 0)


@dataclass(frozen=True)
class Plan:
    """What happens to the groups that hold a list together; one group, as a rule.

    :param parts: group by group
    :param missing: who is in the list and in none of the groups
    :param unchanged: how many of the list are in a group already
    """

    parts: tuple[GroupPlan, ...]
    missing: IdSet
    unchanged: int

    @property
    def there(self) -> int:
        """How many members the groups hold now."""
        return sum(part.size for part in self.parts)

    @property
    def removals(self) -> int:
        """How many of them are not in the list."""
        return sum(len(part.removed) for part in self.parts)

    @property
    def done(self) -> bool:
        """True when nothing is left to do: the groups hold the list, and nobody else."""
        return not len(self.missing) and not self.removals

    def allocate(self, *, removing: bool) -> list[GroupQuota]:
        """Deal the missing members out, group after group.

        :param removing: whether who is not in the list has left before
        :raises CijInputError: there is no room for all
        """
        left, quotas = len(self.missing), list[GroupQuota]()
        for part in self.parts:
            taken = min(left, max(0, part.room(removing=removing)))
            quotas.append(GroupQuota(part.group.group_id, taken))
            left -= taken
        if left:
            raise CijInputError(
                f"There is no room for {left} of {len(self.missing)} new members: a group holds {GROUP_LIMIT}.",
                hint="Spread them over more groups (a segment has up to 10). Nothing was sent.",
            )
        return quotas

    def adds_first(self, quotas: Sequence[GroupQuota]) -> bool:
        """Whether to add before removing: to groups that exclude, where there is room for both."""
        excluding = not any(part.group.include for part in self.parts)
        return excluding and all(
            count <= part.room(removing=False) for part, (_, count) in zip(self.parts, quotas, strict=True)
        )

    def check(self, max_removals: Bound) -> None:
        """Refuse to remove more than one would expect of a list that is whole.

        :param max_removals: how many may be removed; a share is one of the members that the groups hold now
        :raises CijInputError: more would be
        """
        if not max_removals.allows(self.removals, self.there):
            raise CijInputError(
                f"{self.removals} of {self.there} members ({self.removals / self.there:.0%}) are not in the list and "
                f"would be removed, more than {max_removals}.",
                hint="Is the list whole? If it is, allow more. Nothing was changed.",
            )


def check_room(ids: IdSet, groups: int = 1) -> None:
    """Refuse a list that the groups can't hold, whoever is in them.

    :raises CijInputError: there are more ids than that
    """
    if len(ids) > groups * GROUP_LIMIT:
        holds = f"a group holds {GROUP_LIMIT}" if groups == 1 else f"{groups} groups hold {groups * GROUP_LIMIT}"
        raise CijInputError(
            f"There are {len(ids)} different ids; {holds}.",
            hint="Spread them over several groups (a segment has up to 10). Nothing was sent.",
        )
