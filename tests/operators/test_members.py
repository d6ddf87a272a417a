"""Operators that add, remove, mirror, match and export members, against the sandbox."""

from __future__ import annotations

import csv
import json
import sqlite3
import uuid

import pyarrow.parquet
import pytest
from airflow.sdk import DAG

from airflow_provider_cij.api.segments.models import MemberGroup
from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.operators.members import (
    CijAddSegmentMembersOperator,
    CijExportSegmentMembersOperator,
    CijMirrorSegmentMembersOperator,
    CijRemoveSegmentMembersOperator,
)
from airflow_provider_cij.sources import FromDataverse, FromFile, FromSql
from airflow_provider_cij.version_compat import TAKES_RETRY_POLICY
from tests.dags import run_dag
from tests.member_ids import id_set

PEOPLE = [str(uuid.UUID(int=number)) for number in range(1, 200)]


@pytest.fixture
def segment(cij_sandbox, monkeypatch):
    """Create a segment with groups and return its id and a function that reads a group."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", cij_sandbox.airflow_conn_uri)
    spec = SegmentSpec(f"test.{uuid.uuid4()}", "Test", groups=(MemberGroup("in"), MemberGroup("more")))
    made = CijHook().run(lambda cij: cij.segments.create(spec))

    async def read(cij, name: str) -> list[str]:
        pages = cij.members.of_group(spec.segment_id, made.groups[name])
        return sorted([member async for page in pages for member in page])

    return spec.segment_id, lambda name: CijHook().run(lambda cij: read(cij, name))


@pytest.fixture
def run(dag_id, segment):
    """Return a function that runs one operator and returns its state, its report and the finished run."""

    def run_operator(kind, **arguments):
        with DAG(dag_id, schedule=None) as dag:
            kind(**({"task_id": "t", "segment_id": segment[0], "group": "in"} | arguments))
        ran = run_dag(dag)
        report = ran.result("t") if ran.states["t"] == "success" else {}
        return ran.states["t"], {name: count for name, count in report.items() if count}, ran

    return run_operator


def test_members_are_removed(run, segment):
    """Listed members are removed from each given group, and ids that are in no group are no error."""
    run(CijAddSegmentMembersOperator, members=PEOPLE[:50])
    run(CijAddSegmentMembersOperator, members=PEOPLE[:50], group="more")
    state, report, _ = run(CijRemoveSegmentMembersOperator, members=PEOPLE[40:60], group=["in", "more"])
    assert (state, report) == ("success", {"read": 20, "removed": 20, "batches": 2})
    assert segment[1]("in") == segment[1]("more") == PEOPLE[:40]


@pytest.mark.skipif(not TAKES_RETRY_POLICY, reason="the task state store came with Airflow 3.3")
@pytest.mark.parametrize("same", [True, False], ids=["same organisation", "another organisation"])
@pytest.mark.parametrize(
    ("kind", "action"), [(CijAddSegmentMembersOperator, "add"), (CijRemoveSegmentMembersOperator, "remove")]
)
def test_a_checkpoint_counts_for_its_own_organisation(run, segment, cij_sandbox, monkeypatch, kind, action, same):
    """A try skips the calls that an earlier one has done, unless that had another organisation's connection."""

    async def group_of(cij):
        return (await cij.segments.group(await cij.segments.get(segment[0]), "in")).group_id

    address = cij_sandbox.base_url if same else "https://other.crm4.dynamics.com"
    job = f"{address} {action} {segment[0]} {CijHook().run(group_of)} {id_set(PEOPLE).digest()}"
    execute = kind.execute

    def after_an_earlier_try(self, context):
        context["task_state_store"].set("cij_cursor", {"job": job, "done": 1})
        return execute(self, context)

    monkeypatch.setattr(kind, "execute", after_an_earlier_try)
    state, report, _ = run(kind, members=PEOPLE)
    assert (state, report.get("resumed_from", 0), report.get("batches", 0)) == (
        ("success", len(PEOPLE), 0) if same else ("success", 0, 1)
    )


def test_members_in_another_group_are_not_added_again(run, segment):
    """A member of one of several groups is not added to another."""
    run(CijAddSegmentMembersOperator, members=PEOPLE[:10], group="more")
    state, report, _ = run(CijAddSegmentMembersOperator, members=PEOPLE[5:20], group=["in", "more"])
    assert (state, report) == ("success", {"read": 15, "added": 10, "unchanged": 5, "batches": 1})
    assert (segment[1]("in"), segment[1]("more")) == (PEOPLE[10:20], PEOPLE[:10])


