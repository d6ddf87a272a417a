"""Outbound segments: their statuses, their members, and what is refused."""

import json
import sqlite3
import time
import uuid
from urllib.parse import quote

import pytest
from cij_sandbox.testing import running_sandbox
from hypothesis import given, settings
from hypothesis import strategies as st

from .conftest import Organisation
from .test_batch import answers, change_set, operation, send

DRAFT, LIVE, STOPPED, EDITABLE, EXPIRED, ERROR, GOING_LIVE, STOPPING = range(192350000, 192350008)
DYNAMIC, STATIC, COMPOUND = range(192350000, 192350003)
ALLOWED = {
    "msdyncrm_segments": {
        DRAFT: {GOING_LIVE, LIVE, EXPIRED},
        LIVE: {STOPPING, STOPPED, GOING_LIVE, EDITABLE, ERROR},
        STOPPED: {EXPIRED, GOING_LIVE},
        EDITABLE: {LIVE, ERROR, GOING_LIVE},
        ERROR: {GOING_LIVE, STOPPING},
        GOING_LIVE: {LIVE, ERROR},
        STOPPING: {STOPPED, ERROR},
        EXPIRED: set(),
    },
    "msdyncrm_customerjourneys": {
        DRAFT: {GOING_LIVE, EXPIRED},
        LIVE: {STOPPING, STOPPED, GOING_LIVE, EDITABLE, ERROR},
        STOPPED: {EXPIRED, GOING_LIVE},
        EDITABLE: {LIVE, ERROR, GOING_LIVE},
        ERROR: {GOING_LIVE, STOPPING},
        GOING_LIVE: {LIVE, ERROR},
        STOPPING: {STOPPED, ERROR},
        EXPIRED: set(),
    },
}
REQUIRED = {
    "msdyncrm_segments": {"msdyncrm_segmentname": "A segment", "msdyncrm_segmenttype": STATIC},
    "msdyncrm_customerjourneys": {"msdyncrm_name": "A journey"},
}


@pytest.fixture(scope="module")
def quick():
    """Provide an organisation in which work is done by the time of the next request."""
    with running_sandbox("--contacts", "200", "--compute-seconds", "0") as sandbox:
        organisation = Organisation(sandbox)
        yield organisation
        organisation.close()


@pytest.fixture(scope="module")
def slow():
    """Provide an organisation in which no work is ever done."""
    with running_sandbox("--contacts", "20", "--compute-seconds", "3600") as sandbox:
        organisation = Organisation(sandbox)
        yield organisation
        organisation.close()


def create(org, status=GOING_LIVE, kind=STATIC, **columns):
    """Create a segment with a name of its own; return its id."""
    body = {"msdyncrm_segmentname": f"s_{uuid.uuid4().hex}", "msdyncrm_segmenttype": kind, "statuscode": status}
    return org.post("msdyncrm_segments", {**body, **columns}).headers["OData-EntityId"][-37:-1]


def row_of(org, segment):
    """Return the row of a segment."""
    return org.get(f"msdyncrm_segments({segment})")


def change(org, segment, status=204, **columns):
    """Update a segment; return the answer's error."""
    reply = org.web.patch(f"msdyncrm_segments({segment})", json=columns, headers={"If-Match": "*"})
    assert reply.status_code == status, reply.text
    return reply.json()["error"] if reply.content else None


def update(org, segment, wanted, **more):
    """Ask for a change of members."""
    body = {"msdyncrm_segmentid": segment, "msdyncrm_operation": wanted, **more}
    return org.web.post("msdyncrm_SegmentMembersUpdate", json=body)


def state(org, segment):
    """Return what getState tells."""
    return json.loads(update(org, segment, "getState").json()["SegmentState"])


