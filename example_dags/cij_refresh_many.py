"""Refresh many segments at once, one mapped task each, named by its segment in the UI.

While they wait they hold no worker: one poll in the triggerer looks after all of them.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_cij.operators.segments import CijRefreshSegmentOperator

with DAG(
    dag_id="cij_refresh_many",
    schedule=None,
    params={"name_starts_with": "Newsletter"},
    doc_md=__doc__,
    tags=["cij", "example"],
):

    @task
    def live_segments(**context: Any) -> list[str]:
        """Find the live segments by their name."""
        from airflow_provider_cij.hooks.cij import CijHook

        prefix = context["params"]["name_starts_with"]
        return [one.segment_id for one in CijHook().run(lambda cij: cij.segments.find(prefix, live=True))]

    refresh = CijRefreshSegmentOperator.partial(
        task_id="refresh_segment",
        deferrable=True,
        poll_interval=10,
        map_index_template="{{ segment_name }}",
    ).expand(segment_id=live_segments())

    @task
    def total(refreshed: list[dict[str, Any]]) -> int:
        """Add the members up; somebody in two segments counts twice."""
        return sum(one["member_count"] for one in refreshed)

    total(refresh.output)
