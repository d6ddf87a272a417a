"""Publish and refresh: what both do, and wait for, behind ``operators.segments``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_cij._arguments import positive, row_ids, set_switches
from airflow_provider_cij._base import CijOperator
from airflow_provider_cij._task import cosmetic, failing_for_good, log_group, name_of, summary, summary_of
from airflow_provider_cij.errors import CijError, CijSegmentFailedError, CijStoppedError, CijTimeoutError
from airflow_provider_cij.links import CijSegmentLink
from airflow_provider_cij.version_compat import conf

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.segments.models import Segment
    from airflow_provider_cij.api.segments.sizes import SizeLimits
    from airflow_provider_cij.api.segments.wait import Goal, Seen
    from airflow_provider_cij.hooks.cij import Cij

# The count to compare with outlives a killed worker: its retry would compare the new evaluation with itself.
_COUNT_BEFORE = "cij_count_before"
# Each time another evaluation was under way, or ours was skipped: more than this is no coincidence.
_MOST_ASKS = 10


class _Asked(NamedTuple):
    """What came of asking: what is waited for, what was seen last, and when the service may be asked again."""

    goal: Goal
    seen: Seen
    not_before: float = 0.0


class CijPublishSegmentOperator(CijOperator):
    """Publishes a segment and waits until it is live.

    Publishing is asked for, and done behind the reply. A segment that was live before counts as live again once an
    evaluation has succeeded that began after this task asked. When another one was under way and the service dropped
    the request, it is asked again as soon as that one has ended.

    Sources: "Create a Customer Insights - Journeys segment using the Web API", section "Publish"; the table reference
    of msdynmkt_segmentexecution.

    :param segment_id: the segment; a definition's id is taken too (templated)
    :param wait_until_live: False returns as soon as the service has accepted, and checks no member count; default True
        (templated)
    :param min_members: how many members it must have as well, such as 1; fewer are waited for until ``timeout``. By
        default any number (templated)
    :param max_members: how many members it may have at the most: more fail the task. By default any number (templated)
    :param max_change: how far their number may be from that of the evaluation before: a number of members, or a share
        such as ``"20%"``; more fails the task. Nothing is compared at a first evaluation. By default any change
        (templated)
    :param poll_interval: seconds between looks; the first look of a deferred task comes after 5 s at the earliest
    :param timeout: seconds to wait for the segment in all; a new segment may take the service hours
    :param deferrable: True waits in the triggerer, without a worker
    :param cij_conn_id: the Airflow connection
    :return: ``{"segment_id", "status", "member_count"}``
    :raises AirflowFailException: the service refuses the query, or the segment failed, with its words; it has too many
        members; or the log of evaluations of a segment that was live can't be read
    :raises CijTimeoutError: the segment is not live in time
    """

    template_fields: Sequence[str] = ("segment_id", "wait_until_live", "min_members", "max_members", "max_change")
    operator_extra_links = (CijSegmentLink(),)

    def __init__(
        self,
        *,
        segment_id: str,
        wait_until_live: bool = True,
        min_members: int | str | None = None,
        max_members: int | str | None = None,
        max_change: int | float | str | None = None,
        poll_interval: float = 30,
        timeout: float = 24 * 3600,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.segment_id = segment_id
        self.wait_until_live = wait_until_live
        self.min_members = min_members
        self.max_members = max_members
        self.max_change = max_change
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.deferrable = deferrable

    def execute(self, context: Context) -> dict[str, Any]:
        """Publish, and wait or defer."""
        with failing_for_good():
            set_switches(self, "wait_until_live", "deferrable")
            positive(poll_interval=self.poll_interval, timeout=self.timeout)
            row_ids(segment_id=self.segment_id)
            limits = self._limits()
        return self._publish(context, limits, time.time() + self.timeout)

    def _limits(self) -> SizeLimits:
        from airflow_provider_cij.api.segments.sizes import count_of, limits_of

        count_of("min_members", self.min_members)
        return limits_of(self.max_members, self.max_change)

    def _publish(self, context: Context, limits: SizeLimits, deadline: float, first_ask: int = 1) -> dict[str, Any]:
        """Ask, and wait or defer, until an evaluation that began after we asked has ended."""
        for asks in count(first_ask):  # goes on where an earlier part of the task was
            goal, seen, not_before = self.call(partial(self._ask, context, limits))
            limits = goal.limits
            if seen.outcome == "waiting" and self.deferrable:
                self._defer(seen.segment, goal, deadline, not_before, asks)
            if seen.outcome == "waiting":
                seen = self._wait(seen.segment, goal, deadline, not_before)
            if seen.outcome != "ask_again":
                return self._done(context, summary(seen.segment), seen.evaluated_at)
            with failing_for_good():
                self._tell_dropped(seen.segment.segment_id, deadline, asks)
        raise AssertionError  # count() has no end

    async def _ask(self, context: Context, limits: SizeLimits, cij: Cij) -> _Asked:
        """Publish once, and look once."""
        from airflow_provider_cij.api.segments.sizes import count_of
        from airflow_provider_cij.api.segments.wait import Goal, Seen, before_publish, look

        segment = await cij.segments.get(self.segment_id)
        CijSegmentLink().show(self, context, cij.segment_url(segment.segment_id), segment.display_name)
        self.log.info("Publishing segment %r, which is %s", segment.display_name, segment.status_name)
        goal = Goal()
        if self.wait_until_live:
            before = await before_publish(cij.segments, segment)
            if before.under_way:
                self.log.info("Another evaluation is under way: it may have begun too early to count")
            limits = self._compared(context, limits, segment)
            goal = Goal(before=before, min_members=count_of("min_members", self.min_members) or 0, limits=limits)
        await cij.segments.publish(segment.segment_id)
        # It is published: what fails from here on is waited out, and never answered by publishing again.
        try:
            if self.wait_until_live:
                seen = await look(cij.segments, segment.segment_id, goal)
            else:
                seen = Seen(await cij.segments.get(segment.segment_id), "done")
        except CijError as error:
            if error.permanent or isinstance(error, CijStoppedError):
                raise
            self.log.warning("Published; the segment could not be read, going on: %s", error)
            seen = Seen(segment, "waiting" if self.wait_until_live else "done")
            return _Asked(goal, seen, time.time() + (error.retry_after or 0.0))
        self.log.info("Published: segment %s is %s", segment.segment_id, seen.segment.status_name)
        # Never asked again at once: the next look tells.
        return _Asked(goal, seen._replace(outcome="waiting") if seen.outcome == "ask_again" else seen)

    def _compared(self, context: Context, limits: SizeLimits, segment: Segment) -> SizeLimits:
        """Return the limits with the count to compare with: that before the first try of this task."""
        if not limits.looks_back:
            return limits
        store = context.get("task_state_store")
        kept: Any = store.get(_COUNT_BEFORE) if store else None
        if isinstance(kept, dict):
            count = kept.get("count")
            return replace(limits, count_before=count, first=count is None)
        limits = limits.since(segment)
        if store:
            store.set(_COUNT_BEFORE, {"count": limits.count_before})
        return limits

    def _defer(self, segment: Segment, goal: Goal, deadline: float, not_before: float, asks: int) -> None:
        from airflow_provider_cij.triggers.segments import CijSegmentTrigger

        left = max(0.0, deadline - time.time())
        self.defer(
            trigger=CijSegmentTrigger.towards(
                goal,
                cij_conn_id=self.cij_conn_id,
                segment_id=segment.segment_id,
                poll_interval=self.poll_interval,
                deadline=deadline,
                not_before=not_before,
                asks=asks,
            ),
            method_name="execute_complete",
            # The trigger keeps the deadline; this is for a triggerer that never ran it.
            timeout=timedelta(seconds=left + 60),
        )

    def _wait(self, segment: Segment, goal: Goal, deadline: float, not_before: float) -> Seen:
        from airflow_provider_cij.api.segments.wait import wait

        async def until_live(cij: Cij) -> Seen:
            return await wait(
                cij.segments,
                segment.segment_id,
                goal,
                poll_interval=self.poll_interval,
                deadline=deadline,
                first_after=max(self.poll_interval, not_before - time.time()),
            )

        with log_group(self.log, "Wait until live"):
            return self.call(until_live)

    def _tell_dropped(self, segment_id: str, deadline: float, asks: int) -> None:
        if asks >= _MOST_ASKS:
            raise CijSegmentFailedError(
                f"Segment {segment_id} was published {asks} times, and the service began no evaluation for it.",
                hint="Look at its evaluations in Dynamics 365: does another writer publish it, or are they skipped?",
            )
        if time.time() >= deadline:
            raise CijTimeoutError(f"Segment {segment_id} was not evaluated anew in the time given.")
        self.log.info("Another evaluation has ended and the service began none for this task: publishing again")

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Read the trigger's event; publish again where the service has dropped the request."""
        if event and event.get("status") == "ask_again":
            with failing_for_good():
                self._tell_dropped(str(event["segment"]["segment_id"]), event["deadline"], event["asks"])
            limits = replace(self._limits(), count_before=event["count_before"], first=event["first"])
            return self._publish(context, limits, event["deadline"], event["asks"] + 1)
        with failing_for_good():
            result = summary_of(event)
        with cosmetic(self.log, "The segment's link"):
            CijSegmentLink().show(self, context, self.hook.segment_url(result["segment_id"]), name_of(event))
        self.log.info("Segment %(segment_id)s is %(status)s with %(member_count)s members", result)
        return self._done(context, result, str((event or {}).get("evaluated_at") or ""))

    def _done(self, context: Context, result: dict[str, Any], evaluated_at: str) -> dict[str, Any]:
        store = context.get("task_state_store")
        if store and self.max_change is not None:
            with cosmetic(self.log, "The count of the evaluation before"):
                store.delete(_COUNT_BEFORE)
        return self._result(result, evaluated_at)

    def _result(self, result: dict[str, Any], evaluated_at: str) -> dict[str, Any]:
        return result


