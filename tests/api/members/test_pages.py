from __future__ import annotations

import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.members.pages import page_of, page_of_text, paging_inputs
from airflow_provider_cij.dataverse.responses import Reply, value_of
from airflow_provider_cij.errors import CijError, CijIncompleteError, CijReplyError
from tests.api.members.documented_list import AS_DOCUMENTED, A, B


def test_the_answer_as_the_service_sends_it():
    """Sound JSON in a string, with its page and total."""
    text = json.dumps({"totalCount": 7, "pageNumber": 1, "pageSize": 2, "hasNextPage": True, "members": [A, B.upper()]})
    page = page_of({"StatusCode": 200, "ResultText": text}, "ResultText", "members")
    assert (page.ids, page.has_next, page.number, page.size, page.total) == ([A, B], True, 1, 2, 7)


def test_the_answer_as_the_documents_print_it():
    """It is no JSON, and both ids are in one string: the reply's error keeps the body, and the ids are found in it."""
    with pytest.raises(CijReplyError) as caught:
        value_of(Reply(200, {}, AS_DOCUMENTED.encode()))
    assert page_of_text(caught.value.raw, "members").ids == [A, B]


@pytest.mark.parametrize("cut", range(1, len(AS_DOCUMENTED)))
def test_a_cut_answer_never_passes_for_a_whole_one(cut):
    """Wherever the documented answer breaks off, it is an error or has every id."""
    try:
        page = page_of_text(AS_DOCUMENTED[:-cut], "members")
    except CijError:
        return
    assert page.ids == [A, B]


@given(st.lists(st.uuids(), max_size=20), st.sampled_from([", ", ",", " "]), st.integers(1, 20))
def test_ids_may_share_a_string(ids, between, together):
    """However many ids are in one entry."""
    entries = [between.join(map(str, ids[start : start + together])) for start in range(0, len(ids), together)]
    assert page_of_text(json.dumps({"members": entries}), "members").ids == [str(one) for one in ids]


def test_group_members_are_in_another_output():
    """ListGroupMembers answers ``Response`` with ``entityIds``."""
    answer = {"Response": json.dumps({"entityIds": [A], "additionalProperties": {}})}
    assert page_of(answer, "Response", "entityIds").ids == [A]


@pytest.mark.parametrize(
    "text",
    ['{"members": ["x"]}', '{"members": null}', '{"other": []}', "[]", "3", '{"members": [{"id": 1}]}', "<html>"],
)
def test_what_is_no_list_of_ids_is_an_error(text):
    """Never an empty list."""
    with pytest.raises(CijReplyError):
        page_of_text(text, "members")


@pytest.mark.parametrize("text", ["null", '""', '{"members": []}'])
def test_nobody_is_an_empty_page(text):
    """The service writes nothing in several ways."""
    assert page_of_text(text, "members").ids == []


def test_an_answer_without_a_list_is_an_error():
    """An output that is missing is no empty list."""
    with pytest.raises(CijReplyError, match="no text in ResultText"):
        page_of({"StatusCode": 200}, "ResultText", "members")


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text):
    """Whatever comes, it is a page or one of our errors."""
    try:
        page = page_of_text(text, "members")
    except CijError:
        return
    assert all(uuid.UUID(one) for one in page.ids)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["SegmentId", "PageNumber", "PageSize"], {"number": "PageNumber", "size": "PageSize"}),
        (["segmentId", "pageNo"], {"number": "pageNo"}),
        (["msdynmkt_pagenumber", "msdynmkt_pagesize"], {"number": "msdynmkt_pagenumber", "size": "msdynmkt_pagesize"}),
    ],
)
def test_paging_inputs_are_found_by_name(names, found):
    """The organisation lists an action's inputs; no document does."""
    assert paging_inputs([{"uniquename": name} for name in names]) == found


@pytest.mark.parametrize("names", [[], ["SegmentId"], ["PageNo", "PageNumber"]])
def test_without_a_known_input_the_list_is_incomplete(names):
    """Nothing is guessed."""
    with pytest.raises(CijIncompleteError):
        paging_inputs([{"uniquename": name} for name in names])
