"""Create and publish real-time segments."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_cij._compat import conf
from airflow_provider_cij._task import failing_for_good, hook_of, log_group, run, summary, summary_of
from airflow_provider_cij.api.groups import MemberGroup
from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.links import CijSegmentLink

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.models import Segment
    from airflow_provider_cij.api.spec import IfExists
    from airflow_provider_cij.api.watching import Before
    from airflow_provider_cij.hooks.cij import Cij

__all__ = ["CijCreateSegmentOperator", "CijPublishSegmentOperator", "MemberGroup"]


class CijCreateSegmentOperator(BaseOperator):
    """Creates a segment as a draft, or brings the one of this key to what the DAG says.

    Both row ids and the group ids derive from ``key``: each run, each retry and each organisation finds the same
    segment, and none makes a second one. A segment that is live stays live; publish it for a change to take effect.

    Source: "Create a Customer Insights - Journeys segment using the Web API".

    :param display_name: what people see, up to 100 characters (templated)
    :param query: whom it finds, such as ``PROFILE(contact).FILTER(ISNOTNULL(emailaddress1))`` (templated)
    :param base_table: ``contact`` or ``lead`` (templated)
    :param groups: static groups, up to 10: names, or ``MemberGroup(name, include=False)`` for people to keep out
        (templated)
    :param key: names the segment for good; by default ``dag_id.task_id`` and the map index (templated)
    :param if_exists: ``"update"`` what differs, ``"reuse"`` it as it is, or ``"fail"``
    :param description: a text for people (templated)
    :param static_snapshot: True freezes the members as of each publish
    :param refresh_interval_minutes: wished for; the service has a cadence of its own
    :param business_unit_id: the owner, where business units are in use (templated)
    :param cij_conn_id: the Airflow connection
    :return: ``{"segment_id", "definition_id", "groups": {name: id}, "created": bool, "changed": bool}``; the next task
        takes the id as ``create.output["segment_id"]``
    :raises AirflowFailException: the segment can't be right, or the service refuses it, with its words
    """

    template_fields: Sequence[str] = (
        "display_name",
        "query",
        "base_table",
        "groups",
        "key",
        "description",
        "business_unit_id",
    )
    template_fields_renderers = {"query": "sql", "groups": "json"}  # noqa: RUF012  # Airflow's own annotation
    operator_extra_links = (CijSegmentLink(),)
    ui_color = "#d8e8f8"

    def __init__(
        self,
        *,
        display_name: str,
        query: str = "",
        base_table: str = "contact",
        groups: Sequence[str | MemberGroup] = (),
        key: str | None = None,
        if_exists: IfExists = "update",
        description: str | None = None,
        static_snapshot: bool = False,
        refresh_interval_minutes: int | None = None,
        business_unit_id: str | None = None,
        cij_conn_id: str = "cij_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.display_name = display_name
        self.query = query
        self.base_table = base_table
        self.groups = groups
        self.key = key
        self.if_exists = if_exists
        self.description = description
        self.static_snapshot = static_snapshot
        self.refresh_interval_minutes = refresh_interval_minutes
        self.business_unit_id = business_unit_id
        self.cij_conn_id = cij_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Create it."""
        from airflow_provider_cij.api.spec import SegmentSpec, check

        with failing_for_good():
            spec = SegmentSpec(
                key=self._default_key(context) if self.key is None else self.key,
                display_name=self.display_name,
                query=self.query,
                groups=_groups(self.groups),
                base_table=self.base_table,
                description=self.description,
                static_snapshot=self.static_snapshot,
                refresh_interval_minutes=self.refresh_interval_minutes,
                business_unit_id=self.business_unit_id,
            )
            check(spec)
            hook = hook_of(self)
            CijSegmentLink().show(self, context, hook.segment_url(spec.segment_id))
        # So that the next task can say create.output["segment_id"]: Airflow takes that for an XCom of this name.
        context["ti"].xcom_push(key="segment_id", value=spec.segment_id)
        with log_group(self.log, f"Create segment {spec.display_name!r}"):
            self.log.info("Key %s, over %s, query: %s", spec.key, spec.base_table, spec.query or "none")
            made = run(hook, lambda cij: cij.segments.create(spec, self.if_exists))
            for name, group_id in made.groups.items():
                self.log.info("Group %r has the id %s", name, group_id)
        done = "created" if made.created else "updated" if made.changed else "left as it is"
        self.log.info("Segment %r %s: %s", spec.display_name, done, made.segment_id)
        return {
            "segment_id": made.segment_id,
            "definition_id": made.definition_id,
            "groups": dict(made.groups),
            "created": made.created,
            "changed": made.changed,
        }

    def _default_key(self, context: Context) -> str:
        index = context["ti"].map_index
        return f"{self.dag_id}.{self.task_id}" + (f".{index}" if index is not None and index >= 0 else "")


