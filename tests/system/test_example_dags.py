"""What example DAGs do to an organisation, run after run, in Airflow's ``dag.test()``."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cij_sandbox.testing import Sandbox, running_sandbox

from airflow_provider_cij.api.outbound.segments import OutboundSegmentSpec
from airflow_provider_cij.api.outbound.wait import OutboundWait
from airflow_provider_cij.api.wait import wait_until
from airflow_provider_cij.hooks.cij import Cij, CijHook

EXAMPLES = Path(__file__).parents[2] / "example_dags"


@pytest.fixture(scope="module")
def cij_sandbox() -> Iterator[Sandbox]:
    """Run a sandbox whose people no other test changes."""
    with running_sandbox("--contacts", "2000", "--compute-seconds", "0.1") as running:
        yield running


@pytest.fixture
def cij_dags_folder() -> Path:
    """Return the folder of the examples."""
    return EXAMPLES


class Run:
    """One run of an example."""

    def __init__(self, run: Any) -> None:
        self.tasks = {task.task_id: task for task in run.get_task_instances()}
        self.states = {task_id: str(task.state) for task_id, task in self.tasks.items()}

    def result(self, task_id: str) -> Any:
        """Return what a task returned."""
        return self.tasks[task_id].xcom_pull(task_ids=task_id)


@pytest.fixture
def run(cij_airflow) -> Callable[..., Run]:
    """Return a function that runs an example with parameters."""

    def run(dag_id: str, **parameters: Any) -> Run:
        return Run(cij_airflow.dag(dag_id).test(run_conf=parameters))

    return run


@pytest.fixture
def warehouse(cij_airflow, tmp_path, monkeypatch) -> Callable[[str, str, Iterable[tuple]], None]:
    """Provide Airflow with a database, and return a function that fills a table of it."""
    path = tmp_path / "warehouse.db"
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(path)}))

    def fill(table: str, columns: str, rows: Iterable[tuple]) -> None:
        with closing(sqlite3.connect(path)) as database, database:
            database.execute(f"DROP TABLE IF EXISTS {table}")
            database.execute(f"CREATE TABLE {table} ({columns})")
            places = ", ".join("?" for _ in columns.split(","))
            database.executemany(f"INSERT INTO {table} VALUES ({places})", rows)  # noqa: S608

    return fill


def _extras(dag_id: str) -> list[dict[str, Any]]:
    """Return what the asset events of a DAG hold, the oldest first."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session

    with create_session() as session:
        found = session.query(AssetEvent, AssetModel.uri).join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        return [
            event.extra
            for event, uri in found.filter(AssetEvent.source_dag_id == dag_id).order_by(AssetEvent.id)
            if not uri.startswith("cij://")
        ]


