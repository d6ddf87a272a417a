"""What all tests share: a private AIRFLOW_HOME, set before Airflow is imported for the first time."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.scripted import ScriptedServer

pytest_plugins = ["pytester"]

_home = Path(tempfile.mkdtemp(prefix="cij-tests-"))
atexit.register(shutil.rmtree, _home, ignore_errors=True)
os.environ |= {
    "AIRFLOW_HOME": str(_home),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": str(_home / "dags"),
    "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(_home / "logs"),
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
}
# Two cores, shared with servers: slow is no failure.
settings.register_profile("tests", deadline=None, max_examples=200)
settings.load_profile("tests")


def pytest_xdist_auto_num_workers() -> int:
    """Run two files a core: much of their time is waiting, for servers and for looks that come later."""
    return 2 * (os.cpu_count() or 1)


# They take a minute each, with servers of their own: begun last, they would run on alone.
_SLOW = ("tests/e2e/", "tests/test_soak")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slowest files, whatever order the others are in."""
    items.sort(key=lambda item: not item.nodeid.startswith(_SLOW))


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[ScriptedServer]:
    """Give an organisation that answers as the test says."""
    with ScriptedServer(tmp_path) as server:
        yield server


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Hear every logger at every level, those too that Airflow has silenced when a task ran before."""
    caplog.set_level(logging.DEBUG)
    for name in ("airflow_provider_cij", "httpx", "httpcore", "msal"):
        logging.getLogger(name).disabled = False
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog
