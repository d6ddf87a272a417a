"""Rows of a list, checked a column at a time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.records.metadata import TableInfo
from airflow_provider_cij.api.records.plan import Column, Plan
from airflow_provider_cij.api.records.values import ColumnType, UnfitError, is_empty

CELLS = st.one_of(
    st.none(),
    st.text(max_size=12),
    st.text("Aaé \u00a0\u0300\u1100\u200b\U0001f600\ud800\x00'", max_size=12),
    st.integers(-5, 10**12),
    st.floats(allow_nan=True),
)


def plan(*, clear_empty, alternate):
    """Return a plan for a key and two more columns, a short text and a number."""
    kinds = (
        ColumnType("number", "String", max_length=10),
        ColumnType("name", "String", max_length=6),
        ColumnType("age", "Integer", minimum=0, maximum=150),
    )
    table = TableInfo("contact", "contacts", "contactid", {})
    return Plan(table, ("number",), [Column(k.name, k) for k in kinds], alternate=alternate, clear_empty=clear_empty)


@given(
    rows=st.lists(st.fixed_dictionaries({"number": CELLS, "name": CELLS, "age": CELLS}), max_size=12),
    clear_empty=st.booleans(),
    alternate=st.booleans(),
)
def test_a_row_is_read_the_same_among_others_and_alone(rows, clear_empty, alternate):
    """What stands beside a row in its page changes neither its values nor the reasons for which it is rejected."""
    made = plan(clear_empty=clear_empty, alternate=alternate)
    planned, rejected = made.read(range(1, len(rows) + 1), rows)
    alone = [made.read([line], [row]) for line, row in enumerate(rows, 1)]
    assert planned == [row for found, _ in alone for row in found]
    assert rejected == [row for _, found in alone for row in found]
    assert len(planned) + len(rejected) == len(rows)


@given(texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=1, max_size=20))
def test_texts_that_are_taken_as_they_are_are_those_that_a_closer_look_would_take(texts):
    """A page of texts gives the values that its column's reader gives for each."""
    made = plan(clear_empty=False, alternate=False)
    column = made.columns[1]
    rows = [{"number": f"K{place}", "name": text, "age": 1} for place, text in enumerate(texts)]
    planned, rejected = made.read(range(len(rows)), rows)
    found = {row.line: row.values[1] for row in planned} | {row.line: row.reason for row in rejected}
    for line, text in enumerate(texts):
        try:
            expected = ... if is_empty(text) else column.read(text)
        except UnfitError as error:
            expected = f"name: {error}"
        assert found[line] == expected
