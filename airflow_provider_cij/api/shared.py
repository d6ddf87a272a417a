"""The facade for many that wait at once in a process: what they read is batched."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from airflow_provider_cij.api.batching import BatchedActions, BatchedReads
from airflow_provider_cij.api.cij import Cij
from airflow_provider_cij.api.journeys.client import Journeys
from airflow_provider_cij.api.members.shared import SharedMembers
from airflow_provider_cij.api.outbound.client import SharedOutbound
from airflow_provider_cij.api.segments.shared_poll import SharedSegments

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient


class _SharedJourneys(BatchedReads, Journeys):
    """The verbs on journeys, whose reads while waiting are batched."""


class SharedCij(Cij):
    """All verbs; reads that fall into one window are one request.

    :param client: open
    :param window: seconds to gather for
    """

    def __init__(self, client: DataverseClient, window: float) -> None:
        super().__init__(client)
        self._window = window
        self._actions = BatchedActions(client, window)

    @cached_property
    def segments(self) -> SharedSegments:
        """The verbs on segments, whose reads are batched."""
        return SharedSegments(self.dataverse, self._window)

    @cached_property
    def members(self) -> SharedMembers:
        """The verbs on members, whose counts of groups are batched."""
        return SharedMembers(self.dataverse, self._actions)

    @cached_property
    def journeys(self) -> Journeys:
        """The verbs on journeys, whose reads are batched."""
        return _SharedJourneys(self.dataverse, self._window)

    @cached_property
    def outbound(self) -> SharedOutbound:
        """The verbs on outbound marketing, whose reads are batched."""
        return SharedOutbound(self.dataverse, self._window, self._actions)
