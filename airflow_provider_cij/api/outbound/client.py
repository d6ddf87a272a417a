"""Outbound marketing, which Microsoft removed in 2026: complete, and out of the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_cij.api.batching import BatchedActions, BatchedReads
from airflow_provider_cij.api.outbound.journeys import OutboundJourneys
from airflow_provider_cij.api.outbound.members import OutboundMembers
from airflow_provider_cij.api.outbound.segments import OutboundSegments

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient


class Outbound:
    """What can be said about outbound marketing, over one open client.

    An organisation without it answers every verb with ``CijOutboundRemovedError``.
    """

    def __init__(self, client: DataverseClient) -> None:
        self.segments = OutboundSegments(client)
        self.members = OutboundMembers(client)
        self.journeys = OutboundJourneys(client)


class _SharedSegments(BatchedReads, OutboundSegments):
    """The verbs on outbound segments, whose reads while waiting are batched."""


class _SharedJourneys(BatchedReads, OutboundJourneys):
    """The verbs on outbound journeys, whose reads while waiting are batched."""


class SharedOutbound(Outbound):
    """What ``Outbound`` is, for many that wait at once: reads of rows that fall into one window are one request.

    :param client: open
    :param window: seconds to gather for
    :param actions: sends the actions of those that wait
    """

    def __init__(self, client: DataverseClient, window: float, actions: BatchedActions) -> None:
        super().__init__(client)
        self.members = OutboundMembers(client, actions)
        self.segments = _SharedSegments(client, window)
        self.journeys = _SharedJourneys(client, window)
