"""The facade: all verbs of an organisation, over one open client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_cij.api.batching import BatchedActions, BatchedReads
from airflow_provider_cij.api.consent.client import Consents
from airflow_provider_cij.api.custom_triggers.client import CustomTriggers
from airflow_provider_cij.api.journeys.client import Journeys
from airflow_provider_cij.api.members.client import Members
from airflow_provider_cij.api.members.shared import SharedMembers
from airflow_provider_cij.api.outbound.client import Outbound, SharedOutbound
from airflow_provider_cij.api.records.client import Records
from airflow_provider_cij.api.segments.client import Segments
from airflow_provider_cij.api.segments.shared_poll import SharedSegments
from airflow_provider_cij.dataverse.guids import normalize_guid

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient
    from airflow_provider_cij.dataverse.settings import Settings


@dataclass(frozen=True)
class Cij:
    """An organisation, open: what a hook's session gives."""

    dataverse: DataverseClient
    segments: Segments
    members: Members
    journeys: Journeys
    custom_triggers: CustomTriggers
    consent: Consents
    records: Records
    outbound: Outbound

    @classmethod
    def on(cls, client: DataverseClient) -> Cij:
        """Return all verbs, over an open client."""
        members = Members(client)
        return cls(
            client,
            Segments(client, members.count),
            members,
            Journeys(client),
            CustomTriggers(client),
            Consents(client),
            Records(client),
            Outbound(client),
        )

    @classmethod
    def shared(cls, client: DataverseClient, window: float) -> Cij:
        """Return all verbs, for many that wait at once: reads of rows that fall into one window are one request.

        :param client: open
        :param window: seconds to gather for
        """
        actions = BatchedActions(client, window)
        return cls(
            client,
            SharedSegments(client, window),
            SharedMembers(client, actions),
            _SharedJourneys(client, window),
            CustomTriggers(client),
            Consents(client),
            Records(client),
            SharedOutbound(client, window, actions),
        )

    def segment_url(self, segment_id: str) -> str:
        """Return the address of a segment in Dynamics 365."""
        return row_url(self.dataverse.settings, "msdynmkt_segment", segment_id)

    def journey_url(self, journey_id: str) -> str:
        """Return the address of a journey in Dynamics 365."""
        return row_url(self.dataverse.settings, "msdynmkt_journey", journey_id)


class _SharedJourneys(BatchedReads, Journeys):
    """The verbs on journeys, whose reads while waiting are batched."""


def row_url(settings: Settings, table: str, row_id: str) -> str:
    """Return the address of a row in Dynamics 365.

    Source: Power Apps documentation, "Open forms, views, dialogs, and reports with a URL".

    :param settings: of the connection
    :param table: the row's table by its logical name, such as ``msdyncrm_segment``
    :param row_id: its id
    """
    return f"{settings.base_url}/main.aspx?etn={table}&pagetype=entityrecord&id={normalize_guid(row_id)}"
