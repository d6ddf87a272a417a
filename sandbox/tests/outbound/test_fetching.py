"""Contacts of outbound segments: the query action, and the link in FetchXML."""

import json
import uuid
from urllib.parse import quote

import pytest

from .helpers import (
    DRAFT,
    create,
    fetch,
    people,
    prefixed,
)


def test_pages_of_a_query_are_its_contacts_cut_up(quick):
    """SKIP and TAKE cut the contacts into pages that are disjoint, complete and sorted by name."""
    query = "PROFILE(contact).FILTER(ISNOTNULL(emailaddress1))"
    pages = [fetch(quick, query, skip=skip, take=50) for skip in range(0, 250, 50)]
    ids = [row["contactid"] for page in pages for row in page["entities"]]
    expected = quick.get("contacts?$select=contactid&$orderby=fullname,contactid&$filter=emailaddress1 ne null")[
        "value"
    ]
    assert ids == [row["contactid"] for row in expected]
    assert {page["totalRecordCount"] for page in pages} == {len(ids)}
    assert [page["moreRecords"] for page in pages] == [(number + 1) * 50 < len(ids) for number in range(5)]


ENTITY = "<entity name='contact'><attribute name='contactid'/><order attribute='fullname'/></entity>"
FILTERED = "<entity name='contact'><filter><condition attribute='{}' operator='eq' value='{}'/></filter></entity>"
SORTED = "PROFILE(contact).ORDERBY(fullname ASC)"


@pytest.mark.parametrize(
    ("query", "xml", "status", "words"),
    [
        (f"{SORTED}.SKIP(5).TAKE(5)", f"<fetch count='5' page='1'>{ENTITY}</fetch>", 400, "SKIP and page are 5 and 0"),
        (f"{SORTED}.SKIP(0).TAKE(5)", f"<fetch count='6' page='1'>{ENTITY}</fetch>", 400, "TAKE and count are 5 and 6"),
        ("PROFILE(contact).ORDERBY(fullname DESC)", f"<fetch>{ENTITY}</fetch>", 400, "ORDERBY"),
        ("PROFILE(contact).ORDERBY(shoesize)", f"<fetch>{ENTITY}</fetch>", 400, "ORDERBY"),
        ("PROFILE(contact", f"<fetch>{ENTITY}</fetch>", 400, "position 15"),
        ("PROFILE(account)", f"<fetch>{ENTITY}</fetch>", 400, "'account'"),
        ("SEGMENT(nobody_knows_it)", f"<fetch>{ENTITY}</fetch>", 400, "nobody_knows_it"),
        ("INTERACTION(a, b)", f"<fetch>{ENTITY}</fetch>", 501, "INTERACTION"),
        (SORTED, "<fetch", 400, "Invalid XML"),
        (SORTED, f"<!DOCTYPE fetch><fetch>{ENTITY}</fetch>", 400, "Invalid XML"),
        (SORTED, "<fetch><entity name='lead'/></fetch>", 400, "'lead'"),
        (SORTED, "<fetch><entity name='contact'><attribute name='shoesize'/></entity></fetch>", 400, "'shoesize'"),
        (SORTED, f"<fetch page='0'>{ENTITY}</fetch>", 400, "page='0'"),
        (SORTED, "<fetch><entity name='contact'><link-entity name='lead'/></entity></fetch>", 501, "<link-entity>"),
        (SORTED, f"<fetch top='5'>{ENTITY}</fetch>", 501, "'top'"),
        ("PROFILE(contact)", f"<fetch>{FILTERED.format('createdon', 'soon')}</fetch>", 400, "'createdon'"),
        (f"{SORTED}.SELECT(shoesize)", f"<fetch>{ENTITY}</fetch>", 400, "'shoesize'"),
    ],
)
def test_queries_for_contacts_that_are_refused(quick, query, xml, status, words):
    """A query that disagrees with its FetchXML, does not parse or is not implemented is refused with the reason."""
    reply = quick.web.post("msdyncrm_FetchContactsByQuery", json={"Query": query, "FetchXml": xml})
    assert reply.status_code == status, reply.text
    assert words in reply.json()["error"]["message"]


def test_fetchxml_may_narrow_a_query_down(quick):
    """The contacts of FetchContactsByQuery also match the filter of its FetchXML."""
    body = {"Query": "PROFILE(contact)", "FetchXml": f"<fetch>{FILTERED.format('lastname', 'Weber')}</fetch>"}
    result = json.loads(quick.post("msdyncrm_FetchContactsByQuery", body, 200).json()["Result"])
    assert {row["contactid"] for row in result["entities"]} == set(people(quick, "lastname eq 'Weber'")) != set()


LINKED = (
    "<fetch{}><entity name='contact'><attribute name='contactid'/>{}<link-entity name='msdyncrm_segment' "
    "from='msdyncrm_segmentid' to='msdyncrm_segmentmemberid' alias='bb'><filter><condition "
    "attribute='msdyncrm_segmentid' operator='eq' value='{}'/></filter></link-entity></entity></fetch>"
)


def test_the_link_to_a_segment_goes_with_all_of_fetchxml(quick):
    """Contacts linked to a segment can be filtered, counted and paged; an unknown segment links to no contact."""
    everyone = people(quick)
    segment = create(quick, msdyncrm_segmentmemberids=prefixed(everyone[:9]))
    condition = "<filter><condition attribute='contactid' operator='gt' value='" + everyone[2] + "'/></filter>"
    seen, cookie = [], ""
    for page in (1, 2):
        xml = LINKED.format(f" count='4' page='{page}' returntotalrecordcount='true'{cookie}", condition, segment)
        reply = quick.get(f"contacts?fetchXml={quote(xml)}", Prefer='odata.include-annotations="*"')
        assert reply["@Microsoft.Dynamics.CRM.totalrecordcount"] == 6
        assert reply["@Microsoft.Dynamics.CRM.morerecords"] == (page == 1)
        seen += [row["contactid"] for row in reply["value"]]
    assert seen == everyone[3:9]
    for nobody in (create(quick, DRAFT, msdyncrm_segmentmemberids=prefixed(everyone)), uuid.uuid4()):
        assert quick.get(f"contacts?fetchXml={quote(LINKED.format('', '', nobody))}")["value"] == []


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (("operator='eq'", "operator='ne'"), 501, "condition"),
        (("value='{}'", "value='x'"), 400, "no GUID"),
        (("to='msdyncrm_segmentmemberid'", "to='contactid'"), 501, "link-entity"),
        (("name='msdyncrm_segment'", "name='msdyncrm_segments'"), 501, "link-entity"),
    ],
)
def test_no_other_link_is_followed(quick, change, status, words):
    """A link other than the documented one is refused."""
    reply = quick.web.get(f"contacts?fetchXml={quote(LINKED.replace(*change).format('', '', uuid.uuid4()))}")
    assert reply.status_code == status, reply.text
    assert words in reply.json()["error"]["message"]