def fetch(org, query, *, skip=None, take=None, expect=200, **more):
    """Return the answer of FetchContactsByQuery, whose two halves agree unless told otherwise."""
    paging = f" count='{take}' page='{(skip or 0) // take + 1}'" if take else ""
    xml = (
        f"<fetch returntotalrecordcount='true'{paging}><entity name='contact'>"
        "<attribute name='contactid'/><order attribute='fullname'/></entity></fetch>"
    )
    text = f"({query}).ORDERBY(fullname ASC)" + (f".SKIP({skip}).TAKE({take})" if take else "") + ".SELECT(contactid)"
    reply = org.web.post("msdyncrm_FetchContactsByQuery", json={"Query": text, "FetchXml": xml, **more})
    assert reply.status_code == expect, reply.text
    return json.loads(reply.json()["Result"]) if expect == 200 else reply.json()["error"]["message"]


def found(org, query):
    """Return the ids a query finds."""
    return {row["contactid"] for row in fetch(org, query)["entities"]}


def prefixed(ids):
    """Write ids as the column wants them."""
    return json.dumps([f"crm{member}" for member in ids])


def people(org, filter_="contactid ne null"):
    """Return the ids of contacts, sorted."""
    rows = org.get(f"contacts?$select=contactid&$orderby=contactid&$filter={filter_}")["value"]
    return [row["contactid"] for row in rows]


@pytest.mark.parametrize("before", range(DRAFT, STOPPING + 1))
@pytest.mark.parametrize("entity", ALLOWED)
def test_statuses_change_as_the_table_reference_allows(slow, entity, before):
    """Each of the eight statuses may become what its transitions list, and nothing else."""
    for after in range(DRAFT, STOPPING + 1):
        first = {**REQUIRED[entity], "statuscode": before, "statecode": int(before == EXPIRED)}
        row_id = slow.post(entity, first).headers["OData-EntityId"][-37:-1]
        body = {"statuscode": after, "statecode": int(after == EXPIRED)}
        reply = slow.web.patch(f"{entity}({row_id})", json=body)
        if after == before or after in ALLOWED[entity][before]:
            assert reply.status_code == 204, (before, after, reply.text)
        else:
            assert reply.status_code == 400, (before, after)
            assert reply.json()["error"]["message"].startswith("The status transition is not valid. Please check the ")
        expected = after if reply.status_code == 204 else before
        assert slow.get(f"{entity}({row_id})?$select=statuscode")["statuscode"] == expected


@pytest.mark.parametrize("entity", REQUIRED)
def test_required_columns(slow, entity):
    """What the document requires cannot be left out, nor taken away."""
    whole = {**REQUIRED[entity], "statuscode": DRAFT}
    required = set(whole) - {"statuscode"} if entity == "msdyncrm_customerjourneys" else set(whole)
    for name in required:
        reply = slow.post(entity, {key: value for key, value in whole.items() if key != name}, 400)
        assert f"'{name}'" in reply.json()["error"]["message"]
    row_id = slow.post(entity, whole).headers["OData-EntityId"][-37:-1]
    for name in required - {"statuscode"}:
        assert slow.web.patch(f"{entity}({row_id})", json={name: None}).status_code == 400


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        ({"msdyncrm_segmentname": "x" * 101}, "0x80044331"),
        ({"msdyncrm_segmentmemberids": "x" * 1_000_001}, "0x80044331"),
        ({"msdyncrm_segmenttype": 192350003}, "0x8004431a"),
        ({"statuscode": 192350008}, "0x8004431a"),
        ({"statecode": 1}, "0x80048408"),
        ({"statuscode": EXPIRED}, "0x80048408"),
        ({"msdyncrm_queryy": "PROFILE(contact)"}, "0x80048d19"),
        ({"msdyncrm_scope": 1}, "0x8004431a"),
    ],
)
def test_limits_of_columns(slow, columns, code):
    """Lengths, option sets and names of columns are checked as those of any table."""
    body = {**REQUIRED["msdyncrm_segments"], "statuscode": DRAFT, **columns}
    assert slow.post("msdyncrm_segments", body, 400).json()["error"]["code"] == code


