"""A DAG that runs when its segment was evaluated, and one whose mapped tasks emit events."""

from __future__ import annotations

from airflow.sdk import DAG, Asset, task

from airflow_provider_cij.assets import CijSegmentWatcher
from airflow_provider_cij.operators.segments import CijCreateSegmentOperator

refreshed = Asset("watched_refreshed", watchers=[CijSegmentWatcher("watched")])

with DAG("watched", schedule=[refreshed], max_active_runs=1):

    @task
    def executions(**context) -> list[str]:
        """Return the evaluations that the run is about."""
        return [event.extra["payload"]["execution_id"] for event in context["triggering_asset_events"][refreshed]]

    executions()

with DAG("mapped_events", schedule=None):
    CijCreateSegmentOperator.partial(task_id="create", query="PROFILE(contact)").expand_kwargs(
        [{"key": "mapped-nl", "display_name": "NL"}, {"key": "mapped-be", "display_name": "BE"}]
    )
