"""Reading a list of member ids: counts of invalid and duplicate rows, and their limits."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.members.id_list import read_member_ids
from airflow_provider_cij.errors import CijInputError
from tests.streams import read_ids, stream

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


def test_rows_that_say_themselves_that_there_is_no_id_are_no_mistake(caplog):
    """None among the values is counted and logged, and does not count against the bound; all None is refused."""
    intake = read_ids([((1, 2, 3), (None, A, None))], max_invalid=0)
    assert (intake.read, intake.invalid) == (3, 2)
    assert "Line 3 holds no id: it is empty" in caplog.text
    with pytest.raises(CijInputError, match="1 of the first 3 rows hold no id, more than max_invalid=0"):
        read_ids([((1, 2, 3), (None, A, ""))], max_invalid=0)
    with pytest.raises(CijInputError, match="None of the 2 rows holds any id"):
        read_ids([((1, 2), (None, None))], max_invalid=0)


def _read_with_rejects(values: list[object], **options: object) -> tuple[list[tuple[int, str, str]], bool]:
    """Return the rejected rows, and whether the list was refused after the file of them was finished."""
    rejected: list[tuple[int, str, str]] = []
    ended: list[bool] = []

    async def end() -> None:
        ended.append(True)

    async def read() -> None:
        chunks = stream([([line], [value]) for line, value in enumerate(values, 1)])
        await read_member_ids(chunks, on_reject=rejected.extend, on_end=end, **options)

    try:
        asyncio.run(read())
    except CijInputError:
        assert ended
        return rejected, True
    return rejected, False


def test_rejected_rows_are_told_with_line_reason_and_value():
    """Every row that holds no id is told with its value, in a text that can be written."""
    rejected, refused = _read_with_rejects([A, " x ", "\ud800\x00", None, B, "ada@x.test"], max_invalid=None)
    assert not refused
    assert rejected == [
        (2, "1 characters that are no id", " x "),
        (3, "2 characters that are no id", "\ufffd\ufffd"),
        (4, "it is empty", ""),
        (6, "it looks like an e-mail address", "ada@x.test"),
    ]


def test_all_rejected_rows_are_told_before_a_list_is_refused():
    """A list that is refused has told all of its rejected rows, also those beyond the bound and the log."""
    rejected, refused = _read_with_rejects([A, *["x"] * 250], max_invalid=0)
    assert refused
    assert [line for line, *_ in rejected] == list(range(2, 252))
