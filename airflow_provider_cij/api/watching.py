"""Waiting for a segment: what one look means, and when to look again.

Published is not done: publish answers 204 and the work goes on behind it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal, Protocol

from airflow_provider_cij.api.models import (
    FAILED,
    LIVE,
    STOPPED,
    Execution,
    ExecutionStatus,
    Segment,
    SegmentStatus,
    status_name,
)
from airflow_provider_cij.api.segments import Segments
from airflow_provider_cij.api.waiting import poll
from airflow_provider_cij.dataverse.client import Clock
from airflow_provider_cij.errors import CijSegmentFailedError

log = logging.getLogger(__name__)

Until = Literal["live", "refreshed", "stopped", "members"]
Outcome = Literal["waiting", "done", "failed"]

# Only these can be mistaken for the end of what was just asked for.
_ENDED = LIVE | FAILED
_EXECUTION_FAILED = frozenset({ExecutionStatus.FAILED, ExecutionStatus.TIMED_OUT})


class Looks(Protocol):
    """Where looks come from: the segments themselves, or a poll that many waits share."""

    async def get(self, segment_id: str) -> Segment:
        """Read a segment."""

    async def last_execution(
        self, segment: Segment, since: str = "", but: str = "", *, must: bool = False
    ) -> Execution | None:
        """Read its newest evaluation, of those that began at or after ``since`` and are not ``but``."""

    async def last_words(self, segment_id: str) -> str:
        """Ask why the last evaluation ended as it did."""


@dataclass(frozen=True)
class Before:
    """What a segment was just before it was published: the same seen again afterwards is no news.

    :param status: its statuscode
    :param execution_id: its newest evaluation, ``""`` when none was to be seen
    :param started_on: when that began, in the service's words
    """

    status: int
    execution_id: str = ""
    started_on: str = ""


@dataclass(frozen=True)
class Goal:
    """What is waited for.

    :param until: ``live``; ``refreshed``: an evaluation that began at or after ``since`` has succeeded; ``stopped``:
        it is evaluated no more; ``members``: whatever its status, it has enough of them
    :param since: epoch seconds, for ``refreshed``
    :param before: what it was before it was published, when ``live`` is to come of that
    :param min_members: how many it must have as well
    """

    until: Until = "live"
    since: float = 0.0
    before: Before | None = None
    min_members: int = 0

    @property
    def needs_execution(self) -> bool:
        """Whether a look must see the newest evaluation too."""
        return self.until == "refreshed" or (self.before is not None and self.before.status in _ENDED)

    @property
    def earliest(self) -> str:
        """When the evaluations that matter began at the earliest, in the service's words; ``""`` for any."""
        if self.before is not None:
            return self.before.started_on
        moment = datetime.fromtimestamp(self.since, UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if self.until == "refreshed" else ""

    def after(self, segment: Segment) -> Goal:
        """Forget what was before a publish once the segment has left it: whatever comes now is new."""
        return self if segment.status in _ENDED else replace(self, before=None)


def judge(segment: Segment, newest: Execution | None, goal: Goal) -> Outcome:
    """Say what one look at a segment means.

    :param segment: as it is now
    :param newest: its newest evaluation, where the goal needs it
    :param goal: what is waited for
    :return: ``waiting`` for every status that is neither the goal nor a failure, unknown ones included
    """
    outcome = _status_outcome(segment, newest, goal)
    enough = goal.min_members <= (segment.member_count or 0)
    return "waiting" if outcome == "done" and not enough else outcome


def _status_outcome(segment: Segment, newest: Execution | None, goal: Goal) -> Outcome:
    if goal.before is not None:
        return _after_publish(segment, newest, goal.before)
    if segment.status in FAILED:
        return "failed"
    if goal.until == "refreshed":
        if newest is None or not began_since(newest, goal.since):
            return "waiting"
        return (
            "failed"
            if newest.status in _EXECUTION_FAILED
            else "done"
            if newest.status == ExecutionStatus.SUCCEEDED and segment.status in LIVE
            else "waiting"
        )
    wanted = {"live": LIVE, "stopped": STOPPED, "members": frozenset({segment.status})}[goal.until]
    return "done" if segment.status in wanted else "waiting"


def _after_publish(segment: Segment, newest: Execution | None, before: Before) -> Outcome:
    fresh = newest if newest and newest.execution_id != before.execution_id else None
    if fresh and fresh.status in _EXECUTION_FAILED:
        return "failed"
    if segment.status in FAILED:
        # After a publish the service may take a moment to leave the failure that the publish is to mend.
        return "waiting" if before.status == segment.status and not fresh else "failed"
    if segment.status not in LIVE:
        return "waiting"
    if before.status not in LIVE:
        return "done"
    # It was live before: only a new evaluation shows that the publish has taken effect. Where the log of evaluations
    # shows nothing at all, there is nothing better than the status.
    if newest is None and not before.execution_id:
        return "done"
    return "done" if fresh and fresh.status == ExecutionStatus.SUCCEEDED else "waiting"


def began_since(execution: Execution, since: float) -> bool:
    """Tell whether an evaluation began at or after a moment; one whose start can't be read did not."""
    try:
        return datetime.fromisoformat(execution.started_on).timestamp() >= since
    except (OverflowError, ValueError):
        return False


async def look(looks: Looks, segment_id: str, goal: Goal) -> tuple[Segment, Outcome]:
    """Look once.

    :raises CijSegmentFailedError: the segment failed, with the service's words
    """
    segment = await looks.get(segment_id)
    newest = None
    if goal.needs_execution:
        old = goal.before.execution_id if goal.before else ""
        newest = await looks.last_execution(segment, goal.earliest, old, must=goal.until == "refreshed")
    outcome = judge(segment, newest, goal)
    if outcome == "failed":
        words = await looks.last_words(segment.segment_id)
        raise CijSegmentFailedError(
            f"Segment {segment.display_name!r} ({segment.segment_id}) "
            + (f"ended in status {segment.status_name}: " if segment.status in FAILED else "could not be evaluated: ")
            + (words or "the service gives no reason."),
            hint="" if words else "Open the segment in Dynamics 365 to see why.",
        )
    return segment, outcome


async def before_publish(segments: Segments, segment: Segment) -> Before:
    """Remember what there is, to tell news from it later."""
    newest = await segments.last_execution(segment) if segment.status in _ENDED else None
    return Before(segment.status, newest.execution_id, newest.started_on) if newest else Before(segment.status)


async def wait(
    looks: Looks,
    segment_id: str,
    goal: Goal,
    *,
    poll_interval: float,
    deadline: float,
    first_after: float = 0.0,
    clock: Clock | None = None,
) -> Segment:
    """Look again and again until the goal is reached.

    :param looks: where looks come from
    :param segment_id: whom to wait for
    :param goal: what to wait for
    :param poll_interval: seconds between looks
    :param deadline: epoch seconds to give up at
    :param first_after: seconds before the first look
    :param clock: where time comes from
    :raises CijSegmentFailedError: it failed
    :raises CijTimeoutError: the deadline passed
    """
    last: Segment | None = None

    async def once() -> Segment | None:
        nonlocal goal, last
        segment, outcome = await look(looks, segment_id, goal)
        goal = goal.after(segment)
        if last is None or (segment.status, segment.member_count) != (last.status, last.member_count):
            log.info("Segment %s is %s, members: %s", segment_id, segment.status_name, segment.member_count)
        last = segment
        if outcome != "done":
            return None
        warn_of_warnings(segment)
        return segment

    return await poll(
        once,
        what=f"Segment {segment_id}",
        too_late=lambda: f"{_NOT_YET[goal.until]} in the time given ({_last_seen(last, goal)}).",
        hint="Large segments take hours: allow more time, or look at the segment in Dynamics 365.",
        poll_interval=poll_interval,
        deadline=deadline,
        first_after=first_after,
        clock=clock,
    )


_NOT_YET = {
    "live": "did not become live",
    "refreshed": "was not refreshed",
    "stopped": "did not stop",
    "members": "did not get enough members",
}


def warn_of_warnings(segment: Segment) -> None:
    """Say so when a segment is live, but not without a stain."""
    if segment.status == SegmentStatus.LIVE_WITH_WARNINGS:
        said = "Segment %s is live, with warnings: open it in Dynamics 365 to see them"
        log.warning(said, segment.segment_id)


def _last_seen(last: Segment | None, goal: Goal) -> str:
    if last is None:
        return "never seen"
    wanted = f", {last.member_count} members of {goal.min_members}" if goal.min_members else ""
    return f"last seen {status_name(last.status)}{wanted}"
