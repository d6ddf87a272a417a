from __future__ import annotations

import csv
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.members import take_in
from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.sources import FromFile, FromValues, Source, as_source, checked

A, B = str(uuid.uuid4()), str(uuid.uuid4())


def _rows(source: Source) -> list[tuple[int, object]]:
    return [pair for lines, values in source.chunks() for pair in zip(lines, values, strict=True)]


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
    assert _rows(FromFile(_file(tmp_path, text), column)) == rows


def test_a_name_in_another_encoding_does_not_stop_the_ids(tmp_path):
    """Only the ids matter."""
    path = _file(tmp_path, b"name,id\nJos\xe9," + A.encode() + b"\n")
    assert _rows(FromFile(path, "id")) == [(2, A)]
    assert _rows(FromFile(path, "id", encoding="latin-1", delimiter=",")) == [(2, A)]


def test_an_object_is_read_by_its_url(tmp_path):
    """Whatever Airflow's ObjectStoragePath opens."""
    path = _file(tmp_path, f"contactid\n{A}\n")
    assert _rows(FromFile(f"file://{path}")) == [(2, A)]


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
        _rows(FromFile(_file(tmp_path, text), column))


@pytest.mark.parametrize("path", ["/nowhere/members.csv", "file:///nowhere/members.csv", "nonsense://x/y"])
def test_a_missing_file_is_named(path):
    """By the path the user gave."""
    with pytest.raises(CijInputError, match=path):
        _rows(FromFile(path))


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2)))
def test_what_csv_wrote_is_read(tmp_path_factory, rows):
    """Quoting and line ends of Python's own writer."""
    path = tmp_path_factory.getbasetemp() / "written.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["name", "the id"], *rows])
    assert [value for _, value in _rows(FromFile(str(path), "the id"))] == [row[1] for row in rows]


def test_values_may_be_anything_iterable():
    """A list, a generator, rows of one column; lines count from 1."""
    assert _rows(as_source([A, B])) == [(1, A), (2, B)]
    assert _rows(as_source(value for value in [A])) == [(1, A)]
    assert _rows(as_source([[A], (B,), [A, B]])) == [(1, A), (2, B), (3, [A, B])]
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


@given(
    st.lists(st.one_of(st.sampled_from([A, A.upper(), "{" + B + "}", B, "", None, "ada@contoso.test"]), st.uuids())),
    st.integers(1, 9),
)
def test_taking_in_counts_every_row_once(values, size):
    """Read = invalid + duplicate + distinct, as plain Python counts."""
    chunks = [(range(start, start + size), values[start : start + size]) for start in range(0, len(values), size)]
    good = [str(v).strip("{}").lower() for v in values if v is not None and len(str(v).strip("{}")) == 36]
    if values and not good:
        with pytest.raises(CijInputError, match="None of the"):
            take_in(chunks)
        return
    intake = take_in(chunks)
    assert (intake.read, intake.invalid) == (len(values), len(values) - len(good))
    assert intake.duplicate == len(good) - len(set(good))
    assert sorted(one for batch in intake.ids.batches(3) for one in batch) == sorted(set(good))


def test_bad_rows_are_logged_by_line_and_without_the_value(caplog):
    """An address in the id's column is somebody's address."""
    intake = take_in([((7, 8, 9), (A, "ada@contoso.test", "  "))])
    assert (intake.invalid, intake.bad_lines) == (2, [8, 9])
    assert "Line 8 holds no id: it looks like an e-mail address" in caplog.text
    assert "Line 9 holds no id: it is empty" in caplog.text
    assert "ada@" not in caplog.text


def test_too_many_bad_rows_stop_before_anything_is_sent():
    """The limit is the user's; the error names the lines."""
    chunk = ((1, 2, 3), (A, "x", "y"))
    assert take_in([chunk], max_invalid=2).invalid == 2
    with pytest.raises(
        CijInputError, match=r"2 of the first 3 rows .* max_invalid=1\. .* lines 2, 3\. Nothing was sent"
    ):
        take_in([chunk], max_invalid=1)


def test_a_group_has_room_for_200_000():
    """One more is refused before the first call; duplicates don't count."""
    chunks = [(range(1000), [str(uuid.UUID(int=start * 1000 + n)) for n in range(1000)]) for start in range(200)]
    assert len(take_in([*chunks, chunks[0]]).ids) == 200_000
    with pytest.raises(CijInputError, match="200001 different ids; a group holds 200000"):
        take_in([*chunks, ((1,), (A,))])


@given(st.lists(st.lists(st.sampled_from(["a", "", "x\ny", "x\r\ny\rz", '"']), max_size=3), max_size=12))
def test_lines_are_those_of_pythons_reader(tmp_path_factory, rows):
    """Also behind rows of several lines, short rows and blank ones."""
    path = tmp_path_factory.getbasetemp() / "lines.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    with path.open(newline="") as file:
        reader = csv.reader(file)
        expected = [(reader.line_num, row[1] if len(row) > 1 else "") for row in reader if row]
    assert _rows(FromFile(str(path), 1)) == expected
