"""Upserts of contacts and leads as tasks: from files, databases and lists, with their files of rejects and ids."""

from __future__ import annotations

import csv
import json
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path

import pytest
from airflow.sdk import DAG, Connection

from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.operators.members import CijAddSegmentMembersOperator
from airflow_provider_cij.operators.records import CijUpsertContactsOperator, CijUpsertLeadsOperator, lookup
from airflow_provider_cij.operators.segments import CijCreateSegmentOperator
from airflow_provider_cij.sources import FromDataverse, FromFile, FromSql
from tests.dags import run_dag


@pytest.fixture(autouse=True)
def organisation(cij_sandbox, monkeypatch):
    """Make the shared sandbox the default connection."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", cij_sandbox.airflow_conn_uri)


@pytest.fixture
def prefix():
    """Return the start of customer numbers of one's own, whose contacts are deleted afterwards."""
    made = uuid.uuid4().hex[:10]
    yield made

    async def delete(cij):
        for table, key in (("contacts", "contactid"), ("leads", "leadid")):
            path = f"{table}?$select={key}&$filter=startswith(new_customerno,'{made}')"
            for row in [row async for page in cij.dataverse.pages(path) for row in page]:
                await cij.dataverse.delete(f"{table}({row[key]})")

    CijHook().run(delete)


def people(prefix, table="contacts"):
    """Return the last names by the rest of the customer number."""

    async def read(cij):
        path = f"{table}?$select=new_customerno,lastname&$filter=startswith(new_customerno,'{prefix}')"
        return [row async for page in cij.dataverse.pages(path) for row in page]

    return {row["new_customerno"].removeprefix(prefix): row["lastname"] for row in CijHook().run(read)}


def write(path, header, rows):
    """Write a CSV file."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def read(path):
    """Read a CSV file."""
    with Path(path).open(newline="") as file:
        return list(csv.reader(file))


def run(kind=CijUpsertContactsOperator, conf=None, **arguments):
    """Run one task in a DAG of its own."""
    with DAG(f"upsert_{uuid.uuid4().hex}", schedule=None, params={"mode": "upsert", "folder": ""}) as dag:
        kind(task_id="upsert", **arguments)
    return run_dag(dag, conf)


def test_a_file_is_upserted_and_its_people_become_members(prefix, tmp_path, dag_id):
    """Rows of a file become contacts, and the file of their ids is what the next task adds to a segment."""
    write(tmp_path / "people.csv", ("no", "name"), [(f"{prefix}{n}", f"Name {n}") for n in range(120)])
    with DAG(dag_id, schedule=None, params={"folder": str(tmp_path)}) as dag:
        create = CijCreateSegmentOperator(task_id="create", display_name="Upserted", groups=["in"])
        upsert = CijUpsertContactsOperator(
            task_id="upsert",
            rows=FromFile("{{ params.folder }}/people.csv"),
            key="new_customerno",
            columns={"no": "new_customerno", "name": "lastname"},
            ids_path="{{ params.folder }}/ids.csv",
        )
        add = CijAddSegmentMembersOperator(
            task_id="add",
            segment_id=create.output["segment_id"],
            group="in",
            members=FromFile("{{ params.folder }}/ids.csv"),
        )
        [create, upsert] >> add
    done = run_dag(dag)
    assert set(done.states.values()) == {"success"}
    result = done.result("upsert")
    assert (result["read"], result["created"], result["ids_path"]) == (120, 120, f"{tmp_path}/ids.csv")
    assert done.xcoms["upsert"]["created"] == 120
    assert people(prefix) == {str(n): f"Name {n}" for n in range(120)}
    header, *ids = read(tmp_path / "ids.csv")
    assert (header, len(ids)) == (["new_customerno", "contactid"], 120)
    assert done.result("add")["added"] == 120
    # Neither the plan of the tasks nor their results name a person.
    assert f"{prefix}1" not in json.dumps([done.xcoms, done.rendered], default=str)


def test_a_query_is_upserted_as_leads(prefix, tmp_path, monkeypatch):
    """Rows of a query, with the database's types, become leads; the key is no alternate key there."""
    database = tmp_path / "warehouse.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE leads (new_customerno, lastname, revenue, leadqualitycode)")
        rows = [(f"{prefix}{n}", f"L{n}", n * 1.5, "Hot") for n in range(30)]
        connection.executemany("INSERT INTO leads VALUES (?, ?, ?, ?)", rows)
    monkeypatch.setenv(
        "AIRFLOW_CONN_WAREHOUSE", Connection(conn_id="w", conn_type="sqlite", host=str(database)).get_uri()
    )
    query = FromSql("SELECT * FROM leads", "warehouse")
    arguments = {"kind": CijUpsertLeadsOperator, "rows": query, "key": ["new_customerno"]}
    assert run(**arguments).result("upsert")["created"] == 30
    assert run(**arguments).result("upsert")["unchanged"] == 30
    assert people(prefix, "leads") == {str(n): f"L{n}" for n in range(30)}


