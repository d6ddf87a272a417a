"""Static groups of a segment: who is always in, and who is never.

Source: "Create a Customer Insights - Journeys segment using the Web API", msdynmkt_staticlistmembers. Apart from the
other models because DAG files import it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from airflow_provider_cij.dataverse.odata import guid
from airflow_provider_cij.errors import CijInputError, CijReplyError


@dataclass(frozen=True)
class MemberGroup:
    """A static group of a segment.

    :param name: as people see it; unique within the segment
    :param include: True to add its members to the segment, False to keep them out. Keeping out wins
    :param group_id: by default derived from the segment's key and the name
    """

    name: str
    include: bool = True
    group_id: str = field(default="", repr=False)


def groups_of(text: str | None) -> tuple[MemberGroup, ...]:
    """Read ``msdynmkt_staticlistmembers``, which is JSON in a string."""
    try:
        return tuple(
            MemberGroup(str(group.get("name") or ""), group["includeType"] == "Include", guid(group["groupId"]))
            for group in json.loads(text or "[]") or []
        )
    except (AttributeError, CijInputError, KeyError, TypeError, ValueError) as error:
        raise CijReplyError(f"msdynmkt_staticlistmembers can't be read: {error!r}.") from None


def groups_text(groups: tuple[MemberGroup, ...]) -> str:
    """Write ``msdynmkt_staticlistmembers``."""
    return json.dumps(
        [
            {
                "groupId": group.group_id,
                "includeType": "Include" if group.include else "Exclude",
                "name": group.name,
                "inputType": "manualSelect",
            }
            for group in groups
        ]
    )
