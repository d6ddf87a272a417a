"""The main workflow: create, fill, publish and export, against the sandbox."""

from __future__ import annotations

import csv
import json
import random
import re
import uuid
from pathlib import Path

import pytest
from airflow.sdk import DAG, task

from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.operators.members import CijAddSegmentMembersOperator, CijExportSegmentMembersOperator
from airflow_provider_cij.operators.segments import (
    CijCreateSegmentOperator,
    CijPublishSegmentOperator,
    MemberGroup,
)
from airflow_provider_cij.sources import FromFile
from tests.dags import run_dag
from tests.segment_responses import LINK


@pytest.fixture(autouse=True)
def _connection(cij_sandbox, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", cij_sandbox.airflow_conn_uri)


def _contacts(where: str = "") -> list[str]:
    async def read(cij):
        path = "contacts?$select=contactid" + (f"&$filter={where}" if where else "")
        return [row["contactid"] async for page in cij.dataverse.pages(path) for row in page]

    return CijHook().run(read)


def _exported(path: Path) -> list[str]:
    header, *rows = path.read_text().splitlines()
    assert header == "contactid"
    return rows


def test_the_workflow_twice(cij_sandbox, dag_id, tmp_path):
    """Exported members equal query and include without exclude, as Python sets have it, also in a second run."""
    everybody = _contacts()
    chance = random.Random(7)  # noqa: S311
    invited, staff = chance.sample(everybody, 600), chance.sample(everybody, 150)
    rows = [str.upper(member) for member in invited] + invited[:20] + ["", "n/a", "ada@contoso.test"]
    file, target = tmp_path / "invited.csv", tmp_path / "members.csv"

    def dag(query: str) -> DAG:
        with DAG(dag_id, schedule=None, params={"file": str(file), "target": str(target)}) as dag:
            create = CijCreateSegmentOperator(
                task_id="create",
                display_name="VIP {{ dag.dag_id }}",
                query=query,
                groups=["Invited", MemberGroup("Staff", include=False)],
            )
            segment_id = create.output["segment_id"]
            add = CijAddSegmentMembersOperator(
                task_id="add",
                segment_id=segment_id,
                group="Invited",
                members=FromFile("{{ params.file }}", "{{ 'contactid' }}"),
                max_invalid="{{ 3 }}",
            )
            out = CijAddSegmentMembersOperator(task_id="out", segment_id=segment_id, group="Staff", members=staff)
            publish = CijPublishSegmentOperator(
                task_id="publish", segment_id=segment_id, deferrable=True, poll_interval=0.2
            )
            export = CijExportSegmentMembersOperator(
                task_id="export", segment_id=segment_id, path="{{ params.target }}"
            )
            [add, out] >> publish >> export
        return dag

    def write(values) -> None:
        with file.open("w", newline="") as opened:
            csv.writer(opened).writerows(
                [["name", "contactid"], *([f"No. {n}", value] for n, value in enumerate(values))]
            )

    write(rows)
    ran = run_dag(dag("PROFILE(contact).FILTER(creditlimit >= 18000)"))
    assert set(ran.states.values()) == {"success"}
    expected = (set(_contacts("creditlimit ge 18000")) | set(invited)) - set(staff)
    assert sorted(_exported(target)) == sorted(expected)
    made = ran.result("create")
    assert made["created"] is True
    assert list(made["groups"]) == ["Invited", "Staff"]
    report = ran.result("add")
    assert (report["read"], report["invalid"], report["duplicate"]) == (623, 3, 20)
    assert (report["added"], report["batches"]) == (600, 1)
    assert ran.result("publish") == {
        "segment_id": made["segment_id"],
        "status": "live",
        "member_count": len(expected),
    }
    assert ran.result("export") == {"count": len(expected), "path": str(target)}
    link = f"{cij_sandbox.base_url}/main.aspx?etn=msdynmkt_segment&pagetype=entityrecord&id={made['segment_id']}"
    assert {xcoms[LINK] for xcoms in ran.xcoms.values()} == {link}

    more = chance.sample(everybody, 100)
    write(more)
    ran = run_dag(dag("PROFILE(contact).FILTER(creditlimit >= 19000)"))
    again = ran.result("create")
    assert (again["created"], again["changed"], again["segment_id"]) == (False, True, made["segment_id"])
    expected = (set(_contacts("creditlimit ge 19000")) | set(invited) | set(more)) - set(staff)
    assert sorted(_exported(target)) == sorted(expected)
    assert ran.result("publish")["member_count"] == len(expected)


def test_members_from_another_task(dag_id, tmp_path):
    """Members may come from XCom, also as rows of one column; the UI shows their number only."""
    people = [str(uuid.uuid4()) for _ in range(30)]
    with DAG(dag_id, schedule=None) as dag:

        @task
        def rows():
            return [[member] for member in people]

        create = CijCreateSegmentOperator(task_id="create", display_name="X", groups=["in"])
        add = CijAddSegmentMembersOperator(
            task_id="add", segment_id=create.output["segment_id"], group="in", members=rows()
        )
        export = CijExportSegmentMembersOperator(
            task_id="export",
            segment_id=create.output["segment_id"],
            group="in",
            path=str(tmp_path / "out.csv"),
        )
        create >> add >> export
    ran = run_dag(dag)
    assert ran.result("add")["added"] == 30
    assert sorted(_exported(tmp_path / "out.csv")) == sorted(people)
    assert ran.rendered["add"]["members"] == "30 values"
    assert people[0] not in json.dumps([ran.rendered, {name: x for name, x in ran.xcoms.items() if name != "rows"}])


def test_empty_lists_are_warned_about(dag_id, capfd, tmp_path):
    """An empty list, and an export of a segment without evaluation, are logged as warnings."""
    target = tmp_path / "out.csv"
    with DAG(dag_id, schedule=None) as dag:
        create = CijCreateSegmentOperator(task_id="create", display_name="X", groups=["in"])
        segment_id = create.output["segment_id"]
        add = CijAddSegmentMembersOperator(task_id="add", segment_id=segment_id, group="in", members=[], on_empty="ok")
        add >> CijExportSegmentMembersOperator(
            task_id="export", segment_id=segment_id, path=str(target), max_missing=None
        )
    ran = run_dag(dag)
    assert (ran.result("add")["added"], ran.result("export")["count"], _exported(target)) == (0, 0, [])
    log = capfd.readouterr().out
    assert re.search(r"warning\W.*There is not a single row", log)
    assert re.search(r"warning\W.*Segment 'X' \(\S+\) is draft: these are the members of its last evaluation", log)


def test_mapped_tasks_have_segments_and_links_of_their_own(cij_sandbox, dag_id):
    """Mapped tasks with keys have segments and links of their own."""
    with DAG(dag_id, schedule=None) as dag:
        create = CijCreateSegmentOperator.partial(task_id="create", groups=["in"]).expand_kwargs(
            [{"display_name": name, "key": f"{dag_id}.{name}"} for name in ("A", "B")]
        )
        CijAddSegmentMembersOperator.partial(task_id="add", group="in", members=[str(uuid.uuid4())]).expand(
            segment_id=create.output.map(lambda made: made["segment_id"])
        )
    ran = run_dag(dag)
    assert set(ran.states.values()) == {"success"}
    ids = [ran.result(f"create[{index}]")["segment_id"] for index in range(2)]
    assert ids[0] != ids[1]
    for index, segment_id in enumerate(ids):
        assert ran.xcoms[f"create[{index}]"][LINK].endswith(f"id={segment_id}")
        assert ran.xcoms[f"add[{index}]"][LINK].endswith(f"id={segment_id}")
        assert ran.rendered[f"add[{index}]"]["members"] == "1 values"


@pytest.fixture
def add(scripted, monkeypatch, dag_id, tmp_path):
    """Return a function that runs the add operator against a server that must get no write."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())

    def run(**arguments):
        with DAG(dag_id, schedule=None) as dag:
            CijAddSegmentMembersOperator(
                **({"task_id": "add", "segment_id": str(uuid.uuid4()), "group": "g", "retries": 2} | arguments)
            )
        ran = run_dag(dag)
        assert ran.states == {"add": "failed"}
        # Segment and groups are read while the list is.
        assert {request.method for request in scripted.requests} <= {"GET"}

    return run


GOOD = str(uuid.UUID(int=1))


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (None, {}, "members.csv' can't be opened"),
        ("a,b\n1,2\n", {}, "there is no column 'contactid'. Its columns: 'a', 'b'"),
        (f"contactid\n{GOOD}\nx\n\ny\n", {"max_invalid": 1}, "The first are on lines 3, 5. Nothing was sent."),
        (
            "contactid\nx\n",
            {},
            "None of the first 1 rows holds any id, more than max_invalid=0.",
        ),
        (
            "contactid\n" + "".join(f"{uuid.UUID(int=n)}\n" for n in range(200_001)),
            {},
            "200,001 different ids; a group",
        ),
        (None, {"members": "{{ 'nonsense' }}"}, "members is a str. Give a list of ids"),
    ],
)
def test_invalid_input_is_refused_before_anything_is_sent(add, capfd, tmp_path, content, arguments, message):
    """Invalid input fails the task without a retry and without a write."""
    path = tmp_path / "members.csv"
    if content is not None:
        path.write_text(content)
    add(**({"members": FromFile(str(path), "contactid")} | arguments))
    assert message in capfd.readouterr().out


def test_a_missing_tenant_is_named(scripted, add, capfd, monkeypatch):
    """A connection without a tenant id fails the task without a retry and names the field."""
    connection = json.loads(scripted.connection())
    del connection["extra"]["tenant_id"]
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", json.dumps(connection))
    add(members=[GOOD])
    assert "The connection lacks the tenant id" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query": "PROFILE(contact"}, "its query has 1 '(' never closed"),
        ({"groups": "{{ 'Invited' }}"}, "groups is 'Invited'. Give a list of names"),
        ({"groups": [{"name": "x"}]}, "groups is [{'name': 'x'}]. Give a list of names"),
        ({}, "has neither a query nor a group"),
        ({"query": "PROFILE(contact)", "if_exists": "{{ 'replace' }}"}, "if_exists is 'replace'"),
    ],
)
def test_an_invalid_segment_is_refused(dag_id, capfd, arguments, message):
    """An invalid segment fails the task with the reason."""
    with DAG(dag_id, schedule=None) as dag:
        CijCreateSegmentOperator(task_id="create", display_name="X", retries=2, **arguments)
    assert run_dag(dag).states == {"create": "failed"}
    assert message in capfd.readouterr().out


@pytest.mark.parametrize(
    ("path", "message"),
    [("nowhere/out.csv", "there is no folder"), (".", "can't be written"), ("s3://bucket/out.csv", "s3")],
)
def test_an_export_to_an_unwritable_path_fails(dag_id, capfd, tmp_path, monkeypatch, path, message):
    """An export to a path that cannot be written fails the task and creates nothing."""
    monkeypatch.chdir(tmp_path)
    with DAG(dag_id, schedule=None) as dag:
        CijExportSegmentMembersOperator(task_id="export", segment_id=GOOD, path=path)
    assert run_dag(dag).states == {"export": "failed"}
    assert message in capfd.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_old_file(dag_id, tmp_path):
    """A failed export leaves the old file unchanged and no other file."""
    target = tmp_path / "out.csv"
    target.write_text("old")
    with DAG(dag_id, schedule=None) as dag:
        CijExportSegmentMembersOperator(task_id="export", segment_id=GOOD, path=str(target))
    assert run_dag(dag).states == {"export": "failed"}
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert target.read_text() == "old"
