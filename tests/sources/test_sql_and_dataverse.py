"""Members from a database and from the organisation itself."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import types
import uuid
from pathlib import Path

import pytest
from airflow.sdk import DAG, BaseOperator

from airflow_provider_cij.api.members.client import Members
from airflow_provider_cij.api.members.id_list import read_member_ids
from airflow_provider_cij.errors import CijError, CijInputError, CijRefusedError
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.operators.members import CijAddSegmentMembersOperator
from airflow_provider_cij.operators.segments import CijCreateSegmentOperator
from airflow_provider_cij.sources import FromDataverse, FromSql
from airflow_provider_cij.sources import sql as sql_source
from tests.dags import run_dag
from tests.streams import listed

IDS = [str(uuid.uuid4()) for _ in range(3)]
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id FROM n"


@pytest.fixture
def database(tmp_path, monkeypatch) -> Path:
    """Give a database of three people, as the connection ``shop``."""
    path = tmp_path / "shop.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE people (contactid TEXT, name TEXT, spent INTEGER, raw BLOB)")
    rows = [(one, f"Ada {number}", number, uuid.UUID(one).bytes) for number, one in enumerate(IDS)]
    connection.executemany("INSERT INTO people VALUES (?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", json.dumps({"conn_type": "sqlite", "host": str(path)}))
    return path


def _open(path: Path) -> bool:
    links = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return path in links


@pytest.mark.parametrize(
    ("sql", "options", "rows"),
    [
        ("SELECT contactid FROM people ORDER BY spent", {}, IDS),
        ("SELECT name, contactid FROM people ORDER BY spent;\n", {}, IDS),
        ("SELECT name, contactid AS c FROM people ORDER BY spent", {"column": "c"}, IDS),
        ("SELECT name, raw FROM people ORDER BY spent", {"column": 1}, IDS),
        ("SELECT spent FROM people ORDER BY spent", {}, ["0", "1", "2"]),
        ("SELECT contactid FROM people WHERE spent > ?", {"parameters": [1]}, IDS[2:]),
        ("SELECT contactid FROM people WHERE spent > :least", {"parameters": {"least": 1}}, IDS[2:]),
        ("SELECT contactid FROM people WHERE name LIKE '%2'", {}, IDS[2:]),
        ("SELECT NULL AS id", {}, [""]),
        ("SELECT contactid FROM people WHERE 1 = 0", {}, []),
    ],
)
def test_a_query_is_read_row_by_row(database, sql, options, rows):
    """By name, number or default; parameters are the driver's; lines are numbers of rows."""
    assert listed(FromSql(sql, "shop", **options)) == list(enumerate(rows, 1))
    assert not _open(database)


@pytest.mark.parametrize(
    ("sql", "options", "kind", "said"),
    [
        ("SELECT * FROM people", {"column": "id"}, CijInputError, "there is no column 'id'. Its columns: 'contactid'"),
        ("SELECT name, spent FROM people", {}, CijInputError, "which column holds the ids is not clear"),
        ("SELECT 1 AS id", {"column": 1}, CijInputError, "there is no column 1"),
        ("SELECT contactid FROM people WHERE spent > ?", {"parameters": [1, 2]}, CijInputError, "ProgrammingError"),
        ("DELETE FROM people", {}, CijInputError, "it gives no rows"),
        ("SELECT id FROM clients", {}, CijError, "OperationalError: no such table: clients"),
        ("SELECT 'Lovelace' FROM 'Ada", {}, CijError, "unrecognized token: …$"),
    ],
)
def test_a_query_that_fails_says_why(database, sql, options, kind, said):
    """Only what no retry can mend is the input's fault; the query's values are not shown, and nothing is changed."""
    with pytest.raises(CijError, match=said) as raised:
        listed(FromSql(sql, "shop", **options))
    assert type(raised.value) is kind
    assert "Ada" not in str(raised.value)
    assert not _open(database)
    assert len(listed(FromSql("SELECT contactid FROM people", "shop"))) == 3


def test_a_query_is_never_held_whole(database):
    """One without an end gives its first rows, and the connection is closed with the source."""

    async def first() -> object:
        chunks = FromSql(ENDLESS, "shop").chunks(None)
        lines, values = await anext(chunks)
        assert _open(database)
        await chunks.aclose()
        return lines[0], values[0]

    assert asyncio.run(first()) == (1, "1")
    assert not _open(database)


