"""The example requests of "Create a segment using the Web API" (2025-10, 2025-04, 2023-05), sent as printed."""

import json
import re
import uuid

import pytest

GROUP = "0f5b0c7f-395d-447b-b14c-315a601f878e"
HEADERS = {"Content-Type": "application/json; charset=utf-8", "Accept": "application/json"}

# ruff: noqa: E501 - bodies as they are printed
DEFINITION_WITH_GROUPS = r"""{
    "msdynmkt_segmentquery": "PROFILE(contact).FILTER(ISNOTNULL(address1_county))",
    "statecode": 0,
    "statuscode": 723270001,
    "msdynmkt_staticlistmembers": "[{\"groupId\":\"0f5b0c7f-395d-447b-b14c-315a601f878e\",\"includeType\":\"Include\",\"name\":\"My Include Members Group\",\"inputType\":\"manualSelect\"}]",
    "msdynmkt_disablesegmentrefresh": false,
    "msdynmkt_segmentrefreshintervalminutes": 15
}"""
DEFINITION_WITH_MEMBERS = """{
"msdynmkt_segmentquery": "PROFILE(contact).FILTER(ISNOTNULL(address1_county))",
"statecode": 0,
"statuscode": 723270001,
"msdynmkt_includedmembers": "<included>",
"msdynmkt_excludedmembers": "<excluded>",
"msdynmkt_disablesegmentrefresh": false,
"msdynmkt_segmentrefreshintervalminutes": 15
}"""
SEGMENT = """{
    "msdynmkt_displayname": "<display name>",
    "msdynmkt_type": 11,
    "msdynmkt_source": 12,
    "msdynmkt_baseentitylogicalname": "contact",
    "statecode": 1,
    "statuscode": 2,
    "msdynmkt_sourcesegmentuid": "<segment definition ID>",
    "owningbusinessunit@odata.bind": "/businessunits(<BU ID>)"
}"""


def create(org, path, text):
    """Send a documented body to the documented URL and return the id in the documented header."""
    root = f"{org.sandbox.base_url}/api/data/v9.0/{path}"
    reply = org.web.post(root, content=text, headers=HEADERS)
    assert (reply.status_code, reply.content, reply.headers["OData-Version"]) == (204, b"", "4.0")
    found = re.fullmatch(re.escape(root) + r"\(([0-9a-f-]{36})\)", reply.headers["OData-EntityId"])
    return found[1]


def act(org, name, body):
    """Call an action at the documented URL."""
    return org.web.post(f"{org.sandbox.base_url}/api/data/v9.0/{name}", json=body, headers=HEADERS)


@pytest.fixture
def unit(org):
    """Provide the id of the business unit."""
    return org.get("WhoAmI")["BusinessUnitId"]


def test_todays_document_from_definition_to_members(org, unit):
    """Every request of the current document answers as printed, and together they make a live segment."""
    definition = create(org, "msdynmkt_segmentdefinitions", DEFINITION_WITH_GROUPS)
    text = SEGMENT.replace("<segment definition ID>", definition).replace("<BU ID>", unit)
    segment = create(org, "msdynmkt_segments", text)
    ids = [str(uuid.uuid4()) for _ in range(3)]
    group = {"SegmentId": segment, "GroupId": GROUP}
    assert act(org, "msdynmkt_AddStaticMembers", {**group, "EntityIds": ids}).status_code == 204
    assert act(org, "msdynmkt_RemoveStaticMembers", {**group, "EntityIds": ids[2:]}).status_code == 204
    listed = act(org, "msdynmkt_ListGroupMembers", {**group, "PageNo": 1, "PageSize": 10})
    assert listed.json()["@odata.context"].endswith(
        "$metadata#Microsoft.Dynamics.CRM.msdynmkt_ListGroupMembersResponse"
    )
    assert json.loads(listed.json()["Response"]) == {"entityIds": sorted(ids[:2]), "additionalProperties": {}}
    before = json.loads(act(org, "msdynmkt_MembersList", {"SegmentId": segment}).json()["ResultText"])
    assert (before["members"], before["totalCount"]) == ([], 0)
    assert act(org, "msdynmkt_PublishSegmentDefinition", {"SegmentId": segment}).status_code == 204
    assert org.wait(segment) == 1
    with_county = org.get("contacts?$select=contactid&$filter=address1_county ne null")["value"]
    expected = {row["contactid"] for row in with_county} | set(ids[:2])
    reply = act(org, "msdynmkt_MembersList", {"SegmentId": segment})
    assert reply.json()["@odata.context"] == (
        f"{org.sandbox.base_url}/api/data/v9.0/$metadata#Microsoft.Dynamics.CRM.msdynmkt_MembersListResponse"
    )
    assert reply.json()["StatusCode"] == 200
    result = json.loads(reply.json()["ResultText"])
    assert set(result["members"]) == expected
    assert (result["baseEntityLogicalName"], result["primaryKeyColumnName"]) == ("contact", "contactid")
    row = org.get(f"msdynmkt_segments({segment})")
    assert (row["statecode"], row["statuscode"], row["msdynmkt_membercount"]) == (0, 1, len(expected))
    assert row["_owningbusinessunit_value"] == unit


def test_older_document_with_included_and_excluded_members(org, unit):
    """The older generation's comma-separated members count: (query or included) and not excluded."""
    contacts = org.get("contacts?$select=contactid&$top=3&$filter=address1_county ne null")["value"]
    inside = [row["contactid"] for row in contacts]
    stranger, both = str(uuid.uuid4()), str(uuid.uuid4())
    text = DEFINITION_WITH_MEMBERS.replace("<included>", f"{stranger},{both}").replace(
        "<excluded>", f"{inside[0]},{both}"
    )
    definition = create(org, "msdynmkt_segmentdefinitions", text)
    segment = create(
        org, "msdynmkt_segments", SEGMENT.replace("<segment definition ID>", definition).replace("<BU ID>", unit)
    )
    assert org.publish(segment) == 1
    members = org.members(segment)
    assert stranger in members
    assert inside[1] in members
    assert inside[0] not in members
    assert both not in members
    assert len(members) == len(set(members))


def test_definition_id_is_refused_where_the_2023_document_asked_for_it(org):
    """SegmentId is the id of the segment; the definition's id of the 2023 text is refused by the plug-in."""
    _, definition = org.segment()
    for action in ("msdynmkt_MembersList", "msdynmkt_PublishSegmentDefinition"):
        reply = act(org, action, {"SegmentId": definition})
        assert reply.status_code == 400
        error = reply.json()["error"]
        assert error["code"] == "0x80040265"
        assert re.search(r"CorrelationId: [0-9a-f-]{36}$", error["message"])
