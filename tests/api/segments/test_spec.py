"""Segment specs: rows, derived ids and checks."""

from __future__ import annotations

import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.segments.models import MemberGroup, groups_of
from airflow_provider_cij.api.segments.spec import SegmentSpec, check, definition_row, segment_row, unbalanced
from airflow_provider_cij.errors import CijInputError

QUERY = "PROFILE(contact).FILTER(ISNOTNULL(address1_county))"


def test_rows_match_the_documented_payload():
    """A spec with the article's values gives the article's payload with derived ids."""
    group = MemberGroup("My Include Members Group", True, "0f5b0c7f-395d-447b-b14c-315a601f878e")
    spec = SegmentSpec("key", "<display name>", QUERY, (group,), refresh_interval_minutes=15).with_group_ids()
    row = definition_row(spec)
    assert json.loads(row.pop("msdynmkt_staticlistmembers")) == [
        {
            "groupId": "0f5b0c7f-395d-447b-b14c-315a601f878e",
            "includeType": "Include",
            "name": "My Include Members Group",
            "inputType": "manualSelect",
        }
    ]
    assert row == {
        "msdynmkt_segmentquery": QUERY,
        "msdynmkt_disablesegmentrefresh": False,
        "msdynmkt_segmentrefreshintervalminutes": 15,
    }
    assert segment_row(spec) == {
        "msdynmkt_displayname": "<display name>",
        "msdynmkt_type": 11,
        "msdynmkt_source": 12,
        "msdynmkt_baseentitylogicalname": "contact",
        "msdynmkt_sourcesegmentuid": spec.definition_id,
    }


def test_optional_columns_are_sent_only_when_given():
    """Optional columns are sent only when given; a business unit is not writable in every organisation."""
    unit = "0F5B0C7F-395D-447B-B14C-315A601F878E"
    row = segment_row(SegmentSpec("key", "n", QUERY, description="d", business_unit_id=unit))
    assert row["owningbusinessunit@odata.bind"] == f"/businessunits({unit.lower()})"
    assert row["msdynmkt_description"] == "d"
    assert segment_row(SegmentSpec("key", "n", groups=(MemberGroup("g"),)))["msdynmkt_type"] == 10


@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1), st.text(min_size=1))
def test_ids_derive_from_the_key_alone(key, other, name, renamed):
    """The same key gives the same ids whatever else changes, and another key gives other ids."""
    groups = (MemberGroup("one"), MemberGroup("two", include=False))
    first = SegmentSpec(key, name, groups=groups).with_group_ids()
    again = SegmentSpec(key, renamed, QUERY, groups=groups[::-1]).with_group_ids()
    assert (first.segment_id, first.definition_id) == (again.segment_id, again.definition_id)
    assert {group.name: group.group_id for group in first.groups} == {g.name: g.group_id for g in again.groups}
    ids = {first.segment_id, first.definition_id, *(group.group_id for group in first.groups)}
    assert len(ids) == 4
    if other != key:
        strange = SegmentSpec(other, name, groups=groups).with_group_ids()
        assert not ids & {strange.segment_id, strange.definition_id, *(g.group_id for g in strange.groups)}


def test_derived_ids_never_change():
    """The ids derived from a fixed key equal constants: a change would duplicate every segment."""
    spec = SegmentSpec("cij_vip_segment.create", "VIP", groups=(MemberGroup("staff", False),)).with_group_ids()
    assert spec.segment_id == str(uuid.uuid5(uuid.UUID("6f3c1a52-6a0e-5d0b-9c11-3d2a0c5f7e84"), spec.key))
    assert spec.definition_id == str(uuid.uuid5(uuid.UUID(spec.segment_id), "definition"))
    assert spec.groups[0].group_id == str(uuid.uuid5(uuid.UUID(spec.segment_id), "group:staff"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"key": " "}, "empty key"),
        ({"display_name": ""}, "1 to 100 characters"),
        ({"display_name": "x" * 101}, "1 to 100 characters"),
        ({"query": ""}, "neither a query nor a group"),
        ({"query": "PROFILE(contact).FILTER(ISNULL(a)"}, r"1 '\(' never closed"),
        ({"query": "PROFILE(contact))"}, r"a '\)' too many at position 17"),
        ({"query": "PROFILE(contact).FILTER(a == 'b)"}, "quote .* never closed"),
        ({"groups": tuple(MemberGroup(str(n)) for n in range(11))}, "11 groups; the service allows 10"),
        ({"groups": (MemberGroup("a"), MemberGroup("a", False))}, "two groups of the same name"),
        ({"groups": (MemberGroup("a", True, "x"), MemberGroup("b", True, "x"))}, "same group_id"),
        ({"groups": (MemberGroup(" "),)}, "without a name"),
        ({"groups": (MemberGroup("staff", "false"),)}, "include of a group is of type str"),
        ({"key": 5}, "empty key"),
        ({"refresh_interval_minutes": 0}, "refresh_interval_minutes is 0"),
        ({"refresh_interval_minutes": 2**31}, "refresh_interval_minutes is 2147483648"),
        ({"business_unit_id": "sales"}, "business_unit_id is 'sales'"),
        ({"business_unit_id": ""}, "business_unit_id is empty"),
        ({"business_unit_id": " "}, "business_unit_id is empty"),
        ({"query": "PROFILE(lead)"}, "over 'lead', and its members are rows of 'contact'"),
        ({"query": "profile ( Lead ,l).FILTER(l.a == 'PROFILE(contact)')"}, "over 'lead'"),
        ({"query": "PROFILE(lead) UNION PROFILE(account)"}, "over 'lead', 'account'"),
        ({"base_table": "lead"}, "over 'contact', and its members are rows of 'lead'"),
    ],
)
def test_an_invalid_spec_is_refused(changed, message):
    """An invalid spec is refused with the reason before anything is sent."""
    with pytest.raises(CijInputError, match=message):
        check(SegmentSpec(**({"key": "k", "display_name": "n", "query": QUERY} | changed)))


@pytest.mark.parametrize(
    "query",
    [
        "Profile(Contact, c)",
        "PROFILE(lead).TRAVERSE(contact_lead, c)",
        "PROFILE(lead).RELATEOPTIONAL(contact_lead, c).FILTER(ISNOTNULL(c.a))",
        "PROFILE(lead) UNION SEGMENT(x)",
        "PROFILE(contact) INTERSECT PROFILE(lead)",
        "INTERACTION(msdynmkt_emaildelivered, msdynmkt_entityid)",
        "SOMETHING(new)",
    ],
)
def test_queries_with_related_tables_are_accepted(query):
    """A query that names related tables beside the base table is left to the service."""
    check(SegmentSpec("k", "n", query))


@pytest.mark.parametrize("query", ["", "PROFILE(contact)", "F(a == ')' && b == '((' && c == 'O''Brien')"])
def test_brackets_in_quotes_are_not_counted(query):
    """Brackets within quotes are not counted when a query is checked for balance."""
    assert unbalanced(query) == ""


@given(st.lists(st.builds(MemberGroup, st.text(min_size=1), st.booleans(), st.uuids().map(str)), max_size=10))
def test_groups_are_unchanged_after_encoding_and_decoding(groups):
    """Groups written to a row and read back are equal."""
    from airflow_provider_cij.api.segments.models import groups_text

    assert groups_of(groups_text(tuple(groups))) == tuple(groups)
