"""Create, update, publish, refresh, stop and delete real-time segments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_cij._lazy import lazy

if TYPE_CHECKING:
    from airflow_provider_cij.api.segments.models import MemberGroup
    from airflow_provider_cij.operators._creating import CijCreateSegmentOperator, CijUpdateSegmentOperator
    from airflow_provider_cij.operators._ending import CijDeleteSegmentOperator, CijStopSegmentsOperator
    from airflow_provider_cij.operators._publishing import CijPublishSegmentOperator, CijRefreshSegmentOperator
    from airflow_provider_cij.operators._purging import CijPurgeSegmentExecutionsOperator

__all__ = [
    "CijCreateSegmentOperator",
    "CijDeleteSegmentOperator",
    "CijPublishSegmentOperator",
    "CijPurgeSegmentExecutionsOperator",
    "CijRefreshSegmentOperator",
    "CijStopSegmentsOperator",
    "CijUpdateSegmentOperator",
    "MemberGroup",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "CijCreateSegmentOperator": "._creating",
        "CijDeleteSegmentOperator": "._ending",
        "CijPublishSegmentOperator": "._publishing",
        "CijPurgeSegmentExecutionsOperator": "._purging",
        "CijRefreshSegmentOperator": "._publishing",
        "CijStopSegmentsOperator": "._ending",
        "CijUpdateSegmentOperator": "._creating",
        "MemberGroup": "..api.segments.models",
    },
)