def test_a_segment_walks_to_live_and_to_stopped(org):
    """A published segment is going live for a while and then live; a stopped one is stopping and then stopped."""
    segment = create(org, DRAFT, DYNAMIC, msdyncrm_segmentquery="PROFILE(contact)")
    assert row_of(org, segment)["msdyncrm_segmentsize"] is None
    seen = []
    for status, end in ((GOING_LIVE, LIVE), (STOPPING, STOPPED)):
        change(org, segment, statuscode=status)
        until = time.monotonic() + 10
        while not seen or (seen[-1] != end and time.monotonic() < until):
            row = row_of(org, segment)
            if not seen or seen[-1] != row["statuscode"]:
                seen.append(row["statuscode"])
                assert row["msdyncrm_islive"] == (row["statuscode"] == LIVE)
    assert seen == [GOING_LIVE, LIVE, STOPPING, STOPPED]
    assert row["msdyncrm_segmentsize"] > 1900
    assert row["msdyncrm_lastevaluationtime"]


def test_a_live_segment_is_evaluated_again_when_it_goes_live_again(quick):
    """Members are those of the last evaluation, and Going Live makes a new one; so does making it live by hand."""
    city = f"City {uuid.uuid4().hex}"
    query = f"PROFILE(contact).FILTER(address1_city == '{city}')"
    published = create(quick, GOING_LIVE, DYNAMIC, msdyncrm_segmentquery=query)
    by_hand = create(quick, DRAFT, DYNAMIC, msdyncrm_segmentquery=query)
    assert row_of(quick, published)["msdyncrm_segmentsize"] == 0
    quick.post("contacts", {"lastname": "Newcomer", "address1_city": city})
    assert row_of(quick, published)["msdyncrm_segmentsize"] == 0
    change(quick, published, statuscode=GOING_LIVE)
    change(quick, by_hand, statuscode=LIVE)
    for segment in (published, by_hand):
        assert [row_of(quick, segment)[name] for name in ("statuscode", "msdyncrm_segmentsize")] == [LIVE, 1]


@pytest.mark.parametrize(
    ("kind", "columns", "field"),
    [
        (DYNAMIC, {"msdyncrm_segmentquery": "PROFILE(UnknownEntity)"}, "msdyncrm_query"),
        (DYNAMIC, {"msdyncrm_segmentquery": "PROFILE(contact"}, "msdyncrm_query"),
        (DYNAMIC, {"msdyncrm_segmentquery": "PROFILE(account)"}, "msdyncrm_query"),
        (DYNAMIC, {"msdyncrm_segmentquery": "PROFILE(contact).FILTER(shoesize > 3)"}, "msdyncrm_query"),
        (DYNAMIC, {"msdyncrm_segmentquery": "PROFILE(contact).TRAVERSE(contact_boat_owner, b)"}, "msdyncrm_query"),
        (DYNAMIC, {}, "msdyncrm_query"),
        (COMPOUND, {"msdyncrm_query": "SEGMENT(nobody_knows_it) UNION PROFILE(contact)"}, "msdyncrm_query"),
        (STATIC, {"msdyncrm_segmentmemberids": "[1]"}, "msdyncrm_segmentmemberids"),
        (STATIC, {"msdyncrm_segmentmemberids": json.dumps([str(uuid.uuid4())])}, "msdyncrm_segmentmemberids"),
        (STATIC, {"msdyncrm_segmentmemberids": "{"}, "msdyncrm_segmentmemberids"),
    ],
)
def test_validation(quick, kind, columns, field):
    """A bad definition is a 400 when it goes live or is created to, none as a draft, and a 200 in a validation."""
    body = {"msdyncrm_segmentname": "bad", "msdyncrm_segmenttype": kind, **columns}
    refused = quick.post("msdyncrm_segments", {**body, "statuscode": GOING_LIVE}, 400).json()["error"]["message"]
    assert f'"FieldName": "{field}"' in refused
    draft = create(quick, DRAFT, kind, **columns)
    assert change(quick, draft, 400, statuscode=GOING_LIVE)["message"].startswith("The segment is not valid.")
    assert row_of(quick, draft)["statuscode"] == DRAFT
    for status in (DRAFT, GOING_LIVE):
        reply = quick.post("msdyncrm_ValidateSegment", {**body, "statuscode": status}, 200).json()
        assert json.loads(reply["ValidationResult"]) == [
            {"ErrorCode": "SegmentDciValidator_SegmentInvalid", "FieldName": field}
        ]