def test_a_list_that_is_refused_midway_closes_the_connection(database):
    """Though nobody reads on."""
    with pytest.raises(CijInputError, match="more than max_invalid=0"):
        asyncio.run(read_member_ids(FromSql(ENDLESS, "shop").chunks(None), max_invalid=0))
    assert not _open(database)


@pytest.mark.parametrize(
    ("connection", "said"),
    [
        ({"conn_type": "cij", "host": "https://x"}, "Connection 'other' leads to no SQL database, but to CijHook"),
        ({"conn_type": "nonsense"}, "database of connection 'other' can't be opened: AirflowException: Unknown hook"),
        (None, "database of connection 'other' can't be opened: AirflowNotFoundException: The conn_id `other`"),
        ({"conn_type": "sqlite", "host": "/nowhere/shop.db"}, "can't be opened: OperationalError: unable to open"),
    ],
)
def test_a_connection_that_is_none_is_named(monkeypatch, connection, said):
    """Only a kind of connection that nobody has installed is past mending: the database and Airflow may be away."""
    if connection:
        monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(connection))
    with pytest.raises(CijError, match=said) as raised:
        listed(FromSql("SELECT 1", "other"))
    assert raised.value.permanent == ("Unknown hook" in said or "no SQL database" in said)


class _Driver:
    def cursor(self, *how: object, **more: object) -> object:
        return how, more


@pytest.mark.parametrize("driver", ["psycopg2.extensions", "psycopg", "MySQLdb.connections", "pymysql.connections"])
def test_drivers_that_would_load_everything_are_told_to_stream(monkeypatch, driver):
    """A cursor on the server of PostgreSQL, an unbuffered one of MySQL, a plain one elsewhere."""
    name = driver.partition(".")[0]
    cursors = types.ModuleType(f"{name}.cursors")
    cursors.SSCursor = object()
    monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, f"{name}.cursors", cursors)
    kind = type("connection", (_Driver,), {"__module__": driver})
    how, _ = sql_source._cursor(kind())
    assert how == (("cij_members",) if "psycopg" in name else (cursors.SSCursor,))
    assert sql_source._cursor(_Driver()) == ((), {})


class _ServersCursor:
    description = None

    def __init__(self) -> None:
        self._pages = [[{"name": "Ada", "contactid": uuid.UUID(IDS[0])}], [{"name": "Bob", "contactid": None}], []]

    def execute(self, sql: str) -> None:
        assert sql == "SELECT"

    def fetchmany(self, _: int) -> list[dict[str, object]]:
        self.description = [("name", 25), ("contactid", 2950)]
        return self._pages.pop(0)


def test_a_servers_cursor_knows_its_columns_late():
    """With the first page; and a connection may give dicts."""
    chunks = FromSql("SELECT;", "x")._read(_ServersCursor())
    assert [(list(lines), values) for lines, values in chunks] == [([1], [IDS[0]]), ([2], [""])]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ('relation "shop.people" does not exist\nLINE 1: SELECT 1', 'relation "shop.people" does not exist'),
        ("Unknown column 'c.id' in 'field list'", "Unknown column 'c.id' in …"),
        ("Table 'shop.people' doesn't exist", "Table 'shop.people' doesn…"),
        ("You have an error near 'WHERE e = 'ada@x'' at line 1", "You have an error near …"),
        ('column "ada@contoso.test" does not exist', "column …"),
    ],
)
def test_what_a_driver_quotes_is_not_shown(said, shown):
    """Unless it is the name of a table or a column: it may be somebody's address."""
    kind = type("UndefinedTable", (type("ProgrammingError", (Exception,), {}),), {})
    for error in (kind(said), kind(1064, said)):
        told = sql_source._told(error, "It failed", quoting=False)
        assert str(told) == f"It failed: UndefinedTable: {shown}"
        assert told.permanent


