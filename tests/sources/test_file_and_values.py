from __future__ import annotations

import csv
import gzip
import json
import uuid
from collections.abc import Sequence
from pathlib import Path

import pandas
import pyarrow
import pyarrow.parquet
import pytest
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.sources import FromFile, FromValues, as_source, checked
from airflow_provider_cij.sources.values import revealed
from tests.streams import read_rows, read_source

A, B = str(uuid.UUID(int=0xA)), str(uuid.UUID(int=0xB))


def _file(tmp_path: Path, text: str | bytes, name: str = "members.csv") -> str:
    path = tmp_path / name
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
        (f"name,ID\nAda,{A}\n", None, [(2, A)]),
    ],
)
def test_a_file_is_read_with_its_lines(tmp_path, text, column, rows):
    """A CSV file is read with line numbers, whatever header, byte order mark, quotes or short lines it has."""
    assert read_source(FromFile(_file(tmp_path, text), column)) == rows


def test_other_columns_may_be_in_another_encoding(tmp_path):
    """Ids are read although another column holds bytes of another encoding."""
    path = _file(tmp_path, b"name,id\nJos\xe9," + A.encode() + b"\n")
    assert read_source(FromFile(path, "id")) == [(2, A)]
    assert read_source(FromFile(path, "id", encoding="latin-1", delimiter=",")) == [(2, A)]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet"])
def test_an_object_is_read_by_its_url(tmp_path, suffix):
    """A URL that Airflow's ObjectStoragePath opens is read in every format."""
    store = MemoryFileSystem()
    attach("memory", fs=store)
    path = tmp_path / f"members{suffix}"
    if suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.table({"contactid": [A, B]}), path)
    else:
        text = f"contactid\n{A}\n{B}\n" if ".csv" in suffix else f'{{"contactid": "{A}"}}\n{{"contactid": "{B}"}}'
        path.write_bytes(gzip.compress(text.encode(), mtime=0) if ".gz" in suffix else text.encode())
    store.put_file(str(path), f"/bucket/members{suffix}")
    first = 2 if ".csv" in suffix else 1
    for url in (path, f"file://{path}", f"memory://bucket/members{suffix}"):
        assert read_source(FromFile(str(url))) == [(first, A), (first + 1, B)]


def test_format_and_delimiter_follow_the_file_name(tmp_path):
    """Format and delimiter follow the file's suffix unless they are given."""
    path = _file(tmp_path, f"name\tid\nAda, of London\t{A}\n", "members.TSV")
    assert read_source(FromFile(path)) == [(2, A)]
    assert read_source(FromFile(path, 1, delimiter=",")) == [(1, ""), (2, f" of London\t{A}")]
    assert read_source(FromFile(_file(tmp_path, f"id\n{A}\n", "members.jsonl"), format="csv")) == [(2, A)]
    with pytest.raises(CijInputError, match=r"format is 'xml'. Give csv, jsonl or parquet"):
        FromFile(path, format="xml")


@pytest.mark.parametrize(
    ("text", "column", "rows"),
    [
        (f'{{"contactid": "{A}"}}', None, [(1, A)]),
        (f'\ufeff{{"name": "Ada", "id": "{A}"}}\r\n\n  \n{{"id": "{B}"}}\n', None, [(1, A), (4, B)]),
        ('{"a": "x", "b": 7}\n{"a": "y"}\n{"a": "z", "b": null}\n', "b", [(1, "7"), (2, None), (3, None)]),
        ("\n", "b", []),
        ("", None, []),
    ],
)
def test_json_lines_are_read_with_their_lines(tmp_path, text, column, rows):
    """JSON Lines are read by key with line numbers; blank lines are no rows and missing keys are empty."""
    assert read_source(FromFile(_file(tmp_path, text, "members.ndjson"), column)) == rows


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        (f'{{"id": "{A}"}}\n\n{{"id": "ada@contoso.test\n', "id", "line 3: Invalid control character at"),
        ('{"id": 1}\n{"id": 2', "id", "line 2: Expecting ',' delimiter at character 9"),
        ("[1]", "id", "line 1: no JSON object"),
        ("[" * 100_000, "id", "line 1: RecursionError"),
        ('{"id": ' + "1" * 5000 + "}", "id", "line 1: ValueError"),
        ('{"a": 1, "b": 2}', None, "which column holds the ids is not clear. Its columns: 'a', 'b'"),
    ],
)
def test_a_broken_json_line_is_named_and_not_shown(tmp_path, text, column, message):
    """An invalid line of JSON is reported by its number without its content."""
    with pytest.raises(CijInputError, match=message) as raised:
        read_source(FromFile(_file(tmp_path, text, "members.jsonl"), column))
    assert "members.jsonl" in str(raised.value)
    assert "ada" not in str(raised.value)


