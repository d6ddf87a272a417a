"""Members from a database."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, TypeVar

from airflow_provider_cij.errors import CijError, CijInputError
from airflow_provider_cij.sources.base import PlainSource, Shape, Streaming

T = TypeVar("T")

_PAGE = 5000
_MYSQL = ("MySQLdb", "pymysql", "mysql")  # mysqlclient, PyMySQL and MySQL's own driver


class FromSql(PlainSource, Streaming):
    """Members, or whole rows, from a query on any database that Airflow has a provider for.

    The result is streamed, also from PostgreSQL and MySQL, whose drivers would hold all of it. Nothing is committed.
    Lines are the rows' numbers.

    :param sql: the query, one statement (templated)
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
        sql = self._statement()
        connection = self._connect()
        cursor = None
        try:
            cursor = _cursor(connection)
            yield from self._read(cursor, sql, shape)
        except CijError:
            raise
        except Exception as error:
            from airflow_provider_cij.sources._driver_errors import query_error

            raise query_error(error, f"The query on connection {self.conn_id!r} failed", sql, self.parameters) from None
        finally:
            _close(connection, cursor)

    def _statement(self) -> str:
        """Return the query without the semicolon after it, which many databases don't take."""
        sql = self.sql.rstrip("; \t\r\n")
        if ";" not in sql:  # parsing takes seconds where a query holds thousands of values
            return sql
        try:
            import sqlparse
            from sqlparse.lexer import tokenize
            from sqlparse.tokens import Comment
        except ImportError:
            hint = "pip install 'airflow-provider-cij[sql]', and the provider of the database."
            raise CijInputError("FromSql needs Airflow's common SQL provider.", hint=hint) from None

        def is_statement(part: str) -> bool:
            pairs: Any = tokenize(part)  # type: ignore[no-untyped-call]
            return any(kind not in Comment and text.strip("; \t\r\n") for kind, text in pairs)

        statements = [part for part in sqlparse.split(self.sql) if is_statement(part)]
        if len(statements) != 1:
            raise CijInputError(
                f"{self!r} has {len(statements):,} statements.",
                hint="Give one statement. What it needs set before (SET, USE) belongs into the connection's extra, "
                'such as {"options": "-csearch_path=shop"}; or write shop.buyers for a table of another schema.',
            )
        return str(statements[0]).rstrip("; \t\r\n")

    def _connect(self) -> Any:
        try:
            from airflow.providers.common.sql.hooks.sql import DbApiHook

            from airflow_provider_cij.version_compat import get_connection

            connection: Any = get_connection(self.conn_id)
            hook = connection.get_hook()
            if isinstance(hook, DbApiHook):
                opened = hook.get_conn()
                _report_lineage(hook, self.sql)
                return opened
        except Exception as error:
            from airflow_provider_cij.sources._driver_errors import opening_error

            raise opening_error(error, f"The database of connection {self.conn_id!r} can't be opened") from None
        raise CijInputError(f"Connection {self.conn_id!r} leads to no SQL database, but to {type(hook).__name__}.")

    def _read(self, cursor: Any, sql: str, shape: Shape[T]) -> Generator[tuple[Sequence[int], list[T]], None, None]:
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
            raise CijInputError(f"The query on connection {self.conn_id!r} returns no rows.", hint="Give a SELECT.")


def _report_lineage(hook: Any, sql: str) -> None:
    """Report the query, without its parameters, to Airflow's lineage, which finds the tables in it."""
    with suppress(Exception):  # an older provider has no such function, and lineage must stop nothing
        from airflow.providers.common.sql.hooks.lineage import send_sql_hook_lineage

        send_sql_hook_lineage(context=hook, sql=sql)


def _cursor(connection: Any) -> Any:
    """Return a cursor that streams.

    The drivers named here load the whole result at ``execute`` by default; the others fetch page by page.
    """
    driver = type(connection).__module__.partition(".")[0]
    if driver in ("psycopg", "psycopg2"):
        connection.autocommit = False  # a cursor of the server lives within a transaction
        return connection.cursor("cij_members")  # named: it stays on the server
    if driver == "mysql":  # the connection may be set to buffer
        return connection.cursor(buffered=False)
    if driver in _MYSQL:
        return connection.cursor(import_module(f"{driver}.cursors").SSCursor)
    return connection.cursor()


def _close(connection: Any, cursor: Any) -> None:
    """Close a connection without reading the rest of a result, which may be long. Its errors do not concern the task.

    :param connection: the open connection
    :param cursor: its cursor, or None
    """
    driver = type(connection).__module__.partition(".")[0]
    if driver == "pymysql" and getattr(cursor, "_result", None):  # it reads to the end whatever is closed
        cursor._result.unbuffered_active = False
    if driver == "mysql" and getattr(connection, "_cmysql", None):  # so does the one that is written in C
        connection._cmysql.close()
    # The other drivers of MySQL read to the end to close a cursor whose connection is open.
    both = (connection, cursor) if driver in _MYSQL else (cursor, connection)
    for opened in both:
        with suppress(Exception):
            opened.close()