def test_sources_render_their_templates(tmp_path):
    """Also the query in a file, where the operator takes files of SQL; nothing of it is shown."""

    class Task(BaseOperator):
        template_fields = ("members",)
        template_ext = (".sql",)

        def __init__(self, members: object, **kwargs: object) -> None:
            super().__init__(**kwargs)
            self.members = members

    (tmp_path / "members.sql").write_text("SELECT id FROM {{ t }}")
    sql = FromSql("members.sql", "{{ c }}", column="{{ c }}", parameters=["{{ t }}", 1])
    text = FromSql("SELECT id FROM {{ t }}", "x")
    rows = FromDataverse("{{ t }}", "name eq '{{ c }}'", column="{{ c }}")
    with DAG("d", schedule=None, template_searchpath=str(tmp_path)):
        for source in (sql, text, rows):
            task = Task(members=source, task_id=f"t{id(source)}")
            task.render_template_fields({"t": "people", "c": "shop"})
            assert task.members is source
    assert vars(sql) == {
        "sql": "SELECT id FROM people",
        "conn_id": "shop",
        "column": "shop",
        "parameters": ["people", 1],
    }
    assert text.sql == "SELECT id FROM people"
    assert vars(rows) == {"table": "people", "filter": "name eq 'shop'", "column": "shop"}
    assert repr(sql) == "FromSql(conn_id='shop', column='shop')"
    assert repr(rows) == "FromDataverse('people', column='shop')"


@pytest.fixture
def read(cij_sandbox, monkeypatch):
    """Read a source of the sandbox's organisation."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", cij_sandbox.airflow_conn_uri)

    async def chunks(source: FromDataverse, cij) -> list[tuple[int, object]]:
        found = source.chunks(cij.dataverse)
        return [pair async for lines, values in found for pair in zip(lines, values, strict=True)]

    return lambda source: CijHook().run(lambda cij: chunks(source, cij))


def _rows(path: str) -> list[dict[str, object]]:
    async def rows(cij) -> list[dict[str, object]]:
        return [row async for page in cij.dataverse.pages(path) for row in page]

    return CijHook().run(rows)


def test_rows_of_the_organisation_are_members(read):
    """Contacts by table or set name, filtered in OData, by their own id or another column; line by line."""
    contacts = _rows("contacts?$select=contactid,creditlimit,emailaddress1")
    rich = {row["contactid"] for row in contacts if (row["creditlimit"] or 0) >= 18000}
    everybody = read(FromDataverse("contact"))
    assert [line for line, _ in everybody] == list(range(1, len(contacts) + 1))
    assert {value for _, value in everybody} == {row["contactid"] for row in contacts}
    assert 0 < len(rich) < len(contacts)
    assert {value for _, value in read(FromDataverse("contacts", "creditlimit ge 18000"))} == rich
    mails = {row["emailaddress1"] or "" for row in contacts}
    assert {value for _, value in read(FromDataverse("contact", column="emailaddress1"))} == mails
    leads = _rows("leads?$select=leadid")
    assert {value for _, value in read(FromDataverse("lead"))} == {row["leadid"] for row in leads}


def test_rows_that_cant_be_read_say_why(read):
    """An unclear column before anything is asked, the rest in the service's words."""
    with pytest.raises(CijInputError, match=r"FromDataverse\('accounts', column=None\): which column"):
        read(FromDataverse("accounts"))
    with pytest.raises(CijRefusedError):
        read(FromDataverse("contact", "nonsense eq 1"))


def test_tasks_add_from_a_database_and_from_dataverse(cij_sandbox, database, monkeypatch):
    """As tasks of a DAG, with connections that come from Airflow."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", cij_sandbox.airflow_conn_uri)
    with DAG(f"d{uuid.uuid4().hex}", schedule=None, params={"table": "people"}) as dag:
        create = CijCreateSegmentOperator(task_id="create", display_name="S", groups=["G"])
        given = {"segment_id": create.output["segment_id"], "group": "G"}
        sql = FromSql("SELECT contactid FROM {{ params.table }}", "{{ 'shop' }}")
        CijAddSegmentMembersOperator(task_id="sql", members=sql, **given)
        rich = FromDataverse("contact", "creditlimit ge {{ 18 * 1000 }}")
        CijAddSegmentMembersOperator(task_id="rich", members=rich, **given)
    ran = run_dag(dag)
    assert set(ran.states.values()) == {"success"}
    assert (ran.result("sql")["read"], ran.result("sql")["added"]) == (3, 3)
    expected = {row["contactid"] for row in _rows("contacts?$select=contactid&$filter=creditlimit ge 18000")}
    made = ran.result("create")

    async def members(cij) -> set[str]:
        pages = Members(cij.dataverse).of_group(made["segment_id"], made["groups"]["G"])
        return {one async for page in pages for one in page}

    assert CijHook().run(members) == expected | set(IDS)
    assert ran.rendered["sql"]["members"] == "FromSql(conn_id='shop', column=None)"
