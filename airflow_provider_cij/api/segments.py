"""Real-time segments: create, read, publish.

Source: "Create a Customer Insights - Journeys segment using the Web API". A segment is two rows, a definition and a
segment, tied together by nothing but a string: ``msdynmkt_sourcesegmentuid`` holds the definition's id.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_cij.api.groups import MemberGroup, groups_of
from airflow_provider_cij.api.models import (
    DEFINITION_COLUMNS,
    SEGMENT_COLUMNS,
    CreatedSegment,
    Definition,
    Execution,
    Segment,
)
from airflow_provider_cij.api.spec import IfExists, SegmentSpec, check, definition_row, segment_row
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.dataverse.odata import guid, literal, query, row_path
from airflow_provider_cij.errors import CijConflictError, CijError, CijInputError, CijNotFoundError, CijRefusedError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Table:
    entity_set: str
    id_column: str
    at_birth: Mapping[str, int]
    """State and status of a new row. Later ones are the service's to write, never ours."""


_SEGMENTS = _Table("msdynmkt_segments", "msdynmkt_segmentid", {"statecode": 1, "statuscode": 2})
_DEFINITIONS = _Table(
    "msdynmkt_segmentdefinitions", "msdynmkt_segmentdefinitionid", {"statecode": 0, "statuscode": 723270001}
)
_EXECUTIONS = "msdynmkt_segmentexecutions"


