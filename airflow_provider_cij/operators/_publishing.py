"""Publish and refresh real-time segments, behind ``operators.segments``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_cij._base import best_effort
from airflow_provider_cij.errors import CijError, CijSegmentFailedError, CijStoppedError, CijTimeoutError
from airflow_provider_cij.links import CijSegmentLink
from airflow_provider_cij.operators._emitting import EmitsEvents
from airflow_provider_cij.operators._waiting import Started, WaitingOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.cij import Cij
    from airflow_provider_cij.api.segments.models import Segment
    from airflow_provider_cij.api.segments.sizes import SizeLimits
    from airflow_provider_cij.api.wait import Check

# The count to compare with outlives a killed worker: its retry would compare the new evaluation with itself.
_COUNT_BEFORE = "cij_count_before"
# Each time another evaluation was under way, or ours was skipped: more than this is no coincidence.
_MOST_PUBLISHES = 10


class SegmentWaiting(EmitsEvents, WaitingOperator):
    """An operator that waits for a segment."""


class CijPublishSegmentOperator(SegmentWaiting):
    """Publish a segment and wait until it is live.

    The service accepts the request, and evaluates the segment afterwards. A segment that was live before counts as
    live again once an evaluation has succeeded that began after this task asked. When another one was under way and
    the service dropped the request, it is sent again as soon as that one has ended.

    Sources: "Create a Customer Insights - Journeys segment using the Web API", section "Publish"; the table reference
    of msdynmkt_segmentexecution.

    :param segment_id: the segment: its id, ``"name:VIP customers"``, or another task's whole result
    :param wait: False returns as soon as the service has accepted, and checks no member count; default True.
        ``wait_until_live`` is its former name
    :param min_members: how many members it must have as well, such as 1; fewer are waited for until ``timeout``. By
        default any number
    :param max_members: how many members it may have at the most: more fail the task. By default any number
    :param max_change: how far their number may be from that of the evaluation before: a number of members, or a share
        such as ``"20%"``; more fails the task. Nothing is compared at a first evaluation. By default any change
    :param poll_interval: seconds between checks, default 30; the first check of a deferred task comes after 5 s at the
        earliest
    :param timeout: seconds to wait for the segment in all, default 24 hours: a new segment may take the service hours
    :param deferrable: True waits in the triggerer, without a worker; default Airflow's ``default_deferrable``
    :param emit_events: False emits no event on the segment's asset; default True
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"segment_id", "status", "member_count"}``
    :raises AirflowFailException: the service refuses the query, or the segment failed, with its words; it has too many
        members; or the log of evaluations of a segment that was live can't be read
    :raises CijTimeoutError: the segment is not live in time
    """

    operator_extra_links = (CijSegmentLink(),)

    def __init__(
        self,
        *,
        segment_id: str,
        min_members: int | str | None = None,
        max_members: int | str | None = None,
        max_change: int | float | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.segment_id = segment_id
        self.min_members = min_members
        self.max_members = max_members
        self.max_change = max_change

    def _check_arguments(self) -> None:
        self._limits()

    def _limits(self) -> tuple[int, SizeLimits]:
        from airflow_provider_cij.api.segments.sizes import count_of, limits_of

        return count_of("min_members", self.min_members) or 0, limits_of(self.max_members, self.max_change)

    async def _start(self, cij: Cij, context: Context, state: Mapping[str, Any]) -> Started:
        """Publish once, and check once."""
        from airflow_provider_cij.api.segments.wait import SegmentWait, capture_baseline, found

        segment = await cij.segments.get(self.segment_id)
        self.show_link(context, segment.summary(), segment.display_name)
        self.log.info(
            "Publishing segment %r (%s), which is %s", segment.display_name, segment.segment_id, segment.status_name
        )
        wait, publishes = SegmentWait(segment.segment_id), int(state.get("publishes", 0)) + 1
        if not self.wait:
            await cij.segments.publish(segment)
            # Read, not judged: a segment that was in Error may still show it, before its evaluation has begun.
            try:
                segment = await cij.segments.get(segment.segment_id)
            except CijError as error:
                if error.permanent or isinstance(error, CijStoppedError):
                    raise
                self.log.warning("Published; the segment could not be read: %s", error)
            return Started(wait, found(segment, wait))
        baseline = await capture_baseline(cij.segments, segment)
        if baseline.under_way:
            self.log.info("Another evaluation is under way: it may have begun too early to count")
        least, limits = self._limits()
        limits = self._compared(context, limits, segment, state)
        wait = replace(wait, baseline=baseline, min_members=least, limits=limits)
        await cij.segments.publish(segment)
        check, not_before = await self._check_once(cij, wait, found(segment, wait, "waiting"))
        # Never published again at once: the next check tells.
        again = {"publishes": publishes, "count_before": limits.count_before, "first": limits.first}
        return Started(wait, replace(check, done=check.done and not check.status), not_before, again)

    def _compared(self, context: Context, limits: SizeLimits, segment: Segment, state: Mapping[str, Any]) -> SizeLimits:
        """Return the limits with the count to compare with: that before the first try of this task."""
        if state:
            return replace(limits, count_before=state["count_before"], first=state["first"])
        store = context.get("task_state_store")
        kept: Any = store.get(_COUNT_BEFORE) if store else None
        if isinstance(kept, dict):
            count = kept.get("count")
            return replace(limits, count_before=count, first=count is None)
        limits = limits.since(segment)
        if store:
            store.set(_COUNT_BEFORE, {"count": limits.count_before})
        return limits

    def _complete(self, context: Context, check: Check, deadline: float, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return the result; publish again where the service has dropped the request."""
        if check.status:
            self._check_dropped(check.result["segment_id"], deadline, state["publishes"])
            return self._run(context, deadline, state)  # type: ignore[no-any-return]
        store = context.get("task_state_store")
        if store:
            with best_effort(self.log, "The count of the evaluation before"):
                store.delete(_COUNT_BEFORE)
        check, before = self._evaluated(check), state.get("count_before")
        count = check.result["member_count"]
        last = {
            "name": check.name,
            "change": None if count is None or before is None else count - before,
            "evaluated_at": check.evaluated_at or None,
        }
        self.emit_segment(context, {**check.result, **last, "execution_id": check.execution_id})
        return self._result(context, check, last)

    def _check_dropped(self, segment_id: str, deadline: float, publishes: int) -> None:
        if publishes >= _MOST_PUBLISHES:
            raise CijSegmentFailedError(
                f"Segment {segment_id} was published {publishes} times, and the service began no evaluation for it.",
                hint="Look at its evaluations in Dynamics 365: does another writer publish it, or are they skipped?",
            )
        if time.time() >= deadline:
            raise CijTimeoutError(f"Segment {segment_id} was not evaluated anew in the time given.")
        self.log.info("Another evaluation has ended and the service began none for this task: publishing again")

    def _evaluated(self, check: Check) -> Check:
        """Return a check with the evaluation that it is about, where that is known."""
        return check

    def _result(self, context: Context, check: Check, last: Mapping[str, Any]) -> dict[str, Any]:
        return check.result


