"""A running Airflow (API server, scheduler, triggerer, DAG processor), driven over REST."""

from __future__ import annotations

import re
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from importlib import metadata
from pathlib import Path

import pytest
from cij_sandbox.testing import Sandbox, running_sandbox

from airflow_provider_cij.api.outbound.segments import OutboundSegmentSpec
from airflow_provider_cij.api.outbound.wait import OutboundWait
from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.api.segments.wait import SegmentWait
from airflow_provider_cij.api.wait import wait_until
from airflow_provider_cij.hooks.cij import Cij, CijHook
from demo.audience import write_audience
from demo.stack import Stack

ROOT = Path(__file__).parents[3]
DAG_ID = "cij_vip_segment"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Run a sandbox in which a publish takes long enough to be observed."""
    with running_sandbox("--contacts", "3000", "--compute-seconds", "4") as running:
        yield running


@pytest.fixture(scope="module")
def airflow(sandbox, tmp_path_factory) -> Iterator[Stack]:
    """Run Airflow with the example DAGs and a stored connection."""
    with Stack(tmp_path_factory.mktemp("stack") / "airflow", ROOT / "example_dags") as stack:
        stack.add_connection("cij_default", sandbox.airflow_conn_uri)
        yield stack


def _link(airflow: Stack, run_id: str, task_id: str) -> str:
    links = airflow.rest("GET", f"dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{task_id}/links")["extra_links"]
    return links["Segment in Dynamics 365"]


def test_the_example_dags_run(airflow, sandbox, tmp_path):
    """The main example runs with a real deferral and links, and so does the one that waits for its segment."""
    audience = write_audience(sandbox.airflow_conn_uri, tmp_path)
    airflow.wait_for_dag(DAG_ID)
    run_id = airflow.trigger(DAG_ID, audience.parameters)
    seen = []
    for task in airflow.watch(DAG_ID, run_id):
        seen.append((task["task_id"], task["state"]))
        if seen[-1] == ("publish", "deferred"):
            link_while_deferred = _link(airflow, run_id, "publish")
    assert ("publish", "deferred") in seen
    assert {task["task_id"]: task["state"] for task in airflow.tasks(DAG_ID, run_id)} == dict.fromkeys(
        ("create_segment", "add_invited", "keep_staff_out", "publish", "export_members"), "success"
    )

    exported = set(Path(audience.parameters["export_file"]).read_text().split()[1:])
    assert exported == (audience.found | audience.invited) - audience.staff
    segment_id = airflow.result(DAG_ID, run_id, "create_segment")["segment_id"]
    assert airflow.result(DAG_ID, run_id, "publish") == {
        "segment_id": segment_id,
        "status": "live",
        "member_count": len(exported),
    }
    report = airflow.result(DAG_ID, run_id, "add_invited")
    invited = len(audience.invited)  # other tests may have made more contacts
    assert (report["invalid"], report["duplicate"], report["added"]) == (25, 60, invited)

    address = f"{sandbox.base_url}/main.aspx?etn=msdynmkt_segment&pagetype=entityrecord&id={segment_id}"
    assert link_while_deferred == _link(airflow, run_id, "publish") == _link(airflow, run_id, "add_invited") == address
    log = airflow.log(DAG_ID, run_id, "add_invited")
    batches = -(-invited // 1000)
    for words in (
        f"::group::Add {invited:,} members to group 'Invited'",
        f"Batch {batches} of {batches}: {invited:,} members sent",
        "::endgroup::",
    ):
        assert words in log
    # State changes rather than every poll.
    changes = rf'"event": "Segment [^"]*\({segment_id}\) is live'
    assert len(re.findall(changes, airflow.log(DAG_ID, run_id, "publish"))) == 2

    # Neither the client secret nor a person is left in Airflow.
    assert _places_with(airflow, segment_id)
    assert _places_with(airflow, sandbox.client_secret, *list(exported)[:5]) == []

    parameters = {"segment_id": segment_id, "export_file": str(tmp_path / "again.csv")}
    run_id = airflow.trigger("cij_wait_for_segment", parameters)
    assert all(task["state"] != "failed" for task in airflow.watch("cij_wait_for_segment", run_id))
    assert set((tmp_path / "again.csv").read_text().split()[1:]) == exported


@pytest.mark.parametrize("answer", ["Approve", "Reject"])
def test_a_journey_needs_approval(airflow, sandbox, monkeypatch, answer):
    """The approval shows the number of members, and without it no journey is created."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", sandbox.airflow_conn_uri)
    parameters = CijHook().run(_journey_parts)
    airflow.wait_for_dag("cij_approved_journey")
    run_id = airflow.trigger("cij_approved_journey", parameters)
    answered = False
    for task in airflow.watch("cij_approved_journey", run_id):
        assert task["state"] != "failed", airflow.log("cij_approved_journey", run_id, task["task_id"])
        if task["task_id"] == "approve" and task["state"] in ("awaiting_input", "deferred") and not answered:
            path = f"dags/cij_approved_journey/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"
            question = airflow.rest("GET", path)
            count = airflow.result("cij_approved_journey", run_id, "refresh_segment")["member_count"]
            assert question["subject"] == f"Send the newsletter to {count} people?"
            airflow.rest("PATCH", path, json={"chosen_options": [answer], "params_input": {}})
            answered = True
    assert answered
    name = f"Newsletter {run_id}".replace("+", "%2B")
    path = f"msdynmkt_journeys?$filter=msdynmkt_name eq '{name}'"
    journeys = CijHook().run(lambda cij: cij.dataverse.get(path))["value"]
    assert [row["statuscode"] for row in journeys] == ([2] if answer == "Approve" else [])


