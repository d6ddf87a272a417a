"""Create, update, publish, refresh, stop and delete real-time segments."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow_provider_cij._base import CijOperator
from airflow_provider_cij._task import failing_for_good, log_group
from airflow_provider_cij.api.groups import MemberGroup
from airflow_provider_cij.errors import CijInputError, CijNotFoundError
from airflow_provider_cij.links import CijSegmentLink
from airflow_provider_cij.operators._publishing import CijPublishSegmentOperator, CijRefreshSegmentOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.models import CreatedSegment
    from airflow_provider_cij.api.spec import IfExists
    from airflow_provider_cij.hooks.cij import Cij

__all__ = [
    "CijCreateSegmentOperator",
    "CijDeleteSegmentOperator",
    "CijPublishSegmentOperator",
    "CijRefreshSegmentOperator",
    "CijStopSegmentsOperator",
    "CijUpdateSegmentOperator",
    "MemberGroup",
]


_DEFINITION = "cij_definition"


class CijCreateSegmentOperator(CijOperator):
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
    :param included_members: ids who are always in, in the API's oldest way; for organisations without groups, and
        never together with them
    :param excluded_members: ids who are never in, likewise; 108 at the most
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
        included_members: Sequence[str] = (),
        excluded_members: Sequence[str] = (),
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
        self.included_members = included_members
        self.excluded_members = excluded_members

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
                included_members=_members(self.included_members),
                excluded_members=_members(self.excluded_members),
            )
            check(spec)
            CijSegmentLink().show(self, context, self.hook.segment_url(spec.segment_id), spec.display_name)
        # So that the next task can say create.output["segment_id"]: Airflow takes that for an XCom of this name.
        context["ti"].xcom_push(key="segment_id", value=spec.segment_id)
        with log_group(self.log, f"Create segment {spec.display_name!r}"):
            self.log.info("Key %s, over %s, query: %s", spec.key, spec.base_table, spec.query or "none")
            made = self.call(lambda cij: cij.segments.create(spec, self.if_exists))
            for name, group_id in made.groups.items():
                self.log.info("Group %r has the id %s", name, group_id)
        done = "created" if made.created else "updated" if made.changed else "left as it is"
        self.log.info("Segment %r %s: %s", spec.display_name, done, made.segment_id)
        return _made(made)

    def _default_key(self, context: Context) -> str:
        index = context["ti"].map_index
        return f"{self.dag_id}.{self.task_id}" + (f".{index}" if index is not None and index >= 0 else "")


def _groups(groups: Any) -> tuple[MemberGroup, ...]:
    # A single name would be read letter by letter.
    listed = isinstance(groups, Iterable) and not isinstance(groups, (str, dict))
    if not listed or not all(isinstance(group, (str, MemberGroup)) for group in groups):
        raise CijInputError(f"groups is {groups!r}.", hint="Give a list of names, or of MemberGroup(name, include=…).")
    return tuple(MemberGroup(group) if isinstance(group, str) else group for group in groups)


def _members(ids: Any) -> tuple[str, ...]:
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        what = type(ids).__name__
        raise CijInputError(f"included_members or excluded_members is a {what}.", hint="Give a list of ids.")
    return tuple(str(one) for one in ids)


class CijUpdateSegmentOperator(CijOperator):
    """Changes what is given of a segment that exists, and leaves the rest.

    Its status stays as it is: publish it for the change to take effect. Nothing is written where nothing differs.

    Source: "Create a Customer Insights - Journeys segment using the Web API".

    :param segment_id: the segment; a definition's id is taken too (templated)
    :param display_name: what people see, up to 100 characters (templated)
    :param query: whom it finds (templated)
    :param groups: all static groups as they shall be: one of a name that is there keeps its members, a new one is
        empty, and one that is not named is dropped with its members (templated)
    :param static_snapshot: True freezes the members as of each publish
    :param refresh_interval_minutes: wished for; the service has a cadence of its own
    :param description: a text for people (templated)
    :param business_unit_id: the owner, where business units are in use (templated)
    :param cij_conn_id: the Airflow connection
    :return: as ``CijCreateSegmentOperator``
    :raises AirflowFailException: there is no such segment, a value can't be right, or the service refuses it
    """

    template_fields: Sequence[str] = (
        "segment_id",
        "display_name",
        "query",
        "groups",
        "description",
        "business_unit_id",
    )
    template_fields_renderers = {"query": "sql", "groups": "json"}  # noqa: RUF012  # Airflow's own annotation
    operator_extra_links = (CijSegmentLink(),)

    def __init__(
        self,
        *,
        segment_id: str,
        display_name: str | None = None,
        query: str | None = None,
        groups: Sequence[str | MemberGroup] | None = None,
        static_snapshot: bool | None = None,
        refresh_interval_minutes: int | None = None,
        description: str | None = None,
        business_unit_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.segment_id = segment_id
        self.display_name = display_name
        self.query = query
        self.groups = groups
        self.static_snapshot = static_snapshot
        self.refresh_interval_minutes = refresh_interval_minutes
        self.description = description
        self.business_unit_id = business_unit_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Update it."""
        with failing_for_good():
            groups = None if self.groups is None else _groups(self.groups)

        async def update(cij: Cij) -> CreatedSegment:
            segment = await cij.segments.get(self.segment_id)
            CijSegmentLink().show(self, context, cij.segment_url(segment.segment_id), segment.display_name)
            return await cij.segments.update(
                segment.segment_id,
                display_name=self.display_name,
                query=self.query,
                groups=groups,
                static_snapshot=self.static_snapshot,
                refresh_interval_minutes=self.refresh_interval_minutes,
                description=self.description,
                business_unit_id=self.business_unit_id,
            )

        with log_group(self.log, f"Update segment {self.segment_id}"):
            made = self.call(update)
        self.log.info("Segment %s %s", made.segment_id, "updated" if made.changed else "left as it is")
        return _made(made)


