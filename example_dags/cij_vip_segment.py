"""The main job: create a segment, fill it, publish it, wait until it is live, write down who is in.

Members are all contacts that the query finds and everybody in the invited file, less everybody in the staff file.
"""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_provider_cij.operators.members import CijAddSegmentMembersOperator, CijExportSegmentMembersOperator
from airflow_provider_cij.operators.segments import (
    CijCreateSegmentOperator,
    CijPublishSegmentOperator,
    MemberGroup,
)
from airflow_provider_cij.sources import FromFile

with DAG(
    dag_id="cij_vip_segment",
    schedule=None,
    # Workers do not share a disk: give the URL of an object store, s3://connection@bucket/…
    params={
        "invited_file": "s3://store@marketing/invited.csv",
        "staff_file": "s3://store@marketing/staff.csv",
        "export_file": "s3://store@marketing/vip_members.csv",
    },
    doc_md=__doc__,
    tags=["cij", "example"],
):
    # Both row ids derive from the key, by default "cij_vip_segment.create_segment": each run finds the same segment.
    create = CijCreateSegmentOperator(
        task_id="create_segment",
        display_name="VIP customers",
        query="PROFILE(contact).FILTER(creditlimit >= 18000 && ISNOTNULL(emailaddress1))",
        groups=["Invited", MemberGroup("Staff", include=False)],
    )
    segment_id = create.output["segment_id"]

    invite = CijAddSegmentMembersOperator(
        task_id="add_invited",
        segment_id=segment_id,
        group="Invited",
        members=FromFile("{{ params.invited_file }}", column="contactid"),
        # Some rows without an id are normal in this file. More would be another file.
        max_invalid=100,
    )
    keep_out = CijAddSegmentMembersOperator(
        task_id="keep_staff_out",
        segment_id=segment_id,
        group="Staff",
        members=FromFile("{{ params.staff_file }}", column="contactid"),
    )
    publish = CijPublishSegmentOperator(
        task_id="publish",
        segment_id=segment_id,
        deferrable=True,
        poll_interval=5,
    )
    export = CijExportSegmentMembersOperator(
        task_id="export_members",
        segment_id=segment_id,
        path="{{ params.export_file }}",
    )

    [invite, keep_out] >> publish >> export
