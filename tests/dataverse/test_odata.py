from __future__ import annotations

import json
import uuid
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.dataverse.guids import normalize_guid, pack_guids, parse_guid, read_guids, unpack_guids
from airflow_provider_cij.dataverse.odata import (
    encoded_length,
    fitting,
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
    lambda value: str(value).upper(),
    lambda value: "{" + str(value) + "}",
    lambda value: value.hex,
    lambda value: f"  {value}\t",
    lambda value: value,
]
junk = st.one_of(st.text(max_size=40), st.none(), st.integers(), st.just("0" * 31), st.just("g" * 32))


def _no_guid(value: object) -> bool:
    return parse_guid(value) is None


@given(st.uuids(), st.sampled_from(SPELLINGS))
def test_every_spelling_of_an_id_is_the_same_id(row_id, spell):
    """Case, braces, dashes and white space make no difference to an id."""
    assert parse_guid(spell(row_id)) == row_id.bytes
    assert normalize_guid(spell(row_id)) == str(row_id)


@given(st.lists(st.one_of(st.uuids().flatmap(lambda value: st.sampled_from([f(value) for f in SPELLINGS])), junk)))
def test_a_batch_of_ids_is_parsed_like_single_ids(values):
    """Parsing a batch finds the same ids and the same invalid values as parsing each value alone."""
    keys, bad = pack_guids(values)
    assert keys == b"".join(key for key in map(parse_guid, values) if key)
    assert bad == [position for position, value in enumerate(values) if _no_guid(value)]


def test_a_value_with_a_line_end_is_not_two_ids():
    """A value with two ids on two lines is no id, also in a batch of valid ones."""
    two = f"{uuid.uuid4()}\n{uuid.uuid4()}"
    assert pack_guids([str(uuid.uuid4()), two])[1] == [1]


@given(st.lists(st.uuids()))
def test_ids_are_written_in_lower_case_with_dashes(ids):
    """Ids are written as the service writes them: lower case, with dashes."""
    assert unpack_guids(b"".join(value.bytes for value in ids)) == [str(value) for value in ids]


def test_the_error_for_an_invalid_id_names_the_argument():
    """A value that is no id raises an error with the argument's name."""
    with pytest.raises(CijInputError, match=r"segment_id is 'vip', which is no GUID"):
        normalize_guid("vip", "segment_id")


@given(st.text())
def test_a_string_literal_cannot_be_escaped_from(text):
    """Any string becomes exactly one literal, so nothing can be injected into a filter."""
    quoted = literal(text)
    assert quoted[0] == quoted[-1] == "'"
    assert quoted[1:-1].replace("''", "").count("'") == 0
    assert quoted[1:-1].replace("''", "'") == text


@pytest.mark.parametrize(("value", "text"), [(None, "null"), (True, "true"), (False, "false"), (3, "3"), (0.5, "0.5")])
def test_literals_of_other_types(value, text):
    """Numbers, booleans, ids and timestamps become bare literals."""
    assert literal(value) == text


@given(st.text(min_size=1))
def test_query_options_are_unchanged_after_url_encoding(text):
    """A $filter value decoded from the URL equals the given one."""
    url = query("contacts", select=("a", "b"), where=text, orderby="a desc", top=3)
    assert url.isascii()
    assert parse_qs(urlsplit(url).query, keep_blank_values=True, strict_parsing=True) == {
        "$select": ["a,b"],
        "$filter": [text],
        "$orderby": ["a desc"],
        "$top": ["3"],
    }


@given(st.lists(st.text(), min_size=1))
def test_values_of_in_are_unchanged_after_url_encoding(values):
    """The values of In() decode from the URL as JSON, and none looks like the end of the list."""
    url = query("contacts", where=in_filter("emailaddress1", values))
    (where,) = parse_qs(urlsplit(url).query, strict_parsing=True)["$filter"]
    start = "Microsoft.Dynamics.CRM.In(PropertyName='emailaddress1',PropertyValues="
    assert (where[: len(start)], where[-1]) == (start, ")")
    listed = where[len(start) : -1]
    assert json.loads(listed) == values
    assert not set(listed[1:-1]) & set("'[]")
    assert listed.count('"') == 2 * len(values)


def test_in_is_written_as_documented():
    """In() has its two parameters by name, values in double quotes and readable letters."""
    assert in_filter("lastname", ["Ödön", "O'Brian"]) == (
        'Microsoft.Dynamics.CRM.In(PropertyName=\'lastname\',PropertyValues=["Ödön","O\\u0027Brian"])'
    )


@given(st.lists(st.text()))
def test_encoded_lengths_add_up(values):
    """The encoded length of a query is the sum of its parts' lengths."""
    parts = [f"{in_literal(value)}," for value in values]
    assert sum(map(encoded_length, parts)) == len(quote_option("".join(parts)))


@given(st.text() | st.text(" %+&#a'(,", max_size=30))
def test_options_are_percent_encoded(text):
    """A query option is percent-encoded but for what a query may hold, and comes back as it was."""
    assert quote_option(text) == quote(text, safe="$,()='/:;")
    assert parse_qs(f"$filter={quote_option(text)}", keep_blank_values=True)["$filter"] == [text]


@given(
    texts=st.lists(st.text(" a@é\"'[", max_size=9)),
    room=st.integers(0, 90),
    most=st.integers(1, 6),
    joint=st.sampled_from([",", " or "]),
)
def test_texts_are_put_into_queries_that_fit(texts, room, most, joint):
    """All texts come, in their order, and only one that is alone in a query may be longer than fits."""
    parts = list(fitting(map(in_literal, texts), room, most, joint))
    assert [text for part in parts for text in part] == [in_literal(text) for text in texts]
    assert all(len(part) <= most for part in parts)
    assert all(len(part) == 1 or len(quote_option(joint.join(part))) <= room for part in parts)


@given(st.lists(st.uuids()), st.sampled_from([str, lambda one: str(one).upper(), lambda one: one.hex]))
def test_ids_are_read_as_the_service_writes_them(ids, spell):
    """A page of ids is given in lower case with dashes, and packed, in whatever spelling it came."""
    values = [spell(one) for one in ids]
    assert read_guids([*values, "none"]) == (list(map(str, ids)), b"".join(one.bytes for one in ids), [len(ids)])
    assert read_guids(values) == (list(map(str, ids)), b"".join(one.bytes for one in ids), [])


def test_a_row_path_takes_only_an_id():
    """The path of a row is made from an id and from nothing else."""
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
    """A URL belongs to the organisation only when scheme, host and port agree."""
    assert same_origin(url, "https://contoso.crm4.dynamics.com") is same
