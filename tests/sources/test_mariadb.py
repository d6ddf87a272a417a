"""Queries on a real MariaDB, with the drivers of MySQL. Skipped where there is no server."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import uuid
from typing import Any

import pytest
from airflow.providers.common.sql.hooks.sql import DbApiHook
from airflow.sdk import BaseHook

from airflow_provider_cij.errors import CijError, CijInputError
from airflow_provider_cij.sources import FromSql
from tests.sources import databases
from tests.streams import read_source

IDS = [str(uuid.UUID(int=number)) for number in range(1, 4)]
DRIVERS = {"pymysql": "pymysql", "mysql.connector": "mysql.connector", "mysqlclient": "MySQLdb"}


@pytest.fixture(scope="module")
def server():
    """Provide a MariaDB of three buyers: its port."""
    import pymysql

    with databases.mariadb() as port, pymysql.connect(host="127.0.0.1", port=port, user="root") as connection:
        with connection.cursor() as cursor:
            cursor.execute("create database shop")
            cursor.execute(
                "create table shop.buyers (id binary(16), email varchar(50), number decimal(12, 2), n double)"
            )
            for n, member_id in enumerate(IDS):
                row = (uuid.UUID(member_id).bytes, f"ada{n}@x.test", 4930123456 + n, n)
                cursor.execute("insert into shop.buyers values (%s, %s, %s, %s)", row)
        connection.commit()
        yield port


def _driver(name: str) -> Any:
    """Import a driver; mysqlclient, which is built when it is installed, may be left out."""
    if name == "mysqlclient" and not os.environ.get("CIJ_TEST_MARIADB"):
        return pytest.importorskip(DRIVERS[name])
    return importlib.import_module(DRIVERS[name])


@pytest.fixture(params=DRIVERS)
def connect(request, server, monkeypatch):
    """Let the connection ``shop`` lead to the server by one of the drivers, and return a function that connects."""
    driver = _driver(request.param)

    def open_connection() -> object:
        return driver.connect(host="127.0.0.1", port=server, user="root", database="shop")

    class Hook(DbApiHook):
        """The hook of Airflow's provider for MySQL, which needs a compiler to be installed."""

        conn_name_attr = "conn_id"

        def get_conn(self) -> object:
            return open_connection()

    monkeypatch.setenv("AIRFLOW_CONN_SHOP", json.dumps({"conn_type": "mysql"}))
    # Outside a task, Airflow 3.1 has another class for connections.
    monkeypatch.setattr(type(BaseHook.get_connection("shop")), "get_hook", lambda self: Hook())
    return open_connection


@pytest.mark.parametrize(
    ("sql", "options", "values"),
    [
        ("select hex(id) as id from buyers order by email", {}, [uuid.UUID(one).hex.upper() for one in IDS]),
        ("select number from buyers order by email;", {}, ["4930123456", "4930123457", "4930123458"]),
        ("select n from buyers order by email", {}, ["0", "1", "2"]),
        ("select email, n from buyers where email = %s", {"parameters": ["ada1@x.test"], "column": 1}, ["1"]),
        ("select email as id from buyers where email like 'ada0%'", {}, ["ada0@x.test"]),
        ("select null as id", {}, [None]),
        ("select 'a;b' as id -- ; of all", {}, ["a;b"]),
        ("select n as id from buyers where false", {}, []),
    ],
)
def test_a_query_is_read(connect, sql, options, values):
    """Values of every type are read as text, in the order of the query."""
    assert [value for _, value in read_source(FromSql(sql, "shop", **options))] == values