class CijStopSegmentsOperator(CijOperator):
    """Stops segments: they are evaluated no more, and can be edited, published again or deleted.

    The service stops them behind its reply: wait with ``CijSegmentSensor(until="stopped")``. It needs the application
    version of April 2026.

    Source: "Create a Customer Insights - Journeys segment using the Web API", section "Stop segments".

    :param segment_ids: the segments (templated)
    :param cij_conn_id: the Airflow connection
    :return: ``{"stopped": [ids]}``: all of them, those included that were at rest before
    :raises AirflowFailException: some were not stopped; the error names the journeys and segments that use them
    """

    template_fields: Sequence[str] = ("segment_ids",)

    def __init__(self, *, segment_ids: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.segment_ids = segment_ids

    def execute(self, context: Context) -> dict[str, Any]:
        """Stop them."""
        with failing_for_good():
            # A single id would be read letter by letter.
            ids = self.segment_ids
            if isinstance(ids, (str, dict)) or not isinstance(ids, Iterable) or not ids:
                raise CijInputError(f"segment_ids is {self.segment_ids!r}.", hint="Give a list of ids.")
            ids = [str(segment_id) for segment_id in ids]
        stopped = self.call(lambda cij: cij.segments.stop(ids))
        self.log.info("Stopped: %s", ", ".join(stopped))
        return {"stopped": stopped}


class CijDeleteSegmentOperator(CijOperator):
    """Deletes a segment, both rows of it.

    A definition that was left without its segment, by a create or a delete that died half-way, is deleted as well.

    :param segment_id: the segment; a definition's id is taken too (templated)
    :param missing_ok: False fails when there is nothing to delete
    :param stop_first: stop a live segment before, and wait until it is stopped
    :param timeout: seconds to wait for that
    :param cij_conn_id: the Airflow connection
    :raises AirflowFailException: live journeys use it, it could not be stopped, or the service refuses
    """

    template_fields: Sequence[str] = ("segment_id",)

    def __init__(
        self,
        *,
        segment_id: str,
        missing_ok: bool = True,
        stop_first: bool = False,
        timeout: float = 600,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.segment_id = segment_id
        self.missing_ok = missing_ok
        self.stop_first = stop_first
        self.timeout = timeout

    def execute(self, context: Context) -> None:
        """Delete it."""
        # The row that names the definition goes first: a retry must know it all the same.
        store = context.get("task_state_store")
        kept = str(store.get(_DEFINITION) or "") if store else ""

        async def delete(cij: Cij) -> None:
            if self.stop_first:
                await self._stop(cij)
            with suppress(CijNotFoundError):
                segment = await cij.segments.get(self.segment_id)
                if store and segment.definition_id:
                    store.set(_DEFINITION, segment.definition_id)
            if not await cij.segments.delete(self.segment_id, kept):
                if not self.missing_ok and not kept:
                    raise CijNotFoundError(f"There is no segment {self.segment_id}, and no definition of this id.")
                self.log.info("There is no segment %s: nothing to delete", self.segment_id)

        with log_group(self.log, f"Delete segment {self.segment_id}"):
            self.call(delete)
        if store:
            store.delete(_DEFINITION)

    async def _stop(self, cij: Cij) -> None:
        from airflow_provider_cij.api.models import AT_REST, SegmentStatus
        from airflow_provider_cij.api.watching import Goal, wait

        try:
            segment = await cij.segments.get(self.segment_id)
        except CijNotFoundError:
            return
        if segment.status not in AT_REST:
            await cij.segments.stop([segment.segment_id])
        if segment.status not in AT_REST or segment.status == SegmentStatus.STOPPING:
            deadline = time.time() + self.timeout
            await wait(cij.segments, segment.segment_id, Goal("stopped"), poll_interval=5, deadline=deadline)


def _made(made: CreatedSegment) -> dict[str, Any]:
    return {
        "segment_id": made.segment_id,
        "definition_id": made.definition_id,
        "groups": dict(made.groups),
        "created": made.created,
        "changed": made.changed,
    }
