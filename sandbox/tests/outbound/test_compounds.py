"""Outbound segments of segments, against Python's sets."""

import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .helpers import COMPOUND, GOING_LIVE, LIVE, create, fetch, found, people, prefixed, row_of

TREES = st.recursive(
    st.integers(0, 3),
    lambda smaller: st.tuples(st.sampled_from(["UNION", "INTERSECT", "EXCEPT", "MINUS"]), smaller, smaller),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def four(quick):
    """Provide four live static segments that overlap in all ways: their names and members."""
    everyone = people(quick)[:32]
    sets = [{member for number, member in enumerate(everyone) if number >> bit & 1} for bit in range(4)]
    ids = [create(quick, msdyncrm_segmentmemberids=prefixed(sorted(members))) for members in sets]
    return [
        (row_of(quick, segment)["msdyncrm_segmentname"], members) for segment, members in zip(ids, sets, strict=True)
    ]


def written(tree, names, outermost=True):
    """Write a tree down, with brackets only where the reading from the left needs them."""
    if isinstance(tree, int):
        return f"SEGMENT({names[tree][0]})"
    how, left, right = tree
    right = written(right, names) if isinstance(right, int) else f"({written(right, names)})"
    return f"{written(left, names)} {how} {right}"


def evaluated(tree, names):
    """Work a tree out with the sets of Python."""
    if isinstance(tree, int):
        return names[tree][1]
    how, left, right = tree[0], evaluated(tree[1], names), evaluated(tree[2], names)
    return left | right if how == "UNION" else left & right if how == "INTERSECT" else left - right


@settings(max_examples=100)
@given(tree=TREES)
def test_compounds_are_sets(quick, four, tree):
    """Any UNION, INTERSECT, EXCEPT and MINUS of segments finds what the same sets of Python have."""
    assert found(quick, written(tree, four)) == evaluated(tree, four)


@settings(max_examples=15)
@given(tree=TREES)
def test_compound_segments_are_sets(quick, four, tree):
    """A compound segment that has gone live has the members its query means."""
    segment = create(quick, GOING_LIVE, COMPOUND, msdyncrm_query=written(tree, four))
    row = row_of(quick, segment)
    assert (row["statuscode"], row["msdyncrm_segmentsize"]) == (LIVE, len(evaluated(tree, four)))
    assert found(quick, f"SEGMENT({row['msdyncrm_segmentqueryname']})") == evaluated(tree, four)


def test_a_name_that_two_segments_have_names_neither(quick):
    """A name that two segments have is refused as ambiguous."""
    name = f"twice_{uuid.uuid4().hex}"
    for _ in range(2):
        create(quick, msdyncrm_segmentname=name)
    assert "several" in fetch(quick, f"SEGMENT({name})", expect=400)
