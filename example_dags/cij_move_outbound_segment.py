"""Move a static outbound segment to a real-time one, while the organisation still has outbound marketing.

Its members are written to a file of this run, a real-time segment gets a group that is made equal to it, and is
published. At the end both must have the same number of members. Let the bucket delete such files after some days.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_cij.operators.members import CijMirrorSegmentMembersOperator
from airflow_provider_cij.operators.outbound import CijOutboundExportSegmentMembersOperator
from airflow_provider_cij.operators.segments import CijCreateSegmentOperator, CijPublishSegmentOperator
from airflow_provider_cij.sensors.outbound import CijOutboundMemberOperationsSensor
from airflow_provider_cij.sources import FromFile

with DAG(
    dag_id="cij_move_outbound_segment",
    schedule=None,
    # Workers do not share a disk: give the URL of an object store, s3://connection@bucket/…
    params={
        "outbound_segment_id": "00000000-0000-0000-0000-000000000000",
        "display_name": "Moved from outbound marketing",
        "folder": "s3://store@marketing/moved",
    },
    doc_md=__doc__,
    tags=["cij", "example"],
):
    settled = CijOutboundMemberOperationsSensor(
        task_id="wait_for_changes",
        segment_id="{{ params.outbound_segment_id }}",
        deferrable=True,
        poke_interval=10,
        timeout=3600,
    )
    export = CijOutboundExportSegmentMembersOperator(
        task_id="export_members",
        segment_id="{{ params.outbound_segment_id }}",
        path="{{ params.folder }}/members_{{ run_id }}.csv",
    )
    # The key derives from the outbound segment: moving it again brings the same real-time segment up to date.
    create = CijCreateSegmentOperator(
        task_id="create_segment",
        key="moved.{{ params.outbound_segment_id }}",
        display_name="{{ params.display_name }}",
        groups=["Moved"],
    )
    mirror = CijMirrorSegmentMembersOperator(
        task_id="mirror_members",
        segment_id=create.output["segment_id"],
        group="Moved",
        # The file that the export of this run wrote, whichever worker runs this.
        members=FromFile(export.output["path"], column="contactid"),
    )
    publish = CijPublishSegmentOperator(
        task_id="publish",
        segment_id=create.output["segment_id"],
        deferrable=True,
        poll_interval=10,
    )

    @task(retries=0)
    def compare(exported: dict[str, Any], published: dict[str, Any]) -> None:
        """Fail when somebody was lost on the way, or nobody was there."""
        if not exported["count"]:
            raise ValueError("Nobody was exported: has the outbound segment ever been live?")
        if exported["count"] != published["member_count"]:
            raise ValueError(f"{exported['count']} members were exported, {published['member_count']} are live.")

    settled >> export >> mirror >> publish
    compare(export.output, publish.output)
