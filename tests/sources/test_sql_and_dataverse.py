"""Members from a SQL database and from Dataverse."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import uuid
from pathlib import Path

import pytest
from airflow.sdk import DAG

from airflow_provider_cij.api.members.client import Members
from airflow_provider_cij.api.members.id_list import read_member_ids
from airflow_provider_cij.errors import CijError, CijInputError, CijRefusedError
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.operators.members import CijAddSegmentMembersOperator
from airflow_provider_cij.operators.segments import CijCreateSegmentOperator
from airflow_provider_cij.sources import FromDataverse, FromSql
from tests.dags import run_dag
from tests.streams import read_source

IDS = [str(uuid.uuid4()) for _ in range(3)]
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id FROM n"


@pytest.fixture
def database(tmp_path, monkeypatch) -> Path:
    """Provide a database of three people as the connection ``shop``."""
    path = tmp_path / "shop.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE people (contactid TEXT, name TEXT, spent INTEGER, raw BLOB)")
    rows = [(member_id, f"Ada {number}", number, uuid.UUID(member_id).bytes) for number, member_id in enumerate(IDS)]
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
        (
            "SELECT name, hex(raw) FROM people ORDER BY spent",
            {"column": 1},
            [uuid.UUID(one).hex.upper() for one in IDS],
        ),
        ("SELECT spent FROM people ORDER BY spent", {}, ["0", "1", "2"]),
        ("SELECT contactid FROM people WHERE spent > ?", {"parameters": [1]}, IDS[2:]),
        ("SELECT contactid FROM people WHERE spent > :least", {"parameters": {"least": 1}}, IDS[2:]),
        ("SELECT contactid FROM people WHERE name LIKE '%2'", {}, IDS[2:]),
        ("SELECT NULL AS id", {}, [None]),
        ("SELECT contactid FROM people WHERE 1 = 0", {}, []),
    ],
)
def test_a_query_is_read_row_by_row(database, sql, options, rows):
    """The id column is chosen by name, number or default, parameters go to the driver, and lines are row numbers."""
    assert read_source(FromSql(sql, "shop", **options)) == list(enumerate(rows, 1))
    assert not _open(database)


@pytest.mark.parametrize(
    ("sql", "options", "kind", "message"),
    [
        ("SELECT * FROM people", {"column": "id"}, CijInputError, "there is no column 'id'. Its columns: 'contactid'"),
        ("SELECT name, spent FROM people", {}, CijInputError, "which column holds the ids is not clear"),
        ("SELECT 1 AS id", {"column": 1}, CijInputError, "there is no column 1"),
        ("SELECT contactid FROM people WHERE spent > ?", {"parameters": [1, 2]}, CijInputError, "ProgrammingError"),
        ("DELETE FROM people", {}, CijInputError, "returns no rows"),
        ("SELECT id FROM clients", {}, CijInputError, "OperationalError: no such table: clients"),
        ("SELECT 'Lovelace' FROM 'Ada", {}, CijInputError, "unrecognized token: .'…"),
        ("SELECT 1 AS id; SELECT 2 AS id", {}, CijInputError, "has 2 statements. Give one statement"),
        ("-- nothing", {}, CijInputError, "returns no rows"),
        ("; -- nothing", {}, CijInputError, "has 0 statements. Give one statement"),
    ],
)
def test_a_failing_query_is_explained(database, sql, options, kind, message):
    """A failing query is explained without its values; only errors that no retry can fix are permanent."""
    with pytest.raises(CijError, match=message) as raised:
        read_source(FromSql(sql, "shop", **options))
    assert type(raised.value) is kind
    assert "Ada" not in str(raised.value)
    assert not _open(database)
    assert len(read_source(FromSql("SELECT contactid FROM people", "shop"))) == 3


def test_query_results_are_streamed(database):
    """An endless query gives its first rows, and its connection is closed with the source."""

    async def first() -> object:
        chunks = FromSql(ENDLESS, "shop").chunks(None)
        lines, values = await anext(chunks)
        assert _open(database)
        await chunks.aclose()
        return lines[0], values[0]

    assert asyncio.run(first()) == (1, "1")
    assert not _open(database)


def test_a_list_refused_halfway_closes_the_connection(database):
    """The connection is closed when a list is refused before its end."""
    with pytest.raises(CijInputError, match="more than max_invalid=0"):
        asyncio.run(read_member_ids(FromSql(ENDLESS, "shop").chunks(None), max_invalid=0))
    assert not _open(database)


@pytest.mark.parametrize(
    ("connection", "message"),
    [
        ({"conn_type": "cij", "host": "https://x"}, "Connection 'other' leads to no SQL database, but to CijHook"),
        ({"conn_type": "nonsense"}, "database of connection 'other' can't be opened: AirflowException: Unknown hook"),
        (None, "database of connection 'other' can't be opened: AirflowNotFoundException: The conn_id `other`"),
        ({"conn_type": "sqlite", "host": "/nowhere/shop.db"}, "can't be opened: OperationalError: unable to open"),
    ],
)
def test_an_unusable_connection_is_named(monkeypatch, connection, message):
    """A connection type without an installed provider is permanent; a missing connection is retryable."""
    if connection:
        monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(connection))
    with pytest.raises(CijError, match=message) as raised:
        read_source(FromSql("SELECT 1", "other"))
    assert raised.value.permanent == ("Unknown hook" in message or "no SQL database" in message)


def _rendered(source):
    task = CijAddSegmentMembersOperator(task_id=f"t{id(source)}", segment_id=IDS[0], group="G", members=source)
    task.render_template_fields({"t": "people", "c": "shop"})
    assert "{{" in str(vars(source))
    return task.members


def test_sources_render_their_templates(tmp_path):
    """Queries, also those in .sql files, are rendered as copies and not shown in the UI."""
    (tmp_path / "members.sql").write_text("SELECT id FROM {{ t }}")
    sql = FromSql("members.sql", "{{ c }}", column="{{ c }}", parameters=["{{ t }}", 1])
    text = FromSql("SELECT id FROM {{ t }}", "x")
    rows = FromDataverse("{{ t }}", "name eq '{{ c }}'", column="{{ c }}")
    with DAG("d", schedule=None, template_searchpath=str(tmp_path)):
        sql, text, rows = (_rendered(source) for source in (sql, text, rows))
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


def test_rows_of_dataverse_are_members(read):
    """Rows of Dataverse are read by table or entity set name, filter and id column."""
    contacts = _rows("contacts?$select=contactid,creditlimit,emailaddress1")
    rich = {row["contactid"] for row in contacts if (row["creditlimit"] or 0) >= 18000}
    everybody = read(FromDataverse("contact"))
    assert [line for line, _ in everybody] == list(range(1, len(contacts) + 1))
    assert {value for _, value in everybody} == {row["contactid"] for row in contacts}
    assert 0 < len(rich) < len(contacts)
    assert {value for _, value in read(FromDataverse("contacts", "creditlimit ge 18000"))} == rich
    mails = {row["emailaddress1"] for row in contacts}
    assert {value for _, value in read(FromDataverse("contact", column="emailaddress1"))} == mails
    leads = _rows("leads?$select=leadid")
    assert {value for _, value in read(FromDataverse("lead"))} == {row["leadid"] for row in leads}


def test_unreadable_rows_are_explained(read):
    """An unclear column is refused before any request; other errors keep the service's message."""
    with pytest.raises(CijInputError, match=r"FromDataverse\('accounts', column=None\): which column"):
        read(FromDataverse("accounts"))
    with pytest.raises(CijRefusedError):
        read(FromDataverse("contact", "nonsense eq 1"))


def test_tasks_add_from_a_database_and_from_dataverse(cij_sandbox, database, monkeypatch):
    """Tasks add members from a database and from Dataverse with Airflow connections."""
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
        return {member_id async for page in pages for member_id in page}

    assert CijHook().run(members) == expected | set(IDS)
    assert ran.rendered["sql"]["members"] == "FromSql(conn_id='shop', column=None)"
