"""Run when a segment was evaluated: after each refresh, also those that the service makes by itself.

The watcher belongs to an asset of its own. Airflow may merge events that are close to one another into one run, and
repeats one after a crash: so all of them are read, and each evaluation is counted once.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Asset, task

from airflow_provider_cij.assets import CijSegmentWatcher

# The segment that cij_vip_segment creates, by its key.
refreshed = Asset("vip_refreshed", watchers=[CijSegmentWatcher("cij_vip_segment.create_segment")])

with DAG(
    dag_id="cij_when_refreshed",
    schedule=[refreshed],
    doc_md=__doc__,
    tags=["cij", "example"],
):

    @task
    def evaluations(**context: Any) -> dict[str, int]:
        """Return the member count of each evaluation."""
        events = context["triggering_asset_events"][refreshed]
        payloads = [event.extra["payload"] for event in events]
        return {payload["execution_id"]: payload["member_count"] for payload in payloads}

    evaluations()
