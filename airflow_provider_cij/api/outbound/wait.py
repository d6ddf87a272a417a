"""Waiting for outbound segments, journeys and changes of members: what one look means."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from airflow_provider_cij.api.outbound.client import Outbound
from airflow_provider_cij.api.outbound.journeys import checked_of
from airflow_provider_cij.api.outbound.models import LIVE, STOPPED, OutboundJourney, OutboundSegment, OutboundStatus
from airflow_provider_cij.api.outbound.responses import Verdict
from airflow_provider_cij.api.wait import poll
from airflow_provider_cij.errors import CijOutboundFailedError, CijReplyError

log = logging.getLogger(__name__)

What = Literal["segment", "journey", "operations"]
Until = Literal["live", "stopped", "finished"]
Outcome = Literal["waiting", "done", "failed"]

_ENDS = {"live": LIVE, "stopped": STOPPED}
_OF_OPERATIONS: Mapping[Verdict, Outcome] = {"finished": "done", "failed": "failed"}


def judge(status: int, until: str) -> Outcome:
    """Say what a status means; one that nobody knows is no end."""
    if status in _ENDS[until]:
        return "done"
    # From Expired there is no way back.
    return "failed" if status in (OutboundStatus.ERROR, OutboundStatus.EXPIRED) else "waiting"


@dataclass(frozen=True)
class Seen:
    """What one look has seen.

    :param done: it is as it should be
    :param name: of the segment or journey, for people
    :param said: what was seen, in words
    :param result: for XCom
    """

    done: bool
    name: str
    said: str
    result: dict[str, Any]


async def look(outbound: Outbound, what: str, row_id: str, until: str) -> Seen:
    """Look once.

    :param outbound: over an open client
    :param what: ``segment``, ``journey`` or ``operations`` (the changes of a segment's members)
    :param row_id: the segment or journey
    :param until: ``live`` or ``stopped``; ``finished`` for operations
    :raises CijOutboundFailedError: it failed, with the service's words
    """
    if what == "journey":
        journey = await outbound.journeys.get(row_id)
        result = {"journey_id": journey.row_id, "status": journey.status_name}
        return _seen(journey, until, result, _words(journey.findings))
    segment = await outbound.segments.get(row_id)
    if what == "segment":
        counted = {"status": segment.status_name, "member_count": segment.member_count}
        return _seen(segment, until, {"segment_id": segment.row_id, **counted}, "")
    state = await outbound.members.state(segment.row_id)
    outcome = _OF_OPERATIONS.get(state.verdict, "waiting")
    said = f"The changes of members of outbound segment {segment.name!r} ({segment.row_id}) are {state.verdict}"
    # Documented nowhere: who reads the log must be able to see what it was.
    said = f"{said}: getState says {state.shown}"
    if outcome == "failed":
        raise CijOutboundFailedError(f"{said}.")
    return Seen(outcome == "done", segment.name, said, {"segment_id": segment.row_id, "state": state.verdict})


def _seen(row: OutboundSegment | OutboundJourney, until: str, result: dict[str, Any], findings: str) -> Seen:
    word = "segment" if isinstance(row, OutboundSegment) else "journey"
    outcome = judge(row.status, until)
    said = f"Outbound {word} {row.name!r} ({row.row_id}) is {row.status_name}"
    if outcome == "failed":
        raise CijOutboundFailedError(
            f"{said}." + (f" Its check for errors found {findings}." if findings else ""),
            hint=f"Mend it, and publish it again. CijOutboundValidate{word.title()}Operator checks it."
            if row.status == OutboundStatus.ERROR
            else "From there is no way back: make a new one.",
        )
    return Seen(outcome == "done", row.name, said, result)


def _words(findings: str) -> str:
    """Read what a journey's row keeps of its last check, which looks like the answer of one."""
    try:
        return "; ".join(one.said() for one in checked_of({"ValidationResult": findings}).findings)
    except CijReplyError:
        return findings[:1000]


async def wait(
    outbound: Outbound, what: str, row_id: str, until: str, *, poll_interval: float, deadline: float, first_after: float
) -> Seen:
    """Look again and again.

    :param outbound: over an open client
    :param what: as in ``look``
    :param row_id: as in ``look``
    :param until: as in ``look``
    :param poll_interval: seconds between looks
    :param deadline: epoch seconds to give up at
    :param first_after: seconds before the first look
    :raises CijOutboundFailedError: it failed
    :raises CijTimeoutError: the deadline passed
    """
    last = ""

    async def once() -> Seen | None:
        nonlocal last
        seen = await look(outbound, what, row_id, until)
        if seen.said != last:
            log.info("%s", seen.said)
        last = seen.said
        return seen if seen.done else None

    return await poll(
        once,
        what=f"Outbound {'members of segment' if what == 'operations' else what} {row_id}",
        too_late=lambda: f"did not become {until} in the time given. {last or 'It was never seen'}.",
        hint="Allow more time, or look at it in Dynamics 365.",
        poll_interval=poll_interval,
        deadline=deadline,
        first_after=first_after,
    )
