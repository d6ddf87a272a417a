from __future__ import annotations

import json
import uuid
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.dataverse.guids import normalize_guid, pack_guids, parse_guid, unpack_guids
from airflow_provider_cij.dataverse.odata import (
    in_filter,
    in_literal,
    literal,
    query,
    quote_option,
    row_path,
    same_origin,
)
from airflow_provider_cij.errors import CijInputError

SPELLINGS = [
    str,
    lambda one: str(one).upper(),
    lambda one: "{" + str(one) + "}",
    lambda one: one.hex,
    lambda one: f"  {one}\t",
    lambda one: one,
]
junk = st.one_of(st.text(max_size=40), st.none(), st.integers(), st.just("0" * 31), st.just("g" * 32))


def _no_guid(value: object) -> bool:
    return parse_guid(value) is None


@given(st.uuids(), st.sampled_from(SPELLINGS))
def test_every_spelling_of_an_id_is_the_same_id(one, spell):
    """Case, braces, dashes and white space don't matter."""
    assert parse_guid(spell(one)) == one.bytes
    assert normalize_guid(spell(one)) == str(one)


@given(st.lists(st.one_of(st.uuids().flatmap(lambda one: st.sampled_from([f(one) for f in SPELLINGS])), junk)))
def test_many_ids_are_read_as_one_by_one(values):
    """Reading a batch finds the same ids and the same misfits as reading each alone."""
    keys, bad = pack_guids(values)
    assert keys == b"".join(key for key in map(parse_guid, values) if key)
    assert bad == [position for position, value in enumerate(values) if _no_guid(value)]


def test_a_value_with_a_line_end_is_not_two_ids():
    """Two ids in one value are no id, also in a batch of sound ones."""
    two = f"{uuid.uuid4()}\n{uuid.uuid4()}"
    assert pack_guids([str(uuid.uuid4()), two])[1] == [1]


@given(st.lists(st.uuids()))
def test_ids_are_written_as_the_service_does(ids):
    """Lower case, dashed."""
    assert unpack_guids(b"".join(one.bytes for one in ids)) == [str(one) for one in ids]


def test_no_guid_names_what_it_should_have_been():
    """The error names the argument."""
    with pytest.raises(CijInputError, match=r"segment_id is 'vip', which is no GUID"):
        normalize_guid("vip", "segment_id")


@given(st.text())
def test_a_string_stays_one_literal(text):
    """Whatever is in it, a quoted string ends where it should: nothing can be injected."""
    quoted = literal(text)
    assert quoted[0] == quoted[-1] == "'"
    assert quoted[1:-1].replace("''", "").count("'") == 0
    assert quoted[1:-1].replace("''", "'") == text


@pytest.mark.parametrize(("value", "text"), [(None, "null"), (True, "true"), (False, "false"), (3, "3"), (0.5, "0.5")])
def test_other_literals(value, text):
    """Values that are no strings are bare."""
    assert literal(value) == text


@given(st.text(min_size=1))
def test_query_options_survive_the_url(text):
    """What goes into $filter comes out of the URL as it was."""
    url = query("contacts", select=("a", "b"), where=text, orderby="a desc", top=3)
    assert url.isascii()
    assert parse_qs(urlsplit(url).query, keep_blank_values=True, strict_parsing=True) == {
        "$select": ["a,b"],
        "$filter": [text],
        "$orderby": ["a desc"],
        "$top": ["3"],
    }


@given(st.lists(st.text(), min_size=1))
def test_values_of_a_list_stay_what_they_are(values):
    """What is asked for by In() comes out of the URL as JSON, and nothing in it looks like the list's end."""
    url = query("contacts", where=in_filter("emailaddress1", values))
    (where,) = parse_qs(urlsplit(url).query, strict_parsing=True)["$filter"]
    start = "Microsoft.Dynamics.CRM.In(PropertyName='emailaddress1',PropertyValues="
    assert (where[: len(start)], where[-1]) == (start, ")")
    listed = where[len(start) : -1]
    assert json.loads(listed) == values
    assert not set(listed[1:-1]) & set("'[]")
    assert listed.count('"') == 2 * len(values)


def test_a_list_is_written_as_documented():
    """The function's two parameters by name, the values in double quotes, letters readable."""
    assert in_filter("lastname", ["Ödön", "O'Brian"]) == (
        'Microsoft.Dynamics.CRM.In(PropertyName=\'lastname\',PropertyValues=["Ödön","O\\u0027Brian"])'
    )


@given(st.lists(st.text()))
def test_lengths_in_a_url_add_up(values):
    """The sum of the parts is the whole: a query can be cut by it."""
    parts = [f"{in_literal(value)}," for value in values]
    assert sum(len(quote_option(part)) for part in parts) == len(quote_option("".join(parts)))


def test_a_row_path_takes_only_an_id():
    """A path can't be made of anything else."""
    assert row_path("contacts", "{" + "A" * 8 + "-1111-2222-3333-" + "B" * 12 + "}").startswith("contacts(aaaaaaaa-")
    with pytest.raises(CijInputError):
        row_path("contacts", "x) or (y")


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://contoso.crm4.dynamics.com/api/data/v9.2/contacts?$skiptoken=1", True),
        ("https://CONTOSO.crm4.dynamics.com:443/x", True),
        ("http://contoso.crm4.dynamics.com/x", False),
        ("https://contoso.crm4.dynamics.com:8443/x", False),
        ("https://contoso.crm4.dynamics.com.evil.test/x", False),
        ("https://contoso.crm4.dynamics.com@evil.test/x", False),
        ("https://evil.test\\@contoso.crm4.dynamics.com/x", False),
        ("//evil.test/x", False),
        ("https://[half/x", False),
        ("https://contoso.crm4.dynamics.com:port/x", False),
        ("", False),
    ],
)
def test_only_the_organisation_itself_is_the_same_origin(url, same):
    """The token goes nowhere else, however the link is written."""
    assert same_origin(url, "https://contoso.crm4.dynamics.com") is same
