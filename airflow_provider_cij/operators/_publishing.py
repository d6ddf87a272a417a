"""Publish and refresh: what both do, and wait for, behind ``operators.segments``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_cij._base import CijOperator
from airflow_provider_cij._compat import conf
from airflow_provider_cij._task import failing_for_good, log_group, name_of, positive, summary, summary_of
from airflow_provider_cij.links import CijSegmentLink

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.models import Segment
    from airflow_provider_cij.api.watching import Goal
    from airflow_provider_cij.hooks.cij import Cij


class CijPublishSegmentOperator(CijOperator):
    """Publishes a segment and waits until it is live.

    Publishing is asked for, and done behind the reply. A segment that was live before counts as live again once a new
    evaluation has succeeded, not by the old one.

    Source: "Create a Customer Insights - Journeys segment using the Web API", section "Publish".

    :param segment_id: the segment; a definition's id is taken too (templated)
    :param wait_until_live: False returns as soon as the service has accepted
    :param poll_interval: seconds between looks; the first look of a deferred task comes after 5 s at the earliest
    :param timeout: seconds to wait for the segment in all; a new segment may take the service hours
    :param deferrable: True waits in the triggerer, without a worker
    :param cij_conn_id: the Airflow connection
    :return: ``{"segment_id", "status", "member_count"}``
    :raises AirflowFailException: the service refuses the query, or the segment failed, with its words
    :raises CijTimeoutError: the segment is not live in time
    """

    template_fields: Sequence[str] = ("segment_id",)
    operator_extra_links = (CijSegmentLink(),)

    def __init__(
        self,
        *,
        segment_id: str,
        wait_until_live: bool = True,
        poll_interval: float = 30,
        timeout: float = 24 * 3600,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.segment_id = segment_id
        self.wait_until_live = wait_until_live
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.deferrable = deferrable

    def execute(self, context: Context) -> dict[str, Any]:
        """Publish, and wait or defer."""
        from airflow_provider_cij.api.watching import Goal, before_publish, look, wait

        with failing_for_good():
            positive(poll_interval=self.poll_interval, timeout=self.timeout)
        deadline = time.time() + self.timeout

        async def publish(cij: Cij) -> tuple[Segment, Goal, bool]:
            segment = await cij.segments.get(self.segment_id)
            CijSegmentLink().show(self, context, cij.segment_url(segment.segment_id), segment.display_name)
            self.log.info("Publishing segment %r, which is %s", segment.display_name, segment.status_name)
            goal = Goal(before=await before_publish(cij.segments, segment))
            await cij.segments.publish(segment.segment_id)
            segment, outcome = await look(cij.segments, segment.segment_id, goal)
            self.log.info("Published: segment %s is %s", segment.segment_id, segment.status_name)
            return segment, goal.after(segment), outcome == "done"

        segment, goal, done = self.call(publish)
        if done or not self.wait_until_live:
            return self._result(summary(segment))
        if self.deferrable:
            from airflow_provider_cij.triggers.segments import CijSegmentTrigger

            self.defer(
                trigger=CijSegmentTrigger.towards(
                    goal,
                    cij_conn_id=self.cij_conn_id,
                    segment_id=segment.segment_id,
                    poll_interval=self.poll_interval,
                    deadline=deadline,
                ),
                method_name="execute_complete",
                # The trigger keeps the deadline; this is for a triggerer that never ran it.
                timeout=timedelta(seconds=self.timeout + 60),
            )

        async def until_live(cij: Cij) -> Segment:
            return await wait(
                cij.segments,
                segment.segment_id,
                goal,
                poll_interval=self.poll_interval,
                deadline=deadline,
                first_after=self.poll_interval,
            )

        with log_group(self.log, "Wait until live"):
            segment = self.call(until_live)
        return self._result(summary(segment))

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Take the trigger's word."""
        with failing_for_good():
            result = summary_of(event)
        CijSegmentLink().show(self, context, self.hook.segment_url(result["segment_id"]), name_of(event))
        self.log.info("Segment %(segment_id)s is %(status)s with %(member_count)s members", result)
        return self._result(result)

    def _result(self, result: dict[str, Any]) -> dict[str, Any]:
        return result


class CijRefreshSegmentOperator(CijPublishSegmentOperator):
    """Evaluates a segment again and waits for that: publishes it once more, which is the documented way.

    The members are those of an evaluation that began after this task asked for it. A stopped and an expired segment
    goes live again.

    Source: "Create a Customer Insights - Journeys segment using the Web API", section "Publish"; the table reference
    of msdynmkt_segmentexecution. There is no action that only refreshes.

    :param segment_id: the segment; a definition's id is taken too (templated)
    :param wait_until_live: False returns as soon as the service has accepted
    :param poll_interval: seconds between looks; the first look of a deferred task comes after 5 s at the earliest
    :param timeout: seconds to wait for the new evaluation in all
    :param deferrable: True waits in the triggerer, without a worker
    :param cij_conn_id: the Airflow connection
    :return: ``{"segment_id", "status", "member_count", "evaluated_at"}``, the last as ISO 8601 or None when the log of
        evaluations can't be read
    :raises AirflowFailException: the service refuses, or the evaluation failed, with its words
    :raises CijTimeoutError: there is no new evaluation in time
    """

    def _result(self, result: dict[str, Any]) -> dict[str, Any]:
        async def newest(cij: Cij) -> str | None:
            execution = await cij.segments.last_execution(await cij.segments.get(result["segment_id"]))
            return execution.finished_on or None if execution else None

        return {**result, "evaluated_at": self.call(newest)}
