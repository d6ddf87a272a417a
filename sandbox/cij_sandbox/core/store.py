"""The SQLite file that holds all state: a connection for each thread, readers never wait, writers take turns."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cij_sandbox.core import guid
from cij_sandbox.core.clock import CLOCK
from cij_sandbox.core.schema import Schema

_SETTINGS = "CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;"


def fold(value: str | int | float | bytes | None) -> str | int | float | bytes | None:
    """Prepare a string for comparison: Dataverse compares without regard to case."""
    return value.casefold() if isinstance(value, str) else value


class Store:
    """The state of one organisation."""

    def __init__(self, path: Path, schema: Schema) -> None:
        self.schema = schema
        # Created before SQLite opens it, with permissions for the owner alone: the file holds private keys.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        path.chmod(0o600)
        self._path = path
        self._local = threading.local()
        self._turn = threading.Lock()
        connection = self.reader()
        connection.execute("PRAGMA journal_mode = WAL")
        for table in schema.tables:
            columns = ", ".join(column.sql for column in table.columns)
            connection.execute(
                f'CREATE TABLE IF NOT EXISTS "{table.logical_name}" ({columns}, PRIMARY KEY ("{table.key}"))'
            )
            # The file of an older sandbox lacks columns that are new.
            found = {row["name"] for row in connection.execute(f'PRAGMA table_info("{table.logical_name}")')}
            for column in table.columns:
                if column.name not in found:
                    connection.execute(f'ALTER TABLE "{table.logical_name}" ADD COLUMN {column.sql}')
        connection.executescript(_SETTINGS + schema.sql)

    def reader(self) -> sqlite3.Connection:
        """Return this thread's connection, in autocommit mode."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
        return connection

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Open a connection for a long read, during which the thread also writes.

        On one connection a write would have to build on the state with which the read began. SQLite refuses that as
        soon as another connection has written.
        """
        connection = self._connect()
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write all or nothing. Writers wait for a lock, which is fair; SQLite's busy handler polls.

        A transaction inside another one of the same thread is a part of it.
        """
        connection = self.reader()
        if connection.in_transaction:
            yield connection
            return
        with self._turn:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                # With every change, so that after a restart the clock is never behind a time on file.
                connection.execute("INSERT OR REPLACE INTO setting VALUES ('time', ?)", (CLOCK.now(),))
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=60, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.create_function("fold", 1, fold, deterministic=True)
        connection.create_function("packed", 1, _packed, deterministic=True)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def setting(self, name: str) -> str | None:
        """Return a stored setting."""
        row = self.reader().execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row["value"])

    def keep(self, name: str, value: str) -> str:
        """Store a setting and return it."""
        with self.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (name, value))
        return value


def next_number(connection: sqlite3.Connection, name: str, step: int = 1) -> int:
    """Return the next number of a sequence, inside a transaction."""
    connection.execute("INSERT OR IGNORE INTO setting VALUES (?, 1000)", (name,))
    connection.execute("UPDATE setting SET value = value + ? WHERE name = ?", (step, name))
    return int(connection.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()[0])


def _packed(value: object) -> bytes | None:
    return guid.to_bytes(value) if isinstance(value, str) else None
