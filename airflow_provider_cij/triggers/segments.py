"""Waiting for segments without a worker."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.triggers._waiting import WaitTrigger

if TYPE_CHECKING:
    from airflow_provider_cij.api.segments.wait import Goal


class CijSegmentTrigger(WaitTrigger):
    """Looks at a segment until it is as it should be. It only looks: what changes anything runs in the worker.

    All triggers of a connection in one process share a client, a token and a poll.

    Its event is ``{"status": "live", "segment": {…}, "name": …, "evaluated_at": …}``, with ``until`` in place of
    ``live``; ``"ask_again"`` when the service has dropped the request to publish, which the worker then repeats; or
    ``"failed"``, ``"timeout"`` or ``"error"`` with ``error``.

    :param cij_conn_id: the Airflow connection
    :param segment_id: whom to look at
    :param before_status: its status before it was published; None when no publish is waited for
    :param before_execution_id: one of its evaluations before it was published; rows of the first version have it
    :param before_started_on: when its newest evaluation before that began
    :param poll_interval: seconds between looks
    :param deadline: epoch seconds to give up at; absolute, so that it outlives a restart
    :param until: ``live``, ``refreshed``, ``stopped`` or ``members``
    :param since: epoch seconds, for ``refreshed``
    :param min_members: how many members it must have as well
    :param group: count those of this static group; by default the segment's
    :param not_before: epoch seconds: the service has told us to stay away until then
    :param before_execution_ids: its evaluations before it was published that a look may see again
    :param under_way: True when one of them was under way
    :param max_members: how many members it may have at the most; None for any number
    :param max_change: how far their number may be from ``count_before``: a number, or a share such as ``"20%"``
    :param count_before: their number before; None when it is to be read from the log of evaluations
    :param first: True when there is no number before
    :param asks: how often the segment was published so far; handed back with ``ask_again``
    :param by_our_clock: True when ``since`` was read from our clock
    """

    arguments = (
        *("cij_conn_id", "segment_id", "before_status", "before_execution_id", "before_started_on"),
        *("poll_interval", "deadline", "until", "since", "min_members", "group", "not_before"),
        *("before_execution_ids", "under_way", "max_members", "max_change", "count_before", "first"),
        *("by_our_clock", "asks"),
    )

    # Rows of this class lie in Airflow's database across upgrades: it never moves, it never raises here, and every
    # argument has a default.
    def __init__(
        self,
        cij_conn_id: str = "cij_default",
        segment_id: str = "",
        before_status: int | None = None,
        before_execution_id: str = "",
        poll_interval: float = 60.0,
        deadline: float = 0.0,
        before_started_on: str = "",
        until: str = "live",
        since: float = 0.0,
        min_members: int = 0,
        group: str = "",
        not_before: float = 0.0,
        before_execution_ids: Sequence[str] = (),
        under_way: bool = False,
        max_members: int | None = None,
        max_change: int | float | str | None = None,
        count_before: int | None = None,
        first: bool = False,
        by_our_clock: bool = False,
        asks: int = 1,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.cij_conn_id = cij_conn_id
        self.segment_id = segment_id
        self.before_status = before_status
        self.before_execution_id = before_execution_id
        self.before_started_on = before_started_on
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.until = until
        self.since = since
        self.min_members = min_members
        self.group = group
        self.not_before = not_before
        self.before_execution_ids = before_execution_ids
        self.under_way = under_way
        self.max_members = max_members
        self.max_change = max_change
        self.count_before = count_before
        self.first = first
        self.by_our_clock = by_our_clock
        self.asks = asks

    @classmethod
    def towards(
        cls,
        goal: Goal,
        *,
        cij_conn_id: str,
        segment_id: str,
        poll_interval: float,
        deadline: float,
        group: str = "",
        not_before: float = 0.0,
        asks: int = 1,
    ) -> CijSegmentTrigger:
        """Return one that waits for a goal, in the arguments that Airflow can store."""
        before, limits = goal.before, goal.limits
        return cls(
            cij_conn_id=cij_conn_id,
            segment_id=segment_id,
            before_status=before.status if before else None,
            before_execution_ids=list(before.execution_ids) if before else [],
            under_way=bool(before and before.under_way),
            before_started_on=before.started_on if before else "",
            poll_interval=poll_interval,
            deadline=deadline,
            until=goal.until,
            since=goal.since,
            min_members=goal.min_members,
            group=group,
            not_before=not_before,
            max_members=limits.max_members,
            max_change=limits.max_change,
            count_before=limits.count_before,
            first=limits.first,
            by_our_clock=goal.by_our_clock,
            asks=asks,
        )

    def goal(self) -> Goal:
        """Return what is waited for, as ``towards`` was given it."""
        from airflow_provider_cij.api.segments.sizes import SizeLimits
        from airflow_provider_cij.api.segments.wait import Before, Goal, Until

        before = None
        if self.before_status is not None:
            old = (self.before_execution_id,) if self.before_execution_id else ()
            known = (*old, *self.before_execution_ids)
            before = Before(self.before_status, known, self.before_started_on, self.under_way)
        limits = SizeLimits(self.max_members, self.max_change, self.count_before, self.first)
        until: Until = self.until  # type: ignore[assignment]  # from the database
        return Goal(until, self.since, self.by_our_clock, before, self.min_members, limits)

    async def _wait(self) -> dict[str, Any]:
        # What the hook needs takes 0.2 s to load the first time: too long for a loop that others share.
        await asyncio.to_thread(importlib.import_module, "airflow_provider_cij.triggers._session")
        from airflow_provider_cij._task import summary
        from airflow_provider_cij.api.segments.shared_poll import GroupLooks
        from airflow_provider_cij.api.segments.wait import wait
        from airflow_provider_cij.triggers._session import shared_session

        async with shared_session(self.cij_conn_id) as (cij, poll):
            group = GroupLooks(cij.segments, cij.members, self.group, self.min_members) if self.group else None
            seen = await wait(
                group or poll,
                self.segment_id,
                self.goal(),
                poll_interval=self.poll_interval,
                deadline=self.deadline,
                first_after=self._first_after(),
            )
        event = {"segment": summary(seen.segment), "name": seen.segment.display_name, "evaluated_at": seen.evaluated_at}
        if seen.outcome != "ask_again":
            return event
        again = {name: getattr(self, name) for name in ("deadline", "count_before", "first", "asks")}
        return {**event, **again, "status": "ask_again"}
