"""Real-time segments: create, update, publish, stop, delete, and the log of their evaluations.

Sources: "Create a Customer Insights - Journeys segment using the Web API"; the table reference of
msdynmkt_segmentexecution. A segment is two rows, a definition and a segment, tied together by a string:
``msdynmkt_sourcesegmentuid`` holds the definition's id.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.api.names import id_of_name
from airflow_provider_cij.api.row_sync import (
    Changes,
    Table,
    create_or_update,
    delete_row,
    read_columns,
    read_name,
    rows_by_id,
)
from airflow_provider_cij.api.segments.executions import (
    BEGUN,
    NOT_ENDED,
    executions_of,
    failure_reason_of,
    log_query,
    newest_query,
)
from airflow_provider_cij.api.segments.models import (
    AT_REST,
    DEFINITION_COLUMNS,
    FOR_DELETE,
    FOR_UPDATE,
    LIVE,
    SEGMENT_COLUMNS,
    CreatedSegment,
    Definition,
    Execution,
    MemberGroup,
    Segment,
    SegmentStatus,
    group_ids,
    group_named,
    groups_of,
)
from airflow_provider_cij.api.segments.spec import (
    DEFINITIONS,
    SEGMENTS,
    IfExists,
    SegmentSpec,
    check,
    check_if_exists,
    definition_id_of,
    definition_row,
    segment_row,
)
from airflow_provider_cij.api.segments.stop import refusal_reason, stop_results
from airflow_provider_cij.api.segments.update import CountGroup, check_dropped, update_of
from airflow_provider_cij.dataverse.guids import normalize_guid
from airflow_provider_cij.dataverse.odata import literal, query, row_path
from airflow_provider_cij.errors import (
    CijConflictError,
    CijError,
    CijInUseError,
    CijNotFoundError,
)

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

log = logging.getLogger(__name__)

# A segment has one or two; rows that a crash has left must not become pages.
_MOST_UNFINISHED = 50


class Segments:
    """The verbs on segments, over one open client.

    Verbs that take a segment take its id as well, and read it then.

    :param client: open
    :param count_group: counts the members of a group that is about to be dropped; default none: such a group counts as
        one that has members
    """

    _of = Segment.of

    def __init__(self, client: DataverseClient, count_group: CountGroup | None = None) -> None:
        self._client = client
        self._count_group = count_group

    @property
    def service_ahead(self) -> float:
        """Seconds by which the service's clock is ahead of ours."""
        return self._client.service_ahead

    async def get(self, segment_id: str, also: Sequence[str] = ()) -> Segment:
        """Read a segment.

        :param segment_id: the segment's id; a definition's id is taken too (older documents hand those out)
        :param also: more columns to read: ``models.FOR_UPDATE`` or ``models.FOR_DELETE``; default none
        :raises CijNotFoundError: neither exists
        """
        wanted, columns = normalize_guid(segment_id, "segment_id"), (*SEGMENT_COLUMNS, *also)
        path = row_path(SEGMENTS.entity_set, wanted)
        try:
            return Segment.of(await self._client.get(query(path, select=columns)))
        except CijNotFoundError:
            where = f"msdynmkt_sourcesegmentuid eq {literal(wanted)}"
            rows = await self._client.rows(query(SEGMENTS.entity_set, select=columns, where=where, top=1))
            if not rows:
                raise
        segment = Segment.of(rows[0])
        log.info("%s is a definition's id; its segment is %s", wanted, segment.segment_id)
        return segment

    async def id_of_name(self, name: str) -> str:
        """Return the id of the only segment with a name; deleted ones do not count.

        :param name: the name that people see
        :raises CijNotFoundError: no segment has the name
        :raises CijInputError: several have it
        """
        return await id_of_name(
            self._client,
            name,
            what="segment",
            entity_set=SEGMENTS.entity_set,
            id_column=SEGMENTS.id_column,
            name_column="msdynmkt_displayname",
            where=f"statuscode ne {int(SegmentStatus.DELETED)}",
        )

    async def definition(self, segment: Segment) -> Definition:
        """Read the definition of a segment: its query and its groups.

        :param segment: the segment
        :return: the definition
        :raises CijNotFoundError: the segment names no definition, or it does not exist
        """
        if not segment.definition_id:
            raise CijNotFoundError(f"Segment {segment.segment_id} names no definition (msdynmkt_sourcesegmentuid).")
        path = row_path(DEFINITIONS.entity_set, segment.definition_id)
        return Definition.of(await self._client.get(query(path, select=DEFINITION_COLUMNS)))

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
        return [group_named(name, segment, groups) for name in wanted]

    async def create(
        self, spec: SegmentSpec, if_exists: IfExists = "update", allow_dropping_members: bool = False
    ) -> CreatedSegment:
        """Create both rows of a segment, or update those that differ from ``spec``.

        The definition is written first: when a run is cut off between the two, the next run completes the segment. A
        live segment stays live; a change takes effect with its next publish.

        :param spec: what is wanted
        :param if_exists: ``update`` what differs, ``reuse`` it as it is, or ``fail``
        :param allow_dropping_members: True drops a group that has members; False refuses to, before anything is written
        :return: what was created and changed
        :raises CijInputError: ``spec`` is invalid, or ``if_exists`` unknown
        :raises CijConflictError: it exists and must not, has another base table, or another client changes it
        """
        check(spec)
        check_if_exists(if_exists)
        wanted = segment_row(spec)
        there = await read_columns(self._client, SEGMENTS, spec.segment_id, wanted)
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
        defined = await read_columns(
            self._client, DEFINITIONS, spec.definition_id, definition_row(spec.with_group_ids())
        )
        old_groups = groups_of((defined or {}).get("msdynmkt_staticlistmembers"))
        spec = spec.with_group_ids(old_groups)
        if there is not None:  # a definition alone has no members
            await check_dropped(spec.segment_id, old_groups, spec.groups, allow_dropping_members, self._count_group)
        made_definition, changed_definition = await create_or_update(
            self._client, DEFINITIONS, spec.definition_id, definition_row(spec), defined
        )
        made_segment, changed_segment = await create_or_update(self._client, SEGMENTS, spec.segment_id, wanted, there)
        return CreatedSegment(
            segment_id=spec.segment_id,
            definition_id=spec.definition_id,
            groups=group_ids(spec.groups),
            created=made_definition or made_segment,
            changed=bool(changed_definition or changed_segment),
            changes={**changed_definition, **changed_segment},
        )

    async def _reuse(self, spec: SegmentSpec) -> CreatedSegment:
        segment = await self.get(spec.segment_id)
        groups = (await self.definition(segment)).groups
        return CreatedSegment(
            segment.segment_id, segment.definition_id, group_ids(groups), created=False, changed=False
        )

    async def update(
        self,
        segment: Segment | str,
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
        """Update the given properties of a segment; the others, and its status, stay as they are.

        :param segment: the segment, read with ``models.FOR_UPDATE``, or its id
        :param display_name: what people see, up to 100 characters; None leaves it, as it does below
        :param query: the new query
        :param groups: all groups as wanted: one whose name is there keeps its id and its members, a new one is empty,
            and one that is not named is dropped
        :param static_snapshot: True freezes the members as of each publish
        :param refresh_interval_minutes: minutes between evaluations; the service may choose another cadence
        :param description: the new description
        :param business_unit_id: the owner, where business units are in use
        :param allow_dropping_members: True drops a group that has members; False refuses to, before anything is written
        :return: what was changed
        :raises CijInputError: a value can't be right, or nothing would be left to give members
        :raises CijNotFoundError: there is no such segment
        :raises CijConflictError: another client changes it at the same time
        """
        segment = await self._read(segment, FOR_UPDATE)
        now = await self.definition(segment)
        update = update_of(
            segment,
            now,
            display_name=display_name,
            query=query,
            groups=groups,
            static_snapshot=static_snapshot,
            refresh_interval_minutes=refresh_interval_minutes,
            description=description,
            business_unit_id=business_unit_id,
        )
        await check_dropped(segment.segment_id, now.groups, update.groups, allow_dropping_members, self._count_group)
        changes = {
            **await self._change(DEFINITIONS, segment.definition_id, update.definition, now.row),
            **await self._change(SEGMENTS, segment.segment_id, update.segment, segment.row),
        }
        return CreatedSegment(
            segment.segment_id,
            segment.definition_id,
            group_ids(update.groups),
            created=False,
            changed=bool(changes),
            changes=changes,
        )

    async def _change(
        self, table: Table, row_id: str, row: Mapping[str, Any], there: Mapping[str, Any] | None
    ) -> Changes:
        if not row:
            return {}
        if any(read_name(name) not in (there or {}) for name in row):  # what is null may be left out
            there = await read_columns(self._client, table, row_id, row)
        if there is None:
            raise CijNotFoundError(f"{row_path(table.entity_set, row_id)} was deleted meanwhile.")
        return (await create_or_update(self._client, table, row_id, row, there))[1]

    async def _read(self, segment: Segment | str, also: Sequence[str] = ()) -> Segment:
        return await self.get(segment, also) if isinstance(segment, str) else segment

    async def publish(self, segment: Segment | str) -> None:
        """Ask for a segment to go live. The service answers at once and evaluates it later: wait with ``SegmentWait``.

        Idempotent. A query that does not parse is refused here.

        :param segment: the segment, or its id; not a definition's
        :raises CijRefusedError: the service refuses the query, with its words
        """
        segment_id = segment if isinstance(segment, str) else segment.segment_id
        await self._client.action("msdynmkt_PublishSegmentDefinition", {"SegmentId": segment_id}, repeatable=True)

    async def stop(self, segments: Sequence[Segment | str]) -> list[str]:
        """Stop segments: they are not evaluated any more, and can be edited and published again.

        The service answers at once and stops them later: wait with ``SegmentWait``. Idempotent.

        :param segments: the segments, or their ids; those that are at rest already are left alone
        :return: the ids of the segments, all stopping or at rest by now
        :raises CijInUseError: some were not stopped; the error names what uses them, and those that were
        :raises CijUnavailableError: the organisation's version has no such action
        """
        found = [await self._read(segment) for segment in segments]
        running = {segment.segment_id: segment for segment in found if segment.status not in AT_REST}
        if running:
            results = await stop_results(self._client, list(running))
            refused = {of: result for of, result in results.items() if result.get("WasStopped") is not True}
            for segment_id in list(refused):
                # A try whose response was lost had stopped it: then this one is refused.
                if (await self.get(segment_id)).status in AT_REST:
                    del refused[segment_id]
            if refused:
                reasons = [await refusal_reason(self._client, running[of], result) for of, result in refused.items()]
                done = [segment_id for segment_id in running if segment_id not in refused]
                raise CijInUseError(
                    f"{len(refused):,} of {len(found):,} segments were not stopped. {' '.join(reasons)}",
                    hint=f"Stopped: {', '.join(done) or 'none'}. Stop the journeys that use the others first.",
                )
        return [segment.segment_id for segment in found]

    async def delete(self, segment: Segment | str, definition_id: str = "") -> bool:
        """Delete a segment: its row, then its definition. What is left of a delete that was cut off is deleted as well.

        :param segment: the segment, read with ``models.FOR_DELETE``, or its id; a definition's id is taken too
        :param definition_id: of its definition, if it is known: for a segment made elsewhere, whose row is gone
        :return: False when there was nothing left to delete
        :raises CijInUseError: live journeys use it
        """
        if isinstance(segment, str):
            wanted = normalize_guid(segment, "segment_id")
            try:
                segment = await self.get(wanted, FOR_DELETE)
            except CijNotFoundError:
                return await self.delete_definition(wanted, definition_id)
        if segment.live_journeys:
            raise CijInUseError(
                f"Segment {segment.display_name!r} ({segment.segment_id}) is used by {segment.live_journeys:,} live "
                "journeys.",
                hint="Stop them first. Nothing was deleted.",
            )
        # Of two deletes at once, the one that takes the row away has deleted it, whoever finds the definition.
        deleted = await self._delete(SEGMENTS.entity_set, segment.segment_id)
        if segment.definition_id:
            await self._delete(DEFINITIONS.entity_set, segment.definition_id)
        return deleted

    async def delete_definition(self, segment_id: str, definition_id: str = "") -> bool:
        """Delete the definition of a segment that was never created, or is deleted already.

        :param segment_id: the segment's id, or the definition's
        :param definition_id: the definition's, if it is known; by default that of a segment of this package
        :return: False when there was none
        :raises CijError: the service refuses, or is not there
        """
        wanted = normalize_guid(segment_id, "segment_id")
        orphans = (definition_id or definition_id_of(wanted), wanted)
        return any([await self._delete(DEFINITIONS.entity_set, orphan) for orphan in orphans])

    async def _delete(self, entity_set: str, row_id: str) -> bool:
        if not await delete_row(self._client, row_path(entity_set, row_id)):
            return False
        log.info("Deleted %s(%s)", entity_set, row_id)
        return True

    async def newest_executions(self, segment: Segment, most: int) -> list[Execution]:
        """Read the newest evaluations of a segment that have begun, the newest first.

        :param segment: the segment
        :param most: how many at the most
        :raises CijError: the log of evaluations can't be read
        """
        return await self._executions(segment, BEGUN, most)

    async def unfinished_executions(self, segment: Segment) -> list[Execution]:
        """Read the evaluations of a segment that are asked for or under way.

        :param segment: the segment
        :raises CijError: the log of evaluations can't be read
        """
        return await self._executions(segment, NOT_ENDED, _MOST_UNFINISHED)

    async def executions_since(self, segment: Segment, since: str) -> list[Execution]:
        """Read the evaluations of a segment from a moment on, and those that have not ended.

        :param segment: the segment
        :param since: begun then or later, in the service's own words (ISO 8601); ``""`` for all
        :return: those that have not begun first, then the newest first
        :raises CijError: the log of evaluations can't be read
        """
        return [run for _, run in await self.executions([(segment.definition_id, since)])]

    async def _executions(self, segment: Segment, condition: str, most: int) -> list[Execution]:
        path = newest_query(segment.definition_id, condition, most)
        return [Execution.of(row) for row in await self._client.rows(path)]

    async def find(self, name_starts_with: str = "", *, live: bool = False) -> list[Segment]:
        """List real-time segments, by name.

        :param name_starts_with: the beginning of the display name; case does not matter to the service. Default
            ``""``, any name
        :param live: True for only those that are live, with warnings or without; default False
        :return: the segments
        :raises CijError: the service refuses, or is not there
        """
        conditions = ["msdynmkt_source eq 12"]
        if name_starts_with:
            conditions.append(f"startswith(msdynmkt_displayname,{literal(name_starts_with)})")
        if live:
            conditions.append(f"({' or '.join(f'statuscode eq {int(status)}' for status in sorted(LIVE))})")
        where = " and ".join(conditions)
        path = query(SEGMENTS.entity_set, select=SEGMENT_COLUMNS, where=where, orderby="msdynmkt_displayname")
        return [Segment.of(row) for row in await self._client.all_rows(path)]

    async def get_many(self, segment_ids: Sequence[str]) -> dict[str, Segment]:
        """Read many segments with one request.

        :param segment_ids: segments, some hundreds at the most; not definitions
        :return: those that exist, by id
        :raises CijError: the service refuses, or is not there
        """
        return {segment_id: Segment.of(row) for segment_id, row in (await self.rows(segment_ids)).items()}

    async def rows(self, segment_ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Read many segments with one request, as the service returns them.

        :param segment_ids: segments, some hundreds at the most; not definitions
        :return: those that exist, by id
        :raises CijError: the service refuses, or is not there
        """
        return await rows_by_id(self._client, SEGMENTS.entity_set, SEGMENTS.id_column, SEGMENT_COLUMNS, segment_ids)

    async def executions(self, asked: Sequence[tuple[str, str]], all_since: str = "") -> list[tuple[str, Execution]]:
        """Read the evaluations of many segments with one question: from a moment on, and those that have not ended.

        :param asked: definitions, and since when their evaluations are wanted (ISO 8601; ``""`` for all), a hundred at
            the most unless ``all_since`` is given
        :param all_since: ask for the evaluations of all segments from this moment on, and drop those of others;
            default ``""``, ask by definition
        :return: definitions and their evaluations: those that have not begun first, then the newest first
        :raises CijError: the log of evaluations can't be read
        """
        return executions_of(await self._client.all_rows(log_query(asked, all_since)), asked)

    async def failure_reason(self, segment_id: str) -> str:
        """Read why the last evaluation ended as it did; ``""`` when the service does not say.

        ``msdynmkt_SegmentStatus`` is in no document, so no response of it is an error.

        :param segment_id: the segment
        :return: the reason in the service's words
        """
        try:
            # An error within is that of the evaluation.
            answer = await self._client.action(
                "msdynmkt_SegmentStatus", {"SegmentId": segment_id}, repeatable=True, refusals=False
            )
        except CijError:
            return ""
        return failure_reason_of(answer)
