"""Bounds: how many rows of a list may be wrong."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.bounds import bound_of
from airflow_provider_cij.errors import CijInputError

COUNTS = st.integers(0, 10**7)


@given(st.integers(0, 10**9), COUNTS, COUNTS)
def test_an_int_is_a_number_of_rows(rows: int, count: int, total: int) -> None:
    """An int bounds the rows, whatever the total; a rendered text of it means the same."""
    for value in (rows, str(rows), f" {rows} "):
        assert bound_of("max_invalid", value).allows(count, total) is (count <= rows)


@given(st.integers(0, 100), COUNTS, COUNTS)
def test_a_percentage_is_a_share(percent: int, count: int, total: int) -> None:
    """A percentage bounds the share of the total, exactly."""
    wanted = Fraction(count) <= Fraction(percent, 100) * total
    assert bound_of("max_invalid", f"{percent}%").allows(count, total) is wanted
    assert bound_of("max_invalid", f"{percent} %").allows(count, total) is wanted


@given(st.integers(0, 999), COUNTS, COUNTS)
def test_a_float_below_one_is_a_share(thousandths: int, count: int, total: int) -> None:
    """A float between 0 and 1 is a share; a rendered text of it means the same."""
    share = thousandths / 1000
    wanted = Fraction(count) <= Fraction(thousandths, 1000) * total
    assert bound_of("max_invalid", share).allows(count, total) is wanted
    assert bound_of("max_invalid", f"{share:.3f}").allows(count, total) is wanted


@given(COUNTS, COUNTS)
def test_none_is_any_number(count: int, total: int) -> None:
    """None allows any number."""
    assert bound_of("max_invalid", None).allows(count, total)


@pytest.mark.parametrize(
    "value",
    [
        *(1.0, "1.0", -1, "-1", -0.1, 1.5, float("nan"), float("inf"), "nan", "", "None", "many", "101%", "-5%"),
        *(True, [5], {"rows": 5}, b"5", Decimal(5), "1e3", "%", "5%%"),
    ],
    ids=repr,
)
def test_an_unclear_bound_is_refused(value: object) -> None:
    """A value that is unclear, or no bound at all, is refused with the argument's name."""
    with pytest.raises(CijInputError, match="max_invalid is"):
        bound_of("max_invalid", value)


def test_a_change_may_be_above_100_percent() -> None:
    """A change against an earlier count may be bounded by more than 100 %."""
    bound = bound_of("max_change", "250%", above_100_percent=True)
    assert bound.allows(250, 100)
    assert not bound.allows(251, 100)
