"""Reading a list of member ids: counts of invalid and duplicate rows, and their limits."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.errors import CijInputError
from tests.streams import read_ids

A, B = str(uuid.uuid4()), str(uuid.uuid4())


@given(
    st.lists(st.one_of(st.sampled_from([A, A.upper(), "{" + B + "}", B, "", None, "ada@contoso.test"]), st.uuids())),
    st.integers(1, 9),
)
def test_every_row_is_counted_once(values, size):
    """The number of rows is the sum of invalid, duplicate and distinct ones, as plain Python counts them."""
    chunks = [(range(start, start + size), values[start : start + size]) for start in range(0, len(values), size)]
    good = [str(v).strip("{}").lower() for v in values if v is not None and len(str(v).strip("{}")) == 36]
    if values and not good:
        with pytest.raises(CijInputError, match="None of the"):
            read_ids(chunks)
        return
    intake = read_ids(chunks)
    assert (intake.read, intake.invalid) == (len(values), len(values) - len(good))
    assert intake.duplicate == len(good) - len(set(good))
    assert sorted(member_id for batch in intake.ids.batches(3) for member_id in batch) == sorted(set(good))


def test_invalid_rows_are_logged_by_line_without_their_value(caplog):
    """The log names the line of an invalid row and never shows its value."""
    intake = read_ids([((7, 8, 9), (A, "ada@contoso.test", "  "))])
    assert intake.invalid == 2
    assert "Line 8 holds no id: it looks like an e-mail address" in caplog.text
    assert "Line 9 holds no id: it is empty" in caplog.text
    assert "ada@" not in caplog.text


def test_more_invalid_rows_than_allowed_are_refused():
    """More invalid rows than ``max_invalid`` raise an error that names their lines."""
    chunk = ((1, 2, 3), (A, "x", "y"))
    assert read_ids([chunk], max_invalid=2).invalid == 2
    with pytest.raises(
        CijInputError, match=r"2 of the first 3 rows .* max_invalid=1\. .* lines 2, 3\. Nothing was sent"
    ):
        read_ids([chunk], max_invalid=1)