async def _journey_parts(cij: Cij) -> dict[str, str]:
    made = await cij.segments.create(SegmentSpec("test.approved", "Readers", "PROFILE(contact)"))
    await cij.segments.publish(made.segment_id)
    await wait_until(SegmentWait(made.segment_id), cij, poll_interval=0.5, deadline=time.time() + 60)
    found = await cij.dataverse.get("msdynmkt_journeytemplates?$filter=msdynmkt_name eq 'One e-mail to a segment'")
    (template,) = found["value"]
    return {"segment_id": made.segment_id, "template_id": template["msdynmkt_journeytemplateid"]}


def test_an_outbound_segment_is_moved(airflow, sandbox, monkeypatch, tmp_path):
    """An outbound segment becomes a real-time one with the same members, and a second run changes nothing."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", sandbox.airflow_conn_uri)
    dag_id = "cij_move_outbound_segment"

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
    airflow.wait_for_dag(dag_id)
    parameters = {"outbound_segment_id": row_id, "folder": tmp_path.as_uri()}
    for added in (len(people), 0):
        run_id = airflow.trigger(dag_id, parameters)
        assert set(_states(airflow, dag_id, run_id).values()) == {"success"}
        assert airflow.result(dag_id, run_id, "mirror_members")["added"] == added
        assert airflow.result(dag_id, run_id, "publish")["member_count"] == len(people)


def test_a_trigger_is_raised_once_for_each_person(airflow, sandbox, tmp_path):
    """Each person in the file is raised once, also when listed twice."""
    people = [str(uuid.UUID(int=number)) for number in range(1, 101)]
    path = tmp_path / "carts.csv"
    path.write_text("\n".join(["contactid", *people, people[0].upper()]))
    sandbox.add_trigger("msdynmkt_cartabandoned", msdynmkt_carturl="string")
    airflow.wait_for_dag("cij_raise_trigger")
    parameters = {"people_file": str(path), "unclear_folder": tmp_path.as_uri()}
    run_id = airflow.trigger("cij_raise_trigger", parameters)
    assert _states(airflow, "cij_raise_trigger", run_id) == {"raise_cart_abandoned": "success"}
    report = airflow.result("cij_raise_trigger", run_id, "raise_cart_abandoned")
    assert (report["read"], report["duplicate"], report["raised"], report["unclear"]) == (101, 1, 100, 0)
    assert sorted(event["profile_id"] for event in sandbox.events()) == people


def test_a_failed_attempt_keeps_its_link(airflow, sandbox, tmp_path):
    """The link is there while the task runs, and each attempt keeps its own."""
    audience = write_audience(sandbox.airflow_conn_uri, tmp_path)
    airflow.wait_for_dag(DAG_ID)
    # Members anyway: the segment is that of another test, and nobody is taken out of its group.
    invited = tmp_path / "found.csv"
    invited.write_text("\n".join(["contactid", *sorted(audience.found)[:10]]))
    gone = {
        **audience.parameters,
        "invited_file": str(invited),
        "export_file": str(tmp_path / "export.csv"),
        "staff_file": str(tmp_path / "gone.csv"),
    }
    run_id = airflow.trigger(DAG_ID, gone)
    states = {task["task_id"]: task["state"] for task in airflow.watch(DAG_ID, run_id)}
    assert (states["keep_staff_out"], states["add_invited"]) == ("failed", "success")
    assert "gone.csv' can't be opened" in airflow.log(DAG_ID, run_id, "keep_staff_out")
    assert _link(airflow, run_id, "create_segment") == _link(airflow, run_id, "add_invited")


@pytest.fixture
def warehouse(airflow, tmp_path) -> Iterator[Callable[[Iterable[str]], None]]:
    """Provide Airflow with a database and return a function that sets its audience."""
    path = tmp_path / "warehouse.db"
    airflow.rest("POST", "connections", json={"connection_id": "warehouse", "conn_type": "sqlite", "host": str(path)})

    def fill(audience: Iterable[str]) -> None:
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("DROP TABLE IF EXISTS newsletter_audience")
            database.execute("CREATE TABLE newsletter_audience (contact_id TEXT, unsubscribed INTEGER)")
            rows = [*((member, 0) for member in audience), (str(uuid.uuid4()), 1)]
            database.executemany("INSERT INTO newsletter_audience VALUES (?, ?)", rows)

    yield fill
    airflow.rest("DELETE", "connections/warehouse")


def _states(airflow: Stack, dag_id: str, run_id: str) -> dict[str, str]:
    return {task["task_id"]: task["state"] for task in airflow.watch(dag_id, run_id)}


def test_the_weekly_refresh_runs_twice(airflow, warehouse):
    """Two runs mirror a database into a group, evaluate anew and put the counts into the asset event."""
    people = [str(uuid.UUID(int=number)) for number in range(1, 2501)]
    dag_id = "cij_weekly_refresh"
    airflow.wait_for_dag(dag_id)
    warehouse(people[:2000])
    first = airflow.trigger(dag_id)
    assert set(_states(airflow, dag_id, first).values()) == {"success"}
    warehouse(people[200:2500])
    second = airflow.trigger(dag_id)
    assert set(_states(airflow, dag_id, second).values()) == {"success"}
    report = airflow.result(dag_id, second, "mirror_members")
    assert (report["added"], report["removed"], report["unchanged"]) == (500, 200, 1800)
    before, after = (airflow.result(dag_id, run_id, "refresh_segment") for run_id in (first, second))
    assert (before["member_count"], after["member_count"]) == (2000, 2300)
    assert before["evaluated_at"] < after["evaluated_at"]
    events = airflow.rest("GET", "assets/events", params={"source_dag_id": dag_id, "order_by": "-timestamp"})
    assert events["asset_events"][0]["extra"] == {**after, **report}

    # Half of the audience is missing: that is a broken list, and no member is removed.
    warehouse(people[:1000])
    third = airflow.trigger(dag_id)
    states = _states(airflow, dag_id, third)
    assert (states["mirror_members"], states["refresh_segment"]) == ("failed", "upstream_failed")
    assert "would be removed, more than max_removals='20%'" in airflow.log(dag_id, third, "mirror_members")
    # A member count out of bounds ends the job before any notification.
    warehouse(people[200:2500])
    fourth = airflow.trigger(dag_id, {"most": 100})
    assert _states(airflow, dag_id, fourth)["check_and_announce"] == "failed"
    events = airflow.rest("GET", "assets/events", params={"source_dag_id": dag_id})["asset_events"]
    assert len([event for event in events if not event["uri"].startswith("cij://")]) == 2


def test_the_warehouse_audience_runs_twice(airflow, sandbox, warehouse, tmp_path, monkeypatch):
    """People of a database become contacts with consent, and those who may be mailed become members, twice."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", sandbox.airflow_conn_uri)
    dag_id, parameters = "cij_warehouse_audience", {"folder": tmp_path.as_uri()}
    # The first 200 are contacts already, by their customer number.
    people = [
        (
            *(f"C{n:07d}" if n < 200 else f"W{n:07d}", "Ada", f"Warehouse {n}", f"w{n}@warehouse.example", "DK"),
            *("Contoso", "opted_out" if n >= 1450 else "opted_in", "2026-11-01T09:00:00+00:00"),
        )
        for n in range(1500)
    ]
    people.append(("", "No", "Number", "", "", "", None, None))

    def fill(rows: list[tuple[str, ...]]) -> None:
        with closing(sqlite3.connect(tmp_path / "warehouse.db")) as database, database:
            database.execute("DROP TABLE IF EXISTS audience")
            columns = "customer_no, first_name, last_name, email, country, company, consent, given_at"
            database.execute(f"CREATE TABLE audience ({columns})")
            database.executemany("INSERT INTO audience VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    fill(people)
    airflow.wait_for_dag(dag_id)
    first = airflow.trigger(dag_id, parameters)
    assert set(_states(airflow, dag_id, first).values()) == {"success"}
    report = airflow.result(dag_id, first, "upsert_contacts")
    assert {name: report[name] for name in ("read", "invalid", "created", "updated", "failed")} == {
        "read": 1501,
        "invalid": 1,
        "created": 1300,
        "updated": 200,
        "failed": 0,
    }
    assert airflow.result(dag_id, first, "refresh_segment")["member_count"] == 1450
    left_out = (tmp_path / f"left_out_{first}.csv").read_text().splitlines()[1:]
    assert [line.partition(",")[2] for line in left_out] == ["opted_out"] * 50
    assert (tmp_path / f"rejects_{first}.csv").read_text().splitlines()[1:] == [
        '1501,"new_customerno: empty, and the key needs it"'
    ]
    fill([(*row[:2], "Renamed", *row[3:]) if n % 100 == 0 else row for n, row in enumerate(people[10:])])
    second = airflow.trigger(dag_id, parameters)
    assert set(_states(airflow, dag_id, second).values()) == {"success"}
    report = airflow.result(dag_id, second, "upsert_contacts")
    assert (report["created"], report["updated"], report["unchanged"]) == (0, 15, 1475)
    assert airflow.result(dag_id, second, "mirror_members")["removed"] == 10
    assert airflow.result(dag_id, second, "refresh_segment")["member_count"] == 1440

    async def renamed(cij: Cij) -> list[str]:
        path = "contacts?$select=new_customerno&$filter=lastname eq 'Renamed'"
        return [row["new_customerno"] async for page in cij.dataverse.pages(path) for row in page]

    assert len(CijHook().run(renamed)) == 15
    assert _places_with(airflow, "warehouse.example") == []


def test_mapped_tasks_are_named_by_segment(airflow, sandbox, monkeypatch):
    """Mapped tasks over segments of one name are named by their segment in the UI."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", sandbox.airflow_conn_uri)
    names = [f"Mapped {letter}" for letter in "ABCDE"]

    async def publish(cij):
        for name in names:
            made = await cij.segments.create(SegmentSpec(name, name, "PROFILE(contact).FILTER(creditlimit >= 19000)"))
            await cij.segments.publish(made.segment_id)
        for name in names:
            segment_id = SegmentSpec(name, name).segment_id
            await wait_until(SegmentWait(segment_id), cij, poll_interval=0.5, deadline=time.time() + 30)

    CijHook().run(publish)
    dag_id = "cij_refresh_many"
    airflow.wait_for_dag(dag_id)
    run_id = airflow.trigger(dag_id, {"name_starts_with": "Mapped"})
    seen = [(task["task_id"], task["state"]) for task in airflow.watch(dag_id, run_id)]
    assert ("refresh_segment", "deferred") in seen
    tasks = [task for task in airflow.tasks(dag_id, run_id) if task["task_id"] == "refresh_segment"]
    assert {task["state"] for task in tasks} == {"success"}
    assert sorted(task["rendered_map_index"] for task in tasks) == names
    counts = [airflow.result(dag_id, run_id, "refresh_segment", map_index=n)["member_count"] for n in range(5)]
    assert airflow.result(dag_id, run_id, "total") == sum(counts) > 0


@pytest.mark.skipif(metadata.version("apache-airflow").startswith("3.1."), reason="3.1 does not read conn-fields")
def test_the_connection_form_and_its_test_button(airflow, sandbox):
    """The connection form comes from provider info, and its Test button calls the organisation."""
    forms = airflow.rest("GET", "/ui/connections/hook_meta")
    (form,) = [form for form in forms if form["connection_type"] == "cij"]
    assert form["standard_fields"]["host"]["title"] == "Organisation URL"
    assert set(form["extra_fields"]) >= {"tenant_id", "credential", "certificate_private_key", "ca_bundle"}
    stored = airflow.rest("GET", "connections/cij_default")
    assert stored["password"] == "***"
    tested = airflow.rest("POST", "connections/test", json={**stored, "password": sandbox.client_secret})
    assert tested["status"] is True
    assert f"Connected to {sandbox.base_url}" in tested["message"]


def _places_with(airflow: Stack, *canaries: str) -> list[str]:
    """Return the tables, except connections, and the logs that hold one of these texts."""
    found = []
    with closing(sqlite3.connect(airflow.home / "airflow.db")) as database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            rows = repr(database.execute(f'SELECT * FROM "{table}"').fetchall())  # noqa: S608
            if table != "connection" and any(canary in rows for canary in canaries):
                found.append(table)
    for path in airflow.home.rglob("*.log"):
        text = path.read_text(errors="replace")
        if any(canary in text for canary in canaries):
            found.append(str(path))
    return found
