"""CijPurgeSegmentExecutionsOperator, against a sandbox whose clock the tests advance."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from airflow.sdk import DAG
from cij_sandbox.testing import running_sandbox

from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.operators.segments import CijPurgeSegmentExecutionsOperator
from tests.dags import run_dag


@pytest.fixture
def sandbox(monkeypatch):
    """Run a sandbox of its own, as the default connection."""
    with running_sandbox("--contacts", "5", "--compute-seconds", "0.05") as running:
        monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", running.airflow_conn_uri)
        yield running


def _evaluated(times: int, key: str) -> list[str]:
    """Evaluate a static segment some times; return the ids of its evaluations, the newest first."""

    async def evaluate(cij):
        spec = SegmentSpec(key=key, display_name="VIP", query="PROFILE(contact)", static_snapshot=True)
        await cij.segments.create(spec)
        segment = await cij.segments.get(spec.segment_id)
        there = len(await cij.segments.newest_executions(segment, 50))
        for count in range(there + 1, there + times + 1):
            await cij.segments.publish(spec.segment_id)
            runs = []
            while len(runs) < count or not all(run.finished_on for run in runs):
                await asyncio.sleep(0.05)
                runs = await cij.segments.newest_executions(segment, 50)
        return [run.execution_id for run in await cij.segments.newest_executions(segment, 50)]

    return CijHook().run(evaluate)


def test_old_evaluations_are_deleted_and_the_last_one_stays(sandbox, dag_id):
    """Evaluations older than the days given are deleted, the last one of a segment is kept, younger ones are too."""
    idle, busy = uuid.uuid4().hex, uuid.uuid4().hex
    for _ in range(3):
        last = _evaluated(1, idle)[0]
        sandbox.advance(60)  # two of one second have no order
    _evaluated(2, busy)
    sandbox.advance(95 * 86_400)
    new = _evaluated(1, busy)[0]
    with DAG(dag_id, schedule=None) as dag:
        purge = CijPurgeSegmentExecutionsOperator(task_id="purge")
        purge >> CijPurgeSegmentExecutionsOperator(task_id="again", older_than_days="{{ 90 }}")
    ran = run_dag(dag)
    assert (ran.result("purge")["deleted"], ran.result("purge")["kept"]) == (4, 1)
    assert (ran.result("again")["deleted"], ran.result("again")["kept"]) == (0, 1)
    assert (_evaluated(0, idle), _evaluated(0, busy)) == ([last], [new])


@pytest.mark.parametrize("days", [89, 0, "60", 90.5, True, "soon"])
def test_less_than_three_months_are_refused_while_the_dag_file_is_parsed(days):
    """Less than 90 days, and what is no whole number of days, is refused while the DAG file is parsed."""
    with pytest.raises(CijInputError):
        CijPurgeSegmentExecutionsOperator(task_id="t", older_than_days=days)
