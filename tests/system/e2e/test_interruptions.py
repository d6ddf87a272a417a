"""Interrupted tasks on a running Airflow: killed workers, tasks marked failed, timeouts and throttling."""

from __future__ import annotations

import os
import shutil
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from airflow import __version__
from cij_sandbox.testing import Sandbox, running_sandbox

from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.version_compat import TAKES_RETRY_POLICY
from demo.stack import Stack

CALL = "msdynmkt_AddStaticMembers"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Run a sandbox that only these tests inject faults into."""
    with running_sandbox("--contacts", "100", "--compute-seconds", "1") as running:
        yield running


@pytest.fixture(scope="module")
def airflow(sandbox, tmp_path_factory) -> Iterator[Stack]:
    """Run Airflow with the DAGs to interrupt."""
    folder = tmp_path_factory.mktemp("stack")
    shutil.copytree(Path(__file__).parent / "dags", folder / "dags")
    with Stack(folder / "airflow", folder / "dags") as stack:
        stack.add_connection("cij_default", f"{sandbox.airflow_conn_uri}&max_throttle_wait_seconds=3")
        yield stack


@pytest.fixture(autouse=True)
def _calm(sandbox, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", sandbox.airflow_conn_uri)
    yield
    sandbox.faults.clear()


@pytest.fixture
def people(tmp_path) -> tuple[str, list[str]]:
    """Write a file of 60,000 members."""
    ids = [str(uuid.UUID(int=number)) for number in range(1, 60_001)]
    path = tmp_path / "people.csv"
    path.write_text("\n".join(["contactid", *ids]))
    return str(path), ids


def _until(what: Callable[[], object], seconds: float = 60) -> None:
    give_up = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def _calls(sandbox: Sandbox, since: int = 0) -> list[dict]:
    return [request for request in sandbox.requests(since=since) if request["path"].endswith(CALL)]


def _done(sandbox: Sandbox, since: int = 0) -> list[dict]:
    return [request for request in _calls(sandbox, since) if request["status"] == 204]


def _now(sandbox: Sandbox) -> int:
    return ([{"number": 0}, *sandbox.requests()])[-1]["number"]


def _task(airflow: Stack, dag_id: str, run_id: str, task_id: str) -> psutil.Process:
    """Return the process that runs a task: the executor worker's child, titled with the task's id."""
    (scheduler,) = [process for command, process in airflow.processes if command == "scheduler"]
    wanted = airflow.rest("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}")["id"]
    found: list[psutil.Process] = []

    def look() -> list[psutil.Process]:
        tasks = [task for task in psutil.Process(scheduler.pid).children(recursive=True) if wanted in _title(task)]
        found[:] = [task for task in tasks if "LocalExecutor" in _title(task.parent())]
        return found

    _until(look)
    return found[0]


def _title(process: psutil.Process | None) -> str:
    try:
        return " ".join(process.cmdline()) if process else ""
    except psutil.Error:  # it has ended and was not waited for
        return ""


def _group(segment_id: str) -> list[str]:
    async def read(cij):
        group = await cij.segments.group(await cij.segments.get(segment_id), "in")
        return sorted([member async for page in cij.members.of_group(segment_id, group.group_id) for member in page])

    return CijHook().run(read)


def _state(airflow: Stack, dag_id: str, run_id: str, task_id: str) -> str | None:
    return airflow.rest("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}")["state"]


def _mark_failed(airflow: Stack, dag_id: str, run_id: str, task_id: str) -> None:
    path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
    airflow.rest("PATCH", path, json={"new_state": "failed"})


def _quiet(sandbox: Sandbox, seconds: float) -> bool:
    """Return whether the sandbox gets no more requests."""
    last = _now(sandbox)
    time.sleep(seconds)
    return not sandbox.requests(since=last)


@pytest.mark.skipif(__version__ in ("3.1.0", "3.1.1"), reason="they fail a killed task, whatever its retries")
def test_a_killed_upload_continues(airflow, sandbox, people):
    """The retry of a killed upload goes on (before Airflow 3.3 it starts over), and a cleared task runs anew."""
    path, ids = people
    airflow.wait_for_dag("upload")
    sandbox.faults.add("slow", path=CALL, delay=0.5)
    began = _now(sandbox)
    run_id = airflow.trigger("upload", {"file": path})
    _until(lambda: len(_done(sandbox, began)) >= 30)
    os.kill(_task(airflow, "upload", run_id, "add").pid, signal.SIGKILL)
    states = [task["state"] for task in airflow.watch("upload", run_id) if task["task_id"] == "add"]
    assert states[-1] == "success"
    report = airflow.result("upload", run_id, "add")
    assert 8_000 <= report["resumed_from"] < 60_000 if TAKES_RETRY_POLICY else report["resumed_from"] == 0
    assert (report["read"], report["added"], report["batches"]) == (60_000, 60_000, 60 - report["resumed_from"] // 1000)
    assert ("going on from there" in airflow.log("upload", run_id, "add", 2)) == TAKES_RETRY_POLICY
    segment_id = airflow.result("upload", run_id, "create")["segment_id"]
    assert _group(segment_id) == ids

    sandbox.faults.clear()
    again = {"dry_run": False, "task_ids": ["add"], "dag_run_id": run_id, "only_failed": False}
    airflow.rest("POST", "dags/upload/clearTaskInstances", json=again)
    assert [task["state"] for task in airflow.watch("upload", run_id) if task["task_id"] == "add"][-1] == "success"
    report = airflow.result("upload", run_id, "add")
    assert (report["resumed_from"], report["batches"]) == (0, 60)


@pytest.mark.soak
@pytest.mark.skipif(not TAKES_RETRY_POLICY, reason="the task state store came with Airflow 3.3")
def test_a_killed_upsert_counts_truly(airflow, sandbox, tmp_path):
    """The retry of a killed upsert creates nobody again, counts whom the first try created, and knows all ids."""
    file, ids = tmp_path / "rows.csv", tmp_path / "ids.csv"
    file.write_text("\n".join(["new_customerno,lastname", *(f"KILL{n:06d},Name {n}" for n in range(12_000))]))
    airflow.wait_for_dag("upsert")
    sandbox.faults.add("slow", path="UpsertMultiple$", delay=0.3)
    began = _now(sandbox)
    run_id = airflow.trigger("upsert", {"file": str(file), "ids": str(ids)})

    def written() -> int:
        found = sandbox.requests(since=began)
        return sum(request["path"].endswith("UpsertMultiple") and request["status"] == 204 for request in found)

    _until(lambda: written() >= 70)
    os.kill(_task(airflow, "upsert", run_id, "upsert").pid, signal.SIGKILL)
    sandbox.faults.clear()
    assert [task["state"] for task in airflow.watch("upsert", run_id)][-1] == "success"
    report = airflow.result("upsert", run_id, "upsert")
    assert (report["read"], report["created"], report["updated"], report["unchanged"]) == (12_000, 12_000, 0, 0)
    assert 5_000 <= report["resumed_from"] < 12_000
    assert "going on from there" in airflow.log("upsert", run_id, "upsert", 2)

    async def contacts(cij):
        path = "contacts?$select=new_customerno&$filter=startswith(new_customerno,'KILL')"
        return [row async for page in cij.dataverse.pages(path) for row in page]

    rows = CijHook().run(contacts)
    there = {f"{row['new_customerno']},{row['contactid']}" for row in rows}
    assert len(rows) == len(there) == 12_000
    assert set(ids.read_text().splitlines()[1:]) == there


@pytest.mark.soak
@pytest.mark.skipif(not TAKES_RETRY_POLICY, reason="the task state store came with Airflow 3.3")
def test_a_killed_worker_raises_no_person_twice(airflow, sandbox, tmp_path):
    """After a kill the people in flight are unclear and in the file, and all others are raised once."""
    ids = [str(uuid.UUID(int=number)) for number in range(1, 301)]
    file, unclear = tmp_path / "people.csv", tmp_path / "unclear.csv"
    file.write_text("\n".join(["contactid", *ids]))
    airflow.wait_for_dag("raise")
    run_id = airflow.trigger("raise", {"file": str(file), "unclear": str(unclear)})

    def raised() -> list[str]:
        return [event["profile_id"] for event in sandbox.events() if event["profile_id"] in ids]

    _until(lambda: len(raised()) >= 110)
    os.kill(_task(airflow, "raise", run_id, "raise").pid, signal.SIGKILL)
    states = [task["state"] for task in airflow.watch("raise", run_id)]
    assert states[-1] == "success"
    report = airflow.result("raise", run_id, "raise")
    seen = Counter(raised())
    left_open = set(unclear.read_text().split()[1:])
    assert set(seen.values()) == {1}
    assert set(seen) | left_open == set(ids)
    assert report["unclear"] == len(left_open) <= 25
    assert report["raised"] == 300 - len(left_open) == len(set(seen) - left_open)
    assert "it goes on from there" in airflow.log("raise", run_id, "raise", 2)


@pytest.mark.soak
@pytest.mark.skipif(not TAKES_RETRY_POLICY, reason="the task state store came with Airflow 3.3")
def test_a_kill_after_execute_raises_no_person_twice(airflow, sandbox, tmp_path):
    """A retry after ``execute`` has returned succeeds, Clear fails, and ``raise_again`` raises all people again."""
    ids = [str(uuid.UUID(int=number)) for number in range(9_001, 9_041)]
    file, returned = tmp_path / "people.csv", tmp_path / "returned"
    file.write_text("\n".join(["contactid", *ids]))

    def times() -> set[int]:
        seen = Counter(event["profile_id"] for event in sandbox.events())
        return {seen[member] for member in ids}

    def clear() -> str:
        again = {"dry_run": False, "task_ids": ["raise"], "dag_run_id": run_id, "only_failed": False}
        airflow.rest("POST", "dags/raise_and_die/clearTaskInstances", json=again)
        return [task["state"] for task in airflow.watch("raise_and_die", run_id)][-1]

    airflow.wait_for_dag("raise_and_die")
    run_id = airflow.trigger("raise_and_die", {"file": str(file), "returned": str(returned)})
    assert [task["state"] for task in airflow.watch("raise_and_die", run_id)][-1] == "success"
    assert returned.read_text() == "40"
    assert (times(), airflow.result("raise_and_die", run_id, "raise")["raised"]) == ({1}, 40)

    assert clear() == "failed"
    assert "raised the trigger for 40 people, and was cleared since" in airflow.log("raise_and_die", run_id, "raise", 3)
    assert times() == {1}

    # As [state_store] clear_on_success does when the success is recorded.
    airflow.rest("DELETE", f"dags/raise_and_die/dagRuns/{run_id}/taskInstances/raise/state-store/cij_raised")
    assert clear() == "failed"
    assert "the note of who was raised is gone" in airflow.log("raise_and_die", run_id, "raise", 4)
    assert times() == {1}

    airflow.rest("POST", "variables", json={"key": "raise_again", "value": "True"})
    assert clear() == "success"
    assert times() == {2}


@pytest.mark.soak
def test_a_task_marked_failed_stops_sending(airflow, sandbox, people):
    """A task marked failed ends within Airflow's grace period and sends nothing new."""
    airflow.wait_for_dag("upload")
    sandbox.faults.add("slow", path=CALL, delay=1)
    run_id = airflow.trigger("upload", {"file": people[0]})
    began = _now(sandbox)
    _until(lambda: len(_done(sandbox, began)) >= 8)
    process = _task(airflow, "upload", run_id, "add")
    _mark_failed(airflow, "upload", run_id, "add")
    process.wait(15)
    _until(lambda: _quiet(sandbox, 3))
    assert _state(airflow, "upload", run_id, "add") == "failed"
    assert _calls(sandbox, began) == _done(sandbox, began)