class CijRefreshSegmentOperator(CijPublishSegmentOperator):
    """Evaluates a segment again and waits for that: publishes it once more, which is the documented way.

    The members are those of an evaluation that began after this task asked for it. A stopped and an expired segment
    goes live again.

    Source: "Create a Customer Insights - Journeys segment using the Web API", section "Publish"; the table reference
    of msdynmkt_segmentexecution. There is no action that only refreshes.

    :param segment_id: the segment; a definition's id is taken too (templated)
    :param wait_until_live: False returns as soon as the service has accepted, and checks no member count; default True
        (templated)
    :param min_members: how many members it must have as well, such as 1; fewer are waited for until ``timeout``. By
        default any number (templated)
    :param max_members: how many members it may have at the most: more fail the task. By default any number (templated)
    :param max_change: how far their number may be from that of the evaluation before: a number of members, or a share
        such as ``"20%"``; more fails the task. Nothing is compared at a first evaluation. By default any change
        (templated)
    :param poll_interval: seconds between looks; the first look of a deferred task comes after 5 s at the earliest
    :param timeout: seconds to wait for the new evaluation in all
    :param deferrable: True waits in the triggerer, without a worker
    :param cij_conn_id: the Airflow connection
    :return: ``{"segment_id", "status", "member_count", "evaluated_at"}``, the last as ISO 8601 or None when the log of
        evaluations can't be read, or ``wait_until_live`` is False
    :raises AirflowFailException: the service refuses, or the evaluation failed, with its words; it has too many
        members; or the log of evaluations of a segment that was live can't be read
    :raises CijTimeoutError: there is no new evaluation in time
    """

    def _result(self, result: dict[str, Any], evaluated_at: str) -> dict[str, Any]:
        if not evaluated_at and self.wait_until_live:

            async def newest(cij: Cij) -> str:
                execution = await cij.segments.last_execution(await cij.segments.get(result["segment_id"]))
                return execution.finished_on if execution else ""

            # The work is done: a failure to read must not have it done again.
            with cosmetic(self.log, "When the segment was evaluated"):
                evaluated_at = self.hook.run(newest)
        return {**result, "evaluated_at": evaluated_at or None}
