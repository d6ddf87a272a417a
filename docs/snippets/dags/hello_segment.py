"""Create a segment, publish it and write its members to a file."""

from airflow.sdk import DAG

from airflow_provider_cij.operators.members import CijExportSegmentMembersOperator
from airflow_provider_cij.operators.segments import CijCreateSegmentOperator, CijPublishSegmentOperator

with DAG("hello_segment", schedule=None):
    create = CijCreateSegmentOperator(
        task_id="create",
        display_name="High credit limit",
        query="PROFILE(contact).FILTER(creditlimit >= 18000)",
    )
    publish = CijPublishSegmentOperator(
        task_id="publish",
        segment_id=create.output["segment_id"],
        poll_interval=5,
        deferrable=True,
    )
    export = CijExportSegmentMembersOperator(
        task_id="export",
        segment_id=create.output["segment_id"],
        path="file:///tmp/members.csv",
    )

    publish >> export
