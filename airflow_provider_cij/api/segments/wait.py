"""Waiting for a segment: what one look means, and when to look again.

Published is not done: publish answers 204 and the work goes on behind it. An evaluation counts as ours when it is in
the log of evaluations (msdynmkt_segmentexecution) and was not there when we asked: no clocks are compared. One that was
under way by then may have read the members of before.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal, NamedTuple, Protocol

from airflow_provider_cij.api.segments.client import Segments
from airflow_provider_cij.api.segments.models import (
    AT_REST,
    BROKEN,
    FAILED,
    LIVE,
    STOPPED,
    UNFINISHED,
    Execution,
    ExecutionStatus,
    Segment,
    SegmentStatus,
    status_name,
)
from airflow_provider_cij.api.segments.sizes import SizeLimits
from airflow_provider_cij.api.wait import poll
from airflow_provider_cij.dataverse.clock import Clock
from airflow_provider_cij.errors import CijRefusedError, CijSegmentFailedError

log = logging.getLogger(__name__)

Until = Literal["live", "refreshed", "stopped", "members"]
Outcome = Literal["waiting", "done", "failed", "ask_again"]

# Only these can be mistaken for the end of what was just asked for.
_ENDED = LIVE | FAILED
_EXECUTION_FAILED = frozenset({ExecutionStatus.FAILED, ExecutionStatus.TIMED_OUT})
_EXECUTION_ENDED = _EXECUTION_FAILED | {ExecutionStatus.SUCCEEDED}
# How many evaluations are read to find the last two that succeeded.
_NEWEST = 50
# Seconds that two clocks may differ, and a reply may take, without being noticed.
_SAME_TIME = 3.0


class Looks(Protocol):
    """Where looks come from: the segments themselves, or a poll that many waits share."""

    @property
    def service_ahead(self) -> float:
        """Seconds by which the service's clock is ahead of ours."""

    async def get(self, segment_id: str) -> Segment:
        """Read a segment."""

    async def executions_since(self, segment: Segment, since: str) -> list[Execution]:
        """Read its evaluations that began at or after ``since``, and those that have not ended, the newest first."""

    async def newest_executions(self, segment: Segment, most: int) -> list[Execution]:
        """Read its newest evaluations that have begun, the newest first."""

    async def last_words(self, segment_id: str) -> str:
        """Ask why the last evaluation ended as it did."""


@dataclass(frozen=True)
class Before:
    """What a segment was just before it was published: the same seen again afterwards is no news.

    :param status: its statuscode
    :param execution_ids: the evaluations in the log that a later look may see again
    :param started_on: when the newest of them began, in the service's words; ``""`` when none had
    :param under_way: an evaluation was under way: the service may drop the request to publish
    """

    status: int
    execution_ids: tuple[str, ...] = ()
    started_on: str = ""
    under_way: bool = False


