"""Plug-ins: code of a subject that runs before and after a row of its table is written or deleted.

A plug-in runs in the transaction of the request. An error that it raises rolls the request back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from cij_sandbox.core.values import SqlValue

Row = Mapping[str, SqlValue]


class Plugin:
    """The plug-in of one table. Subclasses override the steps that they need."""

    def before_write(self, connection: sqlite3.Connection, row: Row | None, content: dict[str, SqlValue]) -> None:
        """Check and complete the content of a row; ``row`` is None for a new one."""

    def after_write(self, connection: sqlite3.Connection, row_id: str, row: Row | None, content: Row) -> None:
        """Act on the content that was written; ``row`` is the row before the write, None for a new one."""

    def before_delete(self, connection: sqlite3.Connection, row: Row) -> None:
        """Raise the error for a row that cannot be deleted."""

    def mark_of_deleted(self) -> dict[str, SqlValue]:
        """Return the columns that mark a row as deleted; none for one that goes."""
        return {}

    def after_delete(self, connection: sqlite3.Connection, row_id: str) -> None:
        """Clean up after a row that was deleted."""
