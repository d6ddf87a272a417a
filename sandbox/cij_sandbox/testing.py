"""For pytest users: the fixture ``cij_sandbox`` and the context manager ``running_sandbox``.

Loaded by every pytest run of an environment it is installed in, so nothing heavy is imported here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cij_sandbox.remote import Remote, RemoteFaults

if TYPE_CHECKING:
    from cij_sandbox.with_airflow import Airflow

_SECONDS_TO_START = 30


@dataclass(frozen=True)
class Sandbox:
    """The connection of a running sandbox, and access to its own endpoints."""

    base_url: str
    authority: str
    tenant: str
    client_id: str
    client_secret: str = field(repr=False)
    ca: str
    airflow_conn_uri: str = field(repr=False)

    @cached_property
    def faults(self) -> RemoteFaults:
        """The fault rules: ``add("429", path="AddStaticMembers", count=2)``, ``struck()``, ``clear()``."""
        return RemoteFaults(self._remote)

    def requests(self, since: int = 0) -> list[dict[str, Any]]:
        """Return the requests that it has received, after a number."""
        return self._remote.requests(since)

    def events(self, since: int = 0) -> list[dict[str, Any]]:
        """Return the events of its custom triggers after a number: number, trigger, profile_id, time."""
        return self._remote.events(since)

    def mail(self, journey_id: str) -> list[dict[str, Any]]:
        """Return whom a journey mailed and whom it left out: person_id, address, message_id, sent, reason.

        It mails once it is live and its start has come.

        :param journey_id: the journey
        """
        found: list[dict[str, Any]] = self._remote.call("GET", f"mail?journey={journey_id}")["mail"]
        return found

    def hurry(self, compute_seconds: float = 0, retry_after: int = 0, speed: float = 60) -> None:
        """Make the organisation quick, until it ends.

        It changes this sandbox alone. How often a task looks is the matter of its ``poll_interval``, or of the
        connection's ``max_poll_seconds``, which the fixture ``cij_airflow`` sets.

        :param compute_seconds: seconds from a publish or stop to its result; default 0
        :param retry_after: the longest ``Retry-After`` of faults and of service protection, in seconds; default 0
        :param speed: seconds that pass in the organisation in each real one; default 60, so that a segment is
            refreshed every 30 seconds
        """
        pace = {"compute_seconds": compute_seconds, "longest_retry_after": retry_after, "speed": speed}
        self._remote.call("POST", "pace", pace)

    def assume(self, choices: dict[str, str | None]) -> None:
        """Do otherwise than the sandbox assumes, by id: ``assume({"segments.add-twice": "400 0x80040265"})``.

        :param choices: an alternative of each (``assumptions.toml``), None for the default
        """
        self._remote.call("POST", "assumptions", choices)

    def advance(self, seconds: float) -> None:
        """Let time pass at once: segments are refreshed and expire, journeys end."""
        self._remote.call("POST", "clock", {"advance_seconds": seconds})

    def add_trigger(self, name: str, state: str = "Ready to use", **attributes: str) -> None:
        """Add or change a custom trigger: ``add_trigger("msdynmkt_trialended", msdynmkt_plan="string")``."""
        self._remote.call("POST", "triggers", {"name": name, "state": state, "attributes": attributes})

    def edit_journey(self, journey_id: str, description: str = "") -> str:
        """Make the draft of a live journey's next version, as an edit in Dynamics 365 does, and return its id.

        Published, it takes the journey's place: the earlier version is superseded.

        :param journey_id: a live journey
        :param description: what the version is about; default nothing
        :raises ValueError: there is no such journey, or it is not live
        """
        made = self._remote.call("POST", "journeys", {"edit": journey_id, "description": description})
        return str(made["journey_id"])

    @cached_property
    def _remote(self) -> Remote:
        return Remote(self.base_url, self.ca)


@contextmanager
def running_sandbox(*options: str) -> Iterator[Sandbox]:
    """Run a sandbox with options of ``cij-sandbox`` while the block lasts."""
    command = [sys.executable, "-m", "cij_sandbox", "--json", *options]
    with tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, text=True)  # noqa: S603
        too_late = threading.Timer(_SECONDS_TO_START, process.kill)
        too_late.start()
        try:
            assert process.stdout is not None  # noqa: S101 - a pipe was asked for
            line = process.stdout.readline()
            too_late.cancel()
            if not line:
                process.wait()
                complaints.seek(0)
                raise RuntimeError(f"The sandbox did not start (exit code {process.returncode}):\n{complaints.read()}")
            yield Sandbox(**json.loads(line))
        finally:
            too_late.cancel()
            process.terminate()
            try:
                process.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


@pytest.fixture(scope="session")
def cij_sandbox() -> Iterator[Sandbox]:
    """Provide a sandbox with 2,000 contacts and 200 leads, in which a published segment is live after 0.3 seconds."""
    with running_sandbox("--contacts", "2000", "--leads", "200", "--compute-seconds", "0.3") as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def _airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create Airflow's database, once a session."""
    from cij_sandbox.with_airflow import create_database

    return create_database(tmp_path_factory.mktemp("airflow"))


@pytest.fixture
def cij_dags_folder(request: pytest.FixtureRequest) -> Path | None:
    """Return the folder ``dags`` beside the test file or above it. Override it for another folder."""
    folders = (folder / "dags" for folder in request.path.parents)
    return next((folder for folder in folders if folder.is_dir()), None)


@pytest.fixture
def cij_airflow(_airflow_home: Path, cij_dags_folder: Path | None, cij_sandbox: Sandbox) -> Iterator[Airflow]:
    """Provide Airflow with a database of its own, the folder ``dags``, and the sandbox as connection ``cij_default``.

    Its tasks check every 0.2 seconds (the connection's ``max_poll_seconds``). ``dag("my_dag").test()`` runs a DAG.
    """
    from cij_sandbox.with_airflow import airflow_for_tests

    connection = f"{cij_sandbox.airflow_conn_uri}&max_poll_seconds=0.2"
    with airflow_for_tests(_airflow_home, cij_dags_folder, connection) as airflow:
        yield airflow
