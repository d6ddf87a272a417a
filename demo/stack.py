"""A real Airflow of our own (API server, scheduler, triggerer, DAG processor) and its REST API, in a private folder."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

_COMMANDS = ("api-server", "scheduler", "triggerer", "dag-processor")
_ENDED = ("success", "failed")


class Stack:
    """Airflow's processes, from ``with`` to the end of it.

    :param home: AIRFLOW_HOME: database, logs, everything
    :param dags: the folder with the DAG files
    :param environment: more environment variables for all processes
    :param base_path: what the addresses of UI and API begin with, such as ``/airflow``; default none
    """

    def __init__(
        self,
        home: Path,
        dags: Path,
        environment: Mapping[str, str] | None = None,
        *,
        base_path: str = "",
    ) -> None:
        self.home = home
        self.logs = home / "processes"
        api, worker_logs, trigger_logs = _free_ports(3)
        self.url = f"http://localhost:{api}{base_path}"
        self.processes: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._http = httpx.Client(base_url=self.url, timeout=60)
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
            # `airflow` starts others by name.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__FERNET_KEY": "",
            # Who sees everything and may change nothing.
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,viewer:viewer",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(api),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            # Airflow 3.1 leaves it empty, which newer PyJWT refuses.
            "AIRFLOW__API_AUTH__JWT_ISSUER": "airflow",
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_logs),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_logs),
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            **(environment or {}),
        }

    def __enter__(self) -> Stack:
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            self.run("airflow", "db", "migrate")
            for command in _COMMANDS:
                self._start(command)
            self._wait_until_healthy()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            for _command, process in self.processes:
                # Each has a session of its own: its children go with it.
                try:
                    os.killpg(process.pid, signal_number)
                except ProcessLookupError:
                    continue
            give_up = time.monotonic() + 5
            while time.monotonic() < give_up and any(process.poll() is None for _, process in self.processes):
                time.sleep(0.05)

    @property
    def password(self) -> str:
        """The password of the user ``admin``, as Airflow made it."""
        return self.password_of("admin")

    def password_of(self, user: str) -> str:
        """Return a user's password, as Airflow made it."""
        text = (self.home / "simple_auth_manager_passwords.json.generated").read_text()
        return str(json.loads(text)[user])

    def rest(self, method: str, path: str, **others: Any) -> Any:
        """Call Airflow's REST API as ``admin``; a path with a slash in front is one beside it."""
        path = path if path.startswith("/") else f"/api/v2/{path}"
        response = self._http.request(method, path, **others)
        for _ in range(10):
            # SQLite has one writer at a time. Airflow names the database error, or nothing at all before 3.3.
            if response.status_code != 500 or not re.search("Database error|^Internal Server Error$", response.text):
                break
            time.sleep(0.5)
            response = self._http.request(method, path, **others)
        if response.is_error:
            raise RuntimeError(f"{method} {path}: HTTP {response.status_code}: {response.text[:500]}")
        return response.json() if response.content else None

    def add_connection(self, name: str, uri: str) -> None:
        """Store a connection, given as Airflow's connection URI."""
        from airflow.sdk import Connection

        connection = Connection.from_uri(uri, conn_id=name)
        body = {
            "connection_id": name,
            "conn_type": connection.conn_type,
            "host": connection.host,
            "port": connection.port,
            "login": connection.login,
            "password": connection.password,
            "extra": json.dumps(connection.extra_dejson),
        }
        self.rest("POST", "connections", json=body)

    def wait_for_dag(self, dag_id: str, seconds: float = 60) -> None:
        """Wait until Airflow has read a DAG's file."""
        give_up = time.monotonic() + seconds
        while self._http.get(f"/api/v2/dags/{dag_id}").status_code != 200:
            if time.monotonic() > give_up:
                errors = self.rest("GET", "importErrors")["import_errors"]
                raise RuntimeError(f"Airflow does not show {dag_id}: {errors or self.tail('dag-processor')}")
            time.sleep(0.3)

    def trigger(self, dag_id: str, parameters: Mapping[str, Any] | None = None) -> str:
        """Start a run of a DAG."""
        body = {"logical_date": None, "conf": dict(parameters or {})}
        return str(self.rest("POST", f"dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def watch(self, dag_id: str, run_id: str, seconds: float = 300) -> Iterator[dict[str, Any]]:
        """Give each task instance anew whenever its state changes, until the run has ended."""
        give_up = time.monotonic() + seconds
        seen: dict[tuple[str, int], str] = {}
        while True:
            ended = self.rest("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"] in _ENDED
            for task in self.tasks(dag_id, run_id):
                key = (task["task_id"], task["map_index"])
                if task["state"] and seen.get(key) != task["state"]:
                    seen[key] = task["state"]
                    yield task
            if ended:
                return
            if time.monotonic() > give_up:
                raise TimeoutError(f"{dag_id} {run_id} has not ended: {seen}. {self.tail('scheduler')}")
            time.sleep(0.3)

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """List a run's task instances."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        return list(self.rest("GET", path)["task_instances"])

    def result(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """Read an XCom."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.rest("GET", path, params={"map_index": map_index, "deserialize": True})["value"]

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1) -> str:
        """Read a task's log as text."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        response = self._http.get(path, headers={"Accept": "application/x-ndjson"})
        return "\n".join(json.dumps(json.loads(line)) for line in response.text.splitlines() if line.strip())

    def tail(self, command: str) -> str:
        """Give the last lines that a process has said."""
        return "\n".join((self.logs / f"{command}.log").read_text(errors="replace").splitlines()[-30:])

    def restart(self, command: str) -> None:
        """Stop one of the processes and start it again."""
        (process,) = [process for name, process in self.processes if name == command]
        self.processes.remove((command, process))
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        self._start(command)

    def run(self, *command: str) -> None:
        """Run a command with the environment of the processes, to its end."""
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, check=False, cwd=self.home
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout[-3000:]}{done.stderr[-3000:]}")

    def _start(self, command: str) -> None:
        with (self.logs / f"{command}.log").open("wb") as log:
            process = subprocess.Popen(
                ["airflow", command],
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.home,
            )
        self.processes.append((command, process))

    def _wait_until_healthy(self, seconds: float = 120) -> None:
        give_up = time.monotonic() + seconds
        while True:
            for command, process in self.processes:
                if process.poll() is not None:
                    raise RuntimeError(f"airflow {command} ended: {self.tail(command)}")
            try:
                health = self._http.get("/api/v2/monitor/health", timeout=5).json()
                if all(part.get("status") == "healthy" for part in health.values()):
                    break
            except (httpx.HTTPError, ValueError):
                health = {}
            if time.monotonic() > give_up:
                raise RuntimeError(f"Airflow is not healthy: {health}. {self.tail('api-server')}")
            time.sleep(0.2)
        login = {"username": "admin", "password": self.password}
        answer = self._http.post("/auth/token", json=login).raise_for_status().json()
        self._http.headers["Authorization"] = f"Bearer {answer['access_token']}"


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
