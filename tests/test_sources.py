from __future__ import annotations

import csv
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.sources import FromFile, FromValues, as_source, checked
from tests.streams import listed

A, B = str(uuid.uuid4()), str(uuid.uuid4())


def _file(tmp_path: Path, text: str | bytes) -> str:
    path = tmp_path / "members.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


@pytest.mark.parametrize(
    ("text", "column", "rows"),
    [
        (f"contactid\n{A}\n", None, [(2, A)]),
        (f"name,contactid\nAda,{A}\n", None, [(2, A)]),
        (f"name,the id\nAda,{A}\n", "the id", [(2, A)]),
        (f"Ada,{A}\n", 1, [(1, A)]),
        (f"\ufeffcontactid\r\n{A}\r\n{B}", None, [(2, A), (3, B)]),
        (f"\n\ncontactid\n\n{A}\n\n", None, [(5, A)]),
        (f'name,id\n"Lovelace, Ada",{A}\n"two\nlines",{B}\n', "id", [(2, A), (4, B)]),
        (f"name,id\nAda\nBob,{B}\n", "id", [(2, ""), (3, B)]),
        ("contactid\n", None, []),
        (f"id;name\n{A};Ada\n", "id;name", [(2, f"{A};Ada")]),
    ],
)
def test_a_file_is_read_with_its_lines(tmp_path, text, column, rows):
    """Header or number, byte order mark, quotes, blank and short lines."""
    assert listed(FromFile(_file(tmp_path, text), column)) == rows


def test_a_name_in_another_encoding_does_not_stop_the_ids(tmp_path):
    """Only the ids matter."""
    path = _file(tmp_path, b"name,id\nJos\xe9," + A.encode() + b"\n")
    assert listed(FromFile(path, "id")) == [(2, A)]
    assert listed(FromFile(path, "id", encoding="latin-1", delimiter=",")) == [(2, A)]


def test_an_object_is_read_by_its_url(tmp_path):
    """Whatever Airflow's ObjectStoragePath opens."""
    path = _file(tmp_path, f"contactid\n{A}\n")
    assert listed(FromFile(f"file://{path}")) == [(2, A)]


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("a,b\n", "contactid", "no column 'contactid'. Its columns: 'a', 'b'"),
        ("a,b\n1,2\n", None, "which column holds the ids is not clear"),
        ("", "id", "no column 'id'. Its columns: none"),
        (f'id\n{A}\n"{B}\n', "id", "line 3: unexpected end of data"),
        (f'id,name\n{A},"x"y\n', "id", "line 2"),
    ],
)
def test_a_file_that_cant_be_read_says_where(tmp_path, text, column, said):
    """A stray quote would swallow all rows up to the next one: the file is refused instead."""
    with pytest.raises(CijInputError, match=said):
        listed(FromFile(_file(tmp_path, text), column))


@pytest.mark.parametrize("path", ["/nowhere/members.csv", "file:///nowhere/members.csv", "nonsense://x/y"])
def test_a_missing_file_is_named(path):
    """By the path the user gave."""
    with pytest.raises(CijInputError, match=path):
        listed(FromFile(path))


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2)))
def test_what_csv_wrote_is_read(tmp_path_factory, rows):
    """Quoting and line ends of Python's own writer."""
    path = tmp_path_factory.getbasetemp() / "written.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["name", "the id"], *rows])
    assert [value for _, value in listed(FromFile(str(path), "the id"))] == [row[1] for row in rows]


def test_values_may_be_anything_iterable():
    """A list, a generator, rows of one column; lines count from 1."""
    assert listed(as_source([A, B])) == [(1, A), (2, B)]
    assert listed(as_source(value for value in [A])) == [(1, A)]
    assert listed(as_source([[A], (B,), [A, B]])) == [(1, A), (2, B), (3, [A, B])]
    source = FromFile("x")
    assert as_source(source) is source


@pytest.mark.parametrize("members", ["{{ x }}", None, 3, {"a": 1}, b"x"])
def test_what_is_no_members_is_refused_at_run_time(members):
    """A template is left alone while the DAG is parsed, and refused when it did not become a list."""
    assert as_source(members) is members
    with pytest.raises(CijInputError, match=f"members is a {type(members).__name__}"):
        checked(members)


def test_a_list_is_shown_by_its_length():
    """The rendered template shows how many, never who."""
    assert repr(FromValues([A, B])) == "2 values"
    assert repr(FromFile("/data/x.csv", "id")) == "FromFile('/data/x.csv', column='id')"


@given(st.lists(st.lists(st.sampled_from(["a", "", "x\ny", "x\r\ny\rz", '"']), max_size=3), max_size=12))
def test_lines_are_those_of_pythons_reader(tmp_path_factory, written):
    """Also behind rows of several lines, short rows and blank ones."""
    path = tmp_path_factory.getbasetemp() / "lines.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(written)
    with path.open(newline="") as file:
        reader = csv.reader(file)
        expected = [(reader.line_num, row[1] if len(row) > 1 else "") for row in reader if row]
    assert listed(FromFile(str(path), 1)) == expected
