"""Watchers and asset events on a running Airflow: a triggerer that is killed while segments are evaluated."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cij_sandbox.testing import Sandbox, running_sandbox

from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.assets import segment_asset
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.version_compat import shared_stream_producer
from demo.stack import Stack

pytestmark = pytest.mark.skipif(shared_stream_producer() is None, reason="Airflow 3.3 keeps watermarks")

SPEC = SegmentSpec(key="watched", display_name="Watched", query="PROFILE(contact)")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Run a sandbox of its own."""
    with running_sandbox("--contacts", "100", "--compute-seconds", "0.2") as running:
        yield running


@pytest.fixture(scope="module")
def airflow(sandbox, tmp_path_factory) -> Iterator[Stack]:
    """Run Airflow with the watched DAG."""
    folder = tmp_path_factory.mktemp("stack")
    (folder / "dags").mkdir()
    shutil.copy(Path(__file__).parent / "dags" / "watched.py", folder / "dags")
    # A triggerer that was killed is given up after 5 s, not 30.
    hurry = {"AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1", "AIRFLOW__SCHEDULER__PARSING_CLEANUP_INTERVAL": "2"}
    with Stack(folder / "airflow", folder / "dags", hurry) as stack:
        stack.add_connection("cij_default", f"{sandbox.airflow_conn_uri}&max_poll_seconds=0.5")
        stack.wait_for_dag("mapped_events")
        yield stack


@pytest.fixture(autouse=True)
def _connection(sandbox, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", sandbox.airflow_conn_uri)


def _until(what: Callable[[], object], seconds: float = 120) -> None:
    give_up = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < give_up
        time.sleep(0.2)


def _evaluate() -> str:
    """Evaluate the segment once, and return the execution's id."""

    def runs() -> dict[str, str]:
        async def read(cij):
            segment = await cij.segments.get(SPEC.segment_id)
            return {run.execution_id: run.finished_on for run in await cij.segments.newest_executions(segment, 50)}

        return CijHook().run(read)

    known = runs()
    CijHook().run(lambda cij: cij.segments.publish(SPEC.segment_id))
    _until(lambda: any(ended for run, ended in runs().items() if run not in known))
    (new,) = set(runs()) - set(known)
    return new


def _events(airflow: Stack, name: str) -> list[dict]:
    """Return the events of an asset, the oldest first."""
    assets = airflow.rest("GET", "assets", params={"name_pattern": name})["assets"]
    if not assets:
        return []
    found = airflow.rest(
        "GET", "assets/events", params={"asset_id": assets[0]["id"], "order_by": "timestamp", "limit": 100}
    )
    return found["asset_events"]


def _processed(airflow: Stack) -> set[str]:
    """Return the evaluations that runs of the DAG were about."""
    runs = airflow.rest("GET", "dags/watched/dagRuns")["dag_runs"]
    ended = [run["dag_run_id"] for run in runs if run["state"] == "success"]
    return {one for run in ended for one in airflow.result("watched", run, "executions")}


@pytest.mark.soak
def test_each_evaluation_starts_its_dag_though_the_triggerer_is_killed(airflow):
    """Each evaluation starts the DAG once the triggerer is back, those before and during its absence as well."""
    CijHook().run(lambda cij: cij.segments.create(SPEC))
    expected = []
    while not _events(airflow, "watched_refreshed"):  # until the watcher has begun
        expected = [_evaluate()]
        time.sleep(3)
    expected += [_evaluate()]
    (process,) = [process for command, process in airflow.processes if command == "triggerer"]
    os.killpg(process.pid, signal.SIGKILL)
    expected += [_evaluate(), _evaluate()]
    process.wait(30)
    airflow.processes.remove(("triggerer", process))
    airflow._start("triggerer")
    _until(lambda: set(expected) <= _processed(airflow))
    payloads = [event["extra"]["payload"] for event in _events(airflow, "watched_refreshed")]
    assert all(payload["execution_id"] and payload["member_count"] == 100 for payload in payloads)
    assert {payload["segment_id"] for payload in payloads} == {SPEC.segment_id}


@pytest.mark.soak
def test_events_of_mapped_tasks_are_on_active_assets(airflow):
    """The assets of mapped tasks, which no DAG declares, are active, and their events are shown by the REST API."""
    run_id = airflow.trigger("mapped_events")
    list(airflow.watch("mapped_events", run_id))
    for key, name in (("mapped-nl", "NL"), ("mapped-be", "BE")):
        uri = segment_asset(key).uri
        # Active assets alone are listed.
        _until(lambda uri=uri: airflow.rest("GET", "assets", params={"uri_pattern": uri})["assets"])
        (event,) = _events(airflow, uri)
        assert (event["extra"]["name"], event["extra"]["status"]) == (name, "draft")
