# ruff: noqa: E501  # a row is a line
"""What people get wrong, and what they are told: one table, to be read as well as run.

Each row goes through the door that a user would use: the Test button, an operator, a list, a file, the service. It ends
in an error of ours with these words, or in a counted line with these words; never in a traceback of something else.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import uuid
from importlib import metadata
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_cij.api.segments.models import MemberGroup
from airflow_provider_cij.errors import CijError
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.operators.members import (
    CijAddSegmentMembersOperator,
    CijExportSegmentMembersOperator,
    CijMirrorSegmentMembersOperator,
)
from airflow_provider_cij.operators.segments import (
    CijCreateSegmentOperator,
    CijDeleteSegmentOperator,
    CijPublishSegmentOperator,
    CijStopSegmentsOperator,
    CijUpdateSegmentOperator,
)
from airflow_provider_cij.sensors.segments import CijSegmentMembersSensor, CijSegmentSensor
from airflow_provider_cij.sources import FromFile, FromSql, as_source
from airflow_provider_cij.version_compat import AirflowFailException
from tests.scripted import Answer
from tests.streams import read_ids, read_source

ID, OTHER, GROUP = (str(uuid.UUID(int=number)) for number in (1, 2, 3))
QUERY = "PROFILE(contact).FILTER(ISNOTNULL(emailaddress1))"
SEGMENT = {
    "msdynmkt_segmentid": ID,
    "msdynmkt_displayname": "Gold",
    "msdynmkt_sourcesegmentuid": OTHER,
    "msdynmkt_baseentitylogicalname": "contact",
    "statuscode": 1,
}
DEFINITION = {
    "msdynmkt_staticlistmembers": json.dumps([{"groupId": GROUP, "includeType": "Include", "name": "in"}]),
    "msdynmkt_segmentquery": QUERY,
}


def _rows(*values: Any) -> Answer:
    """Return a response with rows."""
    return Answer(body={"value": list(values)})


def _text(output: str, value: str) -> Answer:
    """Return a response of an action that puts JSON into a string."""
    return Answer(body={output: value})


def _changed(row: dict[str, Any], **values: Any) -> Answer:
    """Return a response with a row whose columns are changed."""
    return Answer(body=row | values)


def _error(status: int, code: str, message: str) -> Answer:
    """Return an error response."""
    return Answer(status, {"error": {"code": code, "message": message}})


def _get(cij: Any) -> Any:
    return cij.segments.get(ID)


def _group(cij: Any) -> Any:
    async def find() -> Any:
        return await cij.segments.group(await cij.segments.get(ID), "in")

    return find()


def _members(cij: Any) -> Any:
    async def read() -> Any:
        return [page async for page in cij.members.of_segment(ID)]

    return read()


def _in_group(cij: Any) -> Any:
    async def read() -> Any:
        return [page async for page in cij.members.of_group(ID, GROUP)]

    return read()


def _stop(cij: Any) -> Any:
    return cij.segments.stop([ID])


def _last(cij: Any) -> Any:
    async def read() -> Any:
        return await cij.segments.newest_executions(await cij.segments.get(ID), 1)

    return read()


ADD, CREATE, EXPORT = CijAddSegmentMembersOperator, CijCreateSegmentOperator, CijExportSegmentMembersOperator
UPDATE, PUBLISH, SENSOR = CijUpdateSegmentOperator, CijPublishSegmentOperator, CijSegmentSensor
add = {"segment_id": ID, "group": "in", "members": [ID]}
create = {"display_name": "Gold", "query": QUERY}

# Airflow 3.1 refuses such a connection, logs why, and takes it for one that does not exist.
REFUSED = metadata.version("apache-airflow").startswith("3.1.")
EXTRA_IS_A_LIST = "Airflow has no connection" if REFUSED else "The connection's extra is no JSON object"
# fmt: off
TABLE: list[tuple[str, str, Any, str]] = [
    # The connection: by the Test button.
    ("connection", "no host", {"host": ""}, "The connection has no host. Give the organisation's address alone"),
    ("connection", "plain http", {"host": "http://contoso.crm4.dynamics.com"}, "host does not begin with https://."),
    ("connection", "the address bar's address", {"host": "https://contoso.crm4.dynamics.com/main.aspx?appid=1"}, "not an address alone"),
    ("connection", "a space in the host", {"host": "https://contoso .crm4.dynamics.com"}, "not an address alone"),
    ("connection", "half a bracket", {"host": "https://[::1"}, "The connection's host can't be read"),
    ("connection", "a password in the host", {"host": "https://me:canary@contoso.crm4.dynamics.com"}, "has a user in it"),
    ("connection", "no client id", {"login": ""}, "lacks the client id (login)"),
    ("connection", "no secret", {"password": ""}, "lacks the client secret (password)"),
    ("connection", "no tenant", {"tenant_id": ""}, "lacks the tenant id"),
    ("connection", "extra is a list", {"extra": [1]}, EXTRA_IS_A_LIST),
    ("connection", "an unknown credential", {"credential": "password"}, "Use one of: client_secret, certificate,"),
    ("connection", "a certificate without a file", {"credential": "certificate"}, "lacks certificate_path or certificate_private_key"),
    ("connection", "a certificate that is not there", {"credential": "certificate", "certificate_path": "/no.pem"}, "certificate_path can't be read: No such file"),
    ("connection", "half a certificate", {"credential": "certificate", "certificate_private_key": "-----BEGIN CERTIFICATE-----"}, "must hold both the private key and the certificate"),
    ("connection", "a key where its path belongs", {"credential": "certificate", "certificate_path": "-----BEGIN PRIVATE KEY-----\ncanary"}, "certificate_path can't be read: No such file or directory. Give the file's path, not what is in it."),
    ("connection", "a token where its path belongs", {"credential": "workload_identity", "federated_token_file": "eyJcanary"}, "federated_token_file can't be read: No such file or directory. Give the file's path, not what is in it."),
    ("connection", "an authority over http", {"authority": "http://login.test/t"}, "It must begin with https://, such as"),
    ("connection", "an authority that is none", {"authority": "https://[half"}, "The connection's authority is no address"),
    ("connection", "a version without its v", {"api_version": "9.2"}, "api_version is no version. It looks like v9.2."),
    ("connection", "many at once", {"max_concurrency": "many"}, "max_concurrency is no number"),
    ("connection", "none at once", {"max_concurrency": 0}, "max_concurrency is out of range. From 1 to 1,000."),
    ("connection", "a billion at once", {"max_concurrency": 10**9}, "From 1 to 1,000."),
    ("connection", "no time", {"timeout_seconds": -1}, "timeout_seconds is out of range. More than 0 and at most 86,400."),
    ("connection", "not a number of seconds", {"timeout_seconds": "nan"}, "timeout_seconds is no number"),
    ("connection", "endless patience", {"max_throttle_wait_seconds": 1e999}, "max_throttle_wait_seconds is no number"),
    ("connection", "a user's name for an id", {"caller_object_id": "ada"}, "caller_object_id is no GUID"),
    ("connection", "a CA bundle that is not there", {"ca_bundle": "/no.pem"}, "ca_bundle can't be used: No such file"),

    # A list of members.
    ("list", "some rows are no ids", [ID, "n/a", None, "", "#REF!"], "read 5, invalid 4, duplicate 0, ids 1. Line 2 holds no id: 3 characters that are no id. Line 3 holds no id: it is empty"),
    ("list", "ids in every spelling", [ID, ID.upper(), f"{{{ID}}}", f" {ID}\n", ID.replace("-", "")], "read 5, invalid 0, duplicate 4, ids 1"),
    ("list", "addresses for ids", ["ada.canary@contoso.test", ID], "Line 1 holds no id: it looks like an e-mail address"),
    ("list", "no id at all", ["x", "y"], "None of the 2 rows holds any id. Is it the right column? Nothing was sent."),
    ("list", "rows of several columns", [[OTHER], [ID, "Ada"]], "The list of values, line 2: column 'values' holds a list of 2 values, where one value is expected. Nothing was sent. Give one value a row."),
    ("list", "numbers, bytes and objects", [7, b"x", object(), ID], "read 4, invalid 3"),
    ("list", "two ids in one", [ID + OTHER, f"{ID}\n{OTHER}", ID], "read 3, invalid 2"),
    ("list", "nobody", [], "read 0, invalid 0, duplicate 0, ids 0"),

    # A file, as (name, content, options).
    ("file", "not there", ("gone.csv", None, {}), "gone.csv' can't be opened: [Errno 2] No such file"),
    ("file", "a workbook", ("x.xlsx", "PK", {}), "of no known format. Give .csv, .tsv, .jsonl or .parquet."),
    ("file", "nothing in it", ("x.csv", "", {"column": "id"}), "there is no column 'id'. Its columns: none"),
    ("file", "another header", ("x.csv", "a,b\n1,2\n", {"column": "id"}), "there is no column 'id'. Its columns: 'a', 'b'"),
    ("file", "two columns that may be it", ("x.csv", "a,b\n1,2\n", {}), "which column holds the ids is not clear"),
    ("file", "the same column twice", ("x.csv", "id,id\n1,2\n", {"column": "id"}), "there are 2 columns 'id'"),
    ("file", "no header", ("x.csv", f"{ID},ada.canary@contoso.test\n", {"column": "id"}), "its first row is no header, but holds values already. Give the column's number"),
    ("file", "a column before the first", ("x.csv", f"a,{ID}\n", {"column": -1}), "column is -1. Columns are counted from 0."),
    ("file", "a column behind the last", ("x.csv", f"a,{ID}\n", {"column": 7}), "None of the 1 rows holds any id"),
    ("file", "a delimiter of two", ("x.csv", "a\n", {"delimiter": "||"}), "delimiter is '||'"),
    ("file", "an unknown encoding", ("x.csv", "a\n", {"encoding": "utf-9"}), "can't be read: unknown encoding: utf-9"),
    ("file", "a quote left open", ("x.csv", f'id\n"{ID}\n{ID}\n', {}), "x.csv, line 2: a quote that opens in this row is never closed (read on to line 3). Nothing was sent."),
    ("file", "short rows and blank ones", ("x.csv", f"a,id\n\nx\nb,{ID}\n", {"column": "id"}), "read 2, invalid 1, duplicate 0, ids 1. Line 3 holds no id"),
    ("file", "JSON cut short", ("x.jsonl", f'{{"id": "{ID}"}}\n{{"id": ', {}), "x.jsonl, line 2: Expecting value at character 8"),
    ("file", "JSON that is a list", ("x.jsonl", f'["{ID}"]', {}), "x.jsonl, line 1: no JSON object"),
    ("file", "text named Parquet", ("x.parquet", "id\n", {}), "x.parquet, line 1:"),
    ("file", "text named gzip", ("x.csv.gz", "id\n", {}), "is no whole gzip file"),

    # A database.
    ("sql", "no such connection", ("nowhere", "SELECT 1"), "database of connection 'nowhere' can't be opened"),
    ("sql", "no such table", ("shop", "SELECT id FROM nowhere WHERE email = 'canary'"), "OperationalError: no such table: nowhere"),
    ("sql", "no query", ("shop", "CREATE TABLE x (y)"), "returns no rows"),
    ("sql", "no such column", ("shop", "SELECT 1 AS a, 2 AS b"), "which column holds the ids is not clear. Its columns: 'a', 'b'"),

    # Arguments of operators and sensors.
    ("operator", "no id", (ADD, add | {"segment_id": "Gold"}), "segment_id is 'Gold', which is no GUID"),
    ("operator", "an id that an upstream task left out", (PUBLISH, {"segment_id": None}), "segment_id is None. Give an id"),
    ("operator", "no group", (ADD, add | {"group": []}), "group is []. Give a group's name or id"),
    ("operator", "a group that is none", (ADD, add | {"group": [None]}), "group is [None]"),
    ("operator", "no members", (ADD, add | {"members": None}), "members is a NoneType. Give a list of ids"),
    ("operator", "a template that stayed text", (ADD, add | {"members": "[]"}), "members is a str. Give a list of ids"),
    ("operator", "how many may be bad, in words", (ADD, add | {"max_invalid": "some"}), "max_invalid is a text that is no bound. Give a number of rows such as 100"),
    ("operator", "fewer than none may be bad", (ADD, add | {"max_invalid": -1}), "max_invalid is -1"),
    ("operator", "who was not found, without matching", (ADD, add | {"not_found_path": "x.csv"}), "not_found_path is given without match_on"),
    ("operator", "all may be removed, or one", (CijMirrorSegmentMembersOperator, add | {"max_removals": 1.0}), "max_removals is 1.0, which could mean one row or all of them"),
    ("operator", "an export without a path", (EXPORT, {"segment_id": ID, "path": None}), "path is None. Give text."),
    ("operator", "an export into no folder", (EXPORT, {"segment_id": ID, "path": "nowhere/x.csv"}), "there is no folder 'nowhere'"),
    ("operator", "an export that no file can be named", (EXPORT, {"segment_id": ID, "path": "a\0b.csv"}), "embedded null"),
    ("operator", "an export to JSON", (EXPORT, {"segment_id": ID, "path": "x.jsonl"}), "would be JSON. Give .csv or .parquet."),
    ("operator", "a name that is too long", (CREATE, create | {"display_name": "x" * 101}), "display_name must have 1 to 100 characters"),
    ("operator", "a name that is none", (CREATE, create | {"display_name": None}), "display_name is None. Give text."),
    ("operator", "a query with a bracket too few", (CREATE, create | {"query": "PROFILE(contact"}), "its query has 1 '(' never closed"),
    ("operator", "a query with a quote left open", (CREATE, create | {"query": "PROFILE(contact).FILTER(a == 'x)"}), "a quote (') that is never closed"),
    ("operator", "a query that is none", (CREATE, create | {"query": None}), "query is None. Give text."),
    ("operator", "neither query nor group", (CREATE, {"display_name": "Gold"}), "has neither a query nor a group"),
    ("operator", "one group for a list", (CREATE, create | {"groups": "in"}), "groups is 'in'. Give a list of names"),
    ("operator", "groups that are none", (CREATE, create | {"groups": 5}), "groups is 5. Give a list of names"),
    ("operator", "eleven groups", (CREATE, create | {"groups": [f"g{n}" for n in range(11)]}), "has 11 groups; the service allows 10"),
    ("operator", "the same group twice", (CREATE, create | {"groups": ["a", MemberGroup("a", include=False)]}), "two groups of the same name: a, a"),
    ("operator", "a group without a name", (CREATE, create | {"groups": [" "]}), "has a group without a name"),
    ("operator", "an empty key", (CREATE, create | {"key": ""}), "has an empty key"),
    ("operator", "a key that is a number", (CREATE, create | {"key": 5.5}), "key is 5.5. Give text."),
    ("operator", "a unit by its name", (CREATE, create | {"business_unit_id": "Sales"}), "business_unit_id is 'Sales', which is no GUID"),
    ("operator", "minutes in words", (CREATE, create | {"refresh_interval_minutes": "many"}), "refresh_interval_minutes is 'many'. Give a number."),
    ("operator", "an address among ids", (CREATE, {"display_name": "x", "included_members": [ID, "ada.canary@contoso.test"]}), "Entry 2 of included_members or excluded_members is no GUID"),
    ("operator", "what to do, misspelt", (CREATE, create | {"if_exists": "replace"}), "if_exists is 'replace'. Use 'update', 'reuse' or 'fail'."),
    ("operator", "one id for a list", (CijStopSegmentsOperator, {"segment_ids": ID}), f"segment_ids is '{ID}'. Give a list of ids."),
    ("operator", "a list of nothing", (CijStopSegmentsOperator, {"segment_ids": [None]}), "segment_ids is None. Give an id"),
    ("operator", "a delete of no id", (CijDeleteSegmentOperator, {"segment_id": "*"}), "segment_id is '*', which is no GUID"),
    ("operator", "no pause between looks", (PUBLISH, {"segment_id": ID, "poll_interval": 0}), "poll_interval is 0. Give seconds, more than 0."),
    ("operator", "a pause in words", (PUBLISH, {"segment_id": ID, "poll_interval": "30s"}), "poll_interval is '30s'"),
    ("operator", "no time to wait", (PUBLISH, {"segment_id": ID, "timeout": -1}), "timeout is -1"),
    ("operator", "until something else", (SENSOR, {"segment_id": ID, "until": "ready"}), "until is 'ready'. Use 'live', 'refreshed' or 'stopped'."),
    ("operator", "since a word", (SENSOR, {"segment_id": ID, "until": "refreshed", "since": "yesterday"}), "since is 'yesterday'. Give a datetime, or ISO 8601."),
    ("operator", "since a time of no zone", (SENSOR, {"segment_id": ID, "until": "refreshed", "since": "2026-01-01T00:00:00"}), "without a time zone. Add one, such as +00:00."),
    ("operator", "since, when nothing is refreshed", (SENSOR, {"segment_id": ID, "since": "2026-01-01T00:00:00Z"}), "since is given, and until is 'live'"),
    ("operator", "members in words", (SENSOR, {"segment_id": ID, "min_members": "many"}), "min_members is 'many'. Give a number from 0 on."),
    ("operator", "at least nobody", (CijSegmentMembersSensor, {"segment_id": ID, "min_members": 0}), "min_members is 0. Give a number from 1 on."),
    ("operator", "at least some", (CijSegmentMembersSensor, {"segment_id": ID, "min_members": "some"}), "min_members is 'some'"),

    # What a service or a proxy answers, as (verb, answers).
    ("reply", "a login page", (_get, [Answer(200, b"<html>Log in")]), "That is a web page: a proxy or a login page answers"),
    ("reply", "a row without a status", (_get, [_changed(SEGMENT, statuscode=None)]), "A row of msdynmkt_segments can't be read"),
    ("reply", "a row without an id", (_get, [Answer(body={"statuscode": 1})]), "A row of msdynmkt_segments can't be read: it has no msdynmkt_segmentid."),
    ("reply", "a status beyond numbers", (_get, [Answer(200, json.dumps(SEGMENT | {"statuscode": 1e999}).encode())]), "was answered with a body that is no JSON"),
    ("reply", "rows that are none", (_get, [_error(404, "0x80040217", "none"), Answer(body={"value": {"a": 1}})]), "was answered with no list of rows"),
    ("reply", "a definition without its id", (_group, [_changed(SEGMENT, msdynmkt_sourcesegmentuid="")]), "names no definition"),
    ("reply", "groups that are no JSON", (_group, [Answer(body=SEGMENT), Answer(body={"msdynmkt_staticlistmembers": "["})]), "msdynmkt_staticlistmembers can't be read"),
    ("reply", "no such group", (_group, [Answer(body=SEGMENT), Answer(body={})]), "has no group 'in'. Its groups: none."),
    ("reply", "a status of an evaluation in words", (_last, [Answer(body=SEGMENT), _rows({"statuscode": "done"})]), "A row of msdynmkt_segmentexecutions can't be read"),
    ("reply", "members that are no list", (_members, [_text("ResultText", '{"members": 7}')]), "The answer holds no list of members"),
    ("reply", "a member that is no id", (_members, [_text("ResultText", '{"members": ["ada.canary@contoso.test"]}')]), "has an entry that is no id"),
    ("reply", "a list cut short", (_members, [_text("ResultText", f'{{"members": ["{ID}", "')]), "holds no whole list of members"),
    ("reply", "a refusal within a success", (_members, [Answer(body={"StatusCode": 400, "ResultText": "no"})]), "POST msdynmkt_MembersList was refused: no"),
    ("reply", "more members than were listed", (_members, [_text("ResultText", f'{{"totalCount": 2, "members": ["{ID}"]}}')]), "counts 2 members and listed 1"),
    ("reply", "more pages, and no way there", (_members, [_text("ResultText", f'{{"hasNextPage": true, "members": ["{ID}"]}}'), _rows()]), "no known input for its pages"),
    ("reply", "the same page again", (_in_group, [_text("Response", f'{{"entityIds": ["{ID}"]}}')]), "gave the same page of members twice"),
    ("reply", "nothing said of what was stopped", (_stop, [Answer(body=SEGMENT), Answer(body={}), Answer(body=SEGMENT)]), "the service says nothing about it"),
    ("reply", "results that are none", (_stop, [Answer(body=SEGMENT), Answer(body={"StopSingleSegmentResults": 7})]), "The result of stopping the segments can't be read"),
    ("reply", "a user that is no list", (_stop, [Answer(body=SEGMENT), Answer(body={"StopSingleSegmentResults": [{"SegmentId": ID, "DependentJourneys": 5}]}), Answer(body=SEGMENT)]), "is used by journeys 5"),
    ("reply", "no permission", (_get, [_error(403, "0x80040220", "is missing prvReadmsdynmkt_segment privilege")]), "lacks the privilege named above"),
    ("reply", "no such table", (_get, [_error(404, "0x80060888", "Resource not found for the segment 'msdynmkt_segments'.")]), "is not installed in this environment"),
    ("reply", "no words", (_get, [Answer(400)]), "GET msdynmkt_segments(00000000-0000-0000-0000-000000000001) was refused: HTTP 400 without a body"),
]
# fmt: on


@pytest.fixture
def doors(scripted, monkeypatch, tmp_path, caplog):
    """Return a function for each entry point: it takes the input and returns the message."""
    caplog.set_level(logging.WARNING)
    connection = json.loads(scripted.connection())
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", json.dumps(connection))
    monkeypatch.chdir(tmp_path)
    scripted.script = [Answer(501)]

    def button(changes: dict[str, Any]) -> str:
        own = {name: value for name, value in changes.items() if name in ("host", "login", "password", "extra")}
        extra = connection["extra"] | {name: value for name, value in changes.items() if name not in own}
        monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", json.dumps(connection | {"extra": extra} | own))
        good, said = CijHook().test_connection()
        assert not good
        return said

    def take(source: Any) -> str:
        pairs = read_source(source)
        intake = read_ids([([line for line, _ in pairs], [value for _, value in pairs])])
        counts = f"read {intake.read}, invalid {intake.invalid}, duplicate {intake.duplicate}, ids {len(intake.ids)}"
        return ". ".join([counts, *(record.getMessage() for record in caplog.records)])

    def file(given: tuple[str, str | None, dict[str, Any]]) -> str:
        name, content, options = given
        if content is not None:
            (tmp_path / name).write_text(content)
        return take(FromFile(str(tmp_path / name), **options))

    def sql(given: tuple[str, str]) -> str:
        sqlite3.connect(tmp_path / "shop.db").close()
        shop = {"conn_type": "sqlite", "host": str(tmp_path / "shop.db")}
        monkeypatch.setenv("AIRFLOW_CONN_SHOP", json.dumps(shop))
        return take(FromSql(given[1], given[0]))

    def operator(given: tuple[Any, dict[str, Any]]) -> str:
        kind, arguments = given
        task = kind(task_id="t", **arguments)
        instance = SimpleNamespace(map_index=-1, xcom_push=lambda **_: None)
        task.execute({"ti": instance})
        return "it went well"

    def reply(given: tuple[Any, list[Answer]]) -> str:
        verb, scripted.script = given
        return str(CijHook().run(verb))

    return {
        "connection": button,
        "list": lambda values: take(as_source(values)),
        "file": file,
        "sql": sql,
        "operator": operator,
        "reply": reply,
    }


@pytest.mark.parametrize(
    ("door", "what", "given", "said"), TABLE, ids=[f"{door}: {what}" for door, what, _, _ in TABLE]
)
def test_input_errors_have_clear_messages(doors, scripted, door, what, given, said):
    """Each wrong input gives its message, without personal data or secrets, and where possible before any request."""
    try:
        told = doors[door](given)
    except (CijError, AirflowFailException) as raised:
        told = str(raised)
    assert said in told
    assert "canary" not in told
    if door == "connection" or (door == "operator" and given[0] in (CREATE, UPDATE, EXPORT)):
        assert scripted.requests == []


def test_the_table_has_no_duplicates():
    """The table has at least its expected number of rows, and none of them twice."""
    assert len({(door, what) for door, what, _, _ in TABLE}) == len(TABLE) >= 60
