from __future__ import annotations

import uuid

import pytest
from airflow.sdk import DAG

from tests.dags import run_dag


@pytest.fixture
def run_task(cij_sandbox, monkeypatch):
    """Return a function that runs one task on the sandbox and returns its state, its result and the run."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", cij_sandbox.airflow_conn_uri)

    def run(kind, **arguments):
        waits = {"poll_interval": 0.1} if "Publish" in kind.__name__ or "Stop" in kind.__name__ else {}
        waits |= {"poke_interval": 0.1} if "Sensor" in kind.__name__ else {}
        with DAG(f"d{uuid.uuid4().hex}", schedule=None) as dag:
            kind(**({"task_id": "t"} | waits | arguments))
        ran = run_dag(dag)
        return ran.states["t"], ran.xcoms.get("t", {}).get("return_value"), ran

    return run
