"""What Customer Insights - Journeys talks about, as frozen dataclasses, with open enums.

Sources: "Create a Customer Insights - Journeys segment using the Web API" (statecode, statuscode, static groups) and
the table references of msdynmkt_segment, msdynmkt_segmentdefinition and msdynmkt_segmentexecution (the codes that
article leaves out).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, ClassVar

from airflow_provider_cij.api.column_values import code_name
from airflow_provider_cij.dataverse.guids import normalize_guid
from airflow_provider_cij.dataverse.texts import wrong_with
from airflow_provider_cij.errors import CijInputError, CijReplyError

SEGMENT_COLUMNS = (
    "msdynmkt_segmentid",
    "msdynmkt_displayname",
    "msdynmkt_sourcesegmentuid",
    "msdynmkt_baseentitylogicalname",
    "msdynmkt_membercount",
    "statecode",
    "statuscode",
)
FOR_UPDATE = ("msdynmkt_description", "_owningbusinessunit_value")
"""The columns that an update compares besides."""
FOR_DELETE = ("msdynmkt_publishedjourneycount",)
"""The columns that a delete checks besides."""
DEFINITION_COLUMNS = (
    "msdynmkt_segmentquery",
    "msdynmkt_staticlistmembers",
    "msdynmkt_disablesegmentrefresh",
    "msdynmkt_segmentrefreshintervalminutes",
)
EXECUTION_COLUMNS = (
    *("msdynmkt_segmentexecutionid", "statuscode", "msdynmkt_startedon", "msdynmkt_finishedon"),
    "msdynmkt_membershipcount",
)


def _count(value: Any) -> int | None:
    return None if value is None else int(value)


class SegmentStatus(IntEnum):
    """``statuscode`` of msdynmkt_segment. The service knows more codes than any document; those stay plain numbers."""

    LIVE = 1
    DRAFT = 2
    ERROR = 3
    DELETED = 4
    EXPORTING = 5
    COMPUTING = 6
    LIVE_WITH_WARNINGS = 7
    STOPPING = 8
    STOPPED = 9
    EXPIRED = 10
    FAULTED = 11


LIVE = frozenset({SegmentStatus.LIVE, SegmentStatus.LIVE_WITH_WARNINGS})
FAILED = frozenset({SegmentStatus.ERROR, SegmentStatus.DELETED, SegmentStatus.FAULTED})
STOPPED = frozenset({SegmentStatus.STOPPED, SegmentStatus.EXPIRED})
AT_REST = STOPPED | {SegmentStatus.DRAFT, SegmentStatus.STOPPING}
"""Not evaluated any more, or not yet: there is nothing to stop."""
BROKEN = FAILED - {SegmentStatus.DELETED}
"""A publish can fix it."""


def status_name(code: int) -> str:
    """Return a segment's status in one word; an unknown code as its number."""
    return code_name(SegmentStatus, code)


class ExecutionStatus(IntEnum):
    """``statuscode`` of msdynmkt_segmentexecution."""

    NOT_STARTED = 723270000
    IN_PROGRESS = 723270001
    SUCCEEDED = 723270002
    FAILED = 723270003
    TIMED_OUT = 723270004
    SKIPPED = 723270005


UNFINISHED = frozenset({ExecutionStatus.NOT_STARTED, ExecutionStatus.IN_PROGRESS})


