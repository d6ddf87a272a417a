"""Static groups of a segment: who is always in, and who is never.

Source: "Create a Customer Insights - Journeys segment using the Web API", msdynmkt_staticlistmembers. Apart from the
other models because DAG files import it.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field, replace

from airflow_provider_cij.dataverse.guids import normalize_guid
from airflow_provider_cij.dataverse.responses import wrong_with
from airflow_provider_cij.errors import CijInputError, CijReplyError


@dataclass(frozen=True)
class MemberGroup:
    """A static group of a segment.

    :param name: as people see it; unique within the segment
    :param include: True to add its members to the segment, False to keep them out. Keeping out wins
    :param group_id: by default derived from the segment and the name
    :param input_type: how the product's own pages fill it; kept as it is found
    """

    name: str
    include: bool = True
    group_id: str = field(default="", repr=False)
    input_type: str = field(default="manualSelect", repr=False, compare=False)


def groups_of(text: str | None) -> tuple[MemberGroup, ...]:
    """Read ``msdynmkt_staticlistmembers``, which is JSON in a string."""
    try:
        return tuple(
            MemberGroup(
                name=str(group.get("name") or ""),
                include=group["includeType"] == "Include",
                group_id=normalize_guid(group["groupId"]),
                input_type=str(group.get("inputType") or "manualSelect"),
            )
            for group in json.loads(text or "[]") or []
        )
    except (AttributeError, CijInputError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise CijReplyError(f"msdynmkt_staticlistmembers can't be read: {wrong_with(error)}.") from None


def groups_text(groups: tuple[MemberGroup, ...]) -> str:
    """Write ``msdynmkt_staticlistmembers``."""
    return json.dumps(
        [
            {
                "groupId": group.group_id,
                "includeType": "Include" if group.include else "Exclude",
                "name": group.name,
                "inputType": group.input_type,
            }
            for group in groups
        ]
    )


def with_ids(
    segment_id: str, groups: tuple[MemberGroup, ...], there: tuple[MemberGroup, ...] = ()
) -> tuple[MemberGroup, ...]:
    """Give every group its id: the one it has, or one that derives from the segment and the group's name.

    :param segment_id: the segment
    :param groups: as they shall be
    :param there: as they are; a group of the same name or id is the same group, and keeps its members
    """
    by_name, by_id = {group.name: group for group in there}, {group.group_id: group for group in there}

    def one(group: MemberGroup) -> MemberGroup:
        named = by_name.get(group.name)
        derived = uuid.uuid5(uuid.UUID(segment_id), f"group:{group.name}")
        group_id = normalize_guid(group.group_id or (named.group_id if named else derived), "group_id")
        old = by_id.get(group_id)
        return replace(group, group_id=group_id, input_type=old.input_type if old else group.input_type)

    return tuple(one(group) for group in groups)