class Segments:
    """The verbs on segments, over one open client."""

    def __init__(self, client: DataverseClient) -> None:
        self._client = client

    async def get(self, segment_id: str) -> Segment:
        """Read a segment.

        :param segment_id: the segment's id; a definition's id is taken too (older documents hand those out)
        :raises CijNotFoundError: neither exists
        """
        wanted = guid(segment_id, "segment_id")
        path = row_path(_SEGMENTS.entity_set, wanted)
        try:
            return Segment.of(await self._client.get(query(path, select=SEGMENT_COLUMNS)))
        except CijNotFoundError:
            where = f"msdynmkt_sourcesegmentuid eq {literal(wanted)}"
            page = await self._client.get(query(_SEGMENTS.entity_set, select=SEGMENT_COLUMNS, where=where, top=1))
            if not page.get("value"):
                raise
        segment = Segment.of(page["value"][0])
        log.info("%s is a definition's id; its segment is %s", wanted, segment.segment_id)
        return segment

    async def definition(self, segment: Segment) -> Definition:
        """Read the definition of a segment: its query and its groups."""
        if not segment.definition_id:
            raise CijNotFoundError(f"Segment {segment.segment_id} names no definition (msdynmkt_sourcesegmentuid).")
        path = row_path(_DEFINITIONS.entity_set, segment.definition_id)
        return Definition.of(await self._client.get(query(path, select=DEFINITION_COLUMNS)))

    async def group(self, segment: Segment, group: str) -> MemberGroup:
        """Find a static group of a segment by its name or id.

        :raises CijInputError: there is none; the error lists those there are
        """
        groups = (await self.definition(segment)).groups
        for found in groups:
            if group == found.name or group.lower() == found.group_id:
                return found
        names = ", ".join(repr(other.name) for other in groups) or "none"
        raise CijInputError(f"Segment {segment.segment_id} has no group {group!r}. Its groups: {names}.")

    async def create(self, spec: SegmentSpec, if_exists: IfExists = "update") -> CreatedSegment:
        """Bring both rows of a segment to what ``spec`` says; a row that agrees already is not written.

        The definition comes first, so what a run leaves that dies between the two, the next run completes. A live
        segment stays live; what changed takes effect with its next publish.

        :param spec: what it shall be
        :param if_exists: ``update`` what differs, ``reuse`` it as it is, or ``fail``
        :raises CijInputError: ``spec`` can't be right, or ``if_exists`` is none of these
        :raises CijConflictError: it exists and must not, has another base table, or somebody changes it meanwhile
        """
        check(spec)
        if if_exists not in ("update", "reuse", "fail"):
            raise CijInputError(f"if_exists is {if_exists!r}.", hint="Use 'update', 'reuse' or 'fail'.")
        spec = spec.with_group_ids()
        wanted = segment_row(spec)
        there = await self._read(_SEGMENTS, spec.segment_id, wanted)
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
        definition = definition_row(spec)
        defined = await self._read(_DEFINITIONS, spec.definition_id, definition)
        made_definition, changed_definition = await self._bring(_DEFINITIONS, spec.definition_id, definition, defined)
        made_segment, changed_segment = await self._bring(_SEGMENTS, spec.segment_id, wanted, there)
        return CreatedSegment(
            segment_id=spec.segment_id,
            definition_id=spec.definition_id,
            groups=_ids(spec.groups),
            created=made_definition or made_segment,
            changed=changed_definition or changed_segment,
        )

    async def _reuse(self, spec: SegmentSpec) -> CreatedSegment:
        segment = await self.get(spec.segment_id)
        groups = (await self.definition(segment)).groups
        return CreatedSegment(segment.segment_id, segment.definition_id, _ids(groups), created=False, changed=False)

    async def _bring(
        self, table: _Table, row_id: str, row: Mapping[str, Any], there: Mapping[str, Any] | None
    ) -> tuple[bool, bool]:
        """Make a row, or bring what is there to the values given; tell whether it was made, and whether it changed."""
        if there is None:
            try:
                new = {table.id_column: row_id, **row, **table.at_birth}
                await self._client.post(table.entity_set, new, repeatable=True)
            except CijConflictError:
                # It came into being since we looked: our own lost reply, or a second run of the same DAG.
                there = await self._read(table, row_id, row)
                if there is None:
                    raise
            else:
                return True, False
        differing = {name: row[name] for name in _columns(row) if not _same(name, row[name], there.get(name))}
        if not differing:
            return False, False
        path = row_path(table.entity_set, row_id)
        log.info("%s differs in %s", path, ", ".join(differing))
        await self._client.patch(path, differing, if_match=str(there.get("@odata.etag") or "*"))
        return False, True

    async def _read(self, table: _Table, row_id: str, row: Mapping[str, Any]) -> dict[str, Any] | None:
        try:
            return await self._client.get(query(row_path(table.entity_set, row_id), select=_columns(row)))
        except CijNotFoundError:
            return None

    async def publish(self, segment_id: str) -> None:
        """Ask for a segment to go live. The service answers at once and works behind it: wait with ``watching``.

        Doing it twice is as good as once. A query that does not parse is refused here.
        """
        await self._client.action("msdynmkt_PublishSegmentDefinition", {"SegmentId": segment_id}, repeatable=True)

    async def last_execution(self, segment: Segment) -> Execution | None:
        """Read the newest evaluation of a segment; None when there was none, or the log can't be read."""
        path = query(
            _EXECUTIONS,
            select=("msdynmkt_segmentexecutionid", "statuscode"),
            where=f"_msdynmkt_segmentdefinitionid_value eq {guid(segment.definition_id, 'definition id')}",
            orderby="msdynmkt_startedon desc",
            top=1,
        )
        try:
            rows = (await self._client.get(path)).get("value") or []
        except CijRefusedError as error:
            log.warning("The evaluations of segment %s can't be read: %s", segment.segment_id, error)
            return None
        return Execution.of(rows[0]) if rows else None

    async def last_words(self, segment_id: str) -> str:
        """Ask why the last evaluation ended as it did; ``""`` when the service does not say.

        ``msdynmkt_SegmentStatus`` is in no document, so whatever it answers is no error.
        """
        try:
            answer = await self._client.action("msdynmkt_SegmentStatus", {"SegmentId": segment_id}, repeatable=True)
            last = (json.loads(answer.get("ResultText") or "{}") or {}).get("lastExecution") or {}
            words = [last.get("statusMessage"), last.get("nonLocalizedExecutionReasonForUser")]
            return " ".join(str(word) for word in words if word)
        except (AttributeError, CijError, TypeError, ValueError):
            return ""


def _columns(row: Mapping[str, Any]) -> list[str]:
    return [name for name in row if "@" not in name]


def _ids(groups: Iterable[MemberGroup]) -> dict[str, str]:
    return {group.name: group.group_id for group in groups}


def _same(column: str, ours: Any, theirs: Any) -> bool:
    """Compare a value with what the service gives back, which need not be spelt as it was written."""
    if column == "msdynmkt_type":
        return True  # written as static, it has been read back as dynamic
    if column == "msdynmkt_staticlistmembers":
        return set(groups_of(ours)) == set(groups_of(theirs))
    if column == "msdynmkt_sourcesegmentuid":
        return bool(ours == str(theirs or "").lower())
    return bool(ours == ("" if theirs is None and isinstance(ours, str) else theirs))
