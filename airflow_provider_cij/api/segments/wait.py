"""Waiting for a segment: what one check means.

Published is not done: the service answers 204 and evaluates the segment after its response. An evaluation counts as
ours when it is in the log of evaluations (msdynmkt_segmentexecution) and was not there when we asked: no clocks are
compared. One that was under way by then may have read the members of before.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from airflow_provider_cij.api.segments.models import (
    AT_REST,
    BROKEN,
    FAILED,
    LIVE,
    STOPPED,
    UNFINISHED,
    Execution,
    ExecutionStatus,
    MemberGroup,
    Segment,
    SegmentStatus,
)
from airflow_provider_cij.api.segments.sizes import SizeLimits
from airflow_provider_cij.api.standing import read_anew, read_once
from airflow_provider_cij.api.wait import Check
from airflow_provider_cij.errors import CijRefusedError, CijSegmentFailedError

if TYPE_CHECKING:
    from airflow_provider_cij.api.cij import Cij
    from airflow_provider_cij.api.segments.client import Segments

log = logging.getLogger(__name__)

Until = Literal["live", "refreshed", "stopped", "members"]
Outcome = Literal["waiting", "done", "failed", "publish_again"]

PUBLISH_AGAIN = "publish_again"
"""The status of a check that found that the service has dropped the request to publish."""

# Only these can be mistaken for the end of what was just asked for.
_ENDED = LIVE | FAILED
_EXECUTION_FAILED = frozenset({ExecutionStatus.FAILED, ExecutionStatus.TIMED_OUT})
_EXECUTION_ENDED = _EXECUTION_FAILED | {ExecutionStatus.SUCCEEDED}
# How many evaluations are read to find the last two that succeeded.
_NEWEST = 50
# Seconds after which the row of a segment whose evaluations are waited for is read again.
_ROW_IS_OLD = 60.0
# Seconds that two clocks may differ, and a response may take, without being noticed.
_SAME_TIME = 3.0
_UNMET = {
    "live": "did not become live",
    "refreshed": "was not refreshed",
    "stopped": "did not stop",
    "members": "did not get enough members",
}


@dataclass(frozen=True)
class PublishBaseline:
    """What a segment was just before it was published, to tell a new evaluation from an old one.

    :param status: its statuscode
    :param execution_ids: the evaluations in the log that a later check may read again
    :param started_on: when the newest of them began, as the service writes it; ``""`` when none had
    :param under_way: True when an evaluation was under way: the service may drop the request to publish
    """

    status: int
    execution_ids: tuple[str, ...] = ()
    started_on: str = ""
    under_way: bool = False


@dataclass
class Memory:
    """What a wait keeps from one check to the next.

    :param group: its static group
    :param segment: as it was last read
    :param read_at: when that was, in seconds of ``time.monotonic``
    """

    group: MemberGroup | None = None
    segment: Segment | None = None
    read_at: float = 0.0


@dataclass(frozen=True)
class SegmentWait:
    """Wait for a segment.

    :param segment_id: the segment
    :param until: ``live``; ``refreshed``: an evaluation that began at or after ``since`` has succeeded; ``stopped``:
        it is not evaluated any more; ``members``: whatever its status, it has enough of them
    :param since: epoch seconds, for ``refreshed``
    :param by_our_clock: True when ``since`` was read from our clock: the service's may show another time
    :param baseline: what it was before it was published, when it is waited for as the effect of that
    :param min_members: how many members it must have as well
    :param limits: how many it may have at the most, and how far that may be from the evaluation before
    :param group: a static group's name or id, whose members count in place of the segment's; ``""`` for the segment's
    """

    segment_id: str
    until: Until = "live"
    since: float = 0.0
    by_our_clock: bool = False
    baseline: PublishBaseline | None = None
    min_members: int = 0
    limits: SizeLimits = field(default_factory=SizeLimits)
    group: str = ""
    memory: Memory = field(default_factory=Memory, init=False, repr=False, compare=False)

    @property
    def subject(self) -> str:
        """What is waited for, for errors."""
        return f"Segment {self.segment_id}"

    @property
    def unmet(self) -> str:
        """What it was not in time."""
        return _UNMET[self.until]

    @property
    def earliest(self) -> str:
        """When the evaluations that matter began at the earliest, as the service writes it; ``""`` for any."""
        if self.baseline is not None:
            return self.baseline.started_on
        moment = datetime.fromtimestamp(self.since, UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if self.until == "refreshed" else ""

    def by_service_clock(self, ahead: float) -> SegmentWait:
        """Return the wait with ``since`` by the service's clock.

        :param ahead: seconds by which that is ahead of ours; a few are no difference, because the ``Date`` header is in
            whole seconds
        """
        if not self.by_our_clock or abs(ahead) < _SAME_TIME:
            return self
        # A second too late rather than too early: an evaluation from before must not count.
        return replace(self, since=self.since + ahead + 1, by_our_clock=False)

    def needs_log(self, segment: Segment) -> bool:
        """Return whether the log is needed, because the status alone does not tell what a check means."""
        if self.baseline is not None:
            return self.baseline.under_way or self.baseline.status in _ENDED
        # A broken segment may be under evaluation again.
        return self.until == "refreshed" or (self.until == "live" and segment.status in BROKEN)

    async def check(self, cij: Cij) -> Check:
        """Check once.

        :raises CijSegmentFailedError: the segment failed, with the service's reason
        :raises CijMemberCountError: it is as it should be, but has more members than it may have
        """
        # A wait by another clock has a memory of its own.
        segments, memory, good_for = cij.segments, self.memory, Check.good_for
        wait = self.by_service_clock(segments.service_ahead)
        if wait.until == "refreshed":
            wait, segment, runs, good_for = await _refreshed(segments, wait, memory)
        else:
            segment, runs = await segments.get(wait.segment_id), []
            wait = wait.by_service_clock(segments.service_ahead)
            if wait.needs_log(segment):
                segment, runs = await _with_log(segments, wait, segment)
        if wait.group:
            segment = replace(segment, member_count=await _group_count(cij, wait, segment, memory))
        outcome = classify(segment, runs, wait)
        if outcome == "failed":
            reason = await segments.failure_reason(segment.segment_id)
            ended = f"ended in status {segment.status_name}" if segment.status in FAILED else "could not be evaluated"
            raise CijSegmentFailedError(
                f"Segment {segment.display_name!r} ({segment.segment_id}) {ended}: "
                f"{reason or 'the service gives no reason.'}",
                hint="" if reason else "Open the segment in Dynamics 365 to see why.",
            )
        if outcome != "done":
            return replace(found(segment, wait, outcome), good_for=good_for)
        evaluated, limits = _succeeded(runs), wait.limits
        if limits.looks_back or (limits.needs_count and evaluated is None):
            evaluated, limits = await _from_log(segments, segment, limits)
        limits.check(segment, evaluated)
        if segment.status == SegmentStatus.LIVE_WITH_WARNINGS:
            said = "Segment %r (%s) is live, with warnings: open it in Dynamics 365 to see them"
            log.warning(said, segment.display_name, segment.segment_id)
        return found(segment, wait, outcome, evaluated)


def classify(segment: Segment, runs: Sequence[Execution], wait: SegmentWait) -> Outcome:
    """Return what one check of a segment means.

    :param segment: as it is now
    :param runs: its evaluations, the newest first, where the wait needs them; read before the segment
    :param wait: what is waited for
    :return: ``waiting`` for every status that is neither what is waited for nor a failure, unknown ones included;
        ``publish_again`` when the service has dropped the request to publish
    """
    outcome = _by_status(segment, runs, wait)
    enough = wait.min_members <= (segment.member_count or 0)
    if wait.limits.needs_count and segment.member_count is None:
        enough = False
    return "waiting" if outcome == "done" and not enough else outcome


def _by_status(segment: Segment, runs: Sequence[Execution], wait: SegmentWait) -> Outcome:
    if segment.status == SegmentStatus.DELETED:
        return "failed"
    if wait.baseline is not None:
        return _after_publish(segment, runs, wait.baseline)
    if wait.until == "refreshed":
        ours = [run for run in runs if began_since(run, wait.since)]
        return _by_last_ended(segment, ours) or "waiting"
    if segment.status in BROKEN:
        under_way = wait.until == "live" and any(run.status in UNFINISHED for run in runs)
        return "waiting" if under_way else "failed"
    wanted = {"live": LIVE, "stopped": STOPPED, "members": frozenset({segment.status})}[wait.until]
    return "done" if segment.status in wanted else "waiting"


def _by_last_ended(segment: Segment, ours: Sequence[Execution]) -> Outcome | None:
    """Return the outcome by the newest of our evaluations that has ended; None when none has."""
    ended = next((run for run in ours if run.status in _EXECUTION_ENDED), None)
    if ended is None:
        return None
    if ended.status in _EXECUTION_FAILED or segment.status in BROKEN:
        # The row was read after the log: what it says of a failure is newer.
        return "failed"
    return "done" if segment.status in LIVE else "waiting"


def _after_publish(segment: Segment, runs: Sequence[Execution], before: PublishBaseline) -> Outcome:
    ours = [run for run in runs if run.execution_id not in before.execution_ids]
    if outcome := _by_last_ended(segment, ours):
        return outcome
    if any(run.status != ExecutionStatus.SKIPPED for run in ours) or segment.status not in _ENDED:
        return "waiting"
    if before.under_way or ours:
        old = any(run.status in UNFINISHED and run.execution_id in before.execution_ids for run in runs)
        return "waiting" if old else "publish_again"
    if before.status in _ENDED:
        # The same status as before is no news: only a new evaluation shows that the publish has taken effect.
        return "failed" if segment.status in BROKEN and before.status in LIVE else "waiting"
    return "failed" if segment.status in BROKEN else "done"


def began_since(execution: Execution, since: float) -> bool:
    """Return whether an evaluation began at or after a moment; one whose start can't be read did not."""
    try:
        return datetime.fromisoformat(execution.started_on).timestamp() >= since
    except (OverflowError, ValueError):
        return False


