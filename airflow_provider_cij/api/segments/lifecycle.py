"""What happens to a segment after it was made: publish, stop, delete, and the log of its evaluations.

Sources: "Create a Customer Insights - Journeys segment using the Web API", sections "Publish" and "Stop segments"; the
table reference of msdynmkt_segmentexecution.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.api.row_sync import DEFINITIONS, SEGMENTS, delete_row
from airflow_provider_cij.api.segments.models import (
    AT_REST,
    EXECUTION_COLUMNS,
    LIVE,
    SEGMENT_COLUMNS,
    UNFINISHED,
    Execution,
    Segment,
)
from airflow_provider_cij.api.segments.spec import definition_id_of
from airflow_provider_cij.dataverse.guids import normalize_guid
from airflow_provider_cij.dataverse.odata import in_filter, literal, query, row_path
from airflow_provider_cij.dataverse.redact import words_of
from airflow_provider_cij.dataverse.responses import wrong_with
from airflow_provider_cij.errors import (
    CijError,
    CijInUseError,
    CijNotFoundError,
    CijReplyError,
    CijUnavailableError,
)

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

log = logging.getLogger(__name__)

EXECUTIONS = "msdynmkt_segmentexecutions"
_OF_DEFINITION = "_msdynmkt_segmentdefinitionid_value"
_UNFINISHED = f"({' or '.join(f'statuscode eq {int(status)}' for status in sorted(UNFINISHED))})"
# A segment has one or two; rows that a crash left behind must not become pages.
_MOST_UNFINISHED = 50


class Lifecycle:
    """The verbs on a segment that exists, over one open client."""

    def __init__(self, client: DataverseClient) -> None:
        self._client = client

    @property
    def service_ahead(self) -> float:
        """Seconds by which the service's clock is ahead of ours."""
        return self._client.service_ahead

    async def get(self, segment_id: str) -> Segment:
        """Read a segment.

        :param segment_id: the segment's id; a definition's id is taken too (older documents hand those out)
        :raises CijNotFoundError: neither exists
        """
        wanted = normalize_guid(segment_id, "segment_id")
        path = row_path(SEGMENTS.entity_set, wanted)
        try:
            return Segment.of(await self._client.get(query(path, select=SEGMENT_COLUMNS)))
        except CijNotFoundError:
            where = f"msdynmkt_sourcesegmentuid eq {literal(wanted)}"
            rows = await self._client.rows(query(SEGMENTS.entity_set, select=SEGMENT_COLUMNS, where=where, top=1))
            if not rows:
                raise
        segment = Segment.of(rows[0])
        log.info("%s is a definition's id; its segment is %s", wanted, segment.segment_id)
        return segment

    async def publish(self, segment_id: str) -> None:
        """Ask for a segment to go live. The service answers at once and works behind it: wait with ``watching``.

        Doing it twice is as good as once. A query that does not parse is refused here.
        """
        await self._client.action("msdynmkt_PublishSegmentDefinition", {"SegmentId": segment_id}, repeatable=True)

    async def stop(self, segment_ids: Sequence[str]) -> list[str]:
        """Stop segments: they are evaluated no more, and can be edited and published again.

        The service answers at once and works behind it: wait with ``watching``. Doing it twice is as good as once.

        :param segment_ids: the segments; those that are at rest already are left alone
        :return: the ids of the segments, all stopping or at rest by now
        :raises CijInUseError: some were not stopped; the error names what uses them, and those that were
        :raises CijUnavailableError: the organisation's version has no such action
        """
        segments = [await self.get(segment_id) for segment_id in segment_ids]
        running = {segment.segment_id: segment for segment in segments if segment.status not in AT_REST}
        if running:
            results = await self._stop(list(running))
            refused = {one: result for one, result in results.items() if result.get("WasStopped") is not True}
            for segment_id in list(refused):
                # A try whose reply was lost had stopped it: then this one is refused.
                if (await self.get(segment_id)).status in AT_REST:
                    del refused[segment_id]
            if refused:
                words = [await self._why(running[one], result) for one, result in refused.items()]
                done = [one for one in running if one not in refused]
                raise CijInUseError(
                    f"{len(refused)} of {len(segments)} segments were not stopped. {' '.join(words)}",
                    hint=f"Stopped: {', '.join(done) or 'none'}. Stop the journeys that use the others first.",
                )
        return [segment.segment_id for segment in segments]

    async def _stop(self, segment_ids: list[str]) -> dict[str, Mapping[str, Any]]:
        try:
            answer = await self._client.action("msdynmkt_StopSegments", {"SegmentIdList": segment_ids}, repeatable=True)
        except CijUnavailableError as error:
            error.hint = f"{error.hint} Stopping segments by API came with the release of April 2026.".strip()
            raise
        results = stop_results_of(answer)
        nothing: Mapping[str, Any] = {"Message": "the service says nothing about it"}
        return {segment_id: results.get(segment_id, nothing) for segment_id in segment_ids}

    async def _why(self, segment: Segment, result: Mapping[str, Any]) -> str:
        journeys = await self._named("msdynmkt_journeys", "msdynmkt_name", result.get("DependentJourneys"))
        others = await self._named(SEGMENTS.entity_set, "msdynmkt_displayname", result.get("DependentSegments"))
        users = [
            f"{what} {', '.join(names)}" for what, names in (("journeys", journeys), ("segments", others)) if names
        ]
        said = str(result.get("Message") or "").strip().rstrip(".")
        return (
            f"{segment.display_name!r} ({segment.segment_id})"
            + (f" is used by {' and '.join(users)}" if users else "")
            + (f": {said}." if said else ".")
        )

    async def _named(self, entity_set: str, name_column: str, users: Any) -> list[str]:
        """Name what uses a segment. Whether the service gives ids or more is in no document."""
        names = []
        for user in users if isinstance(users, list) else [users] if users else []:
            try:
                row = await self._client.get(query(row_path(entity_set, user), select=(name_column,)))
                names.append(f"{row.get(name_column)!r} ({user})")
            except CijError:
                names.append(user if isinstance(user, str) else json.dumps(user))
        return names

    async def delete(self, segment_id: str, definition_id: str = "") -> bool:
        """Delete a segment: its row, then its definition. What a run left that died between, the next one deletes.

        :param segment_id: the segment; a definition's id is taken too
        :param definition_id: of its definition, if it is known: for a segment made elsewhere, whose row is gone
        :return: False when there was nothing left to delete
        :raises CijInUseError: live journeys use it
        """
        wanted = normalize_guid(segment_id, "segment_id")
        try:
            segment = await self.get(wanted)
        except CijNotFoundError:
            # Half a segment: a definition whose segment was never made, or is deleted already.
            orphans = (definition_id or definition_id_of(wanted), wanted)
            left = [await self._delete(DEFINITIONS.entity_set, one) for one in orphans]
            return any(left)
        path = query(row_path(SEGMENTS.entity_set, segment.segment_id), select=("msdynmkt_publishedjourneycount",))
        try:
            journeys = (await self._client.get(path)).get("msdynmkt_publishedjourneycount")
        except CijNotFoundError:  # another delete was faster: what it left is deleted below
            journeys = 0
        if journeys:
            raise CijInUseError(
                f"Segment {segment.display_name!r} ({segment.segment_id}) is used by {journeys} live journeys.",
                hint="Stop them first. Nothing was deleted.",
            )
        # Of two deletes at once, the one that takes the row away has deleted it, whoever finds the definition.
        deleted = await self._delete(SEGMENTS.entity_set, segment.segment_id)
        if segment.definition_id:
            await self._delete(DEFINITIONS.entity_set, segment.definition_id)
        return deleted

    async def _delete(self, entity_set: str, row_id: str) -> bool:
        if not await delete_row(self._client, row_path(entity_set, row_id)):
            return False
        log.info("Deleted %s(%s)", entity_set, row_id)
        return True

    async def last_execution(self, segment: Segment) -> Execution | None:
        """Read the newest evaluation of a segment that has begun.

        :param segment: the segment
        :return: None when there was none
        :raises CijError: the log of evaluations can't be read
        """
        return next(iter(await self.newest_executions(segment, 1)), None)

    async def newest_executions(self, segment: Segment, most: int) -> list[Execution]:
        """Read the newest evaluations of a segment that have begun, the newest first.

        :param segment: the segment
        :param most: how many at the most
        :raises CijError: the log of evaluations can't be read
        """
        return await self._executions(segment, "msdynmkt_startedon ne null", most)

    async def unfinished_executions(self, segment: Segment) -> list[Execution]:
        """Read the evaluations of a segment that are asked for or under way.

        :param segment: the segment
        :raises CijError: the log of evaluations can't be read
        """
        return await self._executions(segment, _UNFINISHED, _MOST_UNFINISHED)

    async def executions_since(self, segment: Segment, since: str) -> list[Execution]:
        """Read the evaluations of a segment from a moment on, and those that have not ended.

        :param segment: the segment
        :param since: begun then or later, in the service's own words (ISO 8601); ``""`` for all
        :return: those that have not begun first, then the newest first
        :raises CijError: the log of evaluations can't be read
        """
        return [run for _, run in await self.executions([(segment.definition_id, since)])]

    async def _executions(self, segment: Segment, condition: str, most: int) -> list[Execution]:
        where = f"{_OF_DEFINITION} eq {normalize_guid(segment.definition_id, 'definition id')} and {condition}"
        path = query(EXECUTIONS, select=EXECUTION_COLUMNS, where=where, orderby="msdynmkt_startedon desc", top=most)
        return [Execution.of(row) for row in await self._client.rows(path)]

    async def find(self, name_starts_with: str = "", *, live: bool = False) -> list[Segment]:
        """List real-time segments, by name.

        :param name_starts_with: the beginning of the display name; case does not matter to the service
        :param live: only those that are live, with warnings or without
        """
        conditions = ["msdynmkt_source eq 12"]
        if name_starts_with:
            conditions.append(f"startswith(msdynmkt_displayname,{literal(name_starts_with)})")
        if live:
            conditions.append(f"({' or '.join(f'statuscode eq {int(status)}' for status in sorted(LIVE))})")
        where = " and ".join(conditions)
        pages = self._client.pages(
            query(SEGMENTS.entity_set, select=SEGMENT_COLUMNS, where=where, orderby="msdynmkt_displayname")
        )
        return [Segment.of(row) async for page in pages for row in page]

    async def get_many(self, segment_ids: Sequence[str]) -> dict[str, Segment]:
        """Read many segments with one question.

        :param segment_ids: segments, some hundreds at the most; not definitions
        :return: those that exist, by id
        """
        where = in_filter(SEGMENTS.id_column, segment_ids)
        pages = self._client.pages(query(SEGMENTS.entity_set, select=SEGMENT_COLUMNS, where=where))
        found = [Segment.of(row) async for page in pages for row in page]
        return {segment.segment_id: segment for segment in found}

    async def executions(self, asked: Sequence[tuple[str, str]]) -> list[tuple[str, Execution]]:
        """Read the evaluations of many segments with one question: from a moment on, and those that have not ended.

        :param asked: definitions, and since when their evaluations are wanted (ISO 8601; ``""`` for all), a hundred at
            the most
        :return: definitions and their evaluations: those that have not begun first, then the newest first
        :raises CijError: the log of evaluations can't be read
        """
        definitions = {definition_id: normalize_guid(definition_id, "definition id") for definition_id, _ in asked}
        windows = [
            f"({_OF_DEFINITION} eq {definitions[definition_id]}"
            + (f" and msdynmkt_startedon ge {since})" if since else ")")
            for definition_id, since in asked
        ]
        if len(asked) == 1 and asked[0][1]:
            definition_id, since = asked[0]
            condition = f"(msdynmkt_startedon ge {since} or {_UNFINISHED})"
            where = f"{_OF_DEFINITION} eq {definitions[definition_id]} and {condition}"
        else:
            where = " or ".join([_UNFINISHED, *windows] if len(asked) > 1 else windows)
        path = query(EXECUTIONS, select=(*EXECUTION_COLUMNS, _OF_DEFINITION), where=where)
        rows = [row async for page in self._client.pages(path) for row in page]
        ours = set(definitions.values())
        found = [(str(row.get(_OF_DEFINITION)).lower(), Execution.of(row)) for row in rows]
        # ISO 8601 in UTC, as the service writes it: the order of text is the order of time.
        found.sort(key=lambda pair: (not pair[1].started_on, pair[1].started_on), reverse=True)
        return [pair for pair in found if pair[0] in ours]

    async def last_words(self, segment_id: str) -> str:
        """Ask why the last evaluation ended as it did; ``""`` when the service does not say.

        ``msdynmkt_SegmentStatus`` is in no document, so whatever it answers is no error.
        """
        try:
            asked: dict[str, Any] = {"SegmentId": segment_id}
            # An error within is that of the evaluation.
            answer = await self._client.action("msdynmkt_SegmentStatus", asked, repeatable=True, refusals=False)
            last = (json.loads(answer.get("ResultText") or "{}") or {}).get("lastExecution") or {}
            words = [last.get("statusMessage"), last.get("nonLocalizedExecutionReasonForUser")]
            return words_of(" ".join(str(word) for word in words if word))
        except (AttributeError, CijError, RecursionError, TypeError, ValueError):
            return ""


def stop_results_of(answer: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Read what ``msdynmkt_StopSegments`` says of each segment, by id.

    :raises CijReplyError: it says nothing that can be read: never a success
    """
    results = next((value for name, value in answer.items() if name.lower() == "stopsinglesegmentresults"), None)
    try:
        entries: Iterable[Any] = json.loads(results) if isinstance(results, str) else results or ()
        return {normalize_guid(entry["SegmentId"]): entry for entry in entries}
    except (CijError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise CijReplyError(f"What became of the segments to stop can't be read: {wrong_with(error)}.") from None
