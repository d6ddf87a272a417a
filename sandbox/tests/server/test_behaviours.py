"""Options for behaviours in which documents and versions differ."""

import json
import re
import uuid

import pytest

from ..batches import answers, change_set, multipart, operation, post
from ..organisation import running_organisation

GROUP = "aaaaaaaa-0000-4000-8000-000000000005"
STOP = "msdynmkt_StopSegments"


@pytest.fixture(scope="module")
def odd():
    """Provide a client of a sandbox with other behaviours switched on."""
    switches = ("--malformed-members", "--segment-id-is-definition-id", "--without-stop-segments", "--lf-batches")
    people = ("--contacts", "6000", "--leads", "20")
    with running_organisation(
        *people, "--compute-seconds", "0", *switches, "--unknown-members", "warn"
    ) as organisation:
        yield organisation


def test_members_as_they_are_printed(odd):
    """The body of MembersList is no JSON: one quote is not escaped, and all ids are in one string."""
    segment, _ = odd.segment("PROFILE(contact)")
    assert odd.publish(segment) == 1
    reply = odd.post("msdynmkt_MembersList", {"SegmentId": segment}, 200)
    with pytest.raises(json.JSONDecodeError):
        reply.json()
    ids = [row["contactid"] for row in odd.get("contacts?$select=contactid&$orderby=contactid")["value"]]
    found = re.search(r'\[\\"(.*)"\],\\"additionalProperties\\":\{\}\}"\}$', reply.text)[1].split(", ")
    assert len(found) == 6000
    assert found[:5000] == ids
    assert reply.text.startswith(
        f'{{"@odata.context":"{odd.sandbox.base_url}/api/data/v9.2/$metadata#Microsoft.Dynamics.CRM.'
        'msdynmkt_MembersListResponse","StatusCode":200,"ResultText":"{\\"baseEntityLogicalName\\":\\"contact\\",'
        '\\"primaryKeyColumnName\\":\\"contactid\\",\\"members\\":[\\"'
    )
    assert reply.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_batches_with_other_line_ends(odd, end):
    """On request batches are read whose lines end with LF, change sets included."""
    parts = (operation("GET WhoAmI"), change_set(operation("DELETE contacts(0)", None, "1")), operation("GET leads"))
    text = multipart("batch_1", parts).replace("\r\n", end)
    reply = post(odd, text, Prefer="odata.continue-on-error")
    assert [one[0][0] if isinstance(one, list) else one[0] for one in answers(reply)] == [200, 400, 200]


def test_a_definition_id_for_a_segment_id(odd):
    """On request actions also take the definition's id, as the document of 2023 says."""
    segment, definition = odd.segment(groups=((GROUP, "Include"),))
    member = odd.get("contacts?$top=1")["value"][0]["contactid"]
    odd.post("msdynmkt_AddStaticMembers", {"SegmentId": definition, "GroupId": GROUP, "EntityIds": [member]})
    assert odd.group(definition, GROUP) == odd.group(segment, GROUP) == [member]
    odd.post("msdynmkt_PublishSegmentDefinition", {"SegmentId": definition})
    assert odd.wait(segment) == 1
    assert member in odd.post("msdynmkt_MembersList", {"SegmentId": definition}, 200).text
    odd.post("msdynmkt_MembersList", {"SegmentId": str(uuid.uuid4())}, 400)


def test_stop_segments_is_younger_than_some_organisations(org, odd, tmp_path):
    """An older version answers 404 and does not list the action; with today's it is discovered with its types."""
    reply = odd.post(STOP, {"SegmentIdList": []}, 404)
    assert reply.json()["error"]["message"] == f"Resource not found for the segment '{STOP}'."
    query = f"customapis?$filter=uniquename eq '{STOP}'"
    assert odd.get(query)["value"] == []
    api = org.get(query)["value"][0]["customapiid"]
    outputs = org.get(f"customapiresponseproperties?$filter=_customapiid_value eq {api}")["value"]
    assert {row["uniquename"]: row["type"] for row in outputs} == {"summary": 10, "stopSingleSegmentResults": 4}
    inputs = org.get(f"customapirequestparameters?$filter=_customapiid_value eq {api}")["value"]
    assert [(row["uniquename"], row["type"], row["isoptional"]) for row in inputs] == [("SegmentIdList", 11, False)]
    state = ("--state", str(tmp_path / "state.sqlite"))
    for more, count in (((), 1), (("--without-stop-segments",), 0), ((), 1)):
        with running_organisation(*state, *more) as organisation:
            assert len(organisation.get(query)["value"]) == count


