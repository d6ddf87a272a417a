"""Real-time segments: create and update. What happens to them afterwards is in ``lifecycle``.

Source: "Create a Customer Insights - Journeys segment using the Web API". A segment is two rows, a definition and a
segment, tied together by nothing but a string: ``msdynmkt_sourcesegmentuid`` holds the definition's id.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow_provider_cij.api.members.client import Members
from airflow_provider_cij.api.row_sync import DEFINITIONS, SEGMENTS, Changes, Table, bring, read
from airflow_provider_cij.api.segments.groups import MemberGroup, groups_of, groups_text, with_ids
from airflow_provider_cij.api.segments.lifecycle import Lifecycle
from airflow_provider_cij.api.segments.models import DEFINITION_COLUMNS, CreatedSegment, Definition, Segment
from airflow_provider_cij.api.segments.spec import (
    IfExists,
    SegmentSpec,
    check,
    check_groups,
    check_if_exists,
    check_interval,
    check_name,
    check_query,
    definition_row,
    owner,
    segment_row,
)
from airflow_provider_cij.dataverse import odata
from airflow_provider_cij.dataverse.odata import row_path
from airflow_provider_cij.errors import CijConflictError, CijInputError, CijNotFoundError

log = logging.getLogger(__name__)


class Segments(Lifecycle):
    """The verbs on segments, over one open client."""

    async def definition(self, segment: Segment) -> Definition:
        """Read the definition of a segment: its query and its groups."""
        if not segment.definition_id:
            raise CijNotFoundError(f"Segment {segment.segment_id} names no definition (msdynmkt_sourcesegmentuid).")
        path = row_path(DEFINITIONS.entity_set, segment.definition_id)
        return Definition.of(await self._client.get(odata.query(path, select=DEFINITION_COLUMNS)))

    async def group(self, segment: Segment, group: str) -> MemberGroup:
        """Read a static group of a segment by its name or id.

        :param segment: the segment
        :param group: the group's name or id
        :raises CijInputError: the segment has no such group; the error lists its groups
        """
        return (await self.groups(segment, [group]))[0]

    async def groups(self, segment: Segment, wanted: Sequence[str]) -> list[MemberGroup]:
        """Read several static groups of a segment by their names or ids, with one request.

        :param segment: the segment
        :param wanted: the groups' names or ids
        :return: the groups, in the order of ``wanted``
        :raises CijInputError: the segment has no such group; the error lists its groups
        """
        groups = (await self.definition(segment)).groups
        return [_group_named(name, segment, groups) for name in wanted]

    async def create(
        self, spec: SegmentSpec, if_exists: IfExists = "update", allow_dropping_members: bool = False
    ) -> CreatedSegment:
        """Bring both rows of a segment to what ``spec`` says; a row that agrees already is not written.

        The definition comes first, so what a run leaves that dies between the two, the next run completes. A live
        segment stays live; what changed takes effect with its next publish.

        :param spec: what it shall be
        :param if_exists: ``update`` what differs, ``reuse`` it as it is, or ``fail``
        :param allow_dropping_members: True drops a group that has members; False refuses to, before anything is written
        :raises CijInputError: ``spec`` can't be right, or ``if_exists`` is none of these
        :raises CijConflictError: it exists and must not, has another base table, or somebody changes it meanwhile
        """
        check(spec)
        check_if_exists(if_exists)
        wanted = segment_row(spec)
        there = await read(self._client, SEGMENTS, spec.segment_id, wanted)
        if there is not None:
            if if_exists == "fail":
                raise CijConflictError(f"Segment {spec.segment_id} exists already, and if_exists is 'fail'.")
            if if_exists == "reuse":
                return await self._reuse(spec)
            table = there.get("msdynmkt_baseentitylogicalname")
            if table and table != spec.base_table:
                raise CijConflictError(
                    f"Segment {spec.segment_id} is over {table!r}, not {spec.base_table!r}.",
                    hint="Its members would be other people: give the new segment a key of its own.",
                )
        defined = await read(self._client, DEFINITIONS, spec.definition_id, definition_row(spec.with_group_ids()))
        old_groups = groups_of((defined or {}).get("msdynmkt_staticlistmembers"))
        spec = spec.with_group_ids(old_groups)
        if there is not None:  # a definition alone holds nobody
            await self._check_dropped(spec.segment_id, old_groups, spec.groups, allow_dropping_members)
        made_definition, changed_definition = await bring(
            self._client, DEFINITIONS, spec.definition_id, definition_row(spec), defined
        )
        made_segment, changed_segment = await bring(self._client, SEGMENTS, spec.segment_id, wanted, there)
        return CreatedSegment(
            segment_id=spec.segment_id,
            definition_id=spec.definition_id,
            groups=_ids(spec.groups),
            created=made_definition or made_segment,
            changed=bool(changed_definition or changed_segment),
            changes={**changed_definition, **changed_segment},
        )

    async def _reuse(self, spec: SegmentSpec) -> CreatedSegment:
        segment = await self.get(spec.segment_id)
        groups = (await self.definition(segment)).groups
        return CreatedSegment(segment.segment_id, segment.definition_id, _ids(groups), created=False, changed=False)

    async def update(
        self,
        segment_id: str,
        *,
        display_name: str | None = None,
        query: str | None = None,
        groups: tuple[MemberGroup, ...] | None = None,
        static_snapshot: bool | None = None,
        refresh_interval_minutes: int | None = None,
        description: str | None = None,
        business_unit_id: str | None = None,
        allow_dropping_members: bool = False,
    ) -> CreatedSegment:
        """Change what is given of a segment that exists; the rest stays. Its status stays too.

        :param groups: all groups as they shall be: one of a name that is there keeps its id and its members, a new one
            is empty, and one that is not named is dropped
        :param allow_dropping_members: True drops a group that has members; False refuses to, before anything is written
        :raises CijInputError: a value can't be right, or nothing would be left to give members
        :raises CijNotFoundError: there is no such segment
        :raises CijConflictError: somebody changes it meanwhile
        """
        segment = await self.get(segment_id)
        now = await self.definition(segment)
        name = f"Segment {segment.display_name!r}"
        row: dict[str, Any] = {}
        definition: dict[str, Any] = {}
        dropping: tuple[str, tuple[MemberGroup, ...], tuple[MemberGroup, ...], bool] | None = None
        if display_name is not None:
            check_name(name, display_name)
            row["msdynmkt_displayname"] = display_name
        if description is not None:
            row["msdynmkt_description"] = description
        if business_unit_id is not None:
            row |= owner(business_unit_id)
        if query is not None:
            check_query(name, query, segment.base_table)
            definition["msdynmkt_segmentquery"] = query.strip()
        if groups is not None:
            check_groups(name, groups)
            groups = with_ids(segment.segment_id, groups, now.groups)
            dropping = (segment.segment_id, now.groups, groups, allow_dropping_members)
            definition["msdynmkt_staticlistmembers"] = groups_text(groups)
        if static_snapshot is not None:
            definition["msdynmkt_disablesegmentrefresh"] = static_snapshot
        if refresh_interval_minutes is not None:
            check_interval(name, refresh_interval_minutes)
            definition["msdynmkt_segmentrefreshintervalminutes"] = refresh_interval_minutes
        kept_groups = now.groups if groups is None else groups
        if (
            (query is not None or groups is not None)
            and not (now.query if query is None else query.strip())
            and not kept_groups
        ):
            raise CijInputError(f"{name} would have neither a query nor a group: it could never have members.")
        if dropping:
            await self._check_dropped(*dropping)
        changes = {
            **await self._change(DEFINITIONS, segment.definition_id, definition),
            **await self._change(SEGMENTS, segment.segment_id, row),
        }
        return CreatedSegment(
            segment.segment_id,
            segment.definition_id,
            _ids(kept_groups),
            created=False,
            changed=bool(changes),
            changes=changes,
        )

    async def _check_dropped(
        self, segment_id: str, there: Iterable[MemberGroup], wanted: Iterable[MemberGroup], allowed: bool
    ) -> None:
        kept = {group.group_id for group in wanted}
        for group in there:
            if group.group_id in kept:
                continue
            if not allowed and (count := await Members(self._client).count(segment_id, group.group_id)):
                raise CijConflictError(
                    f"Group {group.name!r} ({group.group_id}) would be dropped, with {count:,} members.",
                    hint="Nothing was written. A rename of a group is a drop: name the group as it was, or give "
                    "allow_dropping_members=True.",
                )
            log.warning("Group %r (%s) is dropped", group.name, group.group_id)

    async def _change(self, table: Table, row_id: str, row: Mapping[str, Any]) -> Changes:
        if not row:
            return {}
        there = await read(self._client, table, row_id, row)
        if there is None:
            raise CijNotFoundError(f"{row_path(table.entity_set, row_id)} was deleted meanwhile.")
        return (await bring(self._client, table, row_id, row, there))[1]


def _ids(groups: Iterable[MemberGroup]) -> dict[str, str]:
    return {group.name: group.group_id for group in groups}


def _group_named(wanted: str, segment: Segment, groups: Iterable[MemberGroup]) -> MemberGroup:
    for group in groups:
        if wanted == group.name or wanted.lower() == group.group_id:
            return group
    names = ", ".join(repr(group.name) for group in groups) or "none"
    raise CijInputError(f"Segment {segment.segment_id} has no group {wanted!r}. Its groups: {names}.")
