"""Waiting for segments without a worker."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.triggers._waiting import WaitTrigger

if TYPE_CHECKING:
    from airflow_provider_cij.api.watching import Goal


class CijSegmentTrigger(WaitTrigger):
    """Looks at a segment until it is as it should be. It only looks: what changes anything runs in the worker.

    All triggers of a connection in one process share a client, a token and a poll.

    Its event is ``{"status": "live", "segment": {…}, "name": …}``, with ``until`` in place of ``live``; or
    ``"failed"``, ``"timeout"`` or ``"error"`` with ``error``.

    :param cij_conn_id: the Airflow connection
    :param segment_id: whom to look at
    :param before_status: its status before it was published; None when no publish is waited for
    :param before_execution_id: its newest evaluation before it was published
    :param before_started_on: when that began
    :param poll_interval: seconds between looks
    :param deadline: epoch seconds to give up at; absolute, so that it outlives a restart
    :param until: ``live``, ``refreshed``, ``stopped`` or ``members``
    :param since: epoch seconds, for ``refreshed``
    :param min_members: how many members it must have as well
    :param group: count those of this static group; by default the segment's
    :param not_before: epoch seconds: the service has told us to stay away until then
    """

    arguments = (
        *("cij_conn_id", "segment_id", "before_status", "before_execution_id", "before_started_on"),
        *("poll_interval", "deadline", "until", "since", "min_members", "group", "not_before"),
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
    ) -> CijSegmentTrigger:
        """Make one that waits for a goal, in the arguments that Airflow can store."""
        before = goal.before
        return cls(
            cij_conn_id=cij_conn_id,
            segment_id=segment_id,
            before_status=before.status if before else None,
            before_execution_id=before.execution_id if before else "",
            before_started_on=before.started_on if before else "",
            poll_interval=poll_interval,
            deadline=deadline,
            until=goal.until,
            since=goal.since,
            min_members=goal.min_members,
            group=group,
            not_before=not_before,
        )

    async def _wait(self) -> dict[str, Any]:
        # What the hook needs takes 0.2 s to load the first time: too long for a loop that others share.
        await asyncio.to_thread(importlib.import_module, "airflow_provider_cij.hooks.shared")
        from airflow_provider_cij._task import summary
        from airflow_provider_cij.api.polling import GroupLooks
        from airflow_provider_cij.api.watching import Before, Goal, wait
        from airflow_provider_cij.hooks.shared import shared_session

        before = None
        if self.before_status is not None:
            before = Before(self.before_status, self.before_execution_id, self.before_started_on)
        async with shared_session(self.cij_conn_id) as (cij, poll):
            group = GroupLooks(cij.segments, cij.members, self.group, self.min_members) if self.group else None
            segment = await wait(
                group or poll,
                self.segment_id,
                Goal(self.until, self.since, before, self.min_members),  # type: ignore[arg-type]  # from the database
                poll_interval=self.poll_interval,
                deadline=self.deadline,
                first_after=self._first_after(),
            )
        return {"segment": summary(segment), "name": segment.display_name}
