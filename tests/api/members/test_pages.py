"""Parsing pages of member lists."""

from __future__ import annotations

import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.members.pages import Page, PageConsistencyCheck, page_of, page_of_text, paging_inputs
from airflow_provider_cij.dataverse.guids import read_guids
from airflow_provider_cij.dataverse.responses import Response, value_of
from airflow_provider_cij.errors import CijError, CijIncompleteError, CijMovedError, CijReplyError
from tests.api.members.documented_list import AS_DOCUMENTED, A, B


def test_a_json_page_is_read():
    """A page of valid JSON gives its ids, page number, page size and total."""
    text = json.dumps({"totalCount": 7, "pageNumber": 1, "pageSize": 2, "hasNextPage": True, "members": [A, B.upper()]})
    page = page_of({"StatusCode": 200, "ResultText": text}, "ResultText", "members")
    assert (page.ids, page.has_next, page.number, page.size, page.total) == ([A, B], True, 1, 2, 7)


def test_the_documented_page_is_read_from_the_errors_body():
    """The documented page is not valid JSON: the error keeps its body, and the ids are found in it."""
    with pytest.raises(CijReplyError) as caught:
        value_of(Response(200, {}, AS_DOCUMENTED.encode()))
    assert page_of_text(caught.value.raw, "members").ids == [A, B]


@pytest.mark.parametrize("cut", range(1, len(AS_DOCUMENTED)))
def test_a_truncated_page_is_an_error_or_complete(cut):
    """The documented page cut anywhere is an error or has every id."""
    try:
        page = page_of_text(AS_DOCUMENTED[:-cut], "members")
    except CijError:
        return
    assert page.ids == [A, B]


@given(st.lists(st.uuids(), max_size=20), st.sampled_from([", ", ",", " "]), st.integers(1, 20))
def test_several_ids_in_one_string_are_separated(ids, between, together):
    """Several ids in one entry are separated, whatever stands between them."""
    entries = [between.join(map(str, ids[start : start + together])) for start in range(0, len(ids), together)]
    assert page_of_text(json.dumps({"members": entries}), "members").ids == [str(member_id) for member_id in ids]


def test_group_members_are_in_another_output():
    """ListGroupMembers answers in ``Response`` with ``entityIds``."""
    answer = {"Response": json.dumps({"entityIds": [A], "additionalProperties": {}})}
    assert page_of(answer, "Response", "entityIds").ids == [A]


@pytest.mark.parametrize(
    "text",
    ['{"members": ["x"]}', '{"members": null}', '{"other": []}', "[]", "3", '{"members": [{"id": 1}]}', "<html>"],
)
def test_a_page_that_is_no_list_of_ids_is_an_error(text):
    """A page of any other shape is an error, never an empty list."""
    with pytest.raises(CijReplyError):
        page_of_text(text, "members")


@pytest.mark.parametrize("text", ["null", '""', '{"members": []}'])
def test_an_empty_page_may_be_null_or_an_empty_text(text):
    """Null, an empty text and an empty list all mean a page without members."""
    assert page_of_text(text, "members").ids == []


def test_a_response_without_its_output_is_an_error():
    """A response without the expected output is an error, not an empty list."""
    with pytest.raises(CijReplyError, match="no text in ResultText"):
        page_of({"StatusCode": 200}, "ResultText", "members")


@given(st.text(max_size=200))
def test_any_text_is_a_page_or_a_cij_error(text):
    """Any text gives a page of ids or a CijError."""
    try:
        page = page_of_text(text, "members")
    except CijError:
        return
    assert all(uuid.UUID(member_id) for member_id in page.ids)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["SegmentId", "PageNumber", "PageSize"], {"number": "PageNumber", "size": "PageSize"}),
        (["segmentId", "pageNo"], {"number": "pageNo"}),
        (["msdynmkt_pagenumber", "msdynmkt_pagesize"], {"number": "msdynmkt_pagenumber", "size": "msdynmkt_pagesize"}),
    ],
)
def test_paging_inputs_are_found_by_name(names, found):
    """The names of the paging inputs are found among the inputs that the organisation lists."""
    assert paging_inputs([{"uniquename": name} for name in names]) == found


@pytest.mark.parametrize("names", [[], ["SegmentId"], ["PageNo", "PageNumber"]])
def test_an_unknown_paging_input_is_an_error(names):
    """Without exactly one known page input the list is reported as incomplete."""
    with pytest.raises(CijIncompleteError):
        paging_inputs([{"uniquename": name} for name in names])


@given(turns=st.integers(2, 40), size=st.integers(1, 4))
def test_a_list_that_goes_in_a_circle_is_noticed_when_its_first_page_comes_again(turns, size):
    """Of pages that come again and again, however many and however small, none is taken twice."""
    pages = []
    for turn in range(turns):
        ids, keys, _ = read_guids([str(uuid.uuid5(uuid.NAMESPACE_URL, f"{turn}-{n}")) for n in range(size)])
        pages.append(Page(ids, keys, has_next=True))
    listed = PageConsistencyCheck()
    for page in pages:
        listed.add(page)
    with pytest.raises(CijMovedError, match="came twice"):
        listed.add(pages[0])


@given(st.lists(st.integers(0, 9), min_size=1), st.booleans())
def test_the_ids_of_a_checked_list_are_a_set(numbers, several):
    """The ids of a list that was checked are counted and listed once each, also where its only page repeats some."""
    listed = PageConsistencyCheck()
    written = [str(uuid.UUID(int=number)) for number in (sorted(set(numbers)) if several else numbers)]
    for page in [[one] for one in written] if several else [written]:
        listed.add(Page(*read_guids(page)[:2]))
    listed.check(len(written))
    found = listed.ids()
    assert len(found) == len(set(written))
    assert sorted(one for batch in found.batches(3) for one in batch) == sorted(set(written))