@dataclass(frozen=True)
class Goal:
    """What is waited for.

    :param until: ``live``; ``refreshed``: an evaluation that began at or after ``since`` has succeeded; ``stopped``:
        it is evaluated no more; ``members``: whatever its status, it has enough of them
    :param since: epoch seconds, for ``refreshed``
    :param by_our_clock: ``since`` was read from our clock: the service's may show another time
    :param before: what it was before it was published, when ``live`` is to come of that
    :param min_members: how many it must have as well
    :param limits: how many it may have at the most, and how far that may be from the evaluation before
    """

    until: Until = "live"
    since: float = 0.0
    by_our_clock: bool = False
    before: Before | None = None
    min_members: int = 0
    limits: SizeLimits = field(default_factory=SizeLimits)

    @property
    def earliest(self) -> str:
        """When the evaluations that matter began at the earliest, in the service's words; ``""`` for any."""
        if self.before is not None:
            return self.before.started_on
        moment = datetime.fromtimestamp(self.since, UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if self.until == "refreshed" else ""

    def at_the_service(self, ahead: float) -> Goal:
        """Return the goal by the service's clock.

        :param ahead: seconds by which that is ahead of ours; a few are no difference, because the header is in
            whole seconds
        """
        if not self.by_our_clock or abs(ahead) < _SAME_TIME:
            return self
        # Rather a second too late: an evaluation from before must not count.
        return replace(self, since=self.since + ahead + 1, by_our_clock=False)

    def needs_log(self, segment: Segment) -> bool:
        """Return whether the log is needed, because the status alone does not say what a look means."""
        if self.before is not None:
            return self.before.under_way or self.before.status in _ENDED
        # Broken, it may be on its way to be mended.
        return self.until == "refreshed" or (self.until == "live" and segment.status in BROKEN)


def judge(segment: Segment, runs: Sequence[Execution], goal: Goal) -> Outcome:
    """Say what one look at a segment means.

    :param segment: as it is now
    :param runs: its evaluations, the newest first, where the goal needs them; read before the segment
    :param goal: what is waited for
    :return: ``waiting`` for every status that is neither the goal nor a failure, unknown ones included; ``ask_again``
        when the service has dropped the request to publish
    """
    outcome = _status_outcome(segment, runs, goal)
    enough = goal.min_members <= (segment.member_count or 0)
    if goal.limits.needs_count and segment.member_count is None:
        enough = False
    return "waiting" if outcome == "done" and not enough else outcome


def _status_outcome(segment: Segment, runs: Sequence[Execution], goal: Goal) -> Outcome:
    if segment.status == SegmentStatus.DELETED:
        return "failed"
    if goal.before is not None:
        return _after_publish(segment, runs, goal.before)
    if goal.until == "refreshed":
        ours = [run for run in runs if began_since(run, goal.since)]
        return _of_ended(segment, ours) or "waiting"
    if segment.status in BROKEN:
        mending = goal.until == "live" and any(run.status in UNFINISHED for run in runs)
        return "waiting" if mending else "failed"
    wanted = {"live": LIVE, "stopped": STOPPED, "members": frozenset({segment.status})}[goal.until]
    return "done" if segment.status in wanted else "waiting"


def _of_ended(segment: Segment, ours: Sequence[Execution]) -> Outcome | None:
    """Judge by the newest of our evaluations that has ended; None when none has."""
    ended = next((run for run in ours if run.status in _EXECUTION_ENDED), None)
    if ended is None:
        return None
    if ended.status in _EXECUTION_FAILED or segment.status in BROKEN:
        # The row was read after the log: what it says of a failure is newer.
        return "failed"
    return "done" if segment.status in LIVE else "waiting"


def _after_publish(segment: Segment, runs: Sequence[Execution], before: Before) -> Outcome:
    ours = [run for run in runs if run.execution_id not in before.execution_ids]
    if outcome := _of_ended(segment, ours):
        return outcome
    if any(run.status != ExecutionStatus.SKIPPED for run in ours) or segment.status not in _ENDED:
        return "waiting"
    if before.under_way or ours:
        old = any(run.status in UNFINISHED and run.execution_id in before.execution_ids for run in runs)
        return "waiting" if old else "ask_again"
    if before.status in _ENDED:
        # What was so before is no news: only a new evaluation shows that the publish has taken effect.
        return "failed" if segment.status in BROKEN and before.status in LIVE else "waiting"
    return "failed" if segment.status in BROKEN else "done"


def began_since(execution: Execution, since: float) -> bool:
    """Tell whether an evaluation began at or after a moment; one whose start can't be read did not."""
    try:
        return datetime.fromisoformat(execution.started_on).timestamp() >= since
    except (OverflowError, ValueError):
        return False


class Seen(NamedTuple):
    """What one look has seen.

    :param segment: as it is
    :param outcome: what it means
    :param evaluated_at: when the evaluation that decided ended, in the service's words; ``""`` when none was read
    """

    segment: Segment
    outcome: Outcome
    evaluated_at: str = ""


async def look(looks: Looks, segment_id: str, goal: Goal) -> Seen:
    """Look once.

    :raises CijSegmentFailedError: the segment failed, with the service's words
    :raises CijMemberCountError: it is as it should be, but has more members than it may have
    """
    segment = await looks.get(segment_id)
    goal = goal.at_the_service(looks.service_ahead)
    runs: list[Execution] = []
    if goal.needs_log(segment):
        try:
            runs = await looks.executions_since(segment, goal.earliest)
        except CijRefusedError:
            if goal.before or goal.until == "refreshed":
                raise
        else:
            if _status_outcome(segment, runs, goal) != "waiting":
                # The log first, then the row: one that is read before may be of another evaluation.
                segment = await looks.get(segment.segment_id)
    outcome = judge(segment, runs, goal)
    if outcome == "failed":
        words = await looks.last_words(segment.segment_id)
        raise CijSegmentFailedError(
            f"Segment {segment.display_name!r} ({segment.segment_id}) "
            + (f"ended in status {segment.status_name}: " if segment.status in FAILED else "could not be evaluated: ")
            + (words or "the service gives no reason."),
            hint="" if words else "Open the segment in Dynamics 365 to see why.",
        )
    if outcome != "done":
        return Seen(segment, outcome)
    evaluated, limits = _succeeded(runs), goal.limits
    if limits.looks_back or (limits.needs_count and evaluated is None):
        evaluated, limits = await _from_log(looks, segment, limits)
    limits.check(segment, evaluated)
    return Seen(segment, outcome, evaluated.finished_on if evaluated else "")


def _succeeded(runs: Sequence[Execution]) -> Execution | None:
    return next((run for run in runs if run.status == ExecutionStatus.SUCCEEDED), None)


async def _from_log(looks: Looks, segment: Segment, limits: SizeLimits) -> tuple[Execution | None, SizeLimits]:
    """Read the newest evaluation, whose count the row may have later, and the count of the one before."""
    try:
        runs = await looks.newest_executions(segment, _NEWEST)
    except CijRefusedError:
        if limits.looks_back:
            raise
        return None, limits
    return _succeeded(runs), limits.after(runs) if limits.looks_back else limits


async def before_publish(segments: Segments, segment: Segment) -> Before:
    """Remember what there is, to tell news from it later.

    :raises CijError: the log of evaluations can't be read, and without it nobody can tell a new evaluation from an old
    """
    if segment.status in AT_REST:
        # The row of one that is published a moment ago may say so later than the log.
        try:
            if not await segments.unfinished_executions(segment):
                return Before(segment.status)
        except CijRefusedError:
            return Before(segment.status)
    newest = await segments.newest_executions(segment, 1)
    last = newest[0].started_on if newest else ""
    # By the question that each look asks: what it gives now is known then.
    known = await segments.executions_since(segment, last)
    # Evaluations of a segment follow one another: one from before the newest has been left behind by a crash.
    ahead = [run for run in known if run.status in UNFINISHED and (not run.started_on or run.started_on >= last)]
    at_work = segment.status not in _ENDED | AT_REST
    return Before(segment.status, tuple(run.execution_id for run in known), last, under_way=bool(ahead) or at_work)


async def wait(
    looks: Looks,
    segment_id: str,
    goal: Goal,
    *,
    poll_interval: float,
    deadline: float,
    first_after: float = 0.0,
    clock: Clock | None = None,
) -> Seen:
    """Look again and again until the goal is reached, or the request to publish has to be repeated (``ask_again``).

    :param looks: where looks come from
    :param segment_id: the segment
    :param goal: what to wait for
    :param poll_interval: seconds between looks
    :param deadline: epoch seconds to give up at
    :param first_after: seconds before the first look
    :param clock: where time comes from
    :raises CijSegmentFailedError: it failed
    :raises CijMemberCountError: it has more members than it may have
    :raises CijTimeoutError: the deadline passed
    """
    last: Segment | None = None

    async def once() -> Seen | None:
        nonlocal last
        seen = await look(looks, segment_id, goal)
        segment = seen.segment
        if last is None or (segment.status, segment.member_count) != (last.status, last.member_count):
            log.info("Segment %s is %s, members: %s", segment_id, segment.status_name, segment.member_count)
        last = segment
        if seen.outcome == "done":
            warn_of_warnings(segment)
        return None if seen.outcome == "waiting" else seen

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
