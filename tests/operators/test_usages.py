"""What uses a segment stands in the log before it is stopped or deleted."""

from __future__ import annotations

import asyncio
import json
import uuid

import pytest
from airflow.sdk import DAG

from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.operators.segments import CijDeleteSegmentOperator, CijStopSegmentsOperator
from tests.dags import run_dag


def _used() -> tuple[str, str]:
    """Create a live journey with a segment as its audience; return the segment's id and the journey's."""

    async def create(cij):
        spec = SegmentSpec(key=uuid.uuid4().hex, display_name="All", query="PROFILE(contact)")
        await cij.segments.create(spec)
        await cij.segments.publish(spec.segment_id)
        for _ in range(400):
            if (await cij.segments.get(spec.segment_id)).status == 1:
                break
            await asyncio.sleep(0.05)
        definition = {"name": "All", "trigger": {"type": "OneTime", "audience": spec.segment_id}}
        row = {
            "msdynmkt_name": f"Newsletter {uuid.uuid4()}",
            "msdynmkt_journeyjson": json.dumps(definition),
            "statecode": 1,
            "statuscode": 2,
        }
        return spec.segment_id, await cij.dataverse.post("msdynmkt_journeys", row, repeatable=False)

    return CijHook().run(create)


@pytest.mark.parametrize("kind", [CijStopSegmentsOperator, CijDeleteSegmentOperator])
def test_journeys_that_use_a_segment_are_named(cij_sandbox, monkeypatch, dag_id, capfd, kind):
    """A stop or delete of a segment in use fails, and the log names the journey and what it uses the segment for."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", cij_sandbox.airflow_conn_uri)
    segment_id, journey_id = _used()
    with DAG(dag_id, schedule=None) as dag:
        if kind is CijStopSegmentsOperator:
            kind(task_id="t", segment_ids=[segment_id])
        else:
            kind(task_id="t", segment_id=segment_id)
    assert run_dag(dag).states == {"t": "failed"}
    said = [line for line in capfd.readouterr().out.splitlines() if "is used by journey 'Newsletter" in line]
    assert any(f"({journey_id}) as its audience" in line for line in said)
