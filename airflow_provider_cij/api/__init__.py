"""What is said to Customer Insights - Journeys: segments, members, journeys, custom triggers, consent.

Knows neither HTTP nor Airflow. The names that a hook's users need are exported here; each is loaded when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_cij._lazy import lazy

if TYPE_CHECKING:
    from airflow_provider_cij.api.cij import Cij
    from airflow_provider_cij.api.consent.consent_to import ConsentTo
    from airflow_provider_cij.api.journeys.models import Journey
    from airflow_provider_cij.api.members.id_set import IdSet
    from airflow_provider_cij.api.segments.models import MemberGroup, Segment
    from airflow_provider_cij.api.segments.spec import SegmentSpec

__all__ = ["Cij", "ConsentTo", "IdSet", "Journey", "MemberGroup", "Segment", "SegmentSpec"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Cij": ".cij",
        "ConsentTo": ".consent.consent_to",
        "IdSet": ".members.id_set",
        "Journey": ".journeys.models",
        "MemberGroup": ".segments.models",
        "Segment": ".segments.models",
        "SegmentSpec": ".segments.spec",
    },
)