def test_a_segment_whose_query_has_become_wrong_ends_in_error(quick):
    """What validation does not see, because nobody asked it, ends the evaluation in Error."""
    segment = create(quick, DRAFT, COMPOUND, msdyncrm_segmentquery="SEGMENT(nobody_knows_it)")
    change(quick, segment, statuscode=LIVE)
    assert [row_of(quick, segment)[name] for name in ("statuscode", "msdyncrm_islive")] == [ERROR, False]


def test_a_status_given_by_hand_ends_the_walk(org):
    """A segment that is put into Error while it is going live stays there."""
    segment = create(org)
    change(org, segment, statuscode=ERROR)
    later = create(org)
    while row_of(org, later)["statuscode"] != LIVE:
        pass
    assert row_of(org, segment)["statuscode"] == ERROR


def test_members_of_the_column(quick):
    """The column lists who is to be in a static segment: unknown ids are ignored, and a new list replaces the old."""
    everyone = people(quick)
    stranger = str(uuid.uuid4())
    segment = create(quick, DRAFT, msdyncrm_segmentmemberids=prefixed([*everyone[:3], everyone[0].upper(), stranger]))
    row = row_of(quick, segment)
    name = row["msdyncrm_segmentqueryname"]
    assert (name, row["msdyncrm_scope"]) == (f"SEGMENT_CRM_ID_{segment.replace('-', '')}", 270100000)
    assert found(quick, f"SEGMENT({name})") == set()
    change(quick, segment, statuscode=GOING_LIVE)
    assert found(quick, f"SEGMENT({name})") == set(everyone[:3])
    left = quick.post("contacts", {"lastname": "Left"}).headers["OData-EntityId"][-37:-1]
    change(quick, segment, msdyncrm_segmentmemberids=prefixed([left, everyone[0]]))
    assert quick.web.delete(f"contacts({left})").status_code == 204
    change(quick, segment, statuscode=GOING_LIVE)
    assert row_of(quick, segment)["msdyncrm_segmentsize"] == 1
    change(quick, segment, msdyncrm_segmentmemberids=prefixed(everyone[5:7]))
    assert found(quick, f"SEGMENT({name})") == set(everyone[5:7])
    assert row_of(quick, segment)["msdyncrm_segmentsize"] == 2
    change(quick, segment, 400, msdyncrm_segmentmemberids="nobody")
    assert found(quick, f"SEGMENT({name})") == set(everyone[5:7])


def test_changes_of_members_are_done_later_and_in_order(org):
    """A change is accepted at once, pending for a while, and then done, each after the one before."""
    everyone = people(org)
    segment = create(org)
    while row_of(org, segment)["statuscode"] != LIVE:
        pass
    assert state(org, segment) == {"state": "Completed", "pendingOperations": 0}
    stranger = str(uuid.uuid4())
    for wanted, ids in (
        ("addByIds", [*everyone[:4], stranger, everyone[0]]),
        ("removeByIds", [everyone[0], stranger]),
        ("addByIds", everyone[3:5]),
    ):
        assert update(org, segment, wanted, msdyncrm_memberids=json.dumps(ids)).status_code == 204
    assert state(org, segment) == {"state": "Pending", "pendingOperations": 3}
    assert row_of(org, segment)["msdyncrm_segmentsize"] == 0
    while state(org, segment)["pendingOperations"]:
        pass
    assert row_of(org, segment)["msdyncrm_segmentsize"] == 4
    name = row_of(org, segment)["msdyncrm_segmentqueryname"]
    assert found(org, f"SEGMENT({name})") == set(everyone[1:5])