@pytest.mark.parametrize(
    ("sql", "options", "words", "hidden"),
    [
        ("select emial as id from buyers where email = 'canary'", {}, "Unknown column 'emial' in", "canary"),
        ("select id from nowhere", {}, "Table 'shop.nowhere' doesn't exist", "canary"),
        ("selec id from buyers where email = 'canary'", {}, "You have an error in your SQL syntax", "canary"),
        (
            f"select id frm buyers where email = '{'x' * 50}canary'",
            {},
            "You have an error in your SQL syntax",
            "canary",
        ),
        ("select id from buyers whre email = %s", {"parameters": ["canary"]}, "SQL syntax", "canary"),
        ("select id from buyers whre n = %s", {"parameters": [4930123456]}, "SQL syntax", "4930123456"),
        ("select 1 as id; select 2 as id", {}, "has 2 statements. Give one statement", "canary"),
        ("select id from elsewhere.buyers", {}, "elsewhere", "canary"),
        ("select nofunction(id) from buyers", {}, "nofunction", "canary"),
        ("update buyers set n = 7", {}, "returns no rows", "canary"),
        ("select id from buyers", {}, "line 1: column 'id' holds 16 bytes of binary|holds no", "canary"),
    ],
)
def test_a_wrong_query_fails_for_good(connect, sql, options, words, hidden):
    """A wrong query is a permanent error with the whole message of the driver, without values."""
    with pytest.raises(CijInputError) as raised:
        found = read_source(FromSql(sql, "shop", **options))
        # A GUID of small bytes can be read as text; then it is no id.
        raise CijInputError(f"holds no id: {len(found)}")
    assert any(part in str(raised.value) for part in words.split("|"))
    assert hidden not in str(raised.value)
    assert read_source(FromSql("select sum(n) from buyers", "shop")) == [(1, "3")]


def test_a_query_that_is_left_early_is_not_read_to_its_end(connect):
    """A long result is streamed: its first rows come at once, and leaving it does not read the rest."""

    async def first() -> object:
        chunks = FromSql("select seq as id from seq_1_to_1000000000000", "shop").chunks(None)
        _, values = await anext(chunks)
        await chunks.aclose()
        return values[0]

    assert asyncio.run(asyncio.wait_for(first(), 60)) == "1"


def test_a_lost_connection_may_be_tried_again(connect):
    """A connection that breaks while rows are read is an error that a retry may mend."""

    async def read() -> None:
        chunks = FromSql("select seq as id from seq_1_to_100000000", "shop").chunks(None)
        await anext(chunks)
        other = connect()
        with other.cursor() as cursor:
            cursor.execute("select id from information_schema.processlist where id <> connection_id() and db = 'shop'")
            for (session,) in cursor.fetchall():
                cursor.execute(f"kill {session}")
        other.close()
        async for _ in chunks:
            pass

    with pytest.raises(CijError, match="query on connection 'shop' failed") as raised:
        asyncio.run(read())
    assert not raised.value.permanent


_LARGE = """
import asyncio, importlib, resource, sys
from airflow.providers.common.sql.hooks.sql import DbApiHook
from airflow.sdk import BaseHook
from airflow_provider_cij.sources import FromSql

class Hook(DbApiHook):
    conn_name_attr = "conn_id"

    def get_conn(self):
        driver = importlib.import_module(sys.argv[1])
        return driver.connect(host="127.0.0.1", port=int(sys.argv[2]), user="root", database="shop")

type(BaseHook.get_connection("shop")).get_hook = lambda self: Hook()

async def count(rows):
    sql = f"select md5(seq) as id, repeat('x', 100) as other from seq_1_to_{rows}"
    return sum([len(values) async for _, values in FromSql(sql, "shop").chunks(None)])

asyncio.run(count(10000))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(asyncio.run(count(100000)), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_long_result_is_not_held_in_memory(server, driver):
    """A result of 100,000 rows, some 15 MB, is read within 8 MB of memory."""
    module = _driver(driver)
    shop = json.dumps({"conn_type": "mysql"})
    rows, kibibytes = databases.count_rows(_LARGE, module.__name__, server, AIRFLOW_CONN_SHOP=shop)
    assert rows == 100_000
    assert kibibytes < 8192
