"""Many segments at once: create, fill, publish and export each, and raise a trigger for some people."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_cij.operators.members import CijExportSegmentMembersOperator, CijMirrorSegmentMembersOperator
from airflow_provider_cij.operators.segments import CijCreateSegmentOperator, CijRefreshSegmentOperator
from airflow_provider_cij.operators.triggers import CijRaiseTriggerOperator
from airflow_provider_cij.sources import FromFile

with DAG(
    dag_id="stack_segments",
    schedule=None,
    params={"segments": 12, "folder": "s3://store@marketing/many", "round": "0"},
    default_args={"retries": 6, "retry_delay": timedelta(seconds=5)},
):

    @task
    def segments(params: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the segments."""
        return [{"key": f"stack-{number}", "display_name": f"Stack {number}"} for number in range(params["segments"])]

    @task
    def lists(made: list[dict[str, Any]], params: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the list of each segment."""
        where = f"{params['folder']}/{params['round']}"
        return [
            {"segment_id": segment, "members": FromFile(f"{where}_{number}.csv", "contactid").as_dict()}
            for number, segment in enumerate(made)
        ]

    @task
    def exports(made: list[dict[str, Any]], params: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the file that each segment is exported to."""
        where = f"{params['folder']}/{params['round']}"
        return [{"segment_id": segment, "path": f"{where}_{number}_out.csv"} for number, segment in enumerate(made)]

    create = CijCreateSegmentOperator.partial(task_id="create", groups=["People"]).expand_kwargs(segments())
    fill = CijMirrorSegmentMembersOperator.partial(task_id="fill", group="People", max_removals=None).expand_kwargs(
        lists(create.output)
    )
    refresh = CijRefreshSegmentOperator.partial(task_id="refresh", deferrable=True, poll_interval=2).expand(
        segment_id=create.output
    )
    export = CijExportSegmentMembersOperator.partial(task_id="export").expand_kwargs(exports(create.output))
    raised = CijRaiseTriggerOperator(
        task_id="raise",
        trigger="msdynmkt_cartabandoned",
        members=FromFile("{{ params.folder }}/{{ params.round }}_raise.csv", "contactid"),
        attributes={"carturl": "https://contoso.example/cart"},
        unclear_path="{{ params.folder }}/{{ params.round }}_unclear.csv",
    )
    fill >> refresh >> export
