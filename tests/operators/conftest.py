from __future__ import annotations

import uuid

import pytest
from airflow.sdk import DAG

from airflow_provider_cij.operators.segments import (
    CijPublishSegmentOperator,
)
from tests.dags import run_dag
from tests.scripted import Answer
from tests.segment_responses import ID


@pytest.fixture
def run_publish(scripted, monkeypatch):
    """Return a function that runs a publish or refresh task against these responses."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())

    def run(*answers: Answer, kind=CijPublishSegmentOperator, **arguments):
        scripted.script = list(answers)
        with DAG("publish", schedule=None) as dag:
            kind(**({"task_id": "publish", "segment_id": ID, "poll_interval": 0.1, "timeout": 90} | arguments))
        return run_dag(dag)

    return run


@pytest.fixture
def dag_id() -> str:
    """Return a DAG id, and so segment keys, that no other test uses."""
    return f"d{uuid.uuid4().hex}"
