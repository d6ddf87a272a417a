"""Whole rows, read from every source."""

from __future__ import annotations

import datetime
import json
import sqlite3
from decimal import Decimal

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.sources import FromDataverse, FromFile, FromSql, FromValues
from tests.streams import read_rows, read_source

ROWS = [{"email": "ada@x.test", "age": 36, "city": "London"}, {"email": "bob@x.test", "age": None, "city": ""}]


@pytest.fixture
def source_of(tmp_path, monkeypatch):
    """Return a function that puts rows into a file, a database or a list, and returns the source of it."""

    def make(kind: str, rows: list[dict[str, object]]):
        path = tmp_path / f"rows.{kind}"
        if kind == "csv":
            lines = [",".join("" if value is None else str(value) for value in row.values()) for row in rows]
            path.write_text("\n".join([",".join(rows[0]), *lines]))
        elif kind == "jsonl":
            path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        elif kind == "parquet":
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        elif kind == "sql":
            with sqlite3.connect(path) as database:
                database.execute("CREATE TABLE people (email TEXT, age INTEGER, city TEXT)")
                database.executemany("INSERT INTO people VALUES (?, ?, ?)", [tuple(row.values()) for row in rows])
            database.close()
            monkeypatch.setenv("AIRFLOW_CONN_SHOP", json.dumps({"conn_type": "sqlite", "host": str(path)}))
            return FromSql("SELECT * FROM people", "shop")
        else:
            return FromValues(rows)
        return FromFile(str(path))

    return make


KINDS = ["csv", "jsonl", "parquet", "sql", "values"]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_have_all_columns_or_the_named_ones(source_of, kind):
    """Rows are dicts of all columns, or of the named ones in the order they are named in."""
    source = source_of(kind, ROWS)
    first = 2 if kind == "csv" else 1
    expected = [{"email": "ada@x.test", "age": "36", "city": "London"}, {"email": "bob@x.test", "age": "", "city": ""}]
    expected = expected if kind == "csv" else ROWS
    assert read_rows(source) == list(enumerate(expected, first))
    named = [{"age": row["age"], "email": row["email"]} for row in expected]
    assert read_rows(source, ["age", "email"]) == list(enumerate(named, first))
    assert [list(row) for _, row in read_rows(source, ["age", "email"])] == [["age", "email"]] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_column_is_refused(source_of, kind):
    """A column that is not there is refused with the columns that are."""
    with pytest.raises(CijInputError, match=r"there is no column 'phone'. Its columns: 'email', 'age', 'city'"):
        read_rows(source_of(kind, ROWS), ["email", "phone"])


@pytest.mark.parametrize("kind", KINDS)
def test_many_rows_keep_their_lines(source_of, kind):
    """Rows beyond a chunk keep their lines and their order."""
    rows = [{"email": f"{number}@x.test", "age": number, "city": "x"} for number in range(5500)]
    read = read_rows(source_of(kind, rows), ["email"])
    first = 2 if kind == "csv" else 1
    assert read == [(line, {"email": row["email"]}) for line, row in enumerate(rows, first)]


def test_a_short_row_of_csv_has_nothing_where_a_column_is_missing(tmp_path):
    """A row of a CSV file that is too short has None in the columns that it lacks."""
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1\n\n2,\n")
    assert read_rows(FromFile(str(path))) == [(2, {"a": "1", "b": None}), (4, {"a": "2", "b": ""})]


def test_whole_rows_need_a_header(tmp_path):
    """A CSV file whose columns are numbered has no whole rows."""
    path = tmp_path / "x.csv"
    path.write_text("1,2\n")
    with pytest.raises(CijInputError, match="without a header"):
        read_rows(FromFile(str(path), 1))


def test_objects_are_read_as_they_are(tmp_path):
    """JSON objects keep which columns they have; with named columns, what an object leaves out is None."""
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1.5, "b": [1]}\n{"b": null, "c": true}\n')
    assert [row for _, row in read_rows(FromFile(str(path)))] == [{"a": 1.5, "b": [1]}, {"b": None, "c": True}]
    assert [row for _, row in read_rows(FromFile(str(path)), ["c"])] == [{"c": None}, {"c": True}]


def test_typed_values_stay_as_they_are(tmp_path):
    """Values of Parquet keep the types that the file declares."""
    rows = [{"a": Decimal("1.50"), "b": datetime.date(2026, 1, 2), "c": 2.0, "d": True, "e": None}]
    path = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    assert read_rows(FromFile(str(path))) == [(1, rows[0])]


def test_members_can_be_a_key_of_dicts():
    """With a column, dicts are members by that key."""
    assert read_source(FromValues(ROWS, "email")) == [(1, "ada@x.test"), (2, "bob@x.test")]


def test_an_entry_that_is_no_row_is_named():
    """An entry of a list that is no dict is refused by its number and kind."""
    with pytest.raises(CijInputError, match=r"line 2: a text. Give a dict for each row"):
        read_rows(FromValues([{"a": 1}, "ada@x.test"]))


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b"]), st.integers() | st.text() | st.none())))
def test_dicts_given_are_the_rows(rows):
    """A list of dicts is read as it is given."""
    assert read_rows(FromValues(rows)) == list(enumerate(rows, 1))


def test_rows_of_the_organisation_are_read(cij_sandbox, monkeypatch):
    """Rows of Dataverse have the named columns alone, or all of them without annotations."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", cij_sandbox.airflow_conn_uri)

    async def read(cij, columns=None):
        pages = FromDataverse("contact", "creditlimit ge 18000").rows(cij.dataverse, columns)
        return [row async for _, rows in pages for row in rows]

    named = CijHook().run(lambda cij: read(cij, ["lastname", "creditlimit"]))
    assert named
    assert {tuple(row) for row in named} == {("lastname", "creditlimit")}
    whole = CijHook().run(read)
    assert [row["lastname"] for row in whole] == [row["lastname"] for row in named]
    assert "contactid" in whole[0]
    assert not any("@" in name for name in whole[0])
