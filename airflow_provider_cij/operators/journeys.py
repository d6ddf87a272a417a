"""Create, validate and publish real-time journeys, and export who is in one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_cij._lazy import lazy

if TYPE_CHECKING:
    from airflow_provider_cij.operators._journeys import (
        CijCreateJourneyOperator,
        CijPublishJourneyOperator,
        CijValidateJourneyOperator,
    )
    from airflow_provider_cij.operators._participants import CijExportJourneyParticipantsOperator

__all__ = [
    "CijCreateJourneyOperator",
    "CijExportJourneyParticipantsOperator",
    "CijPublishJourneyOperator",
    "CijValidateJourneyOperator",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "CijCreateJourneyOperator": "._journeys",
        "CijExportJourneyParticipantsOperator": "._participants",
        "CijPublishJourneyOperator": "._journeys",
        "CijValidateJourneyOperator": "._journeys",
    },
)