def _tables_with(text: str) -> list[str]:
    """Return the tables of Airflow's database that hold a text."""
    from airflow import settings

    with closing(sqlite3.connect(settings.engine.url.database)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [name for name in names if text in repr(database.execute(f'SELECT * FROM "{name}"').fetchall())]  # noqa: S608


def test_the_weekly_refresh_runs_twice(run, warehouse, capfd):
    """Two runs mirror a database into a group, evaluate anew and put the counts into the asset event."""
    people = [str(uuid.UUID(int=number)) for number in range(1, 2501)]
    dag_id = "cij_weekly_refresh"

    def fill(audience: list[str]) -> None:
        rows = [*((member, 0) for member in audience), (str(uuid.uuid4()), 1)]
        warehouse("newsletter_audience", "contact_id, unsubscribed", rows)

    fill(people[:2000])
    first = run(dag_id)
    fill(people[200:2500])
    second = run(dag_id)
    assert {*first.states.values(), *second.states.values()} == {"success"}
    report = second.result("mirror_members")
    assert (report["added"], report["removed"], report["unchanged"]) == (500, 200, 1800)
    before, after = (one.result("refresh_segment") for one in (first, second))
    assert (before["member_count"], after["member_count"]) == (2000, 2300)
    assert before["evaluated_at"] < after["evaluated_at"]
    assert _extras(dag_id)[-1] == {**after, **report}

    # Half of the audience is missing: that is a broken list, and no member is removed.
    fill(people[:1000])
    capfd.readouterr()
    third = run(dag_id)
    assert (third.states["mirror_members"], third.states["refresh_segment"]) == ("failed", "upstream_failed")
    assert "would be removed, more than max_removals='20%'" in capfd.readouterr().out
    # A member count out of bounds ends the job before any notification.
    fill(people[200:2500])
    assert run(dag_id, most=100).states["check_and_announce"] == "failed"
    assert len(_extras(dag_id)) == 2


def test_the_warehouse_audience_runs_twice(run, warehouse, tmp_path, capfd):
    """People of a database become contacts with consent, and those who may be mailed become members, twice."""
    dag_id = "cij_warehouse_audience"
    # The first 200 are contacts already, by their customer number.
    people: list[tuple] = [
        (
            *(f"C{n:07d}" if n < 200 else f"W{n:07d}", "Ada", f"Warehouse {n}", f"w{n}@warehouse.example", "DK"),
            *("Contoso", "opted_out" if n >= 1450 else "opted_in", "2026-11-01T09:00:00+00:00"),
        )
        for n in range(1500)
    ]
    people.append(("", "No", "Number", "", "", "", None, None))
    columns = "customer_no, first_name, last_name, email, country, company, consent, given_at"
    warehouse("audience", columns, people)
    first = run(dag_id, folder=tmp_path.as_uri())
    assert set(first.states.values()) == {"success"}
    report = first.result("upsert_contacts")
    assert {name: report[name] for name in ("read", "invalid", "created", "updated", "failed")} == {
        "read": 1501,
        "invalid": 1,
        "created": 1300,
        "updated": 200,
        "failed": 0,
    }
    assert first.result("refresh_segment")["member_count"] == 1450
    (left_out,) = tmp_path.glob("left_out_*.csv")
    lines = left_out.read_text().splitlines()[1:]
    assert [line.partition(",")[2] for line in lines] == ["opted_out"] * 50
    (rejects,) = tmp_path.glob("rejects_*.csv")
    assert rejects.read_text().splitlines()[1:] == ['1501,"new_customerno: empty, and the key needs it"']
    renamed = [(*row[:2], "Renamed", *row[3:]) if n % 100 == 0 else row for n, row in enumerate(people[10:])]
    warehouse("audience", columns, renamed)
    second = run(dag_id, folder=tmp_path.as_uri())
    assert set(second.states.values()) == {"success"}
    report = second.result("upsert_contacts")
    assert (report["created"], report["updated"], report["unchanged"]) == (0, 15, 1475)
    assert second.result("mirror_members")["removed"] == 10
    assert second.result("refresh_segment")["member_count"] == 1440
    query = "contacts?$select=new_customerno&$filter=lastname eq 'Renamed'"
    assert len(CijHook().run(lambda cij: cij.dataverse.rows(query))) == 15
    captured = capfd.readouterr()
    assert "warehouse.example" not in captured.out + captured.err
    assert _tables_with("warehouse.example") == []


def test_an_outbound_segment_is_moved(run, tmp_path):
    """An outbound segment becomes a real-time one with the same members, and a second run changes nothing."""

    async def outbound(cij: Cij) -> tuple[str, list[str]]:
        pages = cij.dataverse.pages("contacts?$select=contactid&$filter=creditlimit ge 18000")
        people = [row["contactid"] async for page in pages for row in page]
        spec = OutboundSegmentSpec(
            key="test.outbound", display_name="Outbound", segment_type="static", member_ids=tuple(people)
        )
        row_id = (await cij.outbound.segments.create(spec, publish=True)).row_id
        soon = {"first_after": 0.5, "poll_interval": 0.5, "deadline": time.time() + 60}
        await wait_until(OutboundWait("segment", row_id), cij, **soon)
        return row_id, people

    row_id, people = CijHook().run(outbound)
    for added in (len(people), 0):
        moved = run("cij_move_outbound_segment", outbound_segment_id=row_id, folder=tmp_path.as_uri())
        assert set(moved.states.values()) == {"success"}
        assert moved.result("mirror_members")["added"] == added
        assert moved.result("publish")["member_count"] == len(people)


def test_a_trigger_is_raised_once_for_each_person(run, cij_sandbox, tmp_path):
    """Each person in the file is raised once, also when listed twice."""
    people = [str(uuid.UUID(int=number)) for number in range(1, 101)]
    path = tmp_path / "carts.csv"
    path.write_text("\n".join(["contactid", *people, people[0].upper()]))
    cij_sandbox.add_trigger("msdynmkt_cartabandoned", msdynmkt_carturl="string")
    raised = run("cij_raise_trigger", people_file=str(path), unclear_folder=tmp_path.as_uri())
    assert raised.states == {"raise_cart_abandoned": "success"}
    report = raised.result("raise_cart_abandoned")
    assert (report["read"], report["duplicate"], report["raised"], report["unclear"]) == (101, 1, 100, 0)
    assert sorted(event["profile_id"] for event in cij_sandbox.events()) == people
