"""Tasks in a pool, with retries that follow what the service says."""

from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_cij.operators.members import CijAddSegmentMembersOperator
from airflow_provider_cij.sources import FromFile

with DAG(
    "in_a_pool",
    schedule=None,
    default_args={
        "pool": "dynamics",
        "retries": 5,
        "retry_delay": timedelta(minutes=2),
        "retry_exponential_backoff": True,
    },
    params={"segment_id": "name:Newsletter", "folder": "s3://store@marketing/newsletter"},
):
    CijAddSegmentMembersOperator.partial(
        task_id="add",
        segment_id="{{ params.segment_id }}",
        group="Invited",
    ).expand(members=[FromFile("{{ params.folder }}/" + country + ".csv") for country in ("de", "fr", "nl")])