def test_members_by_query_are_those_it_finds_when_it_runs(quick):
    """Contacts of an account are added and removed by the query that reaches them."""
    reply = quick.post("accounts", {"name": "An account"})
    account = reply.headers["OData-EntityId"][-37:-1]
    bind = {"parentcustomerid_account@odata.bind": f"/accounts({account})"}
    one, two = (
        quick.post("contacts", {"lastname": "Employee", "emailaddress1": email, **bind}).headers["OData-EntityId"][
            -37:-1
        ]
        for email in ("a@example.org", "b@example.com")
    )
    segment = create(quick)
    name = row_of(quick, segment)["msdyncrm_segmentqueryname"]
    query = f"PROFILE(account, a).FILTER(a.accountid == '{account}').TRAVERSE(contact_account_parentcustomerid, c)"
    assert update(quick, segment, "addByQuery", msdyncrm_query=query, msdyncrm_memberids=None).status_code == 204
    assert found(quick, f"SEGMENT({name})") == {one, two}
    ends = f"{query}.FILTER(c.emailaddress1 ENDSWITH '.COM')"
    assert update(quick, segment, "removeByQuery", msdyncrm_query=ends).status_code == 204
    assert found(quick, f"SEGMENT({name})") == {one}
    quick.web.patch(f"contacts({one})", json={"parentcustomerid_account@odata.bind": None})
    assert found(quick, query) == {two}


@pytest.mark.parametrize(
    ("wanted", "more", "words"),
    [
        ("addByIds", {"msdyncrm_memberids": "nobody"}, "JSON array"),
        ("addByIds", {"msdyncrm_memberids": '["nobody"]'}, "JSON array"),
        ("addByIds", {"msdyncrm_memberids": f'["crm{uuid.uuid4()}"]'}, "without a prefix"),
        ("addByIds", {}, "JSON array"),
        ("removeByIds", {"msdyncrm_memberids": json.dumps([str(uuid.uuid4())] * 100_001)}, "100000"),
        ("addByQuery", {}, "cannot be parsed"),
        ("addByQuery", {"msdyncrm_query": "PROFILE(account)"}, "members of 'contact'"),
        ("removeEveryone", {}, "addByIds"),
    ],
)
def test_changes_that_cannot_be_are_refused_at_once(slow, wanted, more, words):
    """What can be known to be wrong is a 400, and nothing is pending after it."""
    segment = create(slow)
    reply = update(slow, segment, wanted, **more)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "0x80040265")
    assert words in reply.json()["error"]["message"]
    assert state(slow, segment)["pendingOperations"] == 0


def test_a_hundred_thousand_ids_at_once(quick):
    """The usual batch of 20,000 is no limit."""
    known = people(quick)[:10]
    segment = create(quick)
    ids = [*(str(uuid.UUID(int=number)) for number in range(99_990)), *known]
    assert update(quick, segment, "addByIds", msdyncrm_memberids=json.dumps(ids)).status_code == 204
    assert row_of(quick, segment)["msdyncrm_segmentsize"] == 10


def test_only_static_segments_that_exist_take_members(slow):
    """Members of a dynamic segment are those of its query; of a segment that is not there, nobody's."""
    dynamic = create(slow, DRAFT, DYNAMIC, msdyncrm_segmentquery="PROFILE(contact)")
    for segment, words in ((dynamic, "not static"), (str(uuid.uuid4()), "not found"), ("x", "not found")):
        reply = update(slow, segment, "getState")
        assert reply.status_code == 400
        assert words in reply.json()["error"]["message"]