def test_rows_of_a_list_and_of_the_organisation(prefix):
    """A list of dicts becomes contacts, and rows that the organisation has are written back by their ids."""
    company = lookup("account", "name", column="parentcustomerid")
    rows = [{"no": f"{prefix}1", "company": "Contoso"}]
    report = run(rows=rows, key="new_customerno", columns={"no": "new_customerno", "company": company})
    assert report.result("upsert")["created"] == 1
    where = f"new_customerno eq '{prefix}1'"
    columns = {"contactid": "contactid", "new_customerno": "lastname"}
    report = run(rows=FromDataverse("contact", where), key="contactid", columns=columns)
    assert report.result("upsert")["updated"] == 1
    assert people(prefix) == {"1": f"{prefix}1"}


def test_a_failed_task_leaves_the_file_of_rejects(prefix, tmp_path):
    """Too many invalid rows fail the task before anything is written, with the file of all of them."""
    rows = [{"new_customerno": f"{prefix}{n}", "lastname": "x" * (51 if n % 2 else 5)} for n in range(6)]
    done = run(rows=rows, key="new_customerno", rejects_path=f"{tmp_path}/rejects.csv", ids_path=f"{tmp_path}/ids.csv")
    assert done.states["upsert"] == "failed"
    assert people(prefix) == {}
    expected = [[str(n + 1), "lastname: longer than 50 characters"] for n in (1, 3, 5)]
    assert read(tmp_path / "rejects.csv") == [["line", "reason"], *expected]
    assert not (tmp_path / "ids.csv").exists()
    done = run(rows=rows, key="new_customerno", rejects_path=f"{tmp_path}/rejects.csv", max_invalid="50%")
    assert (done.result("upsert")["created"], done.result("upsert")["invalid"]) == (3, 3)


def test_arguments_are_templated(prefix):
    """Words, numbers and switches may be templates."""
    rows = [{"new_customerno": f"{prefix}1", "lastname": "A"}]
    done = run(
        conf={"mode": "create_only"},
        rows=rows,
        key="{{ 'new_customerno' }}",
        mode="{{ params.mode }}",
        batch_size="{{ 50 + 50 }}",
        skip_unchanged="{{ 'false' }}",
    )
    assert done.result("upsert")["created"] == 1
    assert (
        run(conf={"mode": "create_only"}, rows=rows, key="new_customerno", mode="{{ params.mode }}").result("upsert")[
            "existing"
        ]
        == 1
    )


@pytest.mark.parametrize(("on_empty", "state"), [("fail", "failed"), ("skip", "skipped"), ("ok", "success")])
def test_a_list_without_rows(on_empty, state):
    """A list without rows fails the task, skips it, or is accepted."""
    assert run(rows=[], key="new_customerno", on_empty=on_empty).states["upsert"] == state


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rows": 7}, "rows is a int"),
        ({"key": []}, "key is an empty list"),
        ({"key": "no column"}, "key is 'no column'"),
        ({"columns": {}}, "columns is an empty dict"),
        ({"columns": {"a": "lastname", "b": "lastname"}}, "columns maps two columns to 'lastname'"),
        ({"columns": {"a": "last name"}}, "columns has a malformed logical name"),
        ({"batch_size": 1001}, "batch_size is 1001"),
        ({"mode": "replace"}, "mode is 'replace'"),
    ],
)
def test_a_wrong_argument_is_refused_while_the_dag_is_parsed(arguments, words):
    """What no run could use is refused as soon as the task is made, by the argument's name."""
    with DAG("wrong", schedule=None), pytest.raises(CijInputError, match=words):
        CijUpsertContactsOperator(**{"task_id": "t", "rows": [], "key": "new_customerno"} | arguments)
