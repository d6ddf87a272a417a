"""How groups become equal to a list: the plan, before anything is changed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from airflow_provider_cij.api.bounds import Bound
from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.api.segments.models import MemberGroup
from airflow_provider_cij.errors import CijInputError

IDS_A_CALL = 1000
IDS_A_GROUP = 200_000

Share = tuple[str, int]
"""A group's id, and how many of the new members it takes."""


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

    def room(self, *, removing: bool) -> int:
        """How many more it can hold."""
        return IDS_A_GROUP - self.size + (len(self.removed) if removing else 0)


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

    def shares(self, *, removing: bool) -> list[Share]:
        """Deal the missing members out, group after group.

        :param removing: whether who is not in the list has left before
        :raises CijInputError: there is no room for all
        """
        left, shares = len(self.missing), []
        for part in self.parts:
            taken = min(left, max(0, part.room(removing=removing)))
            shares.append((part.group.group_id, taken))
            left -= taken
        if left:
            raise CijInputError(
                f"There is no room for {left} of {len(self.missing)} new members: a group holds {IDS_A_GROUP}.",
                hint="Spread them over more groups (a segment has up to 10). Nothing was sent.",
            )
        return shares

    def adds_first(self, shares: Sequence[Share]) -> bool:
        """Whether to add before removing: to groups that exclude, where there is room for both."""
        excluding = not any(part.group.include for part in self.parts)
        return excluding and all(
            count <= part.room(removing=False) for part, (_, count) in zip(self.parts, shares, strict=True)
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
    if len(ids) > groups * IDS_A_GROUP:
        holds = f"a group holds {IDS_A_GROUP}" if groups == 1 else f"{groups} groups hold {groups * IDS_A_GROUP}"
        raise CijInputError(
            f"There are {len(ids)} different ids; {holds}.",
            hint="Spread them over several groups (a segment has up to 10). Nothing was sent.",
        )


def calls(ids: IdSet, shares: Sequence[Share]) -> Iterator[tuple[str, list[str]]]:
    """Cut a list into calls of 1000 ids, each for one group."""
    batches, at_hand = ids.batches(IDS_A_CALL), list[str]()
    for group_id, count in shares:
        for start in range(0, count, IDS_A_CALL):
            size = min(IDS_A_CALL, count - start)
            while len(at_hand) < size:
                at_hand += next(batches)
            yield group_id, at_hand[:size]
            del at_hand[:size]


def number_of_calls(shares: Sequence[Share]) -> int:
    """How many calls ``calls`` gives."""
    return sum(-(-count // IDS_A_CALL) for _, count in shares)
