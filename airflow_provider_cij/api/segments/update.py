"""Which columns an update of a segment writes, and which of its groups it drops."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from airflow_provider_cij.api.segments.models import Definition, MemberGroup, Segment, groups_text, with_ids
from airflow_provider_cij.api.segments.spec import check_groups, check_interval, check_name, check_query, owner
from airflow_provider_cij.errors import CijConflictError, CijInputError

log = logging.getLogger(__name__)

CountGroup = Callable[[str, str], Awaitable[int]]
"""Returns how many members a static group has, by the segment's id and the group's id."""


@dataclass(frozen=True)
class SegmentUpdate:
    """The columns that an update writes.

    :param segment: columns of the segment's row
    :param definition: columns of the definition's row
    :param groups: all groups of the segment after the update
    """

    segment: dict[str, Any]
    definition: dict[str, Any]
    groups: tuple[MemberGroup, ...]


def update_of(
    segment: Segment,
    now: Definition,
    *,
    display_name: str | None,
    query: str | None,
    groups: tuple[MemberGroup, ...] | None,
    static_snapshot: bool | None,
    refresh_interval_minutes: int | None,
    description: str | None,
    business_unit_id: str | None,
) -> SegmentUpdate:
    """Check the given properties of a segment, and return the columns that hold them.

    The arguments are those of ``Segments.update``; None leaves a property as it is.

    :raises CijInputError: a value is invalid, or the segment would have neither a query nor a group
    """
    name = f"Segment {segment.display_name!r}"
    row: dict[str, Any] = {}
    definition: dict[str, Any] = {}
    if display_name is not None:
        check_name(name, display_name)
        row["msdynmkt_displayname"] = display_name
    if description is not None:
        row["msdynmkt_description"] = description
    if business_unit_id is not None:
        row |= owner(business_unit_id)
    if query is not None:
        check_query(name, query, segment.base_table)
        definition["msdynmkt_segmentquery"] = query.strip()
    if groups is not None:
        check_groups(name, groups)
        groups = with_ids(segment.segment_id, groups, now.groups)
        definition["msdynmkt_staticlistmembers"] = groups_text(groups)
    if static_snapshot is not None:
        definition["msdynmkt_disablesegmentrefresh"] = static_snapshot
    if refresh_interval_minutes is not None:
        check_interval(name, refresh_interval_minutes)
        definition["msdynmkt_segmentrefreshintervalminutes"] = refresh_interval_minutes
    kept_groups = now.groups if groups is None else groups
    if (
        (query is not None or groups is not None)
        and not (now.query if query is None else query.strip())
        and not kept_groups
    ):
        raise CijInputError(f"{name} would have neither a query nor a group: it could never have members.")
    return SegmentUpdate(row, definition, kept_groups)


async def check_dropped(
    segment_id: str,
    there: Iterable[MemberGroup],
    wanted: Iterable[MemberGroup],
    allowed: bool,
    count_group: CountGroup | None,
) -> None:
    """Check that no group is dropped together with its members.

    :param segment_id: the segment
    :param there: its groups now
    :param wanted: its groups after the change
    :param allowed: True allows it; each dropped group is logged
    :param count_group: counts the members of a group; None, each group counts as one that has members
    :raises CijConflictError: a group with members would be dropped
    """
    kept = {group.group_id for group in wanted}
    for group in there:
        if group.group_id in kept:
            continue
        count = 0
        if not allowed:
            count = await count_group(segment_id, group.group_id) if count_group else -1
        if count:
            members = f"{count:,} members" if count > 0 else "its members"
            raise CijConflictError(
                f"Group {group.name!r} ({group.group_id}) would be dropped, with {members}.",
                hint="Nothing was written. A rename of a group is a drop: name the group as it was, or give "
                "allow_dropping_members=True.",
            )
        log.warning("Group %r (%s) is dropped", group.name, group.group_id)
