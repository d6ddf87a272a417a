"""The SQLite file everything is kept in: one connection a thread, readers never wait, writers take turns."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cij_sandbox.core import guid
from cij_sandbox.core.clock import CLOCK
from cij_sandbox.dataverse.tables import TABLES
from cij_sandbox.journeys.tables import STATE as JOURNEY_STATE
from cij_sandbox.outbound.tables import STATE as OUTBOUND_STATE

# Dataverse indexes the columns these serve as well: without them matching by e-mail would read the whole table.
_INDEXES = """
CREATE INDEX IF NOT EXISTS contact_by_email ON contact (fold(emailaddress1));
CREATE INDEX IF NOT EXISTS lead_by_email ON lead (fold(emailaddress1));
CREATE INDEX IF NOT EXISTS segment_by_definition ON msdynmkt_segment (fold(msdynmkt_sourcesegmentuid));
CREATE INDEX IF NOT EXISTS execution_by_definition
    ON msdynmkt_segmentexecution (msdynmkt_segmentdefinitionid, msdynmkt_startedon);
"""
_OWN_TABLES = """
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS static_group (
    number INTEGER PRIMARY KEY AUTOINCREMENT, definition_id TEXT NOT NULL, group_id TEXT NOT NULL,
    include INTEGER NOT NULL, members INTEGER NOT NULL DEFAULT 0, UNIQUE (definition_id, group_id)
);
CREATE TABLE IF NOT EXISTS static_member (
    group_number INTEGER NOT NULL, member BLOB NOT NULL, PRIMARY KEY (group_number, member)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS evaluation (segment_id TEXT PRIMARY KEY, number INTEGER NOT NULL, members INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS evaluation_page (
    evaluation INTEGER NOT NULL, page INTEGER NOT NULL, ids BLOB NOT NULL, PRIMARY KEY (evaluation, page)
);
CREATE TABLE IF NOT EXISTS job (
    execution_id TEXT PRIMARY KEY, segment_id TEXT NOT NULL, definition_id TEXT NOT NULL,
    started INTEGER NOT NULL, due REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS schedule (
    segment_id TEXT PRIMARY KEY, definition_id TEXT NOT NULL,
    published_at REAL NOT NULL, evaluated_at REAL NOT NULL, unused_since REAL
);
CREATE TABLE IF NOT EXISTS stopping (segment_id TEXT PRIMARY KEY, definition_id TEXT NOT NULL, due REAL NOT NULL);
CREATE TABLE IF NOT EXISTS outcome (segment_id TEXT PRIMARY KEY, ended_at INTEGER NOT NULL, failure TEXT);
"""


def fold(value: str | int | float | bytes | None) -> str | int | float | bytes | None:
    """Prepare a string for comparison: Dataverse compares without regard to case."""
    return value.casefold() if isinstance(value, str) else value


class Store:
    """The state of one organisation."""

    def __init__(self, path: Path) -> None:
        # Created before SQLite opens it, because the file holds private keys.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        path.chmod(0o600)
        self._path = path
        self._local = threading.local()
        self._turn = threading.Lock()
        connection = self.reader()
        connection.execute("PRAGMA journal_mode = WAL")
        for table in TABLES:
            columns = ", ".join(column.sql for column in table.columns)
            connection.execute(
                f'CREATE TABLE IF NOT EXISTS "{table.logical_name}" ({columns}, PRIMARY KEY ("{table.key}"))'
            )
            # A file of an older sandbox lacks the columns that have come since.
            found = {row["name"] for row in connection.execute(f'PRAGMA table_info("{table.logical_name}")')}
            for column in table.columns:
                if column.name not in found:
                    connection.execute(f'ALTER TABLE "{table.logical_name}" ADD COLUMN {column.sql}')
        connection.executescript(_OWN_TABLES + JOURNEY_STATE + OUTBOUND_STATE + _INDEXES)

    def reader(self) -> sqlite3.Connection:
        """Return this thread's connection, in autocommit mode."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
        return connection

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection of its own, for a long read during which the thread writes as well.

        On one connection a write would have to build on the state the read began with, and SQLite refuses that as
        soon as anybody else has written.
        """
        connection = self._connect()
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write all or nothing. The lock queues writers fairly where SQLite's own busy handler would poll.

        Inside a transaction of the same thread it is a part of that one.
        """
        connection = self.reader()
        if connection.in_transaction:
            yield connection
            return
        with self._turn:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                # With every change, so that no time on file is later than the one the clock goes on from.
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
    """Draw the next number of a sequence, inside a transaction."""
    connection.execute("INSERT OR IGNORE INTO setting VALUES (?, 1000)", (name,))
    connection.execute("UPDATE setting SET value = value + ? WHERE name = ?", (step, name))
    return int(connection.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()[0])


def _packed(value: object) -> bytes | None:
    return guid.to_bytes(value) if isinstance(value, str) else None