def found(segment: Segment, wait: SegmentWait, outcome: Outcome = "done", evaluated: Execution | None = None) -> Check:
    """Return what a check of a segment has found.

    :param segment: the segment
    :param wait: what is waited for
    :param outcome: what the check means; not ``failed``
    :param evaluated: the evaluation that decided, where the log was read
    """
    count = segment.member_count
    if outcome == "waiting" and wait.min_members:
        wanted = f"{wait.min_members:,}"
        members = f"less than {wanted} members" if count is None else f"{count:,} members of {wanted}"
    else:
        members = f"{count:,} members" if count is not None else ""
    message = f"Segment {segment.display_name!r} ({segment.segment_id}) is {segment.status_name}"
    return Check(
        done=outcome != "waiting",
        name=segment.display_name,
        message=f"{message}, {members}" if members else message,
        result=segment.summary(),
        status=PUBLISH_AGAIN if outcome == "publish_again" else "",
        evaluated_at=evaluated.finished_on if evaluated else "",
        execution_id=evaluated.execution_id if evaluated else "",
    )


async def _group_count(cij: Cij, wait: SegmentWait, segment: Segment, memory: Memory) -> int | None:
    """Count the members of the wait's group; None when there are too few, and how many is not known.

    Which group is meant is read once: the service knows it by its id from then on.
    """
    if memory.group is None:
        with read_once():
            memory.group = await cij.segments.group(segment, wait.group)
    return await cij.members.count_up_to(segment, memory.group, wait.min_members)


