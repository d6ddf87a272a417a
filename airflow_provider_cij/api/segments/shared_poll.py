"""One poll of segments for all who wait for them in a process."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from airflow_provider_cij.api.batching import BATCH_WINDOW, BatchedReads, RequestBatcher
from airflow_provider_cij.api.row_sync import rows_by_id
from airflow_provider_cij.api.segments.client import Segments
from airflow_provider_cij.api.segments.models import DEFINITION_COLUMNS, UNFINISHED, Definition, Execution, Segment
from airflow_provider_cij.api.segments.spec import DEFINITIONS

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

# Each takes a condition of its own in the URL.
_CONDITIONS_A_REQUEST = 100
_MOST_AT_ONCE = 100_000
# A definition may hold ten thousand characters.
_DEFINITIONS_A_REQUEST = 500


class SharedSegments(BatchedReads, Segments):
    """The verbs on segments, whose reads while waiting are batched.

    :param client: open
    :param window: seconds to gather for
    """

    def __init__(self, client: DataverseClient, window: float = BATCH_WINDOW) -> None:
        super().__init__(client, window)
        self._logs: RequestBatcher[tuple[str, str], list[Execution]] = RequestBatcher(
            self._logs_since, _MOST_AT_ONCE, window
        )
        self._definitions: RequestBatcher[str, Definition] = RequestBatcher(
            self._definitions_of, _DEFINITIONS_A_REQUEST, window
        )

    async def definition(self, segment: Segment) -> Definition:
        """Read the definition of a segment, with those that others ask for now."""
        found = await self._definitions.read(segment.definition_id) if segment.definition_id else None
        return found or await super().definition(segment)

    async def _definitions_of(self, definition_ids: list[str]) -> dict[str, Definition]:
        entity_set, id_column = DEFINITIONS.entity_set, DEFINITIONS.id_column
        rows = await rows_by_id(self._client, entity_set, id_column, (id_column, *DEFINITION_COLUMNS), definition_ids)
        return {definition_id: Definition.of(row) for definition_id, row in rows.items()}

    async def executions_since(self, segment: Segment, since: str) -> list[Execution]:
        """Read the evaluations of a segment since a moment, with those that others ask for now."""
        found = await self._logs.read((segment.definition_id, since)) if since else None
        return await super().executions_since(segment, since) if found is None else found

    async def _logs_since(self, asked: list[tuple[str, str]]) -> dict[tuple[str, str], list[Execution]]:
        since_day = (date.fromisoformat(max(since for _, since in asked)[:10]) - timedelta(days=1)).isoformat()
        newest = [pair for pair in asked if pair[1] >= since_day]
        found: list[tuple[str, Execution]] = []
        if len(newest) > _CONDITIONS_A_REQUEST:
            # One question for the newest evaluations of all segments. Older ones would be too many.
            found = await self.executions(newest, all_since=min(since for _, since in newest))
        else:
            newest = []
        rest = [pair for pair in asked if not newest or pair[1] < since_day]
        for start in range(0, len(rest), _CONDITIONS_A_REQUEST):
            found += await self.executions(rest[start : start + _CONDITIONS_A_REQUEST])
        runs: dict[str, list[Execution]] = {}
        for definition_id, run in found:
            runs.setdefault(definition_id, []).append(run)
        return {
            (definition_id, since): [
                run for run in runs.get(definition_id, ()) if run.started_on >= since or run.status in UNFINISHED
            ]
            for definition_id, since in asked
        }