@pytest.mark.soak
def test_an_execution_timeout_stops_sending(airflow, sandbox, people):
    """An execution timeout ends the task with Airflow's error, and nothing is sent afterwards."""
    airflow.wait_for_dag("timeout")
    run_id = airflow.trigger("upload", {"file": people[0]})
    list(airflow.watch("upload", run_id))
    segment_id = airflow.result("upload", run_id, "create")["segment_id"]
    sandbox.faults.add("slow", path=CALL, delay=2)
    run_id = airflow.trigger("timeout", {"file": people[0], "segment_id": segment_id})
    assert [task["state"] for task in airflow.watch("timeout", run_id)][-1] == "failed"
    assert "AirflowTaskTimeout" in airflow.log("timeout", run_id, "add")
    _until(lambda: _quiet(sandbox, 3))


@pytest.mark.soak
def test_a_long_retry_after_defers_the_task(airflow, sandbox, people):
    """A Retry-After beyond the limit defers the task, which then continues where it was."""
    airflow.wait_for_dag("upload")
    sandbox.faults.add("429", path=CALL, after=24, count=1, code="0x80072321", retry_after=8)
    sandbox.faults.add("slow", path=CALL, delay=0.3)
    run_id = airflow.trigger("upload", {"file": people[0]})
    states = [task["state"] for task in airflow.watch("upload", run_id) if task["task_id"] == "add"]
    assert "deferred" in states
    assert states[-1] == "success"
    assert "up_for_retry" not in states
    assert airflow.result("upload", run_id, "add")["resumed_from"] > 0
    assert _group(airflow.result("upload", run_id, "create")["segment_id"]) == people[1]


@pytest.mark.soak
def test_a_deferred_task_survives_a_triggerer_restart(airflow, sandbox):
    """A restarted triggerer continues the wait, and a task marked failed is not waited for any more."""
    airflow.wait_for_dag("publish")
    spec = SegmentSpec(f"test.{uuid.uuid4()}", "Never live", "PROFILE(contact)")

    async def stuck(cij):
        await cij.segments.create(spec)

    CijHook().run(stuck)
    # Published, and then never seen to be live.
    sandbox.faults.add("503", path=f"msdynmkt_segments\\({spec.segment_id}\\)", method="GET", after=2)
    run_id = airflow.trigger("publish", {"segment_id": spec.segment_id})
    _until(lambda: _state(airflow, "publish", run_id, "wait") == "deferred")
    _until(lambda: sandbox.faults.struck()[0] > 0)
    airflow.restart("triggerer")
    struck = sandbox.faults.struck()[0]
    _until(lambda: sandbox.faults.struck()[0] > struck, seconds=90)
    assert _state(airflow, "publish", run_id, "wait") == "deferred"
    _mark_failed(airflow, "publish", run_id, "wait")
    _until(lambda: _quiet(sandbox, 12))
    assert _state(airflow, "publish", run_id, "wait") == "failed"
