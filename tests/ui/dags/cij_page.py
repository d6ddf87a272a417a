"""Fill three segments from lists and evaluate them, one task instance each; wait for members; watch one."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Asset, task, task_group

from airflow_provider_cij.api.segments.spec import id_of
from airflow_provider_cij.assets import CijSegmentWatcher
from airflow_provider_cij.operators.journeys import CijCreateJourneyOperator
from airflow_provider_cij.operators.members import CijMirrorSegmentMembersOperator
from airflow_provider_cij.operators.segments import CijRefreshSegmentOperator
from airflow_provider_cij.sensors.segments import CijSegmentSensor

with DAG(
    "cij_page",
    schedule=None,
    params={"lists": {}},
    default_args={"map_index_template": "{{ segment_name }}"},
    tags=["page"],
):

    @task(map_index_template=None)
    def lists(params: dict[str, Any]) -> list[dict[str, Any]]:
        """Return each segment with its members."""
        return [{"segment_id": id_of(f"page.{name}"), "members": ids} for name, ids in params["lists"].items()]

    @task_group
    def segment(segment_id: str, members: list[str]) -> None:
        """Fill one segment and evaluate it."""
        CijMirrorSegmentMembersOperator(
            task_id="fill", segment_id=segment_id, group="people", members=members, max_removals="20%"
        ) >> CijRefreshSegmentOperator(task_id="refresh", segment_id=segment_id, deferrable=True, poll_interval=1)

    segment.expand_kwargs(lists())

with DAG("cij_page_waits", schedule=None, params={"template_id": ""}):
    CijSegmentSensor(
        task_id="wait",
        segment_id=id_of("page.Alpha"),
        min_members=1_000_000,
        deferrable=True,
        poke_interval=1,
        map_index_template="{{ segment_name }}",
    )
    CijCreateJourneyOperator(
        task_id="create_journey",
        template_id="{{ params.template_id }}",
        name="Welcome",
        audience_segment_id=id_of("page.Alpha"),
        starts_at="2099-01-01T00:00:00Z",
    )

with DAG("cij_page_watched", schedule=[Asset("delta refreshed", watchers=[CijSegmentWatcher("page.Delta")])]):

    @task
    def nothing() -> None:
        """Run when the segment was refreshed."""

    nothing()
