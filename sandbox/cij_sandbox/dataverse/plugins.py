"""Plug-ins: code that a subject has run before and after a row of its table is written or deleted.

A plug-in runs in the transaction of the request. What it raises undoes the request.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from cij_sandbox.core.values import SqlValue

Row = Mapping[str, SqlValue]


class Plugin:
    """The steps of one table, none of which does anything here."""

    def before_write(self, connection: sqlite3.Connection, row: Row | None, content: dict[str, SqlValue]) -> None:
        """Check and complete the content for a row; the row is None when it is new."""

    def after_write(self, connection: sqlite3.Connection, row_id: str, row: Row | None, content: Row) -> None:
        """Act on the content that was written; ``row`` is the row before that."""

    def before_delete(self, connection: sqlite3.Connection, row: Row) -> None:
        """Refuse to delete a row, or prepare its end."""

    def after_delete(self, connection: sqlite3.Connection, row_id: str) -> None:
        """Clean up after a row that was deleted."""