@pytest.mark.parametrize(
    "values",
    [
        pyarrow.array([A, None, B]),
        pyarrow.array([uuid.UUID(A).bytes, None, uuid.UUID(B).bytes], pyarrow.binary(16)),
        pyarrow.array([uuid.UUID(A).bytes, None, uuid.UUID(B).bytes], pyarrow.uuid()),
        pyarrow.array([A, None, B]).dictionary_encode(),
        pyarrow.array([A.encode(), None, B.encode()]),
    ],
    ids=["text", "binary", "uuid", "dictionary", "bytes"],
)
def test_ids_in_parquet_may_be_of_any_type(tmp_path, values):
    """Ids in Parquet may be text, UUIDs or 16 bytes, and lines are row numbers."""
    path = tmp_path / "members.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"name.first": [1, 2, 3], "id": values}), path, row_group_size=2)
    for column in (None, "id", 1):
        assert read_source(FromFile(str(path), column)) == [(1, A), (2, None), (3, B)]
    assert read_source(FromFile(str(path), "name.first")) == [(1, "1"), (2, "2"), (3, "3")]
    with pytest.raises(CijInputError, match=r"there is no column 2\. Its columns: 'name.first', 'id'"):
        read_source(FromFile(str(path), 2))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.parquet", b"contactid\n", "x.parquet, line 1: Parquet"),
        ("x.csv.gz", gzip.compress(b"contactid\n" * 1000, mtime=0)[:-9], "x.csv.gz' is no whole gzip file"),
        ("x.csv.gz", b"contactid\n", "x.csv.gz' is no whole gzip file"),
        ("x.csv.gz", gzip.compress(b"id\n", mtime=0)[:10] + b"\xff" * 40, "x.csv.gz' is no whole gzip file"),
        ("x.xlsx", b"PK", r"x.xlsx' is of no known format. Give \.csv"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, name, content, message):
    """A truncated file, or one of another format, raises an error that names it."""
    with pytest.raises(CijInputError, match=message):
        read_source(FromFile(_file(tmp_path, content, name)))


def test_an_unknown_encoding_is_named(tmp_path):
    """An unknown encoding raises an error that names it and the file."""
    with pytest.raises(CijInputError, match=r"members.csv' can't be read: unknown encoding: utf-9"):
        read_source(FromFile(_file(tmp_path, "id\n"), encoding="utf-9"))


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("a,b\n", "contactid", "no column 'contactid'. Its columns: 'a', 'b'"),
        ("a,b\n1,2\n", None, "which column holds the ids is not clear"),
        ("id,id\n1,2\n", "id", "there are 2 columns 'id'"),
        ("", "id", "no column 'id'. Its columns: none"),
        (f'id\n{A}\n"{B}\n', "id", "line 3: a quote that opens in this row is never closed"),
        (f'id,name\n{A},"x"y\n', "id", "line 2"),
    ],
)
def test_a_stray_quote_is_reported_by_line(tmp_path, text, column, message):
    """A stray quote, which would swallow rows, raises an error with its line."""
    with pytest.raises(CijInputError, match=message):
        read_source(FromFile(_file(tmp_path, text), column))


@pytest.mark.parametrize("path", ["/nowhere/members.csv", "file:///nowhere/members.csv", "nonsense://x/y"])
def test_a_missing_file_is_named(path):
    """A missing file is reported by the path that was given."""
    with pytest.raises(CijInputError, match=path):
        read_source(FromFile(path))


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2)))
def test_files_of_the_csv_module_are_read(tmp_path_factory, rows):
    """Files that Python's csv module wrote are read with any quoting and line ends."""
    path = tmp_path_factory.getbasetemp() / "written.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["name", "the id"], *rows])
    assert [value for _, value in read_source(FromFile(str(path), "the id"))] == [row[1] for row in rows]


def test_values_may_be_anything_iterable():
    """Values may be a list, a generator or rows of one column, and lines count from 1."""
    assert read_source(as_source([A, B])) == [(1, A), (2, B)]
    assert read_source(as_source(value for value in [A])) == [(1, A)]
    assert read_source(as_source([[A], (B,), None])) == [(1, A), (2, B), (3, None)]
    source = FromFile("x")
    assert as_source(source) is source


