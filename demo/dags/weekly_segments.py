"""Weekly programmes of many segments: each gets its list of people from a file, and is evaluated anew.

A list that would remove more than a fifth of a segment's people is taken for a broken one: its task fails before
anything is changed, and the other segments go on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task, task_group

from airflow_provider_cij.operators.members import CijMirrorSegmentMembersOperator
from airflow_provider_cij.operators.segments import CijRefreshSegmentOperator
from airflow_provider_cij.sources import FromFile

DATA = Path("/data/weekly")

for programme, segments in json.loads((DATA / "segments.json").read_text()).items():
    with DAG(
        dag_id=f"cij_weekly_{programme}",
        schedule=None,
        params={"week": 0},
        default_args={"map_index_template": "{{ segment_name }}"},
        doc_md=__doc__,
        tags=["cij", programme.replace("_", "-")],
    ):

        @task(map_index_template=None)
        def lists(made: list[dict[str, str]], params: dict[str, Any]) -> list[dict[str, Any]]:
            """Return each segment that has a list this week, with the list."""
            folder = DATA / str(params["week"])
            files = {segment["segment_id"]: folder / f"{segment['segment_id']}.csv" for segment in made}
            return [
                {"segment_id": segment_id, "members": FromFile(str(path)).as_dict()}
                for segment_id, path in files.items()
                if path.exists()
            ]

        @task_group
        def segment(segment_id: str, members: dict[str, Any]) -> None:
            """Fill one segment and evaluate it."""
            CijMirrorSegmentMembersOperator(
                task_id="mirror_members", segment_id=segment_id, group="people", members=members, max_removals="20%"
            ) >> CijRefreshSegmentOperator(
                task_id="refresh_segment", segment_id=segment_id, deferrable=True, poll_interval=5
            )

        segment.expand_kwargs(lists(made=segments))
