"""Run when a segment was changed by a task of this provider: one segment, or any."""

from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_cij.assets import EVENTS, segment_asset

# [start one]
vip = segment_asset("cij_vip_segment.create_segment")

with DAG("after_vip_changes", schedule=[vip]):

    @task
    def report(**context: Any) -> list[dict[str, Any]]:
        """Return the numbers of each event."""
        return [event.extra for event in context["triggering_asset_events"][vip]]

    report()
# [end one]

# [start any]
with DAG("after_any_change", schedule=[EVENTS]):

    @task
    def names(**context: Any) -> list[str]:
        """Return the names of the segments and journeys that were changed."""
        events = context["triggering_asset_events"][EVENTS]
        return sorted({event.extra.get("name", "") for event in events})

    names()
# [end any]
