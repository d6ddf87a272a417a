"""Members from a database."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.errors import CijError, CijInputError
from airflow_provider_cij.sources.base import position_of, texts

if TYPE_CHECKING:
    from airflow_provider_cij.api.intake import Chunk
    from airflow_provider_cij.dataverse.client import DataverseClient

_PAGE = 5000
# What no retry can mend, as PEP 249 names it (drivers share the names, not the classes) and as Airflow does when a
# connection is not defined, or of a type that is not installed.
_PERMANENT = {"ProgrammingError", "NotSupportedError", "AirflowException", "ImportError"}
# What a driver quotes may be somebody's value, so its words end there; unless it says that it is a name.
_QUOTED = re.compile(
    r"""((?:table|relation|column|schema|database|view|function|object name) (["'`])[\w.$]+\2)|["'`].*""", re.IGNORECASE
)


class FromSql:
    """Members from a query on any database that Airflow has a provider for. It reads only: nothing is committed.

    :param sql: the query (templated)
    :param conn_id: the database's Airflow connection (templated)
    :param column: the column's name, or its number from 0 (templated). By default the only column, or the one named
        like an id: ``contactid``, ``leadid``, ``id``
    :param parameters: for the query's placeholders, in the driver's style; they never become part of the text
        (templated)
    """

    template_fields = ("sql", "conn_id", "column", "parameters")

    def __init__(
        self,
        sql: str,
        conn_id: str,
        *,
        column: str | int | None = None,
        parameters: Sequence[object] | Mapping[str, object] | None = None,
    ) -> None:
        self.sql = sql
        self.conn_id = conn_id
        self.column = column
        self.parameters = parameters

    def __repr__(self) -> str:
        # The query may name somebody.
        return f"FromSql(conn_id={self.conn_id!r}, column={self.column!r})"

    async def chunks(self, client: DataverseClient) -> AsyncIterator[Chunk]:
        """Give the rows, some at a time; their lines are numbers of rows.

        :raises CijInputError: the connection is none to a database, the query is wrong, or has no such column
        :raises CijError: the database does not answer
        """
        pages = self._pages()
        loop = asyncio.get_running_loop()
        # Drivers block, Airflow's connections are fetched by blocking calls, and SQLite knows only the thread that
        # opened it: one thread for all of it.
        with ThreadPoolExecutor(1, "FromSql") as thread:
            try:
                while chunk := await loop.run_in_executor(thread, next, pages, None):
                    yield chunk
            finally:
                await loop.run_in_executor(thread, pages.close)

    def _pages(self) -> Generator[Chunk, None, None]:
        with closing(self._connect()) as connection:
            cursor = _cursor(connection)
            try:
                yield from self._read(cursor)
            except CijError:
                raise
            except Exception as error:
                raise _told(error, f"The query on connection {self.conn_id!r} failed", quoting=False) from None
            finally:
                with suppress(Exception):  # of its own: it would hide the first
                    cursor.close()

    def _connect(self) -> Any:
        try:
            from airflow.providers.common.sql.hooks.sql import DbApiHook
            from airflow.sdk import BaseHook

            connection: Any = BaseHook.get_connection(self.conn_id)
            hook = connection.get_hook()
            if isinstance(hook, DbApiHook):
                return hook.get_conn()
        except Exception as error:
            raise _told(error, f"The database of connection {self.conn_id!r} can't be opened") from None
        raise CijInputError(f"Connection {self.conn_id!r} leads to no SQL database, but to {type(hook).__name__}.")

    def _read(self, cursor: Any) -> Generator[Chunk, None, None]:
        # Many databases take no semicolon behind a statement; files of SQL end in one.
        sql = self.sql.rstrip("; \t\r\n")
        # Without parameters a "%" in the text is a "%".
        cursor.execute(*(sql, self.parameters) if self.parameters else (sql,))
        first, place = 1, -1
        while rows := cursor.fetchmany(_PAGE):
            if place < 0:  # a server's cursor knows its columns from the first page on
                names = [str(column[0]) for column in cursor.description]
                place = position_of(names, self.column, repr(self))
            # A connection may be set to give dicts.
            key: Any = names[place] if isinstance(rows[0], Mapping) else place
            yield range(first, first + len(rows)), texts(row[key] for row in rows)
            first += len(rows)
        if not cursor.description:
            raise CijInputError(f"The query on connection {self.conn_id!r} is none: it gives no rows.")


def _cursor(connection: Any) -> Any:
    """Open a cursor that streams.

    These drivers load the whole result at ``execute`` unless told otherwise; the others fetch page by page.
    """
    driver = type(connection).__module__.partition(".")[0]
    if driver in ("psycopg", "psycopg2"):
        return connection.cursor("cij_members")  # named: it stays on the server
    if driver in ("MySQLdb", "pymysql"):
        return connection.cursor(import_module(f"{driver}.cursors").SSCursor)
    return connection.cursor()


def _told(error: Exception, what: str, *, quoting: bool = True) -> CijError:
    """Say what a driver says, without the values in it."""
    words = [word for word in error.args if isinstance(word, str)] or [str(error)]
    line = (words[-1].strip().splitlines() or [""])[0]
    if not quoting:
        line = _QUOTED.sub(lambda found: found[1] or "…", line)
    permanent = any(kind.__name__ in _PERMANENT for kind in type(error).__mro__)
    return (CijInputError if permanent else CijError)(f"{what}: {type(error).__name__}: {line}")