class CijRefreshSegmentOperator(CijPublishSegmentOperator):
    """Evaluate a segment again and wait for that: publish it once more, which is the documented way.

    The members are those of an evaluation that began after this task asked for it. A stopped and an expired segment
    goes live again.

    Source: "Create a Customer Insights - Journeys segment using the Web API", section "Publish"; the table reference
    of msdynmkt_segmentexecution. There is no action that only refreshes.

    :param segment_id: the segment: its id, ``"name:VIP customers"``, or another task's whole result
    :param wait: False returns as soon as the service has accepted, and checks no member count; default True.
        ``wait_until_live`` is its former name
    :param min_members: how many members it must have as well, such as 1; fewer are waited for until ``timeout``. By
        default any number
    :param max_members: how many members it may have at the most: more fail the task. By default any number
    :param max_change: how far their number may be from that of the evaluation before: a number of members, or a share
        such as ``"20%"``; more fails the task. Nothing is compared at a first evaluation. By default any change
    :param poll_interval: seconds between checks, default 30; the first check of a deferred task comes after 5 s at the
        earliest
    :param timeout: seconds to wait for the new evaluation in all, default 24 hours
    :param deferrable: True waits in the triggerer, without a worker; default Airflow's ``default_deferrable``
    :param emit_events: False emits no event on the segment's asset; default True
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"segment_id", "status", "member_count", "evaluated_at"}``, the last as ISO 8601 or None when the log of
        evaluations can't be read, or ``wait`` is False. XCom has ``name`` as well, and ``change``: the number of
        members against the evaluation before, None at a first one
    :raises AirflowFailException: the service refuses, or the evaluation failed, with its words; it has too many
        members; or the log of evaluations of a segment that was live can't be read
    :raises CijTimeoutError: there is no new evaluation in time
    """

    def _evaluated(self, check: Check) -> Check:
        if check.evaluated_at or not self.wait:
            return check

        async def newest(cij: Cij) -> Check:
            segment = await cij.segments.get(check.result["segment_id"])
            for run in await cij.segments.newest_executions(segment, 1):
                return replace(check, evaluated_at=run.finished_on, execution_id=run.execution_id)
            return check

        # The work is done: a failure to read must not have it done again.
        with best_effort(self.log, "When the segment was evaluated"):
            return self.hook.run(newest)
        return check

    def _result(self, context: Context, check: Check, last: Mapping[str, Any]) -> dict[str, Any]:
        for key in ("name", "change"):
            context["ti"].xcom_push(key=key, value=last[key])
        return {**check.result, "evaluated_at": last["evaluated_at"]}
