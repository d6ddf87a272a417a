"""What Customer Insights - Journeys talks about, as frozen dataclasses, with open enums.

Sources: "Create a Customer Insights - Journeys segment using the Web API" (statecode, statuscode, static groups) and
the table references of msdynmkt_segment, msdynmkt_segmentdefinition and msdynmkt_segmentexecution (the codes that
article leaves out).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import Any

from airflow_provider_cij.api.segments.groups import MemberGroup, groups_of
from airflow_provider_cij.dataverse.guids import normalize_guid
from airflow_provider_cij.dataverse.responses import wrong_with
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
"""A publish can mend it."""


def status_name(code: int) -> str:
    """Say a segment's status in one word; an unknown code as its number."""
    try:
        return SegmentStatus(code).name.lower()
    except ValueError:
        return f"status {code}"


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
    """A row of msdynmkt_segments."""

    segment_id: str
    definition_id: str
    display_name: str
    base_table: str
    status: int
    member_count: int | None

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
                member_count=None if row.get("msdynmkt_membercount") is None else int(row["msdynmkt_membercount"]),
            )
        except (CijInputError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise CijReplyError(f"A row of msdynmkt_segments can't be read: {wrong_with(error)}.") from None

    @property
    def status_name(self) -> str:
        """The status in one word."""
        return status_name(self.status)


@dataclass(frozen=True)
class Definition:
    """A row of msdynmkt_segmentdefinitions."""

    query: str
    groups: tuple[MemberGroup, ...]
    static_snapshot: bool
    refresh_interval_minutes: int | None

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
        count = row.get("msdynmkt_membershipcount")
        try:
            return cls(
                str(row.get("msdynmkt_segmentexecutionid") or "").lower(),
                int(row.get("statuscode") or 0),
                str(row.get("msdynmkt_startedon") or ""),
                str(row.get("msdynmkt_finishedon") or ""),
                None if count is None else int(count),
            )
        except (OverflowError, TypeError, ValueError) as error:
            raise CijReplyError(f"A row of msdynmkt_segmentexecutions can't be read: {wrong_with(error)}.") from None


@dataclass(frozen=True)
class CreatedSegment:
    """What creating a segment came to.

    :param created: a row was missing and has been made
    :param changed: a row was there and differed
    :param changes: what was written, by argument: ``{"old": …, "new": …}``, counts where a value holds people
    """

    segment_id: str
    definition_id: str
    groups: Mapping[str, str]
    created: bool
    changed: bool
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class MemberReport:
    """What became of a list of members; ``read`` = ``invalid`` + ``duplicate`` + the distinct ids."""

    read: int = 0
    invalid: int = 0
    duplicate: int = 0
    not_found: int = 0
    added: int = 0
    removed: int = 0
    unchanged: int = 0
    batches: int = 0
    resumed_from: int = 0
    opted_out: int | None = None
    """Who was left out for it; None when nobody asked."""

    def as_dict(self) -> dict[str, int]:
        """Give plain JSON of it, for XCom."""
        return {name: count for name, count in asdict(self).items() if count is not None}
