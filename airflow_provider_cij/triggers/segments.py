"""Waiting for segments without a worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.triggers._waiting import WaitTrigger

if TYPE_CHECKING:
    from airflow_provider_cij.api.segments.wait import SegmentWait


@dataclass(eq=False)
class CijSegmentTrigger(WaitTrigger):
    """Check a segment until it is as it should be.

    Its event is ``{"status": "live", "segment": {…}, "name": …, "evaluated_at": …, "deadline": …, "state": {…}}``, with
    ``until`` in place of ``live``; ``"publish_again"`` when the service has dropped the request to publish, which the
    worker then repeats; or ``"failed"``, ``"timeout"`` or ``"error"`` with ``error``.

    The other arguments are those of ``WaitTrigger``.

    :param segment_id: the segment
    :param until: ``live``, ``refreshed``, ``stopped`` or ``members``
    :param before_status: its status before it was published; None when no publish is waited for
    :param before_execution_id: one of its evaluations before it was published; rows of the first version have it
    :param before_execution_ids: its evaluations before it was published that a check may read again
    :param before_started_on: when its newest evaluation before that began
    :param under_way: True when one of them was under way
    :param since: epoch seconds, for ``refreshed``
    :param by_our_clock: True when ``since`` was read from our clock
    :param group: count the members of this static group; by default the segment's
    :param min_members: how many members it must have as well
    :param max_members: how many members it may have at the most; None for any number
    :param max_change: how far their number may be from ``count_before``: a number, or a share such as ``"20%"``
    :param count_before: their number before; None when it is to be read from the log of evaluations
    :param first: True when there is no number before
    """

    event_key = "segment"

    segment_id: str = ""
    before_status: int | None = None
    before_execution_id: str = ""
    before_started_on: str = ""
    since: float = 0.0
    min_members: int = 0
    group: str = ""
    before_execution_ids: Sequence[str] = ()
    under_way: bool = False
    max_members: int | None = None
    max_change: int | float | str | None = None
    count_before: int | None = None
    first: bool = False
    by_our_clock: bool = False

    @classmethod
    def of(cls, wait: SegmentWait, **how: Any) -> CijSegmentTrigger:
        """Return the trigger of a wait, in arguments that Airflow can store.

        :param wait: what is waited for
        :param how: the arguments of ``WaitTrigger``
        """
        before, limits = wait.baseline, wait.limits
        if before:
            how |= {
                "before_status": before.status,
                "before_execution_ids": list(before.execution_ids),
                "before_started_on": before.started_on,
                "under_way": before.under_way,
            }
        same = ("segment_id", "until", "since", "by_our_clock", "min_members", "group")
        how |= {name: getattr(wait, name) for name in same}
        return cls(**how, **{name: getattr(limits, name) for name in _LIMITS})

    def wait(self) -> SegmentWait:
        """Return what is waited for."""
        from airflow_provider_cij.api.segments.sizes import SizeLimits
        from airflow_provider_cij.api.segments.wait import PublishBaseline, SegmentWait, Until

        before = None
        if self.before_status is not None:
            known = tuple(filter(None, (self.before_execution_id, *self.before_execution_ids)))
            before = PublishBaseline(self.before_status, known, self.before_started_on, self.under_way)
        limits = SizeLimits(**{name: getattr(self, name) for name in _LIMITS})
        until: Until = self.until  # type: ignore[assignment]  # from the database
        since = self.since, self.by_our_clock
        return SegmentWait(self.segment_id, until, *since, before, self.min_members, limits, self.group)


_LIMITS = ("max_members", "max_change", "count_before", "first")
