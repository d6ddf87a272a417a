from __future__ import annotations

import sys
import unicodedata
import uuid
from datetime import UTC, date, datetime, time
from decimal import Decimal

import numpy
import pandas
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.dataverse.guids import pack_guids, parse_guid
from airflow_provider_cij.dataverse.values import is_nothing, text_of_value, trimmed
from airflow_provider_cij.errors import CijInputError

# Signs of Arabic, Syriac and Kaithi numbers are of the category Cf, and are written.
VISIBLE_CF = {
    *"\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd",
    *map(chr, range(0x13430, 0x13440)),
}
AROUND = [
    char
    for char in map(chr, range(sys.maxunicode + 1))
    if unicodedata.category(char) in ("Cc", "Cf", "Zs", "Zl", "Zp") and char not in VISIBLE_CF
]


def test_every_white_space_and_format_character_is_trimmed():
    """White space, control and format characters of all of Unicode are removed from both ends."""
    assert len(AROUND) > 200
    assert [char for char in AROUND if trimmed(f"{char}a b{char}") != "a b"] == []


@pytest.mark.parametrize("char", ["\u3164", "\u2800", "\ufe0f", "\u034f", "\u180b", "\U000e0100"])
def test_other_invisible_characters_are_trimmed(char):
    """Fill characters, variation selectors and joiners, which are of other categories, are removed as well."""
    assert trimmed(f"{char}ada@x.test{char}{char}") == "ada@x.test"


@given(st.text(), st.text(st.sampled_from(AROUND)), st.text(st.sampled_from(AROUND)))
def test_trimming_removes_what_surrounds_and_nothing_else(text, before, behind):
    """What is inside a text stays, and what surrounds it does not matter."""
    kept = trimmed(text)
    assert kept in text
    assert trimmed(kept) == kept
    assert trimmed(before + text + behind) == kept


@pytest.mark.parametrize("visible", ["ß", "é", "e\u0301", "\u0600", "🙂", "-", '"', "'", "{"])
def test_what_can_be_seen_is_not_trimmed(visible):
    """Letters, accents, quotes and other signs stay."""
    assert trimmed(f" {visible} ") == visible


@given(st.uuids(), st.text(st.sampled_from(AROUND)), st.text(st.sampled_from(AROUND)))
def test_an_id_is_read_whatever_surrounds_it(member_id, before, behind):
    """Invisible characters around an id do not matter, one by one and in a batch."""
    text = f"{before}{member_id}{behind}"
    assert parse_guid(text) == member_id.bytes
    assert pack_guids([text, str(member_id)]) == (member_id.bytes * 2, [])


WORTH = [
    (None, ""),
    ("nan", "nan"),
    (" x ", " x "),
    (7, "7"),
    (10**30, "1" + "0" * 30),
    (2**53 + 1, "9007199254740993"),
    (True, "true"),
    (4930123456.0, "4930123456"),
    (-0.0, "0"),
    (12.5, "12.5"),
    (1e15, "1000000000000000"),
    (1e20, "1e+20"),
    (float("nan"), ""),
    (float("inf"), "inf"),
    (Decimal("12.00"), "12"),
    (Decimal("12.50"), "12.5"),
    (Decimal("4.930123456E+9"), "4930123456"),
    (Decimal("1E+999999"), "1E+999999"),
    (Decimal("12345678901234567890123456789012345.10"), "12345678901234567890123456789012345.1"),
    (Decimal("-0.0"), "0"),
    (Decimal("NaN"), ""),
    (Decimal("sNaN"), ""),
    (date(2026, 1, 2), "2026-01-02"),
    (datetime(2026, 1, 2, 3, 4, tzinfo=UTC), "2026-01-02T03:04:00Z"),
    (time(3, 4), "03:04:00"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (b"0123456789abcdef", "0123456789abcdef"),
    (bytearray("é", "utf-8"), "é"),
    (memoryview(b"ada@x.test"), "ada@x.test"),
    (numpy.float32(7), "7"),
    (numpy.float64("nan"), ""),
    (numpy.float32("nan"), ""),
    (numpy.int64(7), "7"),
    (numpy.bool_(True), "true"),
    (numpy.str_("x"), "x"),
    (numpy.datetime64("NaT", "s"), ""),
    (pandas.NA, ""),
    (pandas.NaT, ""),
    (pandas.Timestamp("2026-01-02"), "2026-01-02T00:00:00"),
    (pyarrow.scalar(7.0), "7"),
    (pyarrow.scalar(None), ""),
    (pyarrow.scalar("x", pyarrow.large_string()), "x"),
    (pyarrow.scalar(Decimal("12.00")), "12"),
]


@pytest.mark.parametrize(("value", "text"), WORTH, ids=[f"{type(value).__name__} {text}" for value, text in WORTH])
def test_a_value_of_any_type_has_one_text(value, text):
    """A whole number is its integer in every type, no value is an empty text, and a text is what it is."""
    assert text_of_value(value) == text
    assert is_nothing(value) is (text == "")


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_a_whole_number_has_the_text_of_its_integer(number):
    """An int, a float, a decimal and an Arrow scalar of one whole number have the same text."""
    same = [number, float(number), Decimal(number), Decimal(number).scaleb(-2).scaleb(2), numpy.float64(number)]
    assert {text_of_value(value) for value in [*same, pyarrow.scalar(float(number))]} == {str(number)}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1, 2], "a list of 2 values, where one value is expected"),
        ((), "a tuple of 0 values"),
        ({"a"}, "a set of 1 values"),
        ({"a": "canary"}, "an object of 1 fields"),
        (numpy.array([1, 2]), "a list of 2 values"),
        (pyarrow.scalar(["canary"]), "a list of 1 values"),
        (uuid.UUID("ffffffff-ffff-ffff-ffff-ffffffffffff").bytes, "16 bytes of binary, which are no text"),
    ],
)
def test_what_is_not_one_value_is_refused_by_its_kind(value, words):
    """Several values, and bytes that are no text, are refused by kind, without their content."""
    with pytest.raises(CijInputError, match=words) as raised:
        text_of_value(value)
    assert "canary" not in str(raised.value)