@pytest.mark.parametrize("base", ["contact", "lead"])
def test_unknown_members_may_end_in_a_warning(odd, base):
    """An id in an included group that is no row is a warning, until a run without one."""
    segment, definition = odd.segment(groups=((GROUP, "Include"),), base=base)
    known = odd.get(f"{base}s?$top=1")["value"][0][f"{base}id"]
    stranger = str(uuid.uuid4())
    body = {"SegmentId": segment, "GroupId": GROUP}
    odd.post("msdynmkt_AddStaticMembers", {**body, "EntityIds": [known, stranger]})
    assert odd.publish(segment) == 7
    row = odd.get(f"msdynmkt_segments({segment})")
    assert (row["statecode"], row["msdynmkt_membercount"]) == (1, 2)
    assert odd.get(f"msdynmkt_segmentdefinitions({definition})")["statuscode"] == 723270004
    odd.advance(hours=1)
    assert odd.runs(definition) == [(723270000, 723270002), (723270001, 723270002)]
    assert odd.status(segment) == 7
    odd.post("msdynmkt_RemoveStaticMembers", {**body, "EntityIds": [stranger]})
    odd.advance(hours=1)
    assert len(odd.runs(definition)) == 3
    assert odd.status(segment) == 1
    assert odd.get(f"msdynmkt_segmentdefinitions({definition})")["statuscode"] == 723270000


def test_unknown_excluded_members_are_no_warning(odd):
    """An id in an excluded group may be unknown."""
    segment, _ = odd.segment(groups=((GROUP, "Exclude"),))
    body = {"SegmentId": segment, "GroupId": GROUP, "EntityIds": [str(uuid.uuid4())]}
    odd.post("msdynmkt_AddStaticMembers", body)
    assert odd.publish(segment) == 1
    assert odd.post("msdynmkt_MembersList", {"SegmentId": segment}, 200).json()["ResultText"]


@pytest.mark.parametrize("base", ["contact", "lead"])
def test_the_older_generation_has_no_groups(org, base):
    """Members of the older generation's columns count, in any spelling, and no group action can address them."""
    one, two, three = (str(uuid.uuid4()) for _ in range(3))
    old = {
        "msdynmkt_staticlistmembers": None,
        "msdynmkt_includedmembers": f"{one}, {{{two.upper()}}},{three}",
        "msdynmkt_excludedmembers": three,
    }
    segment, definition = org.segment(base=base, **old)
    assert org.publish(segment) == 1
    assert sorted(org.members(segment)) == sorted([one, two])
    body = {"SegmentId": segment, "GroupId": definition}
    ids = {"EntityIds": [one]}
    for action, more in (("AddStatic", ids), ("RemoveStatic", ids), ("ListGroup", {"PageNo": 1, "PageSize": 9})):
        reply = org.post(f"msdynmkt_{action}Members", {**body, **more}, 400)
        assert "has no static group" in reply.json()["error"]["message"]


def test_the_older_generation_keeps_out_a_hundred_and_eight(org):
    """msdynmkt_excludedmembers holds 4,000 characters and msdynmkt_includedmembers 1,048,576."""
    path = "msdynmkt_segmentdefinitions"
    for name, limit in (("msdynmkt_excludedmembers", 4000), ("msdynmkt_includedmembers", 1_048_576)):
        org.post(path, {name: "x" * limit})
        error = org.post(path, {name: "x" * (limit + 1)}, 400).json()["error"]
        assert error["code"] == "0x80044331"
        assert name in error["message"]
        assert str(limit) in error["message"]
