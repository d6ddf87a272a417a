"""Members from a database."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from contextlib import aclosing, closing, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.errors import CijError, CijInputError
from airflow_provider_cij.sources.base import InThread, position_of, texts

if TYPE_CHECKING:
    from airflow_provider_cij.api.members.id_list import Chunk
    from airflow_provider_cij.dataverse.client import DataverseClient

_PAGE = 5000
# What no retry can mend when a query runs, as PEP 249 names it: drivers share the names, not the classes.
_QUERY = frozenset({"ProgrammingError", "NotSupportedError"})
# When a connection opens, a driver that is not installed is permanent. Airflow says "not found" also of a connection
# that it could not ask for, so that is not.
_OPENING = frozenset({"ImportError"})
_NO_HOOK = "Unknown hook type"
# What a driver quotes may be personal data, so its words are cut there, unless it says that it is a name.
_QUOTED = re.compile(
    r"""((?:table|relation|column|schema|database|view|function|object name) (["'`])[\w.$]+\2)|["'`].*""", re.IGNORECASE
)


class FromSql:
    """Members from a query on any database that Airflow has a provider for. Nothing is committed.

    :param sql: the query (templated)
    :param conn_id: the database's Airflow connection (templated)
    :param column: the column's name, or its number from 0. Default None, the only column, or the one named
        ``contactid``, ``leadid`` or ``id`` (templated)
    :param parameters: values for the query's placeholders, in the driver's style; they never become part of the text.
        Default None, the query has no placeholders (templated)
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
        # The query may name a person.
        return f"FromSql(conn_id={self.conn_id!r}, column={self.column!r})"

    async def chunks(self, client: DataverseClient) -> AsyncIterator[Chunk]:
        """Yield the rows in chunks: their numbers as lines, and the values of the column.

        :param client: the task's open client; not used
        :raises CijInputError: the connection leads to no database, the query is wrong, or has no such column
        :raises CijError: the database does not answer
        """
        for name, value in (("sql", self.sql), ("conn_id", self.conn_id)):
            if not isinstance(value, str) or not value.strip():
                raise CijInputError(f"FromSql's {name} is {type(value).__name__}.", hint="Give text that is not empty.")
        async with aclosing(InThread(self._pages(), "FromSql")) as pages:
            async for chunk in pages:
                yield chunk

    def _pages(self) -> Generator[Chunk, None, None]:
        with closing(self._connect()) as connection:
            cursor = _cursor(connection)
            try:
                yield from self._read(cursor)
            except CijError:
                raise
            except Exception as error:
                raise _driver_error(
                    error, f"The query on connection {self.conn_id!r} failed", _QUERY, quoting=False
                ) from None
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
            raise _driver_error(
                error, f"The database of connection {self.conn_id!r} can't be opened", _OPENING
            ) from None
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
    """Return a cursor that streams.

    The drivers named here load the whole result at ``execute`` by default; the others fetch page by page.
    """
    driver = type(connection).__module__.partition(".")[0]
    if driver in ("psycopg", "psycopg2"):
        return connection.cursor("cij_members")  # named: it stays on the server
    if driver in ("MySQLdb", "pymysql"):
        return connection.cursor(import_module(f"{driver}.cursors").SSCursor)
    return connection.cursor()


def _driver_error(error: Exception, what: str, permanent: frozenset[str] = _QUERY, *, quoting: bool = True) -> CijError:
    """Return a driver's error as ours, without the values in it.

    :param error: the driver's error, or Airflow's
    :param what: what failed
    :param permanent: the names of error classes that no retry can mend; default those of a query
    :param quoting: False cuts what the driver quotes, unless it says that it is a name; default True
    """
    words = [word for word in error.args if isinstance(word, str)] or [str(error)]
    line = (words[-1].strip().splitlines() or [""])[0]
    if not quoting:
        line = _QUOTED.sub(lambda found: found[1] or "…", line)
    known = any(kind.__name__ in permanent for kind in type(error).__mro__) or line.startswith(_NO_HOOK)
    return (CijInputError if known else CijError)(f"{what}: {type(error).__name__}: {line}")
