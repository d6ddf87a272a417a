"""Run every example DAG at once in a running Airflow, and answer the question that one of them asks."""

from __future__ import annotations

import time

from demo.examples import Examples
from demo.stack import Stack

_ENDED = ("success", "failed")


def run_all(airflow: Stack, examples: Examples, seconds: float = 480) -> dict[str, str]:
    """Start all example DAGs with the parameters that they show, and return the runs' states at the end.

    :param airflow: the Airflow
    :param examples: the DAGs
    :param seconds: how long to wait for their end
    :return: ``success`` by DAG id; in the place of another state, the logs of the run's failed tasks
    """
    for dag_id in examples.ids:
        airflow.wait_for_dag(dag_id)
    runs = {dag_id: airflow.trigger(dag_id) for dag_id in examples.ids}
    states: dict[str, str] = {}
    asked_at: float | None = None
    give_up = time.monotonic() + seconds
    while not all(states.get(dag_id) in _ENDED for dag_id in runs) and time.monotonic() < give_up:
        if asked_at is None and _is_asked(airflow, runs["cij_approved_journey"]):
            asked_at = time.monotonic()
        # An answer fails the task when the scheduler has not yet seen its worker end; no person is as fast.
        if asked_at is not None and time.monotonic() > asked_at + 20:
            _approve(airflow, runs["cij_approved_journey"])
        for dag_id, run_id in runs.items():
            states[dag_id] = airflow.rest("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"]
        time.sleep(0.5)
    return {
        dag_id: state if state == "success" else f"{state}: {_failures(airflow, dag_id, runs[dag_id])}"
        for dag_id, state in states.items()
    }


def _is_asked(airflow: Stack, run_id: str) -> bool:
    """Return whether ``cij_approved_journey`` waits for its answer."""
    tasks = {task["task_id"]: task["state"] for task in airflow.tasks("cij_approved_journey", run_id)}
    return tasks.get("approve") in ("awaiting_input", "deferred")


def _approve(airflow: Stack, run_id: str) -> None:
    """Answer the question of ``cij_approved_journey``."""
    path = f"dags/cij_approved_journey/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"
    if not airflow.rest("GET", path)["response_received"]:
        airflow.rest("PATCH", path, json={"chosen_options": ["Approve"], "params_input": {}})


def _failures(airflow: Stack, dag_id: str, run_id: str) -> str:
    """Return the ends of the logs of failed tasks."""
    failed = [task["task_id"] for task in airflow.tasks(dag_id, run_id) if task["state"] == "failed"]
    return "\n".join(airflow.log(dag_id, run_id, task_id)[-3000:] for task_id in failed)
