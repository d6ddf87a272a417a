"""Stop and delete a segment that is not used any more, and delete old evaluations from the log."""

from airflow.sdk import DAG

# [start imports]
from airflow_provider_cij.operators.segments import (
    CijDeleteSegmentOperator,
    CijPurgeSegmentExecutionsOperator,
    CijStopSegmentsOperator,
    CijUpdateSegmentOperator,
)

# [end imports]

with DAG("housekeeping", schedule="@monthly", catchup=False, params={"segment_id": "", "last_year_id": ""}):
    # [start stop]
    stop = CijStopSegmentsOperator(
        task_id="stop",
        segment_ids=["{{ params.last_year_id }}"],
        deferrable=True,
    )
    # [end stop]
    # [start delete]
    delete = CijDeleteSegmentOperator(
        task_id="delete",
        segment_id="{{ params.last_year_id }}",
        stop_first=True,
        deferrable=True,
    )
    # [end delete]
    # [start update]
    update = CijUpdateSegmentOperator(
        task_id="update",
        segment_id="{{ params.segment_id }}",
        query="PROFILE(contact).FILTER(creditlimit >= 20000)",
    )
    # [end update]
    # [start purge]
    purge = CijPurgeSegmentExecutionsOperator(task_id="purge", older_than_days=120)
    # [end purge]

    stop >> delete
