"""Queries on a real PostgreSQL, with both of its drivers."""

from __future__ import annotations

import asyncio
import json
import time
import uuid

import psycopg
import psycopg2
import pytest
from airflow.providers.postgres.hooks import postgres as hook

from airflow_provider_cij.errors import CijError, CijInputError
from airflow_provider_cij.sources import FromSql
from airflow_provider_cij.sources import sql as sql_source
from tests.sources import databases
from tests.streams import read_rows, read_source

IDS = [str(uuid.UUID(int=number)) for number in range(1, 4)]


@pytest.fixture(scope="module")
def server():
    """Provide a PostgreSQL of three buyers: a way to connect to it."""
    with databases.postgres() as folder:
        where = {"host": folder, "user": "postgres", "dbname": "postgres"}
        with psycopg.connect(**where) as connection:
            connection.execute("create schema shop")
            connection.execute("create table shop.buyers (id uuid, email text, number numeric(12, 2), spent float8)")
            rows = [(member_id, f"ada{n}@x.test", 4930123456 + n, n or "NaN") for n, member_id in enumerate(IDS)]
            with connection.cursor() as cursor:
                cursor.executemany("insert into shop.buyers values (%s, %s, %s, %s)", rows)
        yield where


@pytest.fixture(params=["psycopg2", "psycopg"])
def conn(request, server, monkeypatch):
    """Return a function that sets the connection ``shop`` for one of the drivers."""
    monkeypatch.setattr(hook, "USE_PSYCOPG3", request.param == "psycopg")

    def use(**extra: object) -> str:
        where = {"host": server["host"], "login": "postgres", "schema": "postgres"}
        monkeypatch.setenv("AIRFLOW_CONN_SHOP", json.dumps({"conn_type": "postgres", **where, "extra": extra}))
        return request.param

    use()
    return use


@pytest.mark.parametrize(
    ("sql", "options", "values"),
    [
        ("select id from shop.buyers order by email", {}, IDS),
        ("select number from shop.buyers order by email", {}, ["4930123456", "4930123457", "4930123458"]),
        ("select spent from shop.buyers order by email", {}, [None, "1", "2"]),
        ("select email, id from shop.buyers where email = %s", {"parameters": ["ada1@x.test"]}, [IDS[1]]),
        ("select id from shop.buyers where email like 'ada0%'", {}, [IDS[0]]),
        ("select 'nan' as id union all select null order by 1", {}, ["nan", None]),
        ("select 'a;b'::text as id; -- the ids; of all\n", {}, ["a;b"]),
        ("/* one; two */ select $$;$$::text as id", {}, [";"]),
        ("select convert_to('0123456789abcdef', 'utf8') as id", {}, ["0123456789abcdef"]),
        ("select id from shop.buyers where false", {}, []),
        ("with b as (select * from shop.buyers) select id from b order by email", {}, IDS),
        ("values ('x')", {"column": 0}, ["x"]),
    ],
)
def test_a_query_is_read(conn, sql, options, values):
    """Values of every type are read as text, in the order of the query."""
    assert [value for _, value in read_source(FromSql(sql, "shop", **options))] == values


def test_whole_rows_have_the_types_of_the_driver(conn):
    """Whole rows are dicts of the columns, also where the connection gives rows as dicts."""
    source = FromSql("select id, email, spent from shop.buyers where spent = 1", "shop")
    expected = [(1, {"email": "ada1@x.test", "spent": 1.0})]
    assert read_rows(source, ["email", "spent"]) == expected
    conn(cursor="dictcursor")
    assert read_rows(source, ["email", "spent"]) == expected


def test_a_connection_that_commits_by_itself_is_read(conn):
    """A connection with autocommit is read within a transaction of its own."""
    if conn() == "psycopg":  # the hook knows no such extra of psycopg2
        conn(autocommit=True)
        assert len(read_source(FromSql("select id from shop.buyers", "shop"))) == 3


def test_a_driver_that_commits_by_itself_gives_a_cursor_of_the_server(server):
    """A connection of psycopg2 with autocommit gets a named cursor that works."""
    connection = psycopg2.connect(**server)
    connection.autocommit = True
    cursor = sql_source._cursor(connection)
    cursor.execute("select generate_series(1, 1000000000)")
    assert cursor.fetchmany(2) == [(1,), (2,)]
    sql_source._close(connection, cursor)
    assert connection.closed


@pytest.mark.parametrize(
    "sql",
    [
        "set search_path to shop; select id from buyers",
        "select 1 as id; select 2 as id;",
        "begin; select id from shop.buyers",
    ],
)
def test_several_statements_are_refused(conn, sql):
    """Several statements are refused before the database is asked, with what to do instead."""
    with pytest.raises(CijInputError, match=r"has 2 statements. Give one statement. .*search_path"):
        read_source(FromSql(sql, "shop"))


def test_the_search_path_is_set_by_the_connection(conn):
    """What the error recommends instead of a SET works."""
    conn(options="-csearch_path=shop")
    assert len(read_source(FromSql("select id from buyers", "shop"))) == 3