@dataclass(frozen=True)
class Segment:
    """A row of msdynmkt_segments.

    :param segment_id: its id
    :param definition_id: of the definition that belongs to it
    :param display_name: what people see
    :param base_table: the table of its members, ``contact`` or ``lead``
    :param status: its statuscode (``SegmentStatus``; an unknown code stays a plain number)
    :param member_count: as of its last evaluation; None when the service does not say
    :param live_journeys: how many live journeys use it; None when that was not read
    :param row: the row as it was read, with its version
    """

    segment_id: str
    definition_id: str
    display_name: str
    base_table: str
    status: int
    member_count: int | None
    live_journeys: int | None = None
    row: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Segment:
        """Read a row.

        :raises CijReplyError: it has no id or no status
        """
        try:
            return cls(
                segment_id=normalize_guid(row["msdynmkt_segmentid"]),
                definition_id=str(row.get("msdynmkt_sourcesegmentuid") or "").lower(),
                display_name=str(row.get("msdynmkt_displayname") or ""),
                base_table=str(row.get("msdynmkt_baseentitylogicalname") or ""),
                status=int(row["statuscode"]),
                member_count=_count(row.get("msdynmkt_membercount")),
                live_journeys=_count(row.get("msdynmkt_publishedjourneycount")),
                row=row,
            )
        except (CijInputError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise CijReplyError(f"A row of msdynmkt_segments can't be read: {wrong_with(error)}.") from None

    @property
    def status_name(self) -> str:
        """The status in one word."""
        return status_name(self.status)

    def summary(self) -> dict[str, Any]:
        """Return what a task that waited for it returns."""
        return {"segment_id": self.segment_id, "status": self.status_name, "member_count": self.member_count}


@dataclass(frozen=True)
class MemberGroup:
    """A static group of a segment.

    :param name: as people see it; unique within the segment (templated)
    :param include: True (default) to add its members to the segment, False to keep them out. Keeping out wins
    :param group_id: by default derived from the segment and the name
    :param input_type: how the product's own pages fill it; kept as it is found; default ``manualSelect``
    """

    template_fields: ClassVar = ("name",)

    name: str
    include: bool = True
    group_id: str = field(default="", repr=False)
    input_type: str = field(default="manualSelect", repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise CijInputError(f"A group's name is a {type(self.name).__name__}.", hint="Give text; it is templated.")


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


def group_ids(groups: Iterable[MemberGroup]) -> dict[str, str]:
    """Return the ids of groups by their names."""
    return {group.name: group.group_id for group in groups}


def group_named(wanted: str, segment: Segment, groups: Sequence[MemberGroup]) -> MemberGroup:
    """Return the group with a name or an id.

    :param wanted: the group's name or id
    :param segment: the segment, for the error
    :param groups: all groups of the segment
    :raises CijInputError: there is none; the error lists the names of the segment's groups
    """
    for group in groups:
        if wanted == group.name or wanted.lower() == group.group_id:
            return group
    names = ", ".join(repr(group.name) for group in groups) or "none"
    raise CijInputError(f"Segment {segment.segment_id} has no group {wanted!r}. Its groups: {names}.")


def with_ids(
    segment_id: str, groups: tuple[MemberGroup, ...], there: tuple[MemberGroup, ...] = ()
) -> tuple[MemberGroup, ...]:
    """Return groups with their ids: the id it has, or one that derives from the segment and the group's name.

    :param segment_id: the segment
    :param groups: as wanted
    :param there: as they are; a group with the same name or id is the same group, and keeps its members
    """
    by_name, by_id = {group.name: group for group in there}, {group.group_id: group for group in there}

    def one(group: MemberGroup) -> MemberGroup:
        named = by_name.get(group.name)
        derived = uuid.uuid5(uuid.UUID(segment_id), f"group:{group.name}")
        group_id = normalize_guid(group.group_id or (named.group_id if named else derived), "group_id")
        old = by_id.get(group_id)
        return replace(group, group_id=group_id, input_type=old.input_type if old else group.input_type)

    return tuple(one(group) for group in groups)


@dataclass(frozen=True)
class Definition:
    """A row of msdynmkt_segmentdefinitions."""

    query: str
    groups: tuple[MemberGroup, ...]
    static_snapshot: bool
    refresh_interval_minutes: int | None
    row: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Definition:
        """Read a row.

        :raises CijReplyError: its groups are no JSON list
        """
        return cls(
            query=str(row.get("msdynmkt_segmentquery") or ""),
            groups=groups_of(row.get("msdynmkt_staticlistmembers")),
            static_snapshot=bool(row.get("msdynmkt_disablesegmentrefresh")),
            refresh_interval_minutes=row.get("msdynmkt_segmentrefreshintervalminutes"),
            row=row,
        )


@dataclass(frozen=True)
class Execution:
    """A row of msdynmkt_segmentexecutions: one evaluation of a segment.

    :param execution_id: its id
    :param status: its statuscode (``ExecutionStatus``; an unknown code stays a plain number)
    :param started_on: when the service began, in its own words (ISO 8601, UTC); ``""`` when it has not
    :param finished_on: when the service ended, in its own words; ``""`` when it has not
    :param member_count: how many members it found; None when the service does not say
    """

    execution_id: str
    status: int
    started_on: str = ""
    finished_on: str = ""
    member_count: int | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Execution:
        """Read a row.

        :raises CijReplyError: its status or its count is no number
        """
        try:
            return cls(
                str(row.get("msdynmkt_segmentexecutionid") or "").lower(),
                int(row.get("statuscode") or 0),
                str(row.get("msdynmkt_startedon") or ""),
                str(row.get("msdynmkt_finishedon") or ""),
                _count(row.get("msdynmkt_membershipcount")),
            )
        except (OverflowError, TypeError, ValueError) as error:
            raise CijReplyError(f"A row of msdynmkt_segmentexecutions can't be read: {wrong_with(error)}.") from None


@dataclass(frozen=True)
class CreatedSegment:
    """What a create or update has done.

    :param segment_id: the segment
    :param definition_id: its definition
    :param groups: ids of its groups by their names
    :param created: True when a row was missing and was created
    :param changed: True when a row existed and differed
    :param changes: what was written, by argument: ``{"old": …, "new": …}``, counts where a value holds people
    """

    segment_id: str
    definition_id: str
    groups: Mapping[str, str]
    created: bool
    changed: bool
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
