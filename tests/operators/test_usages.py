"""What uses a segment stands in the log before it is stopped or deleted."""

from __future__ import annotations

import pytest
from airflow.sdk import DAG

from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.operators.segments import CijDeleteSegmentOperator, CijStopSegmentsOperator
from tests.dags import run_dag
from tests.live_journeys import create_live_journey


@pytest.mark.parametrize("kind", [CijStopSegmentsOperator, CijDeleteSegmentOperator])
def test_journeys_that_use_a_segment_are_named(cij_sandbox, monkeypatch, dag_id, capfd, kind):
    """A stop or delete of a segment in use fails, and the log names the journey and what it uses the segment for."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", cij_sandbox.airflow_conn_uri)
    segment_id, journey_id = CijHook().run(create_live_journey)
    with DAG(dag_id, schedule=None) as dag:
        if kind is CijStopSegmentsOperator:
            kind(task_id="t", segment_ids=[segment_id])
        else:
            kind(task_id="t", segment_id=segment_id)
    assert run_dag(dag).states == {"t": "failed"}
    said = [line for line in capfd.readouterr().out.splitlines() if "is used by journey 'Newsletter" in line]
    assert any(f"({journey_id}) as its audience" in line for line in said)
