"""Wait for a segment that somebody else publishes, without a worker, and write down who is in."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_provider_cij.operators.members import CijExportSegmentMembersOperator
from airflow_provider_cij.sensors.segments import CijSegmentSensor

with DAG(
    dag_id="cij_wait_for_segment",
    schedule=None,
    # Workers do not share a disk: give the URL of an object store, s3://connection@bucket/…
    params={
        "segment_id": "00000000-0000-0000-0000-000000000000",
        "export_file": "s3://store@marketing/members.csv",
    },
    doc_md=__doc__,
    tags=["cij", "example"],
):
    wait = CijSegmentSensor(
        task_id="wait_until_live",
        segment_id="{{ params.segment_id }}",
        deferrable=True,
        poke_interval=30,
        timeout=6 * 3600,
    )
    export = CijExportSegmentMembersOperator(
        task_id="export_members",
        segment_id="{{ params.segment_id }}",
        path="{{ params.export_file }}",
    )

    wait >> export
