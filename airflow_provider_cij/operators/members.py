"""Fill static groups of real-time segments, mirror lists into them, and export members to files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_cij._lazy import lazy

if TYPE_CHECKING:
    from airflow_provider_cij.api.consent.consent_to import ConsentTo
    from airflow_provider_cij.operators._members import (
        CijAddSegmentMembersOperator,
        CijMirrorSegmentMembersOperator,
        CijRemoveSegmentMembersOperator,
    )
    from airflow_provider_cij.operators._members_export import CijExportSegmentMembersOperator

__all__ = [
    "CijAddSegmentMembersOperator",
    "CijExportSegmentMembersOperator",
    "CijMirrorSegmentMembersOperator",
    "CijRemoveSegmentMembersOperator",
    "ConsentTo",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "CijAddSegmentMembersOperator": "._members",
        "CijExportSegmentMembersOperator": "._members_export",
        "CijMirrorSegmentMembersOperator": "._members",
        "CijRemoveSegmentMembersOperator": "._members",
        "ConsentTo": "..api.consent.consent_to",
    },
)
