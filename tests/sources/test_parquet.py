"""Parquet files with columns of every type that Arrow has."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import numpy
import pyarrow
import pyarrow.parquet
import pytest

from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.sources import FromFile
from tests.streams import read_rows, read_source

ID = uuid.UUID(int=0xA)
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
_PYARROW = int(pyarrow.__version__.partition(".")[0])
_VIEWS = pytest.mark.skipif(_PYARROW < 23, reason="older pyarrow writes no views")


def _source(tmp_path, values: list[object], kind: pyarrow.DataType, column: str | None = None) -> FromFile:
    path = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"a": pyarrow.array(values, kind)}), path)
    return FromFile(str(path), column)


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        ("x", pyarrow.string(), "x"),
        ("x", pyarrow.large_string(), "x"),
        pytest.param("x", pyarrow.string_view(), "x", marks=_VIEWS),
        ("nan", pyarrow.string(), "nan"),
        ("x", pyarrow.dictionary(pyarrow.int8(), pyarrow.string()), "x"),
        (b"0123456789abcdef", pyarrow.binary(), "0123456789abcdef"),
        (b"x", pyarrow.large_binary(), "x"),
        (b"0123", pyarrow.binary(4), "0123"),
        (ID.bytes, pyarrow.binary(16), str(ID)),
        (ID.bytes, pyarrow.uuid(), str(ID)),
        (7, pyarrow.int8(), "7"),
        (2**63, pyarrow.uint64(), str(2**63)),
        (2**53 + 1, pyarrow.int64(), str(2**53 + 1)),
        (numpy.float16(7), pyarrow.float16(), "7"),
        (4930123.0, pyarrow.float32(), "4930123"),
        (4930123456.0, pyarrow.float64(), "4930123456"),
        (float("nan"), pyarrow.float64(), ""),
        (numpy.float16("nan"), pyarrow.float16(), ""),
        (float("nan"), pyarrow.dictionary(pyarrow.int8(), pyarrow.float64()), ""),
        (Decimal("12.00"), pyarrow.decimal128(5, 2), "12"),
        (Decimal("12.50"), pyarrow.decimal256(50, 2), "12.5"),
        (True, pyarrow.bool_(), "true"),
        (None, pyarrow.null(), ""),
        (date(2026, 1, 2), pyarrow.date32(), "2026-01-02"),
        (time(3, 4), pyarrow.time64("us"), "03:04:00"),
        (MOMENT, pyarrow.timestamp("us", "UTC"), "2026-01-02T03:04:05.678901Z"),
        (numpy.datetime64("2026-01-02T03:04:05.123456789"), pyarrow.timestamp("ns"), "2026-01-02T03:04:05.123456"),
        (timedelta(1), pyarrow.duration("s"), "1 day, 0:00:00"),
    ],
)  # fmt: skip
def test_a_value_of_every_type_is_its_text(tmp_path, value, kind, text):
    """A value of each single type has one text, and what its type has for nothing is None."""
    assert [value for _, value in read_source(_source(tmp_path, [value, None], kind))] == [text or None, None]


_NULL_LISTS = pytest.mark.skipif(_PYARROW < 26, reason="older pyarrow reads no null in lists of a fixed size")


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (["canary"], pyarrow.list_(pyarrow.string()), "a list of 1 values"),
        pytest.param(["canary"], pyarrow.list_(pyarrow.string(), 1), "a list of 1 values", marks=_NULL_LISTS),
        ({"b": "canary"}, pyarrow.struct({"b": pyarrow.string()}), "an object of 1 fields"),
        ([("canary", 1)], pyarrow.map_(pyarrow.string(), pyarrow.int8()), "a list of 1 values"),
        (b"\xff\x00", pyarrow.binary(), "2 bytes of binary, which are no text"),
        (ID.bytes[::-1] + b"\xff", pyarrow.binary(), "17 bytes of binary, which are no text"),
        (b"\xff" * 16, pyarrow.binary(), "16 bytes of binary, which are no text"),
    ],
)
def test_a_column_of_no_single_values_is_refused(tmp_path, value, kind, words):
    """Lists, objects and binary are refused by row and kind, whatever the length of binary is."""
    with pytest.raises(CijInputError, match=f"x.parquet, line 2: column 'a' holds {words}") as raised:
        read_source(_source(tmp_path, [None, value], kind))
    assert "canary" not in str(raised.value)


def test_whole_rows_have_python_values(tmp_path):
    """Whole rows hold the values of the declared types: 16 bytes of fixed size are a UUID."""
    assert read_rows(_source(tmp_path, [ID.bytes], pyarrow.binary(16))) == [(1, {"a": ID})]
    assert read_rows(_source(tmp_path, [[1, 2]], pyarrow.list_(pyarrow.int8()))) == [(1, {"a": [1, 2]})]
    assert read_rows(_source(tmp_path, [MOMENT], pyarrow.timestamp("ns", "UTC"))) == [(1, {"a": MOMENT})]


def test_a_file_without_rows_has_none(tmp_path):
    """A Parquet file of zero row groups, as an empty result is written, is an empty list."""
    path = tmp_path / "x.parquet"
    pyarrow.parquet.ParquetWriter(path, pyarrow.schema([("a", pyarrow.string())])).close()
    assert read_rows(FromFile(str(path))) == []