def _groups(groups: Any) -> tuple[MemberGroup, ...]:
    # A single name would be read letter by letter.
    if isinstance(groups, str) or not all(isinstance(group, (str, MemberGroup)) for group in groups):
        raise CijInputError(f"groups is {groups!r}.", hint="Give a list of names, or of MemberGroup(name, include=…).")
    return tuple(MemberGroup(group) if isinstance(group, str) else group for group in groups)


class CijPublishSegmentOperator(BaseOperator):
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
    ui_color = "#d8e8f8"

    def __init__(
        self,
        *,
        segment_id: str,
        wait_until_live: bool = True,
        poll_interval: float = 30,
        timeout: float = 24 * 3600,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        cij_conn_id: str = "cij_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.segment_id = segment_id
        self.wait_until_live = wait_until_live
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.deferrable = deferrable
        self.cij_conn_id = cij_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Publish, and wait or defer."""
        from airflow_provider_cij.api.watching import before_publish, look, news, wait_until_live

        deadline = time.time() + self.timeout
        with failing_for_good():
            if self.poll_interval <= 0:
                raise CijInputError(f"poll_interval is {self.poll_interval}.", hint="Give seconds, more than 0.")

        async def publish(cij: Cij) -> tuple[Segment, Before | None, bool]:
            segment = await cij.segments.get(self.segment_id)
            CijSegmentLink().show(self, context, cij.segment_url(segment.segment_id))
            self.log.info("Publishing segment %r, which is %s", segment.display_name, segment.status_name)
            before = await before_publish(cij.segments, segment)
            await cij.segments.publish(segment.segment_id)
            segment, outcome = await look(cij.segments, segment.segment_id, before)
            self.log.info("Published: segment %s is %s", segment.segment_id, segment.status_name)
            return segment, news(segment, before), outcome == "live"

        hook = hook_of(self)
        segment, before, live = run(hook, publish)
        if live or not self.wait_until_live:
            return summary(segment)
        if self.deferrable:
            from airflow_provider_cij.triggers.segments import CijSegmentTrigger

            self.defer(
                trigger=CijSegmentTrigger(
                    cij_conn_id=self.cij_conn_id,
                    segment_id=segment.segment_id,
                    before_status=before.status if before else None,
                    before_execution_id=before.execution_id if before else "",
                    poll_interval=self.poll_interval,
                    deadline=deadline,
                ),
                method_name="execute_complete",
                # The trigger keeps the deadline; this is for a triggerer that never ran it.
                timeout=timedelta(seconds=self.timeout + 60),
            )

        async def wait(cij: Cij) -> Segment:
            return await wait_until_live(
                cij.segments,
                segment.segment_id,
                before=before,
                poll_interval=self.poll_interval,
                deadline=deadline,
                first_after=self.poll_interval,
            )

        with log_group(self.log, "Wait until live"):
            return summary(run(hook, wait))

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Take the trigger's word."""
        with failing_for_good():
            result = summary_of(event)
        CijSegmentLink().show(self, context, hook_of(self).segment_url(result["segment_id"]))
        self.log.info("Segment %(segment_id)s is %(status)s with %(member_count)s members", result)
        return result
