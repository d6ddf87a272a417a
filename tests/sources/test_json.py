"""JSON files: an object a line, objects over several lines, an array, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.sources import FromFile
from airflow_provider_cij.sources._json import JsonRows
from tests.streams import read_rows, read_source


def _file(tmp_path, text: str | bytes, name: str = "x.json", **options) -> FromFile:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return FromFile(str(path), "id", **options)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('[{"id": "a"}, {"id": "b"}]', [(1, "a"), (1, "b")]),
        ('\ufeff[\r\n{"id": "a"},\r\n{\r\n"id": "b"\r\n}\r\n]\r\n', [(2, "a"), (3, "b")]),
        ('{\n "id": "a"\n}\n{\n "id": "b"\n}\n', [(1, "a"), (4, "b")]),
        ('{"id": "a"}{"id": "b"}', [(1, "a"), (1, "b")]),
        ('[{"id": 4930123456.0}, {"id": 9007199254740993}]', [(1, "4930123456"), (1, "9007199254740993")]),
        ('[{"id": NaN}, {"id": "nan"}]', [(1, None), (1, "nan")]),
        ("[]", []),
        (" \n[ \n ]", []),
        ('[{"id": "]"}, {"id": "\\"[,"}]', [(1, "]"), (1, '"[,')]),
    ],
)  # fmt: skip
def test_arrays_and_objects_are_read_with_their_lines(tmp_path, text, rows):
    """An array of objects, and objects over several lines, are read with the lines that they begin on."""
    assert read_source(_file(tmp_path, text)) == rows


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[\n{"id": "a"}\n{"id": "b"}]', r"line 3: Expecting ',' or '\]' at character 1"),
        ('[{"id": "a"},\n{"id": "b"', r"line 2: Expecting ',' delimiter at character 11"),
        ('[{"id": "a"},\n', "line 2: Expecting value at character 1"),
        ('[{"id": "a"}\n', "line 2: the array is not closed: the file is cut off"),
        ('[{"id": "a"}]\n[{"id": "b"}]', "line 2: there is more after the end of the array"),
        ('[{"id": "a"},]', "line 1: Expecting value at character 14"),
        ('["canary"]', r"line 1: no JSON object, but a text.*Write rows as"),
        ("[1]", "line 1: no JSON object, but a number"),
        ("12", "line 1: no JSON object, but a number"),
        ("canary", "line 1: Expecting value at character 1"),
        ('{"id": "a"}\n{"id": "b", "id": "canary"}', "line 2: an object has the same key twice"),
        ('{"id": ["canary"]}', "line 1: column 'id' holds a list of 1 values, where one value is expected"),
        ('{"id": {"canary": 1}}', "line 1: column 'id' holds an object of 1 fields"),
        (
            '{"n": 2, "value": [{"id": "a"}]}',
            "one object, which holds the rows in its field 'value'.*Write that list alone",
        ),
        (b'{"id": "a"}\n{"id": "Jos\xe9"}', r"line 2: bytes that are no utf-8-sig.*encoding='cp1252'"),
        ('{"a": 1}\n' * 3, r"there is no column 'id'\. Its columns: 'a'"),
        ("id\ncanary\n", "line 1: Expecting value at character 1"),
    ],
)
def test_what_is_no_list_of_objects_is_refused_by_line(tmp_path, text, words):
    """Broken JSON and values that are no objects are refused with the line and the kind, never the value."""
    with pytest.raises(CijInputError, match=words) as raised:
        read_source(_file(tmp_path, text))
    assert "canary" not in str(raised.value)


class _InPieces:
    """A text that is read in pieces of some characters, whatever is asked for."""

    def __init__(self, text: str, size: int) -> None:
        self._text, self._size = text, size

    def read(self, _: int) -> str:
        piece, self._text = self._text[: self._size], self._text[self._size :]
        return piece


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(st.dictionaries(st.text(), _JSON, max_size=3), min_size=2, max_size=6),
    st.booleans(),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.integers(1, 40),
)
def test_objects_are_the_same_however_the_file_is_cut(rows, in_array, indent, ascii_only, size):
    """What Python's json module writes is read whole, wherever the pieces that are read end."""
    if in_array:
        text = json.dumps(rows, indent=indent, ensure_ascii=ascii_only)
    else:
        text = "\n".join(json.dumps(row, indent=indent, ensure_ascii=ascii_only) for row in rows)
    found = [(line, row) for lines, part in JsonRows(_InPieces(text, size), "x", "utf-8").pages()
             for line, row in zip(lines, part, strict=True)]  # fmt: skip
    assert [row for _, row in found] == rows
    if not in_array:
        starts, line = [], 1
        for row in rows:
            starts.append(line)
            line += json.dumps(row, indent=indent).count("\n") + 1
        assert [line for line, _ in found] == starts


@given(st.text(st.sampled_from('[]{},:"\\ \n01aetrufalsn.-'), max_size=30), st.integers(1, 8))
def test_broken_json_is_refused_the_same_however_it_is_cut(text, size):
    """A text is read, or refused in the same words, wherever the pieces that are read end."""

    def outcome(size: int) -> object:
        try:
            return [(list(lines), rows) for lines, rows in JsonRows(_InPieces(text, size), "x", "utf-8").pages()]
        except CijInputError as error:
            return str(error)

    assert outcome(size) == outcome(1000)


def test_whole_rows_of_an_array_keep_their_values(tmp_path):
    """Whole rows keep numbers, lists and nulls as the file has them."""
    source = _file(tmp_path, '[{"id": 1.5, "tags": ["a"]}, {"id": null}]')
    assert read_rows(source) == [(1, {"id": 1.5, "tags": ["a"]}), (1, {"id": None})]


_LARGE = """
import asyncio, resource, sys
from airflow_provider_cij.sources import FromFile

async def main():
    return sum([len(values) async for _, values in FromFile(sys.argv[1], "id").chunks(None)])

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(asyncio.run(main()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_large_array_is_not_held_in_memory(tmp_path):
    """An array of 25 MB on one line is read within 8 MB of memory."""
    path = tmp_path / "x.json"
    row = json.dumps({"id": "x" * 36, "name": "y" * 56})
    path.write_text("[" + ",".join([row] * 200_000) + "]")
    done = subprocess.run(
        [sys.executable, "-c", _LARGE, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    count, kibibytes = map(int, done.stdout.split())
    assert count == 200_000
    assert path.stat().st_size > 20_000_000
    assert kibibytes < 8192