async def _refreshed(
    segments: Segments, wait: SegmentWait, memory: Memory
) -> tuple[SegmentWait, Segment, list[Execution], float]:
    """Read the log of a segment, and the segment itself once the log shows an end, or it was read long ago.

    Before the log shows an end, the row can show but one: that the segment is gone.

    :return: the wait by the service's clock, the segment, its evaluations, and the seconds until the next check
    """
    if memory.segment is None or memory.read_at <= time.monotonic() - _ROW_IS_OLD:
        with read_once():
            memory.segment, memory.read_at = await segments.get(wait.segment_id), time.monotonic()
        wait = wait.by_service_clock(segments.service_ahead)
    runs = await segments.executions_since(memory.segment, wait.earliest)
    if not any(run.status in _EXECUTION_ENDED and began_since(run, wait.since) for run in runs):
        return wait, memory.segment, runs, max(0.0, memory.read_at + _ROW_IS_OLD - time.monotonic())
    memory.segment, memory.read_at = await _after_log(segments, memory.segment), time.monotonic()
    return wait, memory.segment, runs, Check.good_for


async def _with_log(segments: Segments, wait: SegmentWait, segment: Segment) -> tuple[Segment, list[Execution]]:
    """Read the log of a segment, and the segment again where the log shows an end."""
    try:
        runs = await segments.executions_since(segment, wait.earliest)
    except CijRefusedError:
        if wait.baseline or wait.until == "refreshed":
            raise
        return segment, []
    if _by_status(segment, runs, wait) != "waiting":
        segment = await _after_log(segments, segment)
    return segment, runs


async def _after_log(segments: Segments, segment: Segment) -> Segment:
    """Read a segment after its log: a row that was read before may show another evaluation."""
    read_anew()
    return await segments.get(segment.segment_id)


def _succeeded(runs: Sequence[Execution]) -> Execution | None:
    return next((run for run in runs if run.status == ExecutionStatus.SUCCEEDED), None)


async def _from_log(segments: Segments, segment: Segment, limits: SizeLimits) -> tuple[Execution | None, SizeLimits]:
    """Read the newest evaluation, whose count the row may have later, and the count of the one before."""
    try:
        runs = await segments.newest_executions(segment, _NEWEST)
    except CijRefusedError:
        if limits.looks_back:
            raise
        return None, limits
    return _succeeded(runs), limits.after(runs) if limits.looks_back else limits


async def capture_baseline(segments: Segments, segment: Segment) -> PublishBaseline:
    """Read what there is before a publish, to tell a new evaluation from an old one later.

    :param segments: the verbs
    :param segment: as it is
    :raises CijError: the log of evaluations can't be read, and without it a new evaluation looks like an old one
    """
    if segment.status in AT_REST:
        # Just after a publish the row may still show the status of before, later than the log.
        try:
            if not await segments.unfinished_executions(segment):
                return PublishBaseline(segment.status)
        except CijRefusedError:
            return PublishBaseline(segment.status)
    newest = await segments.newest_executions(segment, 1)
    last = newest[0].started_on if newest else ""
    # The same question as each check asks: what it returns now is known then.
    known = await segments.executions_since(segment, last)
    # Evaluations of a segment follow one another: one from before the newest was left by a crash.
    ahead = [run for run in known if run.status in UNFINISHED and (not run.started_on or run.started_on >= last)]
    at_work = segment.status not in _ENDED | AT_REST
    known_ids = tuple(run.execution_id for run in known)
    return PublishBaseline(segment.status, known_ids, last, under_way=bool(ahead) or at_work)
