"""A running Airflow (API server, scheduler, triggerer, DAG processor), driven over REST."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cij_sandbox.testing import Sandbox, running_sandbox

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


@pytest.mark.soak
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


@pytest.mark.soak
def test_a_journey_needs_approval(airflow, sandbox, monkeypatch):
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
            airflow.rest("PATCH", path, json={"chosen_options": ["Reject"], "params_input": {}})
            answered = True
    assert answered
    name = f"Newsletter {run_id}".replace("+", "%2B")
    path = f"msdynmkt_journeys?$filter=msdynmkt_name eq '{name}'"
    assert CijHook().run(lambda cij: cij.dataverse.rows(path)) == []


async def _journey_parts(cij: Cij) -> dict[str, str]:
    made = await cij.segments.create(SegmentSpec("test.approved", "Readers", "PROFILE(contact)"))
    await cij.segments.publish(made.segment_id)
    await wait_until(SegmentWait(made.segment_id), cij, poll_interval=0.5, deadline=time.time() + 60)
    found = await cij.dataverse.get("msdynmkt_journeytemplates?$filter=msdynmkt_name eq 'One e-mail to a segment'")
    (template,) = found["value"]
    return {"segment_id": made.segment_id, "template_id": template["msdynmkt_journeytemplateid"]}


@pytest.mark.soak
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


@pytest.mark.soak
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