def test_the_output_of_a_mapped_task_is_one_list():
    """The lists of a lazy sequence are read as one, and a row of one column within them is its value."""

    class Lazy(Sequence):
        """What Airflow gives for the output of a mapped task: no list, and read piece by piece."""

        def __init__(self, *items: object) -> None:
            self._items = items

        def __len__(self) -> int:
            return len(self._items)

        def __getitem__(self, place: int) -> object:
            return self._items[place]

    assert read_source(as_source(Lazy([A, B], [], (A,), {B}, A))) == [(1, A), (2, B), (3, A), (4, B), (5, A)]
    assert read_source(as_source(Lazy([(A,), (B,)]))) == [(1, A), (2, B)]
    assert read_rows(FromValues(Lazy([{"a": 1}], [{"a": 2}]))) == [(1, {"a": 1}), (2, {"a": 2})]
    with pytest.raises(CijInputError, match="line 2: column 'values' holds a list of 2 values"):
        read_source(as_source(Lazy([A, [B, A]])))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([[A, B], [A]], "line 1: column 'values' holds a list of 2 values, where one value is expected"),
        ([A, (A, B)], "line 2: column 'values' holds a tuple of 2 values"),
        ([{A}], "line 1: column 'values' holds a set of 1 values"),
        ([{"id": A, "name": "x"}], "holds an object of 2 fields.*Name the field that is meant as column"),
        ([[]], "holds a list of 0 values"),
        ([b"\xff"], "holds 1 bytes of binary, which are no text"),
    ],
)
def test_entries_that_are_no_single_values_are_refused(values, words):
    """A list, an object or binary among members is refused by its place and kind, never taken for an id."""
    with pytest.raises(CijInputError, match=words) as raised:
        read_source(as_source(values))
    assert A not in str(raised.value)


def test_a_frame_is_no_list_but_its_column_is():
    """A data frame is refused, as its names would be read; a column of it, or of Arrow, is a list."""
    frame = pandas.DataFrame({"n": [4930123456.0, None], "id": [A, None]})
    with pytest.raises(CijInputError, match="members is a DataFrame"):
        checked(as_source(frame))
    assert [value for _, value in read_source(as_source(frame["n"]))] == ["4930123456", None]
    assert [value for _, value in read_source(as_source(frame["id"]))] == [A, None]
    assert [value for _, value in read_source(as_source(pyarrow.array([A, None])))] == [A, None]


@pytest.mark.parametrize("members", ["{{ x }}", None, 3, {"a": 1}, b"x"])
def test_members_that_are_no_list_are_refused_at_run_time(members):
    """A template is accepted while the DAG is parsed and refused when it does not render to a list."""
    assert revealed(as_source(members)) is members
    with pytest.raises(CijInputError, match=f"members is a {type(members).__name__}"):
        checked(members)


def test_a_list_is_shown_by_its_length():
    """The rendered field shows the number of values and none of them."""
    assert repr(FromValues([A, B])) == "2 values"
    assert repr(FromFile("/data/x.csv", "id")) == "FromFile('/data/x.csv', column='id')"


@given(
    st.lists(st.dictionaries(st.sampled_from(["id", "name"]), st.text() | st.none())), st.sampled_from(["\n", "\r\n"])
)
def test_files_of_the_json_module_are_read(tmp_path_factory, rows, end):
    """JSON Lines that Python's json module wrote are read whatever their text."""
    rows = [{"id": "x"}, *rows]
    path = tmp_path_factory.getbasetemp() / "written.jsonl"
    path.write_bytes("".join(json.dumps(row) + end for row in rows).encode())
    expected = [(line, row.get("id")) for line, row in enumerate(rows, 1)]
    assert read_source(FromFile(str(path), "id")) == expected


@given(st.lists(st.lists(st.sampled_from(["a", "", "x\ny", "x\r\ny\rz", '"']), max_size=3), max_size=12))
def test_line_numbers_agree_with_the_csv_module(tmp_path_factory, written):
    """Line numbers agree with those of Python's csv reader, also after multi-line, short and blank rows."""
    path = tmp_path_factory.getbasetemp() / "lines.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(written)
    with path.open(newline="") as file:
        reader = csv.reader(file)
        expected = [(reader.line_num, row[1] if len(row) > 1 else "") for row in reader if row]
    assert read_source(FromFile(str(path), 1)) == expected
