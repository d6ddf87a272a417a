"""The facade: all verbs of an organisation, over one open client. The verbs of a subject are loaded when first used."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from airflow_provider_cij.dataverse.guids import normalize_guid

if TYPE_CHECKING:
    from airflow_provider_cij.api.consent.client import Consents
    from airflow_provider_cij.api.custom_triggers.client import CustomTriggers
    from airflow_provider_cij.api.journeys.client import Journeys
    from airflow_provider_cij.api.members.client import Members
    from airflow_provider_cij.api.outbound.client import Outbound
    from airflow_provider_cij.api.records.client import Records
    from airflow_provider_cij.api.segments.client import Segments
    from airflow_provider_cij.dataverse.client import DataverseClient
    from airflow_provider_cij.dataverse.settings import Settings


class Cij:
    """An organisation, open: what a hook's session gives.

    :param dataverse: the open client
    """

    def __init__(self, dataverse: DataverseClient) -> None:
        self.dataverse = dataverse

    @classmethod
    def on(cls, client: DataverseClient) -> Cij:
        """Return all verbs, over an open client."""
        return cls(client)

    @cached_property
    def segments(self) -> Segments:
        """The verbs on segments."""
        from airflow_provider_cij.api.segments.client import Segments

        return Segments(self.dataverse, lambda segment_id, group_id: self.members.count(segment_id, group_id))

    @cached_property
    def members(self) -> Members:
        """The verbs on members."""
        from airflow_provider_cij.api.members.client import Members

        return Members(self.dataverse)

    @cached_property
    def journeys(self) -> Journeys:
        """The verbs on journeys."""
        from airflow_provider_cij.api.journeys.client import Journeys

        return Journeys(self.dataverse)

    @cached_property
    def custom_triggers(self) -> CustomTriggers:
        """The verbs on custom triggers."""
        from airflow_provider_cij.api.custom_triggers.client import CustomTriggers

        return CustomTriggers(self.dataverse)

    @cached_property
    def consent(self) -> Consents:
        """The verbs on consent."""
        from airflow_provider_cij.api.consent.client import Consents

        return Consents(self.dataverse)

    @cached_property
    def records(self) -> Records:
        """The verbs on contacts, leads and other rows."""
        from airflow_provider_cij.api.records.client import Records

        return Records(self.dataverse)

    @cached_property
    def outbound(self) -> Outbound:
        """The verbs on outbound marketing."""
        from airflow_provider_cij.api.outbound.client import Outbound

        return Outbound(self.dataverse)

    def segment_url(self, segment_id: str) -> str:
        """Return the address of a segment in Dynamics 365."""
        return row_url(self.dataverse.settings, "msdynmkt_segment", segment_id)

    def journey_url(self, journey_id: str) -> str:
        """Return the address of a journey in Dynamics 365."""
        return row_url(self.dataverse.settings, "msdynmkt_journey", journey_id)


def row_url(settings: Settings, table: str, row_id: str) -> str:
    """Return the address of a row in Dynamics 365.

    Source: Power Apps documentation, "Open forms, views, dialogs, and reports with a URL".

    :param settings: of the connection
    :param table: the row's table by its logical name, such as ``msdyncrm_segment``
    :param row_id: its id
    """
    return f"{settings.base_url}/main.aspx?etn={table}&pagetype=entityrecord&id={normalize_guid(row_id)}"