def test_a_contact_of_another_business_unit_hangs_the_segment(quick):
    """With the scope of a business unit a foreign contact blocks the segment for good, without it nothing happens."""
    reply = quick.post("businessunits", {"name": "Elsewhere"})
    elsewhere = reply.headers["OData-EntityId"][-37:-1]
    bind = {"owningbusinessunit@odata.bind": f"/businessunits({elsewhere})"}
    foreign = quick.post("contacts", {"lastname": "Foreign", **bind}).headers["OData-EntityId"][-37:-1]
    own = people(quick, "lastname ne 'Foreign'")[0]
    for scope, expected in ((270100000, (0, 2, STOPPED)), (270100001, (3, 0, STOPPING))):
        segment = create(quick, msdyncrm_scope=scope)
        for member in (foreign, foreign, own):
            update(quick, segment, "addByIds", msdyncrm_memberids=json.dumps([member]))
        pending = state(quick, segment)["pendingOperations"]
        change(quick, segment, statuscode=STOPPING)
        row = row_of(quick, segment)
        assert (pending, row["msdyncrm_segmentsize"], row["statuscode"]) == expected
    query = "PROFILE(contact).FILTER(lastname == 'Foreign')"
    assert fetch(quick, query, Scope=270100001, OwningBusinessUnit=elsewhere)["totalRecordCount"] == 1
    home = quick.get("WhoAmI")["BusinessUnitId"]
    assert fetch(quick, query, Scope=270100001, OwningBusinessUnit=home)["totalRecordCount"] == 0
    scoped = create(quick, GOING_LIVE, DYNAMIC, msdyncrm_segmentquery=query, msdyncrm_scope=270100001)
    assert row_of(quick, scoped)["msdyncrm_segmentsize"] == 0


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
    """A query and FetchXML that disagree, do not parse, or are beyond the sandbox, are refused with the reason."""
    reply = quick.web.post("msdyncrm_FetchContactsByQuery", json={"Query": query, "FetchXml": xml})
    assert reply.status_code == status, reply.text
    assert words in reply.json()["error"]["message"]


def test_fetchxml_may_narrow_a_query_down(quick):
    """The contacts of FetchContactsByQuery meet the filter of its FetchXML as well."""
    body = {"Query": "PROFILE(contact)", "FetchXml": f"<fetch>{FILTERED.format('lastname', 'Weber')}</fetch>"}
    result = json.loads(quick.post("msdyncrm_FetchContactsByQuery", body, 200).json()["Result"])
    assert {row["contactid"] for row in result["entities"]} == set(people(quick, "lastname eq 'Weber'")) != set()


LINKED = (
    "<fetch{}><entity name='contact'><attribute name='contactid'/>{}<link-entity name='msdyncrm_segment' "
    "from='msdyncrm_segmentid' to='msdyncrm_segmentmemberid' alias='bb'><filter><condition "
    "attribute='msdyncrm_segmentid' operator='eq' value='{}'/></filter></link-entity></entity></fetch>"
)


def test_the_link_to_a_segment_goes_with_all_of_fetchxml(quick):
    """Contacts linked to a segment can be filtered, counted and paged; a segment that is not there links to nobody."""
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
    """A link that is not the documented one is refused, not guessed at."""
    reply = quick.web.get(f"contacts?fetchXml={quote(LINKED.replace(*change).format('', '', uuid.uuid4()))}")
    assert reply.status_code == status, reply.text
    assert words in reply.json()["error"]["message"]


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
    """Names are not unique: one that is ambiguous is refused rather than guessed."""
    name = f"twice_{uuid.uuid4().hex}"
    for _ in range(2):
        create(quick, msdyncrm_segmentname=name)
    assert "several" in fetch(quick, f"SEGMENT({name})", expect=400)


