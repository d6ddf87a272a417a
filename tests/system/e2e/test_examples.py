"""Every example DAG in a running Airflow, as ``make ui`` sets it up, with the parameters that it shows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cij_sandbox.testing import running_sandbox

from demo.examples import EXAMPLES, Examples, prepare
from demo.stack import Stack

_ENDED = ("success", "failed")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Iterator[tuple[Stack, Examples]]:
    """Run Airflow with the example DAGs, and all that they need."""
    folder = tmp_path_factory.mktemp("examples")
    with running_sandbox("--contacts", "3000", "--compute-seconds", "0", "--with-journey-instances") as sandbox:
        examples = prepare(sandbox.airflow_conn_uri, folder)
        with Stack(folder / "airflow", examples.dags) as airflow:
            examples.connect(airflow, sandbox.airflow_conn_uri)
            yield airflow, examples


def test_all_example_dags_run_at_once(prepared):
    """All example DAGs, started at once and without any parameter, end in success."""
    airflow, examples = prepared
    assert examples.ids == sorted(path.stem for path in Path(EXAMPLES).glob("*.py"))
    for dag_id in examples.ids:
        airflow.wait_for_dag(dag_id)
    runs = {dag_id: airflow.trigger(dag_id) for dag_id in examples.ids}
    states: dict[str, str] = {}
    asked_at: float | None = None
    give_up = time.monotonic() + 240
    while not all(states.get(dag_id) in _ENDED for dag_id in runs) and time.monotonic() < give_up:
        if asked_at is None and _is_asked(airflow, runs["cij_approved_journey"]):
            asked_at = time.monotonic()
        # An answer that overtakes the worker's own "awaiting input" fails the task; no person is as fast.
        if asked_at is not None and time.monotonic() > asked_at + 15:
            _approve(airflow, runs["cij_approved_journey"])
        for dag_id, run_id in runs.items():
            states[dag_id] = airflow.rest("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"]
        time.sleep(0.5)
    assert states == dict.fromkeys(runs, "success"), _failures(airflow, runs)


def _is_asked(airflow: Stack, run_id: str) -> bool:
    """Return whether ``cij_approved_journey`` waits for its answer."""
    tasks = {task["task_id"]: task["state"] for task in airflow.tasks("cij_approved_journey", run_id)}
    return tasks.get("approve") in ("awaiting_input", "deferred")


def _approve(airflow: Stack, run_id: str) -> None:
    """Answer the question of ``cij_approved_journey``."""
    path = f"dags/cij_approved_journey/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"
    if not airflow.rest("GET", path)["response_received"]:
        airflow.rest("PATCH", path, json={"chosen_options": ["Approve"], "params_input": {}})


def _failures(airflow: Stack, runs: dict[str, str]) -> str:
    """Return the logs of failed tasks."""
    return "\n".join(
        airflow.log(dag_id, run_id, task["task_id"])[-3000:]
        for dag_id, run_id in runs.items()
        for task in airflow.tasks(dag_id, run_id)
        if task["state"] == "failed"
    )
