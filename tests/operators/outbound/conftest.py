from __future__ import annotations

import uuid

import pytest
from airflow.sdk import DAG

from tests.dags import run_dag


@pytest.fixture
def run(cij_sandbox, monkeypatch):
    """Run one operator against the sandbox; give its state and what it returned."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", cij_sandbox.airflow_conn_uri)

    def one(kind, **arguments):
        waits = {"poll_interval": 0.1} if "Publish" in kind.__name__ or "Stop" in kind.__name__ else {}
        waits |= {"poke_interval": 0.1} if "Sensor" in kind.__name__ else {}
        with DAG(f"d{uuid.uuid4().hex}", schedule=None) as dag:
            kind(**({"task_id": "t"} | waits | arguments))
        ran = run_dag(dag)
        return ran.states["t"], ran.xcoms.get("t", {}).get("return_value"), ran

    return one
