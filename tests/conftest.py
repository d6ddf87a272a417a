"""Shared fixtures and a private AIRFLOW_HOME, which must be set before Airflow is first imported."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.scripted import Answer, ScriptedServer

pytest_plugins = ["pytester"]

_home = Path(tempfile.mkdtemp(prefix="cij-tests-"))
atexit.register(shutil.rmtree, _home, ignore_errors=True)
# What the processes of a host share lies in the temporary folder: these tests share nothing with others.
tempfile.tempdir = str(_home)
os.environ |= {
    "AIRFLOW_HOME": str(_home),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": str(_home / "dags"),
    "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(_home / "logs"),
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
}
# Two cores, shared with servers: slow is no failure.
settings.register_profile("tests", deadline=None, max_examples=50)
settings.register_profile("soak", deadline=None, max_examples=200)
settings.load_profile("tests")


def pytest_xdist_auto_num_workers() -> int:
    """Run two files per core, because tests spend much of their time waiting for servers and polls."""
    return 2 * (os.cpu_count() or 1)


# They take a minute each, with servers of their own: begun last, they would run on alone.
_SLOW = ("tests/system/e2e/", "tests/system/test_soak")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the slowest files, whatever the order of the others."""
    items.sort(key=lambda item: not item.nodeid.startswith(_SLOW))


@pytest.fixture(autouse=True)
def _no_old_masks() -> Iterator[None]:
    """Let Airflow forget the connections of a test: it compiles one pattern of all that a process has ever masked."""
    yield
    for name in ("airflow._shared.secrets_masker", "airflow.sdk._shared.secrets_masker"):
        if module := sys.modules.get(name):
            module.reset_secrets_masker()


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """Provide a server that sends the responses of the test."""
    # What an earlier server of the same port said of its limits must not hold for this one.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with ScriptedServer(tmp_path) as server:
        yield server


@pytest.fixture
def scripted_connection(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> ScriptedServer:
    """Make the scripted server the organisation of the default connection."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    return scripted


@pytest.fixture
def short_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every sleep of the client's clock last 0.05 seconds at the most."""
    from airflow_provider_cij.dataverse.clock import Clock

    async def sleep(self: Clock, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.05))

    monkeypatch.setattr(Clock, "sleep", sleep)


@pytest.fixture
def run_journey_task(scripted_connection: ScriptedServer, short_sleeps: None) -> Callable[..., Any]:
    """Return a function that runs one task on journeys against these responses, without pauses."""
    from airflow.sdk import DAG

    from tests.dags import run_dag

    def run(kind: Any, *answers: Answer, **arguments: Any) -> Any:
        scripted_connection.script = list(answers)
        with DAG("journeys", schedule=None) as dag:
            kind(task_id="t", **arguments)
        return run_dag(dag)

    return run


@pytest.fixture
def caplog_all(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Capture every logger at every level, including those that Airflow disables when it runs a task."""
    caplog.set_level(logging.DEBUG)
    for name in ("airflow_provider_cij", "httpx", "msal"):
        logging.getLogger(name).disabled = False
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog
