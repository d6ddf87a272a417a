"""Watching a segment: which of its evaluations and states are news. Pure.

An evaluation that has ended is an event once, told apart by its execution's id. Its watermark is when it ended, in the
service's own words: evaluations of a segment follow one another.

Source: the table references of msdynmkt_segment and msdynmkt_segmentexecution.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from airflow_provider_cij.api.bounds import Bound, bound_of
from airflow_provider_cij.api.segments.models import LIVE, STOPPED, Execution, ExecutionStatus, Segment, status_name
from airflow_provider_cij.errors import CijInputError

SEGMENT_NEWS = ("refreshed", "live", "stopped", "failed", "members_changed")

_SUCCEEDED = ExecutionStatus.SUCCEEDED
_FAILED = (ExecutionStatus.FAILED, ExecutionStatus.TIMED_OUT)
_STATES = {"live": LIVE, "stopped": STOPPED}


def change_bound(on: str, at_least_change: Any) -> Bound | None:
    """Return how far a member count must move to be news.

    :param on: what is watched for
    :param at_least_change: a number of members, a share such as ``"10%"``, or None for any change
    :raises CijInputError: it is no bound, or given for something else than ``members_changed``
    """
    if on not in SEGMENT_NEWS:
        raise CijInputError(f"on is {on!r}.", hint=f"Use one of {', '.join(SEGMENT_NEWS)}.")
    if at_least_change is None:
        return None
    if on != "members_changed":
        raise CijInputError(f"at_least_change is given for on={on!r}.", hint="It belongs to on='members_changed'.")
    return bound_of("at_least_change", at_least_change, above_100_percent=True)


@dataclass(frozen=True)
class Watermark:
    """How far a watcher has come; plain JSON.

    :param ended: when the last evaluation that was looked at ended, as the service writes it
    :param ids: the executions that ended then
    :param member_count: members as of the last evaluation that succeeded; None when it is not known
    :param status: the segment's statuscode as of the last look; None before the first
    """

    ended: str = ""
    ids: tuple[str, ...] = ()
    member_count: int | None = None
    status: int | None = None

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Watermark:
        """Read a watermark that ``as_dict`` wrote."""
        return cls(
            str(stored["ended"]), tuple(map(str, stored["ids"])), stored.get("member_count"), stored.get("status")
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {**asdict(self), "ids": list(self.ids)}

    def is_past(self, execution: Execution) -> bool:
        """Return whether an evaluation was looked at already."""
        return execution.finished_on < self.ended or execution.execution_id in self.ids

    def after(self, execution: Execution) -> Watermark:
        """Return the watermark once an evaluation was looked at."""
        same = execution.finished_on == self.ended
        ids = (*(self.ids if same else ()), execution.execution_id)
        count = self.member_count
        if execution.status == _SUCCEEDED and execution.member_count is not None:
            count = execution.member_count
        return replace(self, ended=execution.finished_on, ids=ids, member_count=count)


@dataclass(frozen=True)
class SegmentWatch:
    """What is watched for.

    :param on: ``refreshed``: an evaluation succeeded; ``failed``: one failed or timed out; ``members_changed``: one
        succeeded with another member count; ``live`` and ``stopped``: the segment has become so
    :param at_least: how far the member count must have moved; None for any change
    """

    on: str
    at_least: Bound | None = None

    @property
    def of_state(self) -> bool:
        """True when states are watched for, not evaluations."""
        return self.on in _STATES

    def evaluations(
        self, watermark: Watermark, executions: Iterable[Execution], segment: Segment | None
    ) -> tuple[Watermark, dict[str, Any] | None]:
        """Return the next evaluation that is news, and the watermark after it: one at a time, the first to end first.

        :param watermark: where the watcher is
        :param executions: of the segment, in any order, some of them looked at already
        :param segment: as it is; None when that is not known
        :return: the watermark, and what is news; None when none of the evaluations is
        """
        ended = (run for run in executions if run.status in (_SUCCEEDED, *_FAILED) and run.finished_on)
        for run in sorted(ended, key=lambda run: (run.finished_on, run.started_on)):
            if watermark.is_past(run):
                continue
            count, watermark = watermark.member_count, watermark.after(run)
            if self._is_news(run, count):
                return watermark, _facts(run, count, segment)
        return watermark, None

    def state(self, watermark: Watermark, segment: Segment) -> tuple[Watermark, bool]:
        """Return the watermark after a look at the segment, and whether it has become what is watched for.

        :param watermark: where the watcher is
        :param segment: as it is
        """
        wanted = _STATES.get(self.on, frozenset())
        became = watermark.status is not None and segment.status in wanted and watermark.status not in wanted
        return replace(watermark, status=segment.status), became

    def _is_news(self, run: Execution, before: int | None) -> bool:
        if self.on == "failed":
            return run.status in _FAILED
        if run.status != _SUCCEEDED or self.of_state:
            return False
        if self.on == "refreshed":
            return True
        if before is None or run.member_count is None or run.member_count == before:
            return False
        change, bound = abs(run.member_count - before), self.at_least
        if bound is None:
            return True
        least = bound.rows if bound.rows is not None else round((bound.share or 0) * before, 6)
        return change >= least


def _facts(run: Execution, before: int | None, segment: Segment | None) -> dict[str, Any]:
    succeeded = run.status == _SUCCEEDED
    count = run.member_count if run.member_count is not None or not segment else segment.member_count
    live = segment.status_name if segment and segment.status in LIVE else status_name(1)
    return {
        "status": live if succeeded else "failed",
        "member_count": count if succeeded else None,
        "change": count - before if succeeded and count is not None and before is not None else None,
        "evaluated_at": run.finished_on,
        "duration": _seconds(run),
        "execution_id": run.execution_id,
    }


def _seconds(run: Execution) -> float | None:
    try:
        started, ended = datetime.fromisoformat(run.started_on), datetime.fromisoformat(run.finished_on)
        return (ended - started).total_seconds()
    except (OverflowError, TypeError, ValueError):
        return None
