"""Airflow as it is run for many: CeleryExecutor, PostgreSQL, Redis, two workers, two triggerers, each supervised."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from demo.stack import Stack

_MORE = {
    "worker-1": ["celery", "worker", "--concurrency", "3", "--celery-hostname", "one@%h"],
    "worker-2": ["celery", "worker", "--concurrency", "3", "--celery-hostname", "two@%h"],
    "triggerer-2": ["triggerer"],
}
# A dead process is noticed in seconds, not in minutes.
_IMPATIENT = {
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "2",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",
    "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
    "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "SCHEDULER__TASK_QUEUED_TIMEOUT": "40",
    "SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "5",
    "TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "8",
    "CELERY__WORKER_PREFETCH_MULTIPLIER": "1",
    "CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "60",
}


class CeleryStack(Stack):
    """Airflow's processes, each with a folder of its own, started again when they end.

    :param home: where everything is
    :param dags: the folder with the DAG files
    :param database: the port of PostgreSQL, with an empty database ``airflow``
    :param broker: the port of Redis
    """

    def __init__(self, home: Path, dags: Path, database: int, broker: int) -> None:
        where = f"postgres:x@127.0.0.1:{database}/airflow"
        given = {
            "CORE__EXECUTOR": "CeleryExecutor",
            "CORE__PARALLELISM": "16",
            "DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{where}",
            "CELERY__RESULT_BACKEND": f"db+postgresql+psycopg2://{where}",
            "CELERY__BROKER_URL": f"redis://127.0.0.1:{broker}/0",
            **_IMPATIENT,
        }
        environment = {f"AIRFLOW__{name}": value for name, value in given.items()}
        super().__init__(home, dags, environment | {"NO_PROXY": "localhost,127.0.0.1"})
        self.restarts = 0
        self._ending = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> CeleryStack:
        super().__enter__()
        try:
            for name in _MORE:
                self._start(name)
            threading.Thread(target=self._supervise, daemon=True).start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._ending.set()
        with self._lock:
            super().__exit__(*exception)

    def rest(self, method: str, path: str, **others: Any) -> Any:
        """Call Airflow's REST API, again while it does not answer."""
        give_up = time.monotonic() + 90
        while True:
            try:
                return super().rest(method, path, **others)
            except (httpx.TransportError, RuntimeError) as error:
                refused = isinstance(error, RuntimeError) and "HTTP 5" not in str(error)
                if refused or time.monotonic() > give_up:
                    raise
                time.sleep(0.5)

    def kill(self, name: str) -> None:
        """Kill a process with all that it has started; it is started again after some seconds."""
        (process,) = [process for known, process in self.processes if known == name]
        os.killpg(process.pid, signal.SIGKILL)

    def task_processes(self) -> list[int]:
        """Return the processes in which workers run tasks: children of the pool's processes."""
        parents = _parents()
        workers = {process.pid for name, process in self.processes if name.startswith("worker")}
        pool = {pid for pid, parent in parents.items() if parent in workers}
        return sorted(pid for pid, parent in parents.items() if parent in pool)

    def _supervise(self) -> None:
        while not self._ending.wait(1):
            with self._lock:
                for name, process in list(self.processes):
                    if process.poll() is None or self._ending.is_set():
                        continue
                    self.processes.remove((name, process))
                    self.restarts += 1
                    time.sleep(2)
                    self._start(name)

    def _start(self, command: str) -> None:
        folder = self.home / "own" / command
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        number = sum(1 for _ in self.logs.glob(f"{command}*.log"))
        with (self.logs / (f"{command}.{number}.log" if number else f"{command}.log")).open("wb") as log:
            process = subprocess.Popen(
                ["airflow", *_MORE.get(command, [command])],
                env=self._environment | self._own(command, folder),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=folder,
            )
        self.processes.append((command, process))

    def _own(self, command: str, folder: Path) -> Mapping[str, str]:
        """Return the variables of one process: its temporary folder, and ports that nobody else has."""
        own = {"TMPDIR": str(folder / "tmp")}
        if command in _MORE:
            base = int(self._environment["AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT"])
            place = list(_MORE).index(command) + 1
            own["AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT"] = str(base - 20 - place)
            own["AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT"] = str(base - 30 - place)
        return own


def _parents() -> dict[int, int]:
    """Return the parent of each process."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            found[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):  # it has ended
            continue
    return found
