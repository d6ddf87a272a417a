"""Wait for an evaluation that the service makes by itself, and for enough members."""

from airflow.sdk import DAG

# [start imports]
from airflow_provider_cij.sensors.segments import CijSegmentMembersSensor, CijSegmentSensor

# [end imports]

with DAG("wait_refreshed", schedule=None, params={"segment_id": "name:VIP customers"}):
    # [start refreshed]
    refreshed = CijSegmentSensor(
        task_id="wait_until_refreshed",
        segment_id="{{ params.segment_id }}",
        until="refreshed",
        max_change="20%",
        deferrable=True,
        timeout=36 * 3600,
    )
    # [end refreshed]
    # [start members]
    enough = CijSegmentMembersSensor(
        task_id="wait_for_members",
        segment_id="{{ params.segment_id }}",
        group="Invited",
        min_members=100,
        deferrable=True,
        timeout=3600,
    )
    # [end members]

    refreshed >> enough
