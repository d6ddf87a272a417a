"""What rows of a source say: words, dates, and one statement for each address."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.consent.import_plan import Statement
from airflow_provider_cij.api.consent.marker import Marker, marked, marker_of, plain_reason, said_at
from airflow_provider_cij.api.consent.rules import ConsentRow, ConsentValue
from airflow_provider_cij.api.consent.statements import Columns, Statements, statement_of, value_of
from airflow_provider_cij.errors import CijInputError

YES, NO = ConsentValue.OPTED_IN, ConsentValue.OPTED_OUT
START = datetime(2026, 11, 1, tzinfo=UTC)
COLUMNS = Columns("email", "value", "at", "why")


@pytest.mark.parametrize("word", ["opted_in", "Opted In", "opt-in", "IN", "subscribed", 534120001, 534120001.0])
def test_words_for_yes(word):
    """Every spelling of an opt-in is one, also the service's number as a database gives it."""
    assert value_of("value", word) is YES


@pytest.mark.parametrize("word", ["opted_out", "Opt Out", "out", "UNSUBSCRIBED", "534120002"])
def test_words_for_no(word):
    """Every spelling of an opt-out is one."""
    assert value_of("value", word) is NO


@pytest.mark.parametrize("word", [True, False, 1, 0, "1", "yes", "no", "true", "", None, "not set", 534120000, "Y"])
def test_words_that_may_mean_either_are_refused(word):
    """What a column of opt-outs could hold as well as one of opt-ins is refused."""
    with pytest.raises(CijInputError, match="neither of opted_in, opted_out"):
        value_of("value", word)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"email": None}, "email is empty"),
        ({"email": "  "}, "email is empty"),
        ({"email": "a\nb@x"}, "control characters"),
        ({"email": "x" * 401}, "longer than 400"),
        ({"value": "maybe"}, "neither of"),
        ({"at": None}, "no date"),
        ({"at": "2026-11-01T00:00:00"}, "without a time zone"),
        ({"at": "yesterday"}, "ISO 8601"),
        ({"at": START + timedelta(days=1)}, "in the future"),
    ],
)
def test_rows_that_cannot_be_used(change, words):
    """A row is refused for what it lacks, in words without its address."""
    row = {"email": "secret@contoso.test", "value": "opted_in", "at": START - timedelta(1)} | change
    with pytest.raises(CijInputError, match=words) as error:
        statement_of(row, 1, COLUMNS, value=None, reason="", now=START)
    assert "secret" not in str(error.value)


def test_a_row_is_a_statement():
    """A row becomes a statement, with the reason of its column or the common one."""
    row = {"email": " a@b ", "value": "opted_out", "at": "", "why": "by phone"}
    said = statement_of(row, 7, COLUMNS, value=None, reason="import", now=START)
    assert said == Statement("a@b", NO, None, "by phone", 7)
    dirty = {"email": "\ufeff a@b\u200b", "value": "opted_out ", "at": float("nan"), "why": "by phone"}
    assert statement_of(dirty, 7, COLUMNS, value=None, reason="import", now=START) == said
    said = statement_of(row | {"why": None}, 7, COLUMNS, value=NO, reason="import", now=START)
    assert said.reason == "import"


SAID = st.builds(
    Statement,
    st.sampled_from(["a@x", "A@X ", "b@x", "é@x", "É@x", "c@x"]),
    st.sampled_from([YES, NO]),
    st.one_of(st.none(), st.integers(0, 3).map(lambda days: START + timedelta(days, microseconds=days))),
).filter(lambda one: one.given_at is not None or one.value is NO)


@given(st.lists(SAID, max_size=12), st.integers(1, 4))
def test_one_statement_for_each_address(said, size):
    """Of several statements about one address the latest counts, and of two as late the opt-out."""
    with Statements() as statements:
        for one in said:
            statements.add([one])
        found = [one for batch in statements.batches(size) for one in batch]
        assert len(found) == len(statements)
    late = START + timedelta(days=999)
    expected: dict[str, tuple[datetime, ConsentValue]] = {}
    for one in said:
        key = one.address.strip().lower()
        expected[key] = max(expected.get(key, (START - timedelta(1), YES)), (one.given_at or late, one.value))
    assert {one.address.strip().lower(): (one.given_at or late, one.value) for one in found} == expected


MOMENTS = st.integers(0, 10**6).map(lambda second: START + timedelta(seconds=second, microseconds=second % 1000))


@given(
    st.text(max_size=600),
    st.one_of(st.none(), MOMENTS),
    MOMENTS,
    st.sampled_from([None, 534120000, 534120007]),
    st.booleans(),
)
def test_a_marker_is_read_as_it_was_written(reason, given_at, written_at, source, only_dated):
    """A marker fits into its column behind any reason, is read as it was written, and can be taken off."""
    marker = Marker(given_at, int(NO), source, written_at, only_dated)
    text = marked(reason, marker)
    assert len(text) <= 500
    row = ConsentRow(int(NO), START, source=source, reason=text)
    assert marker_of(row) == marker
    assert "airflow-provider-cij given" not in plain_reason(text)


@pytest.mark.parametrize(
    ("row", "when"),
    [
        (ConsentRow(YES, START, source=534120000), START),
        (ConsentRow(NO, START, source=534120004), START),
        (ConsentRow(YES, START, source=534120000, reason="[airflow-provider-cij given=x value=1 source=- w]"), START),
    ],
)
def test_rows_without_our_marker_are_dated_by_their_change(row, when):
    """A row of others, or one whose value or source was changed since we wrote it, is dated by its last change."""
    assert said_at(row) == when
    old = Marker(START - timedelta(days=9), int(NO if row.value == YES else YES), row.source, START - timedelta(days=9))
    changed = ConsentRow(row.value, START, source=row.source, reason=marked("", old))
    assert said_at(changed) == START
