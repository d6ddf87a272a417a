"""Members from a file, a database and a table of the organisation; removed, mirrored and exported."""

from airflow.sdk import DAG

# [start imports]
from airflow_provider_cij.operators.members import (
    CijAddSegmentMembersOperator,
    CijExportSegmentMembersOperator,
    CijMirrorSegmentMembersOperator,
    CijRemoveSegmentMembersOperator,
)
from airflow_provider_cij.operators.segments import CijCreateSegmentOperator
from airflow_provider_cij.sources import FromDataverse, FromFile, FromSql

# [end imports]

with DAG("member_lists", schedule=None, params={"folder": "s3://store@marketing/lists"}):
    create = CijCreateSegmentOperator(
        task_id="create",
        display_name="Lists",
        groups=["From a file", "From the warehouse", "From Dataverse"],
    )
    segment_id = create.output["segment_id"]

    # [start add]
    add = CijAddSegmentMembersOperator(
        task_id="add",
        segment_id=segment_id,
        group="From a file",
        members=FromFile("{{ params.folder }}/invited.csv", column="email"),
        match_on="emailaddress1",
        max_invalid="1%",
        max_not_found="5%",
        not_found_path="{{ params.folder }}/not_found.csv",
        rejects_path="{{ params.folder }}/rejects.csv",
    )
    # [end add]
    # [start mirror]
    mirror = CijMirrorSegmentMembersOperator(
        task_id="mirror",
        segment_id=segment_id,
        group="From the warehouse",
        members=FromSql("SELECT contact_id FROM newsletter_audience WHERE unsubscribed = 0", conn_id="warehouse"),
        max_removals="20%",
        removed_path="{{ params.folder }}/removed.csv",
    )
    # [end mirror]
    # [start dataverse]
    local = CijAddSegmentMembersOperator(
        task_id="add_from_dataverse",
        segment_id=segment_id,
        group="From Dataverse",
        members=FromDataverse("contact", "address1_country eq 'Denmark'"),
    )
    # [end dataverse]
    # [start remove]
    remove = CijRemoveSegmentMembersOperator(
        task_id="remove",
        segment_id=segment_id,
        group="From a file",
        members=FromFile("{{ params.folder }}/leavers.csv", column="contactid"),
        on_empty="skip",
    )
    # [end remove]
    # [start export]
    export = CijExportSegmentMembersOperator(
        task_id="export",
        segment_id=segment_id,
        group="From a file",
        path="{{ params.folder }}/group.parquet",
    )
    # [end export]

    add >> remove >> export