def test_a_suppression_segment_cannot_be_deleted(quick):
    """A segment a journey refers to stays until the journey goes."""
    segment = create(quick)
    bind = {"msdyncrm_SuppressionSegmentId@odata.bind": f"/msdyncrm_segments({segment})"}
    reply = quick.post("msdyncrm_customerjourneys", {"msdyncrm_name": "A journey", **bind})
    refused = quick.web.delete(f"msdyncrm_segments({segment})")
    assert (refused.status_code, refused.json()["error"]["code"]) == (405, "0x80040227")
    assert quick.web.delete(reply.headers["OData-EntityId"]).status_code == 204
    assert quick.web.delete(f"msdyncrm_segments({segment})").status_code == 204


def test_outbound_actions_can_be_discovered(slow):
    """The four actions are listed among the custom APIs, with what they take and give."""
    rows = slow.get(
        "customapis?$filter=startswith(uniquename,'msdyncrm_')&$expand="
        "CustomAPIRequestParameters($select=uniquename),CustomAPIResponseProperties($select=uniquename)"
    )["value"]
    listed = {row["uniquename"]: row for row in rows}
    assert set(listed) == {
        "msdyncrm_SegmentMembersUpdate",
        "msdyncrm_FetchContactsByQuery",
        "msdyncrm_ValidateSegment",
        "msdyncrm_CustomerJourneyValidate",
    }
    given_ = {p["uniquename"] for p in listed["msdyncrm_CustomerJourneyValidate"]["CustomAPIRequestParameters"]}
    assert {"FieldValueIsRecurring", "FieldValueContentSettingsId"} <= given_
    assert [p["uniquename"] for p in listed["msdyncrm_ValidateSegment"]["CustomAPIResponseProperties"]] == [
        "ValidationResult"
    ]


def test_outbound_may_have_been_removed(tmp_path):
    """After the removal segments are forbidden, other rows can only be read, and the actions are unknown."""
    file = str(tmp_path / "state.sqlite")
    link = (
        "<fetch><entity name='contact'><link-entity name='msdyncrm_segment' from='msdyncrm_segmentid' "
        "to='msdyncrm_segmentmemberid'><filter><condition attribute='msdyncrm_segmentid' operator='eq' "
        f"value='{uuid.uuid4()}'/></filter></link-entity></entity></fetch>"
    )
    with running_sandbox("--state", file, "--contacts", "1", "--compute-seconds", "0") as sandbox:
        before = Organisation(sandbox)
        segment = create(before)
        journey = before.post("msdyncrm_customerjourneys", {"msdyncrm_name": "A journey"}).headers["OData-EntityId"]
        assert before.get(f"contacts?fetchXml={link}")["value"] == []
        before.close()
    with running_sandbox("--state", file, "--outbound-removed") as sandbox:
        after = Organisation(sandbox)
        for method, path, verb in (
            ("GET", "msdyncrm_segments", "Read"),
            ("GET", f"msdyncrm_segments({segment})", "Read"),
            ("GET", f"contacts?fetchXml={link}", "Read"),
            ("POST", "msdyncrm_segments", "Create"),
            ("PATCH", f"msdyncrm_segments({segment})", "Write"),
            ("DELETE", f"msdyncrm_segments({segment})", "Delete"),
            ("PATCH", f"msdyncrm_customerjourneys({journey[-37:-1]})", "Write"),
        ):
            reply = after.web.request(method, path, json={} if method != "GET" else None)
            assert (reply.status_code, reply.json()["error"]["code"]) == (403, "0x80040220")
            entity = "msdyncrm_customerjourney" if "journey" in path else "msdyncrm_segment"
            assert f"is missing prv{verb}{entity} privilege" in reply.json()["error"]["message"]
        assert [row["msdyncrm_name"] for row in after.get("msdyncrm_customerjourneys")["value"]] == ["A journey"]
        for action in ("SegmentMembersUpdate", "FetchContactsByQuery", "ValidateSegment", "CustomerJourneyValidate"):
            reply = after.post(f"msdyncrm_{action}", {}, 404)
            assert reply.json()["error"]["message"] == f"Resource not found for the segment 'msdyncrm_{action}'."
        assert after.get("customapis?$filter=startswith(uniquename,'msdyncrm_')")["value"] == []
        after.close()


