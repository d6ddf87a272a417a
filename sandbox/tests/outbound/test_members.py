"""The members of static outbound segments: the column, and changes by ids and by query."""

import json
import uuid

import pytest

from .helpers import (
    DRAFT,
    DYNAMIC,
    GOING_LIVE,
    LIVE,
    STOPPED,
    STOPPING,
    change,
    create,
    fetch,
    found,
    people,
    prefixed,
    row_of,
    state,
    update,
)


def test_members_of_the_column(quick):
    """The column lists the members of a static segment: unknown ids are ignored, and a new list replaces the old."""
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
    """Changes of members are accepted at once, pending for a while, and done in their order."""
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
        ("removeByIds", {"msdyncrm_memberids": json.dumps([str(uuid.uuid4())] * 100_001)}, "100,000"),
        ("addByQuery", {}, "cannot be parsed"),
        ("addByQuery", {"msdyncrm_query": "PROFILE(account)"}, "members of 'contact'"),
        ("removeEveryone", {}, "addByIds"),
    ],
)
def test_changes_that_cannot_be_are_refused_at_once(slow, wanted, more, words):
    """An invalid change of members is a 400 and leaves nothing pending."""
    segment = create(slow)
    reply = update(slow, segment, wanted, **more)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "0x80040265")
    assert words in reply.json()["error"]["message"]
    assert state(slow, segment)["pendingOperations"] == 0


def test_a_hundred_thousand_ids_at_once(quick):
    """One change takes 100,000 ids, more than the recommended 20,000."""
    known = people(quick)[:10]
    segment = create(quick)
    ids = [*(str(uuid.UUID(int=number)) for number in range(99_990)), *known]
    assert update(quick, segment, "addByIds", msdyncrm_memberids=json.dumps(ids)).status_code == 204
    assert row_of(quick, segment)["msdyncrm_segmentsize"] == 10


def test_only_static_segments_that_exist_take_members(slow):
    """Members cannot be added to a dynamic or an unknown segment."""
    dynamic = create(slow, DRAFT, DYNAMIC, msdyncrm_segmentquery="PROFILE(contact)")
    for segment, words in ((dynamic, "not static"), (str(uuid.uuid4()), "not found"), ("x", "not found")):
        reply = update(slow, segment, "getState")
        assert reply.status_code == 400
        assert words in reply.json()["error"]["message"]


def test_a_contact_of_another_business_unit_hangs_the_segment(quick):
    """A contact of another business unit blocks a segment with the scope of a business unit, and no other."""
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
