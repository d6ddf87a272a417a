"""Members from a database."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, suppress
from importlib import import_module
from typing import Any, TypeVar

from airflow_provider_cij.errors import CijError, CijInputError
from airflow_provider_cij.sources.base import PlainSource, Shape, Streaming

T = TypeVar("T")

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


class FromSql(PlainSource, Streaming):
    """Members, or whole rows, from a query on any database that Airflow has a provider for.

    Nothing is committed. Lines are the rows' numbers.

    :param sql: the query (templated)
    :param conn_id: the database's Airflow connection (templated)
    :param column: the column's name, or its number from 0. Default None, the only column, or the one named
        ``contactid``, ``leadid`` or ``id`` (templated)
    :param parameters: values for the query's placeholders, in the driver's style; they never become part of the text.
        Default None, the query has no placeholders (templated)
    """

    template_fields = ("sql", "conn_id", "column", "parameters")
    plain_key = "sql"

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

    def _check(self) -> None:
        for name, value in (("sql", self.sql), ("conn_id", self.conn_id)):
            if not isinstance(value, str) or not value.strip():
                raise CijInputError(f"FromSql's {name} is {type(value).__name__}.", hint="Give text that is not empty.")

    def _pages(self, shape: Shape[T]) -> Generator[tuple[Sequence[int], list[T]], None, None]:
        with closing(self._connect()) as connection:
            cursor = _cursor(connection)
            try:
                yield from self._read(cursor, shape)
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

    def _read(self, cursor: Any, shape: Shape[T]) -> Generator[tuple[Sequence[int], list[T]], None, None]:
        # Many databases take no semicolon behind a statement; files of SQL end in one.
        sql = self.sql.rstrip("; \t\r\n")
        # Without parameters a "%" in the text is a "%".
        cursor.execute(*(sql, self.parameters) if self.parameters else (sql,))
        first, names, places = 1, list[str](), list[int]()
        while rows := cursor.fetchmany(_PAGE):
            if not names:  # a server's cursor knows its columns from the first page on
                all_names = [str(column[0]) for column in cursor.description]
                places = shape.select(all_names)
                names = [all_names[place] for place in places]
            # A connection may be set to give dicts.
            keys: Sequence[Any] = names if isinstance(rows[0], Mapping) else places
            lines = range(first, first + len(rows))
            yield lines, shape.shaped(lines, names, [[row[key] for row in rows] for key in keys])
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
