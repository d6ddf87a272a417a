"""One poll of segments for all who wait for them in a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_cij.api.batching import BATCH_WINDOW, BatchedReads, RequestBatcher
from airflow_provider_cij.api.segments.client import Segments
from airflow_provider_cij.api.segments.models import UNFINISHED, Execution, Segment

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

# Each takes a condition of its own in the URL.
_EXECUTIONS_A_REQUEST = 100


class SharedSegments(BatchedReads, Segments):
    """The verbs on segments, whose reads while waiting are batched.

    :param client: open
    :param window: seconds to gather for
    """

    def __init__(self, client: DataverseClient, window: float = BATCH_WINDOW) -> None:
        super().__init__(client, window)
        self._logs: RequestBatcher[tuple[str, str], list[Execution]] = RequestBatcher(
            self._logs_since, _EXECUTIONS_A_REQUEST, window
        )

    async def executions_since(self, segment: Segment, since: str) -> list[Execution]:
        """Read the evaluations of a segment since a moment, with those that others ask for now."""
        found = await self._logs.read((segment.definition_id, since)) if since else None
        return await super().executions_since(segment, since) if found is None else found

    async def _logs_since(self, asked: list[tuple[str, str]]) -> dict[tuple[str, str], list[Execution]]:
        found = await self.executions(asked)
        return {
            (definition_id, since): [
                run
                for run_of, run in found
                if run_of == definition_id and (run.started_on >= since or run.status in UNFINISHED)
            ]
            for definition_id, since in asked
        }
