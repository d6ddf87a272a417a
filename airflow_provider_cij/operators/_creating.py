"""Create and update real-time segments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_cij._arguments import text
from airflow_provider_cij._base import log_group
from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.links import CijSegmentLink
from airflow_provider_cij.operators._emitting import EmitsEvents
from airflow_provider_cij.operators._hidden import hidden
from airflow_provider_cij.operators._keys import Keyed, key_of, warn_of_rename

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_cij.api.cij import Cij
    from airflow_provider_cij.api.segments.models import CreatedSegment, MemberGroup, Segment
    from airflow_provider_cij.api.segments.spec import IfExists


class CijCreateSegmentOperator(EmitsEvents, Keyed):
    """Create a segment as a draft, or update the segment that has the same key.

    Both row ids and the group ids derive from ``key``: each run, each retry and each organisation finds the same
    segment, and none creates a second one. A live segment stays live; publish it for a change to take effect.

    Source: "Create a Customer Insights - Journeys segment using the Web API".

    :param display_name: what people see, up to 100 characters
    :param query: the query that finds its members, such as ``PROFILE(contact).FILTER(ISNOTNULL(emailaddress1))``.
        Default ``""``, no query: the groups alone
    :param base_table: ``contact`` (default) or ``lead``
    :param groups: static groups, up to 10: names, or ``MemberGroup(name, include=False)`` for people to exclude.
        Default none
    :param key: names the segment; by default ``dag_id.task_id``. A mapped task must give one for each entry
    :param if_exists: ``"update"`` (default) what differs, ``"reuse"`` it as it is, or ``"fail"``
    :param description: what the segment is for, as people read it in Dynamics 365. Default None, not written
    :param static_snapshot: True freezes the members as of each publish. Default False
    :param refresh_interval_minutes: minutes between evaluations; the service may choose another cadence. Default None,
        not written
    :param business_unit_id: the owner, where business units are in use. Default None, not written
    :param included_members: ids that are always members, by the API's first generation; for organisations without
        groups, and never together with groups. Default none
    :param excluded_members: ids that are never members, by the API's first generation; 108 at the most. Default none
    :param allow_dropping_members: True drops a group that is not named any more together with its members; by default
        False such a group fails the task before anything is written. A renamed group is a dropped one
    :param emit_events: False emits no event on the segment's asset; default True
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"segment_id", "definition_id", "groups": {name: id}, "created": bool, "changed": bool, "changes":
        {argument: {"old", "new"}}}``, counts in place of ids of people, and groups as ``{name: "include" or
        "exclude"}``; the next task takes the id as ``create.output["segment_id"]``
    :raises AirflowFailException: the segment can't be right, or the service refuses it, with its words
    """

    template_fields_renderers = {"query": "sql", "groups": "json"}  # noqa: RUF012  # Airflow's own annotation
    operator_extra_links = (CijSegmentLink(),)

    included_members = hidden("included_members")
    excluded_members = hidden("excluded_members")

    def __init__(
        self,
        *,
        display_name: str,
        query: str = "",
        base_table: str = "contact",
        groups: Sequence[str | MemberGroup] = (),
        if_exists: IfExists = "update",
        description: str | None = None,
        static_snapshot: bool = False,
        refresh_interval_minutes: int | None = None,
        business_unit_id: str | None = None,
        included_members: Sequence[str] = (),
        excluded_members: Sequence[str] = (),
        allow_dropping_members: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.display_name = display_name
        self.query = query
        self.base_table = base_table
        self.groups = groups
        self.if_exists = if_exists
        self.description = description
        self.static_snapshot = static_snapshot
        self.refresh_interval_minutes = refresh_interval_minutes
        self.business_unit_id = business_unit_id
        self.included_members = included_members
        self.excluded_members = excluded_members
        self.allow_dropping_members = allow_dropping_members

    def _execute(self, context: Context) -> dict[str, Any]:
        """Create the segment, or update it."""
        from airflow_provider_cij.api.segments.spec import SegmentSpec, check

        spec = SegmentSpec(
            key=key_of(self, context),
            display_name=self.display_name,
            query=self.query,
            groups=_groups(self.groups),
            base_table=self.base_table,
            description=self.description,
            static_snapshot=self.static_snapshot,
            refresh_interval_minutes=self.refresh_interval_minutes,
            business_unit_id=self.business_unit_id,
            included_members=_members("included_members", self.included_members),
            excluded_members=_members("excluded_members", self.excluded_members),
        )
        check(spec)
        self.show_link(context, {"segment_id": spec.segment_id}, spec.display_name)
        # create.output["segment_id"] reads the XCom that has this key.
        context["ti"].xcom_push(key="segment_id", value=spec.segment_id)
        with log_group(self.log, f"Create segment {spec.display_name!r}"):
            self.log.info("Key %s, over %s, query: %s", spec.key, spec.base_table, spec.query or "none")
            made = self.call(lambda cij: cij.segments.create(spec, self.if_exists, self.allow_dropping_members))
            for name, group_id in made.groups.items():
                self.log.info("Group %r has the id %s", name, group_id)
        done = "created" if made.created else "updated" if made.changed else "left as it is"
        self.log.info("Segment %r %s: %s", spec.display_name, done, made.segment_id)
        warn_of_rename(self.log, "Segment", made.segment_id, made.changes)
        _warn_of_turned(self.log, made)
        if made.created or made.changed:
            facts = {"segment_id": made.segment_id, "name": spec.display_name}
            self.emit_segment(context, facts | ({"status": "draft"} if made.created else {}))
        return _made(made)


def _groups(groups: Any) -> tuple[MemberGroup, ...]:
    from airflow_provider_cij.api.segments.models import MemberGroup

    if not all(isinstance(group, (str, MemberGroup)) for group in groups):
        raise CijInputError(f"groups is {groups!r}.", hint="Give a list of names, or of MemberGroup(name, include=…).")
    return tuple(
        MemberGroup(group) if isinstance(group, str) else replace(group, name=text("groups", group.name))
        for group in groups
    )


def _members(name: str, given: Any) -> tuple[str, ...]:
    from airflow_provider_cij.sources.values import revealed

    ids = revealed(given)
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise CijInputError(f"{name} is a {type(ids).__name__}.", hint="Give a list of ids.")
    return tuple(str(member_id) for member_id in ids)


class CijUpdateSegmentOperator(EmitsEvents):
    """Change what is given of a segment that exists, and leave the rest.

    Its status stays as it is: publish it for the change to take effect. Nothing is written where nothing differs.

    Source: "Create a Customer Insights - Journeys segment using the Web API".

    :param segment_id: the segment: its id, ``"name:VIP customers"``, or another task's whole result
    :param display_name: what people see, up to 100 characters. Default None, it stays as it is
    :param query: the query that finds its members. Default None, it stays as it is
    :param groups: all static groups as wanted: one whose name exists keeps its members, a new one is empty, and one
        that is not named is dropped. Default None, it stays as it is
    :param static_snapshot: True freezes the members as of each publish. Default None, it stays as it is
    :param refresh_interval_minutes: minutes between evaluations; the service may choose another cadence. Default None,
        it stays as it is
    :param description: what the segment is for, as people read it in Dynamics 365. Default None, it stays as it is
    :param business_unit_id: the owner, where business units are in use. Default None, it stays as it is
    :param allow_dropping_members: True drops a group together with its members; by default False such a group fails
        the task before anything is written. A renamed group is a dropped one
    :param emit_events: False emits no event on the segment's asset; default True
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"segment_id", "definition_id", "groups": {name: id}, "created": False, "changed": bool, "changes":
        {argument: {"old", "new"}}}``
    :raises AirflowFailException: there is no such segment, a value can't be right, or the service refuses it
    """

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
        allow_dropping_members: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.allow_dropping_members = allow_dropping_members
        self.segment_id = segment_id
        self.display_name = display_name
        self.query = query
        self.groups = groups
        self.static_snapshot = static_snapshot
        self.refresh_interval_minutes = refresh_interval_minutes
        self.description = description
        self.business_unit_id = business_unit_id

    def _execute(self, context: Context) -> dict[str, Any]:
        """Update the segment."""
        from airflow_provider_cij.api.segments.spec import check_interval

        groups = None if self.groups is None else _groups(self.groups)
        check_interval("The segment", self.refresh_interval_minutes)

        async def update(cij: Cij) -> tuple[Segment, CreatedSegment]:
            from airflow_provider_cij.api.segments.models import FOR_UPDATE

            segment = await cij.segments.get(self.segment_id, FOR_UPDATE)
            self.show_link(context, segment.summary(), segment.display_name)
            return segment, await cij.segments.update(
                segment,
                display_name=self.display_name,
                query=self.query,
                groups=groups,
                static_snapshot=self.static_snapshot,
                refresh_interval_minutes=self.refresh_interval_minutes,
                description=self.description,
                business_unit_id=self.business_unit_id,
                allow_dropping_members=self.allow_dropping_members,
            )

        with log_group(self.log, f"Update segment {self.segment_id}"):
            segment, made = self.call(update)
        self.log.info("Segment %s %s", made.segment_id, "updated" if made.changed else "left as it is")
        warn_of_rename(self.log, "Segment", made.segment_id, made.changes)
        _warn_of_turned(self.log, made)
        if made.changed:
            name = segment.display_name if self.display_name is None else self.display_name
            self.emit_segment(context, segment.summary() | {"name": name})
        return _made(made)


def _warn_of_turned(log: Any, made: CreatedSegment) -> None:
    """Warn of groups that turn from include to exclude, or back."""
    change = made.changes.get("groups") or {"old": {}, "new": {}}
    for name, new in change["new"].items():
        if (old := change["old"].get(name, new)) != new:
            log.warning(
                "Group %r of segment %s was to %s its members, and is to %s them", name, made.segment_id, old, new
            )


def _made(made: CreatedSegment) -> dict[str, Any]:
    return {
        "segment_id": made.segment_id,
        "definition_id": made.definition_id,
        "groups": dict(made.groups),
        "created": made.created,
        "changed": made.changed,
        "changes": {name: dict(change) for name, change in made.changes.items()},
    }