def test_a_mirrored_group_equals_the_list(run, segment, capfd):
    """A dry run reports the changes, a mirror makes them, and a second mirror has nothing to do."""
    run(CijAddSegmentMembersOperator, members=PEOPLE[:100])
    mirror = {"members": PEOPLE[10:130]}
    planned = {"read": 120, "added": 30, "removed": 10, "unchanged": 90}
    assert run(CijMirrorSegmentMembersOperator, **mirror, dry_run=True)[:2] == ("success", planned)
    assert segment[1]("in") == PEOPLE[:100]
    assert "100 members are there: 90 stay, 10 will be removed, 30 will be added" in capfd.readouterr().out
    assert run(CijMirrorSegmentMembersOperator, **mirror)[:2] == ("success", planned | {"batches": 2})
    assert segment[1]("in") == PEOPLE[10:130]
    assert run(CijMirrorSegmentMembersOperator, **mirror)[:2] == ("success", {"read": 120, "unchanged": 120})


def test_more_removals_than_allowed_remove_no_member(run, segment, capfd):
    """A list that would remove more than ``max_removals`` fails the task and removes no member."""
    run(CijAddSegmentMembersOperator, members=PEOPLE[:100])
    for members in (PEOPLE[:79], []):
        assert run(CijMirrorSegmentMembersOperator, members=members, on_empty="ok", retries=2)[0] == "failed"
        assert segment[1]("in") == PEOPLE[:100]
    out = capfd.readouterr().out
    assert "21 of 100 members (21%) are not in the list and would be removed, more than max_removals='20%'." in out
    assert "100 of 100 members (100%)" in out
    state, report, _ = run(CijMirrorSegmentMembersOperator, members=PEOPLE[:79], max_removals=0.21)
    assert (state, report["removed"]) == ("success", 21)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_removals": "{{ 1.5 }}"}, "max_removals is '1.5', which is no bound."),
        ({"group": []}, "group is []"),
        ({"not_found_path": "x.csv"}, "not_found_path is given without match_on"),
        ({"match_on": "emailaddress1", "not_found_path": "nowhere/x.csv"}, "there is no folder 'nowhere'"),
        ({"rejects_path": "nowhere/x.csv"}, "there is no folder 'nowhere'"),
        ({"match_on": "{{ 'e-mail' }}"}, "match_on is 'e-mail'. Give a column's logical name"),
        ({"match_on": "emailadress"}, "emailadress"),
        ({"group": "nobody"}, "has no group 'nobody'. Its groups: 'in', 'more'."),
    ],
)
def test_invalid_arguments_fail_without_a_retry(run, capfd, arguments, message):
    """Invalid arguments fail the task with the reason and without a retry."""
    assert run(CijMirrorSegmentMembersOperator, **({"members": PEOPLE[:1], "retries": 2} | arguments))[0] == "failed"
    assert message in capfd.readouterr().out


def _contacts() -> list[dict]:
    """Return the organisation's own contacts with an address, not those that other tests made."""

    async def read(cij):
        path = "contacts?$select=contactid,emailaddress1&$filter=endswith(emailaddress1,'@contoso.com')"
        return [row async for page in cij.dataverse.pages(path) for row in page]

    return CijHook().run(read)


def test_members_are_matched_by_email(run, segment, tmp_path):
    """Addresses match in any casing, and those without a match are in the file and nowhere else."""
    contacts = _contacts()
    addresses = {row["emailaddress1"].lower() for row in contacts[:300]}
    expected = sorted(row["contactid"] for row in contacts if row["emailaddress1"].lower() in addresses)
    source, missing = tmp_path / "addresses.csv", tmp_path / "missing.csv"
    rows = [row["emailaddress1"].upper() for row in contacts[:300]]
    rows += [contacts[0]["emailaddress1"], "", "nobody@nowhere.test", "O'Brien' or 1 eq 1"]
    with source.open("w", newline="") as file:
        csv.writer(file).writerows([["e-mail", "name"], *([row, "x"] for row in rows)])
    state, report, ran = run(
        CijAddSegmentMembersOperator,
        members=FromFile(str(source), "e-mail"),
        match_on="emailaddress1",
        not_found_path=str(missing),
        max_invalid=1,
        max_not_found=2,
    )
    assert state == "success"
    assert segment[1]("in") == expected
    assert report == {
        "read": 304,
        "invalid": 1,
        "duplicate": 304 - 1 - 2 - len(addresses),
        "not_found": 2,
        "added": len(expected),
        "batches": 1,
    }
    with missing.open(newline="") as file:
        header, *found = csv.reader(file)
    assert header == ["line", "emailaddress1"]
    assert sorted(found) == [["304", "nobody@nowhere.test"], ["305", "O'Brien' or 1 eq 1"]]
    assert "@" not in json.dumps([ran.xcoms, ran.rendered])