@pytest.mark.parametrize(
    ("sql", "options", "words", "hidden"),
    [
        (
            "select emial from shop.buyers where email = 'canary'",
            {},
            'HINT: Perhaps you meant to reference the column "buyers.email".',
            "canary",
        ),
        ("select id from nowhere", {}, 'relation "nowhere" does not exist LINE 1: select id from nowhere', "canary"),
        ("selec id from shop.buyers", {}, "SyntaxError: syntax error at or near", "canary"),
        ("select id from nowhere where email = %s", {"parameters": ["canary@x.test"]}, "does not exist", "canary"),
        ("select id from nowhere where n = %(n)s", {"parameters": {"n": 4930123456}}, "does not exist", "4930123456"),
        ("select id from shop.buyers where email = 5", {}, "HINT: No operator matches", "canary"),
        ("select email::int as id from shop.buyers", {}, "invalid input syntax for type integer: …", "ada0"),
        ("select '{\"canary\"'::json as id", {}, "invalid input syntax for type json", "canary"),
        ("delete from shop.buyers", {}, "syntax error at or near", "canary"),
        ("select 1/0 as id", {}, "division by zero", "canary"),
        (
            f"select id from nowhere where {'x' * 40} = 'canary{'y' * 60}'",  # noqa: S608
            {},
            "does not exist",
            "canary",
        ),
        (
            f"select id, '{'x' * 60}canary' from nowhere",  # noqa: S608
            {},
            "does not exist",
            "canary",
        ),
    ],
)
def test_a_wrong_query_fails_for_good(conn, sql, options, words, hidden):
    """A wrong query is a permanent error with the whole message of the driver, without values."""
    with pytest.raises(CijInputError) as raised:
        read_source(FromSql(sql, "shop", **options))
    assert words in " ".join(str(raised.value).split())
    assert hidden not in str(raised.value)
    assert read_source(FromSql("select count(*) from shop.buyers", "shop")) == [(1, "3")]


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("select array_agg(email) as id from shop.buyers", "line 1: column 'id' holds a list of 3 values"),
        ("select '{\"a\": 1}'::jsonb as id", "line 1: column 'id' holds an object of 1 fields"),
        ("select decode('ff00', 'hex') as id", "line 1: column 'id' holds 2 bytes of binary, which are no text"),
    ],
)
def test_a_column_of_no_single_values_is_refused(conn, sql, words):
    """Arrays, objects and binary are refused with line and kind."""
    with pytest.raises(CijInputError, match=words):
        read_source(FromSql(sql, "shop"))


def test_a_query_that_is_left_early_ends_its_session(conn, server):
    """A long result is streamed: its first rows come at once, and leaving it ends the session."""
    name = f"left early {uuid.uuid4()}"
    conn(application_name=name)

    async def first(watch: psycopg.Connection) -> object:
        chunks = FromSql("select generate_series(1, 1000000000) as id", "shop").chunks(None)
        _, values = await anext(chunks)
        assert _sessions(watch, name) == 1
        await chunks.aclose()
        return values[0]

    with psycopg.connect(**server, autocommit=True) as watch:
        assert asyncio.run(first(watch)) == "1"
        end = time.monotonic() + 30
        while _sessions(watch, name) and time.monotonic() < end:
            pass
        assert _sessions(watch, name) == 0


def _sessions(watch: psycopg.Connection, name: str) -> int:
    return watch.execute("select count(*) from pg_stat_activity where application_name = %s", [name]).fetchone()[0]


def test_a_lost_connection_may_be_tried_again(conn, server):
    """A connection that breaks while rows are read is an error that a retry may mend."""
    name = f"lost {uuid.uuid4()}"
    conn(application_name=name)

    async def read() -> None:
        chunks = FromSql("select generate_series(1, 1000000) as id", "shop").chunks(None)
        await anext(chunks)
        with psycopg.connect(**server) as other:
            ended = "select pg_terminate_backend(pid, 30000) from pg_stat_activity where application_name = %s"
            assert other.execute(ended, [name]).fetchall() == [(True,)]
        async for _ in chunks:
            pass

    with pytest.raises(CijError, match="query on connection 'shop' failed") as raised:
        asyncio.run(read())
    assert not raised.value.permanent


_LARGE = """
import asyncio, resource, sys
from airflow.providers.postgres.hooks import postgres
from airflow_provider_cij.sources import FromSql
from airflow_provider_cij.sources import sql as sql_source

postgres.USE_PSYCOPG3 = sys.argv[1] == "psycopg"

async def count(rows):
    sql = f"select md5(n::text) as id, repeat('x', 100) as other from generate_series(1, {rows}) n"
    return sum([len(values) async for _, values in FromSql(sql, "shop").chunks(None)])

asyncio.run(count(10000))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(asyncio.run(count(400000)), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_long_result_is_not_held_in_memory(conn):
    """A result of 400,000 rows, some 60 MB, is read within 8 MB of memory."""
    rows, kibibytes = databases.count_rows(_LARGE, conn())
    assert rows == 400_000
    assert kibibytes < 8192
