"""Count a static group for a wait, reading as few of its pages as possible."""

from __future__ import annotations

import asyncio
from math import ceil
from typing import TYPE_CHECKING

from airflow_provider_cij.api.standing import check_again

if TYPE_CHECKING:
    from airflow_provider_cij.api.members.client import Members
    from airflow_provider_cij.api.segments.models import MemberGroup, Segment

# Members that are listed in a batch: five hundred such lists are 2 MB.
_SMALL = 100


async def count_up_to(
    members: Members, segment: Segment, group: MemberGroup, min_members: int, probe: PagesOfOne | None = None
) -> int | None:
    """Count the members of a static group for a wait.

    The service gives no total of a group. So the first page is read, and the page that would hold the last of
    ``min_members``. Only when that page has members is the group listed up to there, for the count that decides.

    :param members: lists the group
    :param segment: the segment
    :param group: its group
    :param min_members: stop counting at this number
    :param probe: asks for a page of one member before any other; default None, for a wait that reads alone
    :return: the number of members; None when it is known to be less than ``min_members``, and not by how much
    """
    has = await probe.has(segment, group, min_members) if probe else None
    if has is False:
        return None
    if has and probe and (few := await probe.count(segment, group, min_members)) is not None:
        return few
    first = 1 if has else len(await members.group_page(segment, group, 1))
    if not has and first < min_members:
        number = ceil(min_members / first) if first else 1
        if number > 1 and not await members.group_page(segment, group, number):
            return first if number == 2 else None
    return await members.count(segment, group, min_members) if first else 0


class PagesOfOne:
    """Asks whether groups have a number of members: for the page of that number, of one member each. Lists small ones.

    A service that does not keep to the size of a page would have none of that number. So until one group has shown
    two different pages of one member, the first two are read as well.

    :param members: reads the pages
    """

    def __init__(self, members: Members) -> None:
        self._members = members
        self._works: bool | None = None

    async def has(self, segment: Segment, group: MemberGroup, count: int) -> bool | None:
        """Return whether a group has so many members, None when its pages have another size than was asked for.

        :param segment: the segment
        :param group: its group
        :param count: how many, 1 or more
        """
        if self._works is False:
            return None
        page = self._members.group_page
        if self._works:
            pages = [await page(segment, group, count, 1)]
        else:
            pages = await asyncio.gather(*(page(segment, group, number, 1) for number in (count, 1, 2)))
            check_again()  # by then another group may have shown that the size is kept
        if any(len(ids) > 1 for ids in pages):
            self._works = False
            return None
        if not self._works and pages[1] and pages[2] and pages[1] != pages[2]:
            self._works = True
        return bool(pages[0])

    async def count(self, segment: Segment, group: MemberGroup, at_least: int) -> int | None:
        """Return how many members a group has that has so many, None when it may have a hundred or more.

        :param segment: the segment
        :param group: its group
        :param at_least: how many, 1 or more
        """
        if at_least >= _SMALL:
            return None
        listed = len(await self._members.group_page(segment, group, 1, _SMALL))
        return listed if at_least <= listed < _SMALL else None
