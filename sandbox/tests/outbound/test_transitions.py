"""The status transitions of outbound rows, and going live."""

import json
import time
import uuid

import pytest

from .helpers import (
    COMPOUND,
    DRAFT,
    DYNAMIC,
    EDITABLE,
    ERROR,
    EXPIRED,
    GOING_LIVE,
    LIVE,
    REQUIRED,
    STATIC,
    STOPPED,
    STOPPING,
    change,
    create,
    row_of,
)

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
    """Required columns can be neither left out nor cleared."""
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
    """Lengths, option sets and names of columns are checked as in any table."""
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
    """Going Live evaluates the members again, and so does setting the status Live."""
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
    """An invalid definition is a 400 when it goes live, accepted as a draft, and a 200 in a validation."""
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
    """A segment whose query became invalid after its validation ends in Error."""
    segment = create(quick, DRAFT, COMPOUND, msdyncrm_segmentquery="SEGMENT(nobody_knows_it)")
    change(quick, segment, statuscode=LIVE)
    assert [row_of(quick, segment)[name] for name in ("statuscode", "msdyncrm_islive")] == [ERROR, False]


def test_a_status_given_by_hand_ends_the_walk(org):
    """A segment that a client sets to Error while it is going live stays there."""
    segment = create(org)
    change(org, segment, statuscode=ERROR)
    later = create(org)
    while row_of(org, later)["statuscode"] != LIVE:
        pass
    assert row_of(org, segment)["statuscode"] == ERROR
