"""Outbound marketing (removed by Microsoft in 2026): segments, their members, and journeys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_cij._lazy import lazy

if TYPE_CHECKING:
    from airflow_provider_cij.api.outbound.workflow import Tile, segment_email_workflow
    from airflow_provider_cij.operators.outbound._journeys import (
        CijOutboundCreateJourneyOperator,
        CijOutboundDeleteJourneyOperator,
        CijOutboundPublishJourneyOperator,
        CijOutboundStopJourneyOperator,
        CijOutboundUpdateJourneyOperator,
        CijOutboundValidateJourneyOperator,
    )
    from airflow_provider_cij.operators.outbound._members import (
        CijOutboundExportSegmentMembersOperator,
        CijOutboundUpdateSegmentMembersOperator,
    )
    from airflow_provider_cij.operators.outbound._segments import (
        CijOutboundCreateSegmentOperator,
        CijOutboundDeleteSegmentOperator,
        CijOutboundPublishSegmentOperator,
        CijOutboundStopSegmentOperator,
        CijOutboundUpdateSegmentOperator,
        CijOutboundValidateSegmentOperator,
    )

__all__ = [
    "CijOutboundCreateJourneyOperator",
    "CijOutboundCreateSegmentOperator",
    "CijOutboundDeleteJourneyOperator",
    "CijOutboundDeleteSegmentOperator",
    "CijOutboundExportSegmentMembersOperator",
    "CijOutboundPublishJourneyOperator",
    "CijOutboundPublishSegmentOperator",
    "CijOutboundStopJourneyOperator",
    "CijOutboundStopSegmentOperator",
    "CijOutboundUpdateJourneyOperator",
    "CijOutboundUpdateSegmentMembersOperator",
    "CijOutboundUpdateSegmentOperator",
    "CijOutboundValidateJourneyOperator",
    "CijOutboundValidateSegmentOperator",
    "Tile",
    "segment_email_workflow",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "CijOutboundCreateJourneyOperator": "._journeys",
        "CijOutboundCreateSegmentOperator": "._segments",
        "CijOutboundDeleteJourneyOperator": "._journeys",
        "CijOutboundDeleteSegmentOperator": "._segments",
        "CijOutboundExportSegmentMembersOperator": "._members",
        "CijOutboundPublishJourneyOperator": "._journeys",
        "CijOutboundPublishSegmentOperator": "._segments",
        "CijOutboundStopJourneyOperator": "._journeys",
        "CijOutboundStopSegmentOperator": "._segments",
        "CijOutboundUpdateJourneyOperator": "._journeys",
        "CijOutboundUpdateSegmentMembersOperator": "._members",
        "CijOutboundUpdateSegmentOperator": "._segments",
        "CijOutboundValidateJourneyOperator": "._journeys",
        "CijOutboundValidateSegmentOperator": "._segments",
        "Tile": "...api.outbound.workflow",
        "segment_email_workflow": "...api.outbound.workflow",
    },
)