def test_changes_that_are_pending_survive_a_restart(tmp_path):
    """What was asked for before a restart is done after it, in the order it was asked for."""
    file = str(tmp_path / "state.sqlite")
    with running_sandbox("--state", file, "--contacts", "3", "--compute-seconds", "3600") as sandbox:
        first = Organisation(sandbox)
        everyone = people(first)
        segment = create(first)
        update(first, segment, "addByIds", msdyncrm_memberids=json.dumps(everyone))
        update(first, segment, "removeByIds", msdyncrm_memberids=json.dumps(everyone[:1]))
        first.close()
    with running_sandbox("--state", file, "--compute-seconds", "0") as sandbox:
        second = Organisation(sandbox)
        row = row_of(second, segment)
        assert (row["statuscode"], row["msdyncrm_segmentsize"]) == (LIVE, 2)
        second.close()


def test_a_file_from_before_outbound_is_brought_up_to_date(tmp_path):
    """A state file that lacks tables and columns gets them, and keeps its contacts."""
    file = tmp_path / "state.sqlite"
    with running_sandbox("--state", str(file), "--contacts", "3") as sandbox:
        first = Organisation(sandbox)
        everyone = people(first)
        first.close()
    old = sqlite3.connect(file)
    old.create_function("fold", 1, str, deterministic=True)
    old.executescript("DROP TABLE msdyncrm_segment; DROP TABLE account; DROP TABLE outbound_task")
    for column in ("parentcustomerid", "company"):
        old.execute(f"ALTER TABLE contact DROP COLUMN {column}")
    old.close()
    with running_sandbox("--state", str(file), "--compute-seconds", "0") as sandbox:
        second = Organisation(sandbox)
        assert people(second) == everyone
        assert second.get(f"contacts({everyone[0]})")["company"] is None
        segment = create(second, msdyncrm_segmentmemberids=prefixed(everyone))
        assert row_of(second, segment)["msdyncrm_segmentsize"] == 3
        second.close()


def test_a_change_set_makes_a_segment_and_its_journey_or_neither(quick):
    """A journey is bound to the segment made before it; after a failure there is neither, and what was due is done."""
    due = create(quick, GOING_LIVE, DYNAMIC, msdyncrm_segmentquery="PROFILE(contact)")
    segment, name = str(uuid.uuid4()), f"j_{uuid.uuid4().hex}"
    body = {**REQUIRED["msdyncrm_segments"], "msdyncrm_segmentid": segment, "statuscode": GOING_LIVE}
    bind = {"msdyncrm_SuppressionSegmentId@odata.bind": "$1"}
    both = (
        operation("POST msdyncrm_segments", body, "1"),
        operation("POST msdyncrm_customerjourneys", {"msdyncrm_name": name, **bind}, "2"),
    )
    failing = operation("POST msdyncrm_customerjourneys", {"msdyncrm_name": None}, "3")
    assert send(quick, change_set(*both, failing)).status_code == 400
    journeys = f"msdyncrm_customerjourneys?$filter=msdyncrm_name eq '{name}'"
    assert quick.get(journeys)["value"] == []
    assert quick.web.get(f"msdyncrm_segments({segment})").status_code == 404
    assert row_of(quick, due)["statuscode"] == LIVE
    assert [status for status, _, _ in answers(send(quick, change_set(*both)))[0]] == [204, 204]
    [row] = quick.get(journeys, Prefer='odata.include-annotations="*"')["value"]
    lookup = "_msdyncrm_suppressionsegmentid_value"
    assert row[lookup] == segment
    assert row[f"{lookup}@Microsoft.Dynamics.CRM.associatednavigationproperty"] == "msdyncrm_SuppressionSegmentId"
    assert row_of(quick, segment)["statuscode"] == LIVE
