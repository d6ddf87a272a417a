"""CijInteractionsSensor, and the DAG of a journey's results, on a PostgreSQL with tables of Fabric's shape."""

from __future__ import annotations

import importlib
import json
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from airflow.sdk import DAG

from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.sensors.interactions import CijInteractionsSensor
from tests.dags import run_dag
from tests.sources import databases

JOURNEY = "0f5b0c7f-395d-447b-b14c-315a601f878e"
SHAPE = '("Timestamp" timestamp, "IdempotencyId" text, "ProfileId" text, "CustomerJourneyId" text'


@pytest.fixture(scope="module")
def server():
    """Provide a PostgreSQL with interactions of one journey, some of them recorded twice."""
    with databases.postgres() as folder:
        with psycopg.connect(host=folder, user="postgres", dbname="postgres") as connection:
            for table in ("EmailSent", "EmailOpened", "EmailClicked", "EmailBounced"):
                connection.execute(f'create table "{table}" {SHAPE})')
            connection.execute(f'create table "EmailDelivered" {SHAPE}, "DeliveredCount" int)')
            now = datetime.now(UTC).replace(tzinfo=None)

            def add(table, *people, journey=JOURNEY, more=""):
                for number, person in enumerate(people):
                    row = (now - timedelta(hours=1), f"{table}{number}{more}", person, journey, *([1] if more else []))
                    marks = ", ".join(["%s"] * len(row))
                    connection.execute(f'insert into "{table}" values ({marks})', row)  # noqa: S608

            add("EmailSent", "ada", "bob", "cem", "dee")
            add("EmailSent", "ada", "bob")  # recorded twice
            add("EmailSent", "eve", journey="another")
            add("EmailDelivered", "ada", "bob", "cem", more="d")
            connection.execute(
                'insert into "EmailDelivered" values (%s, %s, %s, %s, -1)', (now, "bounce", "cem", JOURNEY)
            )
            add("EmailOpened", "ada", "bob")
            add("EmailOpened", "ada", "ada", "ada")
            add("EmailClicked", "ada")
        yield folder


@pytest.fixture
def fabric(server, monkeypatch) -> str:
    """Make the server the connection ``fabric``."""
    where = {"conn_type": "postgres", "host": server, "login": "postgres", "schema": "postgres"}
    monkeypatch.setenv("AIRFLOW_CONN_FABRIC", json.dumps(where))
    return server


def _state(dag_id, **arguments):
    with DAG(dag_id, schedule=None) as dag:
        given = {"sql_conn_id": "fabric", "poke_interval": 0.1, "timeout": 1}
        CijInteractionsSensor(task_id="t", **given | arguments)
    return run_dag(dag)


@pytest.mark.parametrize("fresher_than", [timedelta(hours=3), "{{ '2026-01-01T00:00:00Z' }}"])
def test_fresh_interactions_end_the_wait(fabric, fresher_than):
    """The wait ends when the newest interaction is as fresh as wanted, and its moment is returned."""
    ran = _state("fresh", fresher_than=fresher_than)
    newest = datetime.fromisoformat(ran.result("t")["newest"])
    assert timedelta(minutes=55) < datetime.now(UTC) - newest < timedelta(hours=2)
    assert ran.result("t")["table"] == "EmailSent"


@pytest.mark.parametrize("table", ["EmailSent", "public.EmailBounced"])
def test_old_interactions_and_an_empty_table_are_waited_for(fabric, table):
    """Interactions that are too old, and a table without a row, are waited for until the timeout."""
    ran = _state("old", fresher_than=timedelta(minutes=30), table=table, soft_fail=True)
    assert ran.states == {"t": "skipped"}


def test_a_missing_table_fails(fabric):
    """A table that does not exist fails the task, and the error names it."""
    ran = _state("missing", fresher_than=timedelta(hours=1), table="EmailSend")
    assert ran.states == {"t": "failed"}
    assert "EmailSend" in ran.xcoms["t"]["cij_error"]["message"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"fresher_than": "soon"},
        {"fresher_than": timedelta(0)},
        {"fresher_than": datetime(2026, 1, 1)},
        {"fresher_than": timedelta(hours=1), "table": "EmailSent; drop table x"},
        {"fresher_than": timedelta(hours=1), "timestamp_column": 'a" from b --'},
        {"fresher_than": timedelta(hours=1), "sql_conn_id": ""},
    ],
)
def test_wrong_use_is_refused_while_the_dag_file_is_parsed(arguments):
    """A moment without a time zone, and names that are none, are refused while the DAG file is parsed."""
    with pytest.raises(CijInputError):
        CijInteractionsSensor(task_id="t", **{"sql_conn_id": "fabric"} | arguments)


def test_the_example_counts_each_interaction_once(fabric):
    """The example DAG counts messages and people once, and a delivery that bounced later not at all."""
    interactions = importlib.import_module("example_dags.cij_journey_results").interactions
    with DAG("results", schedule=None, params={"journey_id": JOURNEY, "sql_conn_id": "fabric"}) as results:
        interactions()
    counts = run_dag(results).result("interactions")
    assert counts == {"sent": 4, "delivered": 2, "opened": 2, "clicked": 1}
