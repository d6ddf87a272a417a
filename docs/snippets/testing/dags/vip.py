from airflow.sdk import DAG

from airflow_provider_cij.operators.members import CijAddSegmentMembersOperator
from airflow_provider_cij.operators.segments import CijCreateSegmentOperator, CijPublishSegmentOperator, MemberGroup
from airflow_provider_cij.sources import FromFile

with DAG("vip", schedule="@weekly", params={"invited": "s3://marketing/invited.csv"}):
    create = CijCreateSegmentOperator(
        task_id="create",
        display_name="VIP customers",
        query="PROFILE(contact).FILTER(creditlimit >= 18000 && ISNOTNULL(emailaddress1))",
        groups=["Invited", MemberGroup("Staff", include=False)],
    )
    add = CijAddSegmentMembersOperator(
        task_id="add",
        segment_id=create.output["segment_id"],
        group="Invited",
        members=FromFile("{{ params.invited }}", column="contactid"),
        max_invalid=100,
    )
    publish = CijPublishSegmentOperator(task_id="publish", segment_id=create.output["segment_id"], deferrable=True)
    add >> publish
