"""CijExportJourneyParticipantsOperator, against the sandbox, and against a service that does not let it read."""

from __future__ import annotations

import csv
import json

import pytest
from airflow.sdk import DAG
from cij_sandbox.testing import running_sandbox

from airflow_provider_cij.assets import EVENTS
from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.operators.journeys import CijExportJourneyParticipantsOperator
from airflow_provider_cij.version_compat import TAKES_OBJECTS_IN_EVENTS
from tests.dags import events_of, run_dag
from tests.live_journeys import create_live_journey

ID = "0f5b0c7f-395d-447b-b14c-315a601f878e"


@pytest.fixture(scope="module")
def sandbox():
    """Run a sandbox whose application user may read journey instances."""
    with running_sandbox("--contacts", "40", "--compute-seconds", "0.1", "--with-journey-instances") as running:
        yield running


def test_participants_are_counted_and_written(sandbox, monkeypatch, dag_id, tmp_path):
    """People are counted by state in XCom and event, and written to the file alone; the event names the audience."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", sandbox.airflow_conn_uri)
    audience, journey_id = CijHook().run(create_live_journey)
    path = tmp_path / "people.csv"
    with DAG(dag_id, schedule=None) as dag:
        every = CijExportJourneyParticipantsOperator(task_id="every", journey_id=journey_id, path=str(path))
        CijExportJourneyParticipantsOperator(task_id="done", journey_id=journey_id, states=["completed"])
    assert EVENTS in every.outlets
    ran = run_dag(dag)
    result = ran.result("every")
    assert (result["count"], result["states"], result["status"]) == (40, {"in_progress": 40}, "live")
    assert (ran.result("done")["count"], ran.result("done")["states"]) == (0, {})
    (extra,) = [extra for task, _, _, extra in events_of(dag_id) if task == "every"]
    states = {"in_progress": 40} if TAKES_OBJECTS_IN_EVENTS else None
    assert (extra["audience"], extra["member_count"], extra.get("states")) == (audience, 40, states)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert len({row["id"] for row in rows}) == 40
    assert {(row["table"], row["state"]) for row in rows} == {("contact", "in_progress")}
    assert not any(row["id"] in json.dumps(ran.xcoms) for row in rows)


def test_a_missing_privilege_is_named(cij_sandbox, monkeypatch, dag_id, tmp_path):
    """Without the privilege the task fails with its name in the hint, and writes no file."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", cij_sandbox.airflow_conn_uri)
    path = tmp_path / "people.csv"
    _, journey_id = CijHook().run(create_live_journey)
    with DAG(dag_id, schedule=None) as dag:
        CijExportJourneyParticipantsOperator(task_id="t", journey_id=journey_id, path=str(path))
    ran = run_dag(dag)
    assert ran.states == {"t": "failed"}
    assert "prvReadmsdynmkt_journeyinstance" in ran.xcoms["t"]["cij_error"]["hint"]
    assert not path.exists()


@pytest.mark.parametrize("states", ["completed", ["finished"], [1]])
def test_unknown_states_are_refused_while_the_dag_file_is_parsed(states):
    """States that the documents do not name are refused while the DAG file is parsed."""
    with pytest.raises(CijInputError):
        CijExportJourneyParticipantsOperator(task_id="t", journey_id=ID, states=states)
