"""Outbound segments and journeys as plain values: their rows, their states, and which follows which. Pure.

Sources: "Basic operations on segments using API in outbound marketing", "Basic outbound marketing customer journey API
operations", and the table references of msdyncrm_segment and msdyncrm_customerjourney (transitions, further states).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any, Literal

from airflow_provider_cij.api.column_values import code_name
from airflow_provider_cij.api.row_sync import Column, Table
from airflow_provider_cij.dataverse.guids import normalize_guid
from airflow_provider_cij.dataverse.texts import wrong_with
from airflow_provider_cij.errors import (
    CijError,
    CijForbiddenError,
    CijInputError,
    CijOutboundRemovedError,
    CijReplyError,
    CijUnavailableError,
)

SegmentType = Literal["static", "dynamic", "compound"]
SEGMENT_TYPES: Mapping[str, int] = {"static": 192350001, "dynamic": 192350000, "compound": 192350002}
ORGANISATION_SCOPE = 270100000
MEMBERS = "contact"
"""The table whose rows are members of outbound segments."""


class OutboundStatus(IntEnum):
    """``statuscode`` of segments and journeys; a code that no document names stays a plain number."""

    DRAFT = 192350000
    LIVE = 192350001
    STOPPED = 192350002
    LIVE_EDITABLE = 192350003
    EXPIRED = 192350004
    ERROR = 192350005
    GOING_LIVE = 192350006
    STOPPING = 192350007


_S = OutboundStatus
LIVE = frozenset({_S.LIVE, _S.LIVE_EDITABLE})
STOPPED = frozenset({_S.STOPPED, _S.EXPIRED})

_AFTER_DRAFT = {
    _S.LIVE: (_S.STOPPING, _S.STOPPED, _S.GOING_LIVE, _S.LIVE_EDITABLE, _S.ERROR),
    _S.STOPPED: (_S.EXPIRED, _S.GOING_LIVE),
    _S.LIVE_EDITABLE: (_S.LIVE, _S.ERROR, _S.GOING_LIVE),
    _S.ERROR: (_S.GOING_LIVE, _S.STOPPING),
    _S.GOING_LIVE: (_S.LIVE, _S.ERROR),
    _S.STOPPING: (_S.STOPPED, _S.ERROR),
    _S.EXPIRED: (),
}


def status_name(code: int) -> str:
    """Return a status in one word; an unknown code as its number."""
    return code_name(OutboundStatus, code)


def _same_minute(ours: Any, theirs: Any) -> bool:
    """Compare moments to the minute: the service keeps no more of them."""

    def minute(text: Any) -> object:
        try:
            return datetime.fromisoformat(str(text)).replace(second=0, microsecond=0)
        except (OverflowError, ValueError):
            return text

    return minute(ours) == minute(theirs)


def _same_json(ours: Any, theirs: Any) -> bool:
    def value(text: Any) -> object:
        try:
            return json.loads(str(text))
        except (RecursionError, ValueError):
            return text

    return value(ours) == value(theirs)


@dataclass(frozen=True)
class Kind:
    """What differs between outbound segments and journeys.

    :param word: in messages
    :param table: where its rows are
    :param columns: that a check reads: the id, the name, and more
    :param moves: which status may follow which
    :param kept: in which of them a publish has nothing left to do
    """

    word: str
    table: Table
    columns: tuple[str, ...]
    moves: Mapping[OutboundStatus, tuple[OutboundStatus, ...]]
    kept: frozenset[OutboundStatus]


SEGMENT = Kind(
    word="segment",
    table=Table(
        "msdyncrm_segments",
        "msdyncrm_segmentid",
        {"statuscode": int(_S.DRAFT)},
        {"msdyncrm_segmentname": Column("display_name"), "msdyncrm_segmentquery": Column("query")},
    ),
    columns=(
        *("msdyncrm_segmentid", "msdyncrm_segmentname", "msdyncrm_segmenttype", "statuscode"),
        *("msdyncrm_segmentqueryname", "msdyncrm_segmentsize", "msdyncrm_scope", "_owningbusinessunit_value"),
    ),
    moves={_S.DRAFT: (_S.GOING_LIVE, _S.LIVE, _S.EXPIRED), **_AFTER_DRAFT},
    kept=frozenset({_S.GOING_LIVE}),
)
JOURNEY = Kind(
    word="journey",
    table=Table(
        "msdyncrm_customerjourneys",
        "msdyncrm_customerjourneyid",
        {"statuscode": int(_S.DRAFT), "statecode": 0},
        {
            "msdyncrm_startdatetime": Column(same=_same_minute),
            "msdyncrm_enddatetime": Column(same=_same_minute),
            "msdyncrm_workflowdefinition": Column(same=_same_json),
        },
    ),
    columns=("msdyncrm_customerjourneyid", "msdyncrm_name", "statuscode", "msdyncrm_validationresults"),
    moves={_S.DRAFT: (_S.GOING_LIVE, _S.EXPIRED), **_AFTER_DRAFT},
    # To publish a journey a second time could mail people twice.
    kept=frozenset({_S.GOING_LIVE, _S.LIVE}),
)


@dataclass(frozen=True)
class OutboundRow:
    """What segments and journeys have in common.

    :param row_id: its id
    :param name: as people see it
    :param status: its statuscode
    :param etag: the version that was read
    """

    row_id: str
    name: str
    status: int
    etag: str = field(repr=False)

    @property
    def status_name(self) -> str:
        """The status in one word."""
        return status_name(self.status)

    def summary(self) -> dict[str, Any]:
        """Return what a task that waited for it returns."""
        raise NotImplementedError


@dataclass(frozen=True)
class OutboundSegment(OutboundRow):
    """A row of msdyncrm_segments.

    :param segment_type: its code
    :param query_name: what queries call it
    :param member_count: as of its last evaluation, None when the service does not say
    :param scope: whose contacts it may hold; None when the service does not say
    :param business_unit_id: its owner's
    """

    segment_type: int
    query_name: str
    member_count: int | None = None
    scope: int | None = None
    business_unit_id: str | None = None

    def summary(self) -> dict[str, Any]:
        """Return what a task that waited for it returns."""
        return {"segment_id": self.row_id, "status": self.status_name, "member_count": self.member_count}

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> OutboundSegment:
        """Read a row.

        :raises CijReplyError: it has no id, type or status
        """
        with _readable("msdyncrm_segments"):
            row_id = normalize_guid(row["msdyncrm_segmentid"])
            return cls(
                row_id=row_id,
                name=str(row.get("msdyncrm_segmentname") or ""),
                status=int(row["statuscode"]),
                etag=str(row.get("@odata.etag") or "*"),
                segment_type=int(row["msdyncrm_segmenttype"]),
                query_name=str(row.get("msdyncrm_segmentqueryname") or query_name(row_id)),
                member_count=_number(row.get("msdyncrm_segmentsize")),
                scope=_number(row.get("msdyncrm_scope")),
                business_unit_id=row.get("_owningbusinessunit_value"),
            )


@dataclass(frozen=True)
class OutboundJourney(OutboundRow):
    """A row of msdyncrm_customerjourneys.

    :param findings: what the service found when it last looked for errors, in its own words
    """

    findings: str = ""

    def summary(self) -> dict[str, Any]:
        """Return what a task that waited for it returns."""
        return {"journey_id": self.row_id, "status": self.status_name}

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> OutboundJourney:
        """Read a row.

        :raises CijReplyError: it has no id or status
        """
        with _readable("msdyncrm_customerjourneys"):
            return cls(
                row_id=normalize_guid(row["msdyncrm_customerjourneyid"]),
                name=str(row.get("msdyncrm_name") or ""),
                status=int(row["statuscode"]),
                etag=str(row.get("@odata.etag") or "*"),
                findings=str(row.get("msdyncrm_validationresults") or ""),
            )


@contextmanager
def _readable(entity_set: str) -> Iterator[None]:
    try:
        yield
    except (CijInputError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise CijReplyError(f"A row of {entity_set} can't be read: {wrong_with(error)}.") from None


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


def query_name(segment_id: str) -> str:
    """Return the name that a segment has in queries."""
    return f"SEGMENT_CRM_ID_{segment_id.replace('-', '')}"


def check_move(kind: Kind, row: OutboundRow, wanted: OutboundStatus) -> None:
    """Check that the service allows a change of status. An unknown status is left to the service.

    :raises CijInputError: naming both states, and those that it can go to
    """
    if row.status not in kind.moves:
        return
    possible = kind.moves[OutboundStatus(row.status)]
    if wanted not in possible:
        raise CijInputError(
            f"Outbound {kind.word} {row.name!r} ({row.row_id}) is {row.status_name}: it can't become "
            f"{status_name(wanted)}. Nothing was sent.",
            hint=f"From {row.status_name} it can become {', '.join(map(status_name, possible)) or 'nothing else'}.",
        )


# No application user, no role at all, a disabled user: these say nothing about outbound marketing.
_OTHER_REASONS = ("0x80072560", "0x80042f09", "0x80040225")
_REMOVED = (
    "Microsoft removed outbound marketing from all organisations in 2026. Use real-time segments and journeys instead: "
    "CijCreateSegmentOperator, CijCreateJourneyOperator."
)
_OR_FORBIDDEN = " If this organisation still has it, a security role of the application user lacks the privilege."


@contextmanager
def removal_explained() -> Iterator[None]:
    """Turn what an organisation without outbound marketing answers into one error that says so.

    :raises CijOutboundRemovedError: 403, or 404 for a table or an action
    """
    try:
        yield
    except (CijForbiddenError, CijUnavailableError) as error:
        if error.http_status not in (403, 404) or error.code.lower() in _OTHER_REASONS:
            raise
        plain = error.as_dict() | {
            "type": CijOutboundRemovedError.__name__,
            "message": "This organisation has no outbound marketing any more, or the application user may not use it: "
            + error.message,
            "hint": _REMOVED + (_OR_FORBIDDEN if error.http_status == 403 else ""),
        }
        raise CijError.from_dict(plain) from error
