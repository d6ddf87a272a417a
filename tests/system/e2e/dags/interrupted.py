"""DAGs whose tasks the tests interrupt."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG

from airflow_provider_cij.operators.members import CijAddSegmentMembersOperator
from airflow_provider_cij.operators.records import CijUpsertContactsOperator
from airflow_provider_cij.operators.segments import CijCreateSegmentOperator, CijPublishSegmentOperator
from airflow_provider_cij.operators.triggers import CijRaiseTriggerOperator
from airflow_provider_cij.sources import FromFile

with DAG("upload", schedule=None, params={"file": ""}):
    create = CijCreateSegmentOperator(task_id="create", display_name="Upload", groups=["in"], key="{{ run_id }}")
    CijAddSegmentMembersOperator(
        task_id="add",
        segment_id=create.output["segment_id"],
        group="in",
        members=FromFile("{{ params.file }}", column="contactid"),
        retries=1,
        retry_delay=timedelta(seconds=1),
    )

with DAG("upsert", schedule=None, params={"file": "", "ids": ""}):
    CijUpsertContactsOperator(
        task_id="upsert",
        rows=FromFile("{{ params.file }}"),
        key="new_customerno",
        ids_path="{{ params.ids }}",
        retries=1,
        retry_delay=timedelta(seconds=1),
    )

with DAG("raise", schedule=None, params={"file": "", "unclear": ""}):
    CijRaiseTriggerOperator(
        task_id="raise",
        trigger="msdynmkt_cartabandoned",
        members=FromFile("{{ params.file }}", column="contactid"),
        attributes={"carturl": "https://contoso.com/cart"},
        unclear_path="{{ params.unclear }}",
        rate_per_minute=1200,
        retries=1,
        retry_delay=timedelta(seconds=1),
    )


def die_once(context, result):
    """Kill the task's own process after ``execute`` has returned, in its first attempt."""
    if context["ti"].try_number == 1:
        Path(context["params"]["returned"]).write_text(str(result["raised"]))
        os.kill(os.getpid(), signal.SIGKILL)


with DAG("raise_and_die", schedule=None, params={"file": "", "returned": ""}):
    CijRaiseTriggerOperator(
        task_id="raise",
        trigger="msdynmkt_cartabandoned",
        members=FromFile("{{ params.file }}", column="contactid"),
        attributes={"carturl": "https://contoso.com/cart"},
        raise_again="{{ var.value.get('raise_again', 'false') }}",
        retries=1,
        retry_delay=timedelta(seconds=1),
        post_execute=die_once,
    )

with DAG("timeout", schedule=None, params={"file": "", "segment_id": ""}):
    CijAddSegmentMembersOperator(
        task_id="add",
        segment_id="{{ params.segment_id }}",
        group="in",
        members=FromFile("{{ params.file }}", column="contactid"),
        execution_timeout=timedelta(seconds=4),
    )

with DAG("publish", schedule=None, params={"segment_id": ""}):
    CijPublishSegmentOperator(
        task_id="wait", segment_id="{{ params.segment_id }}", deferrable=True, poll_interval=5, timeout=3600
    )