@pytest.mark.parametrize("max_invalid", [0, 3])
def test_rejected_rows_are_in_their_file_alone(run, segment, capfd, tmp_path, max_invalid):
    """Rows without an id are in the file with line, reason and value, also when the task fails, and not in the log."""
    source, rejects = tmp_path / "in.csv", tmp_path / "rejects.csv"
    source.write_text("\n".join(["contactid,name", f"{PEOPLE[0]},x", "ada@x.test,x", ",x", "Lovelace,x"]))
    state, report, ran = run(
        CijAddSegmentMembersOperator,
        members=FromFile(str(source), "contactid"),
        max_invalid=max_invalid,
        rejects_path="{{ '" + str(rejects) + "' }}",
    )
    assert state == ("success" if max_invalid else "failed")
    assert report == ({"read": 4, "invalid": 3, "added": 1, "batches": 1} if max_invalid else {})
    assert segment[1]("in") == (PEOPLE[:1] if max_invalid else [])
    with rejects.open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["line", "reason", "value"],
            ["3", "it looks like an e-mail address", "ada@x.test"],
            ["4", "it is empty", ""],
            ["5", "8 characters that are no id", "Lovelace"],
        ]
    captured = capfd.readouterr()
    for value in ("ada@x.test", "Lovelace"):
        assert value not in captured.out + captured.err + json.dumps([ran.xcoms, ran.rendered])


def test_rejected_rows_of_a_matched_list_are_in_their_file(run, tmp_path):
    """A list that is matched has one file of rows without a value, and one of values that match nobody."""
    rejects, missing = tmp_path / "rejects.parquet", tmp_path / "missing.csv"
    paths = {"rejects_path": str(rejects), "not_found_path": str(missing)}
    members = ["nobody@x.test", None, "none@x.test"]
    state, *_ = run(CijAddSegmentMembersOperator, members=members, match_on="emailaddress1", **paths)
    assert state == "failed"
    assert pyarrow.parquet.read_table(rejects).to_pylist() == [{"line": "2", "reason": "it is empty", "value": ""}]
    assert len(missing.read_text().splitlines()) == 3


def test_the_log_holds_no_address(run, capfd, tmp_path):
    """Neither matched nor unmatched addresses are in the log."""
    contacts = _contacts()
    members = [contacts[0]["emailaddress1"], "nobody@nowhere.test"]
    run(CijAddSegmentMembersOperator, members=members, match_on="emailaddress1", max_not_found=1)
    captured = capfd.readouterr()
    for address in members:
        assert address not in captured.out + captured.err


def test_members_from_a_database(run, segment, tmp_path, monkeypatch):
    """Members are read by a templated query from an Airflow SQL connection."""
    path = tmp_path / "warehouse.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE audience (id TEXT, country TEXT)")
        database.executemany(
            "INSERT INTO audience VALUES (?, ?)", [(member, "DK") for member in PEOPLE[:50]] + [("", "SE")]
        )
    database.close()
    connection = {"conn_type": "sqlite", "host": str(path)}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(connection))
    sql = "SELECT id FROM audience WHERE country = '{{ 'DK' }}'"
    state, report, _ = run(CijMirrorSegmentMembersOperator, members=FromSql(sql, "warehouse"))
    assert (state, report) == ("success", {"read": 50, "added": 50, "batches": 1})
    assert segment[1]("in") == PEOPLE[:50]


def test_members_from_dataverse(run, segment):
    """Members are read from the organisation by a templated filter."""
    state, _, _ = run(
        CijAddSegmentMembersOperator, members=FromDataverse("contact", "creditlimit ge {{ 9000 + 9000 }}")
    )
    assert state == "success"

    async def found(cij):
        path = "contacts?$select=contactid&$filter=creditlimit ge 18000"
        return sorted([row["contactid"] async for page in cij.dataverse.pages(path) for row in page])

    assert segment[1]("in") == CijHook().run(found)


def test_a_group_is_exported_as_parquet(run, tmp_path):
    """A path that ends in .parquet exports a Parquet file."""
    parquet = pytest.importorskip("pyarrow.parquet")
    run(CijAddSegmentMembersOperator, members=PEOPLE[:30])
    target = tmp_path / "out.parquet"
    with DAG(f"d{uuid.uuid4().hex}", schedule=None):
        pass
    state, report, _ = run(CijExportSegmentMembersOperator, path=str(target))
    assert (state, report["count"]) == ("success", 30)
    assert sorted(parquet.read_table(target).column("contactid").to_pylist()) == PEOPLE[:30]
