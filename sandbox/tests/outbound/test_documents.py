"""Every example request of the two documents on outbound marketing, sent as printed, with typing errors corrected."""

import json
from urllib.parse import quote

import pytest
from cij_sandbox.testing import running_sandbox

from ..organisation import Organisation

# ruff: noqa: E501 - bodies as they are printed
STATIC = r"""{
  "msdyncrm_segmentname": "StaticSegmentApi1",
  "msdyncrm_segmenttype": 192350001,
  "msdyncrm_segmentmemberids": "[\"crm1405f4ba-1ee9-e811-a99d-000d3a35f12f\",\"crm0604cdd1-1ee9-e811-a99d-000d3a35f12f\"]",
  "statuscode": 192350000
}"""
DYNAMIC_DRAFT = """{
    "msdyncrm_segmentname": "Customers with name and email",
    "msdyncrm_segmentquery": "PROFILE(contact, contact_1).FILTER(ISNOTNULL(contact_1.emailaddress1) && ISNOTNULL(contact_1.fullname))",
    "msdyncrm_segmenttype": 192350000,
    "statuscode": 192350000
}"""
DYNAMIC_CITIES = """{
    "msdyncrm_segmentname": "MySegment2",
    "msdyncrm_segmentquery": "PROFILE(contact).FILTER((address1_city == 'NewYork' || address1_city == 'NewJersey'))",
    "msdyncrm_segmenttype": 192350000,
    "statuscode": 192350006
}"""
DYNAMIC_GOING_LIVE = """{

  "msdyncrm_segmentname": "Customers with name and email",
  "msdyncrm_segmenttype": 192350000,
  "msdyncrm_segmentquery": "PROFILE(contact, contact_1).FILTER(ISNOTNULL(contact_1.emailaddress1) && ISNOTNULL(contact_1.fullname))",
  "statuscode": 192350006
}"""
COMPOUND = """{
    "msdyncrm_segmentname": "my_compound_segment1",
    "msdyncrm_segmenttype": 192350002,
    "msdyncrm_query":"SEGMENT(segment1) UNION SEGMENT(segment2)",
    "statuscode": 192350006
}"""
BY_IDS = r"""{
   "msdyncrm_segmentid": "59AC8BBF-57E7-E811-A9A9-000D3A35F403",
   "msdyncrm_operation": "addByIds",
   "msdyncrm_memberids": "[\"B5672BDB-8899-43CB-9FA1-0AE4DC61DAD3\", \"694E1C8E-F704-4B23-9B07-E65DB1620E47\", \"A4A31E3D-DFCA-4765-8018-3BA7D5E376C7\"]"
}"""
BY_QUERY = """{
    "msdyncrm_segmentid": "b5466fbb-2cef-e911-a81d-000d3a6d200c",
    "msdyncrm_operation": "addByQuery",
    "msdyncrm_query": "PROFILE(account, account_1).FILTER(account_1.accountid == '1cc00a15-37ef-e911-a81d-000d3a6d200c').TRAVERSE(contact_account_parentcustomerid, contact_1).FILTER(ISNOTNULL(contact_1.emailaddress1))"
}"""
GET_STATE = """{
    "msdyncrm_segmentid":"b5466fbb-2cef-e911-a81d-000d3a6d200c",
    "msdyncrm_operation":"getState"
}"""
FETCH = r"""{
    "Query":"(SEGMENT(SEGMENT_CRM_ID_e1fa7fdc5c78ea11a811000d3a8e8fcc)).ORDERBY(fullname ASC).SKIP(0).TAKE(15).SELECT(contactid)",
    "FetchXml":"<fetch version=\"1.0\" output-format=\"xml-platform\" mapping=\"logical\" count=\"15\" page=\"1\" returntotalrecordcount=\"true\"><entity name=\"contact\"><attribute name=\"fullname\"/><attribute name=\"emailaddress1\"/><attribute name=\"company\"/><attribute name=\"parentcustomerid\"/><attribute name=\"contactid\"/><order attribute=\"fullname\" descending=\"false\"/></entity></fetch>","OwningBusinessUnit":"0b4b85cc-7f6c-ea11-a811-000d3a54d359",
    "Scope":270100000,
    "TimeZone":null
}"""
LINK = """<fetch version="1.0" output-format="xml-platform" mapping="logical" returntotalrecordcount="true" page="1" count="5" no-lock="false">
    <entity name="contact">
        <attribute name="fullname"/>
        <attribute name="contactid"/>
        <order attribute="fullname" descending="false"/>
        <link-entity name="msdyncrm_segment" from="msdyncrm_segmentid" to="msdyncrm_segmentmemberid" alias="bb">
            <filter type="and">
                <condition attribute="msdyncrm_segmentid" operator="eq" uitype="msdyncrm_segment" value="bfc9d5d6-d6aa-e911-a859-000d3a3159df"/>
            </filter>
        </link-entity>
    </entity>
</fetch>"""
VALIDATE = """{
       "msdyncrm_segmentname":"NewSegment",
       "msdyncrm_segmentquery":"PROFILE(contact)",
       "msdyncrm_segmenttype":192350000,
       "statuscode":192350000
}"""
VALIDATE_UNKNOWN = """{
       "msdyncrm_segmentname":"NewSegment",
       "msdyncrm_segmentquery":"PROFILE(UnknownEntity)",
       "msdyncrm_segmenttype":192350000,
       "statuscode":192350006
}"""
JOURNEY = r"""{
    "msgdpr_requiredconsent": 587030001,
    "msdyncrm_customerjourneydesignerstate": "{\"NextActivityID\":8,\"NextActivityItemID\":42}",
    "msdyncrm_workflowdefinition": "[{\"ActivityTypeId\":\"bpf_root\",\"ParentBranchId\":0,\"ParentRelationshipType\":\"Default\",\"ActivityId\":\"01\",\"Properties\":{\"Items\":[{\"ItemId\":null,\"ActivityTypeId\":\"bpf_root\",\"Title\":\"Undefined\",\"IsNameSystemDefined\":true,\"Name\":\"New ActivityTypeName_bpf_root_TitleText\",\"ActivityItemId\":0}]}},{\"ActivityTypeId\":\"Segment\",\"ParentActivityId\":\"01\",\"ParentBranchId\":0,\"ParentRelationshipType\":\"Default\",\"ActivityId\":\"01_0\",\"Properties\":{\"Items\":[{\"ItemId\":null,\"ActivityTypeId\":\"Segment\",\"Title\":\"Undefined\",\"IsNameSystemDefined\":true,\"Name\":\"New Segment group\",\"ActivityItemId\":23,\"SegmentMergeMethod\":\"Union\"},{\"ItemId\":\"24db2671-1529-e911-a9b7-000d3a1e6adc\",\"ActivityTypeId\":\"SegmentItem\",\"Title\":\"Undefined\",\"IsNameSystemDefined\":true,\"Name\":\"TC407937_DynamicSegment_2KZQ1p\",\"ActivityItemId\":24,\"ContainmentMethod\":\"Inclusion\",\"SegmentSourceType\":\"Segment\",\"DciSegmentName\":\"TC407937_DynamicSegment_2KZQ1p\",\"SegmentDisplayName\":\"TC407937_DynamicSegment_2KZQ1p\",\"Description\":\"\"}]},\"EntityTarget\":\"contact\"},{\"ActivityTypeId\":\"Email\",\"ParentActivityId\":\"01_0\",\"ParentBranchId\":0,\"ParentRelationshipType\":\"Default\",\"ActivityId\":\"01_0_2\",\"Properties\":{\"Items\":[{\"ItemId\":\"15bd0ab8-c12a-e911-a9b6-000d3a1e6c14\",\"ActivityTypeId\":\"Email\",\"Title\":\"Undefined\",\"IsNameSystemDefined\":true,\"Name\":\"Relationship test\",\"ActivityItemId\":32}]},\"EntityTarget\":\"contact\"}]",
    "msdyncrm_customerjourneytimezone": 92,
    "msdyncrm_contentsettingsId@odata.bind": "/msdyncrm_contentsettingss(1922b1d8-0523-e911-a9ba-000d3a1e689f)",
    "msdyncrm_enddatetime": "2019-03-09T11:29:00.000Z",
    "msdyncrm_startdatetime": "2019-02-09T11:29:00.000Z",
    "msdyncrm_name": "Simple Email Sample",
    "msdyncrm_isrecurring": false,
    "msdyncrm_type": 192350000,
    "msdyncrm_entitytarget": 0,
    "statuscode": 192350000,
    "statecode": 0,
    "ownerid@odata.bind": "/systemusers(d0e20c01-d6c6-480f-aab5-0fa6749565a5)"
}"""
VALIDATE_JOURNEY = r"""{
    "FieldValueCustomerJourneyId": "{6628BBF7-C52A-E911-A9B7-000D3A1E6ADC}",
    "FieldValueStatusCode": 192350000,
    "FieldValueName": "Sample Customer Journey",
    "FieldValueStartDateTime": "2019-02-08T11:48:00.000Z",
    "FieldValueEndDateTime": "2019-03-08T11:48:00.000Z",
    "FieldValueWorkflowDefinition": "[{\"ActivityTypeId\":\"bpf_root\",\"ParentBranchId\":0,\"ParentRelationshipType\":\"Default\",\"ActivityId\":\"01\",\"Properties\":{\"Items\":[{\"ItemId\":null,\"ActivityTypeId\":\"bpf_root\",\"Title\":\"Undefined\",\"IsNameSystemDefined\":true,\"Name\":\"New ActivityTypeName_bpf_root_TitleText\",\"ActivityItemId\":0}]}},{\"ActivityTypeId\":\"Segment\",\"ParentActivityId\":\"01\",\"ParentBranchId\":0,\"ParentRelationshipType\":\"Default\",\"ActivityId\":\"01_0\",\"Properties\":{\"Items\":[{\"ItemId\":null,\"ActivityTypeId\":\"Segment\",\"Title\":\"Undefined\",\"IsNameSystemDefined\":true,\"Name\":\"New Segment group\",\"ActivityItemId\":52,\"SegmentMergeMethod\":\"Union\"},{\"ItemId\":\"056bbe66-f025-e911-a9ba-000d3a1e689f\",\"ActivityTypeId\":\"SegmentItem\",\"Title\":\"Undefined\",\"IsNameSystemDefined\":true,\"Name\":\"TC407937_DynamicSegment_bmkX5u\",\"ActivityItemId\":53,\"ContainmentMethod\":\"Inclusion\",\"SegmentSourceType\":\"Segment\",\"DciSegmentName\":\"TC407937_DynamicSegment_bmkX5u\",\"SegmentDisplayName\":\"TC407937_DynamicSegment_bmkX5u\",\"Description\":\"\"}]},\"EntityTarget\":\"contact\"},{\"ActivityTypeId\":\"Email\",\"ParentActivityId\":\"01_0\",\"ParentBranchId\":0,\"ParentRelationshipType\":\"Default\",\"ActivityId\":\"01_0_3\",\"Properties\":{\"Items\":[{\"ItemId\":\"15bd0ab8-c12a-e911-a9b6-000d3a1e6c14\",\"ActivityTypeId\":\"Email\",\"Title\":\"Undefined\",\"IsNameSystemDefined\":true,\"Name\":\"Relationship test\",\"ActivityItemId\":61}]},\"EntityTarget\":\"contact\"}]",
    "FieldValueIsRecurring": true,
    "FieldValueRecurrenceIntervalDays": 30,
    "FieldValueRecurrenceCount": 3,
    "FieldValueRequiredConsent": 587030001,
    "FieldValueContentSettingsId": "{1922B1D8-0523-E911-A9BA-000D3A1E689F}",
    "FieldValueEntityTarget": 0,
    "FieldValueSuppressionSegmentId": "{544A3E20-9B23-E911-A9B6-000D3A1E6C14}",
    "FieldValueCustomerJourneyTimeZone": 92
}"""
VALIDATED = r"""{
    "@odata.context": "{{orgUrl}}/api/data/v9.0/$metadata#Microsoft.Dynamics.CRM.msdyncrm_CustomerJourneyValidateResponse",
    "ValidationResult": "{\"ActivityValidationResults\":[{\"ActivityId\":\"\",\"Fault\":\"ErrorRecurringCampaignEndDateDoesNotFitRequestedIterations\",\"Result\":\"Error\",\"ErrorMessageArguments\":[]}],\"Result\":\"Error\"}"
}"""
GO_LIVE = '{\n    "statuscode": 192350006\n}'
STOP = '{\n    "statuscode": 192350007\n}'


@pytest.fixture(scope="module")
def org():
    """Provide an organisation of the document's own, in which work is done by the time of the next request."""
    with running_sandbox("--contacts", "100", "--compute-seconds", "0") as sandbox:
        organisation = Organisation(sandbox, "v9.0")
        yield organisation
        organisation.close()


def send(org, method, path, text=None):
    """Send a documented body to the documented URL."""
    return org.web.request(method, path, content=text, headers={"Content-Type": "application/json; charset=utf-8"})


def create(org, path, text):
    """Create a row and return its id, from the documented header."""
    reply = send(org, "POST", path, text)
    assert (reply.status_code, reply.content) == (204, b""), reply.text
    entity = reply.headers["OData-EntityId"]
    assert entity.startswith(f"{org.sandbox.base_url}/api/data/v9.0/{path}(")
    return entity[-37:-1]


def named(org, segment_id, name, **columns):
    """Create the segment a document's example refers to by its id."""
    body = {"msdyncrm_segmentname": name, "msdyncrm_segmenttype": 192350001, "statuscode": 192350006, **columns}
    org.post("msdyncrm_segments", {"msdyncrm_segmentid": segment_id, **body})


def size(org, segment_id):
    """Return how many members a segment has."""
    return org.get(f"msdyncrm_segments({segment_id})")["msdyncrm_segmentsize"]


def test_static_segments(org):
    """A static segment is created as a draft, updated to Going Live, found among the live ones and deleted."""
    for contact in ("1405f4ba-1ee9-e811-a99d-000d3a35f12f", "0604cdd1-1ee9-e811-a99d-000d3a35f12f"):
        org.post("contacts", {"contactid": contact, "lastname": "Member"})
    segment = create(org, "msdyncrm_segments", STATIC)
    assert org.get(f"msdyncrm_segments({segment})")["statuscode"] == 192350000
    assert send(org, "PATCH", f"msdyncrm_segments({segment})", GO_LIVE).status_code == 204
    live = org.get("msdyncrm_segments?$filter=statuscode eq 192350001")["value"]
    assert [row["msdyncrm_segmentsize"] for row in live if row["msdyncrm_segmentid"] == segment] == [2]
    columns = "msdyncrm_segmentid,msdyncrm_segmentname,msdyncrm_segmentquery,msdyncrm_description"
    some = org.get(f"msdyncrm_segments?$select={columns}")["value"]
    assert {"@odata.etag", *columns.split(",")} == set(some[0])
    assert send(org, "DELETE", f"msdyncrm_segments({segment})").status_code == 204
    assert send(org, "GET", f"msdyncrm_segments({segment})").status_code == 404


def test_dynamic_segments(org):
    """Dynamic segments are created as a draft or going live, updated, found among the stopped ones and deleted."""
    draft = create(org, "msdyncrm_segments", DYNAMIC_DRAFT)
    assert send(org, "PATCH", f"msdyncrm_segments({draft})", GO_LIVE).status_code == 204
    with_email = len(org.get("contacts?$filter=emailaddress1 ne null and fullname ne null")["value"])
    assert size(org, draft) == with_email > 0
    at_once = create(org, "msdyncrm_segments", DYNAMIC_GOING_LIVE)
    assert size(org, at_once) == with_email
    org.post("contacts", {"lastname": "Citizen", "address1_city": "NewYork"})
    cities = create(org, "msdyncrm_segments", DYNAMIC_CITIES)
    assert size(org, cities) == 1
    assert send(org, "PATCH", f"msdyncrm_segments({cities})", STOP).status_code == 204
    stopped = org.get("msdyncrm_segments?$filter=statuscode eq 192350002")["value"]
    assert cities in [row["msdyncrm_segmentid"] for row in stopped]
    for segment in (draft, at_once, cities):
        assert send(org, "DELETE", f"msdyncrm_segments({segment})").status_code == 204


def test_compound_segments(org):
    """A compound segment is created going live, updated to Stopping, found among the stopped ones and deleted."""
    parts = {}
    for name, condition in (("segment1", "address1_city == 'Lyon'"), ("segment2", "address1_city == 'Madrid'")):
        body = {"msdyncrm_segmentname": name, "msdyncrm_segmenttype": 192350000, "statuscode": 192350006}
        reply = org.post(
            "msdyncrm_segments", {**body, "msdyncrm_segmentquery": f"PROFILE(contact).FILTER({condition})"}
        )
        parts[name] = reply.headers["OData-EntityId"][-37:-1]
    compound = create(org, "msdyncrm_segments", COMPOUND)
    assert size(org, compound) == sum(size(org, part) for part in parts.values()) > 0
    assert org.get(f"msdyncrm_segments({compound})")["msdyncrm_segmentquery"].startswith("SEGMENT(segment1)")
    assert send(org, "PATCH", f"msdyncrm_segments({compound})", STOP).status_code == 204
    stopped = org.get("msdyncrm_segments?$filter=statuscode eq 192350002")["value"]
    assert compound in [row["msdyncrm_segmentid"] for row in stopped]
    for segment in (compound, *parts.values()):
        assert send(org, "DELETE", f"msdyncrm_segments({segment})").status_code == 204


def test_members_by_ids_and_by_query(org):
    """The five requests to SegmentMembersUpdate add and remove the contacts they name or find."""
    named(org, "59ac8bbf-57e7-e811-a9a9-000d3a35f403", "by ids")
    for contact in ("b5672bdb-8899-43cb-9fa1-0ae4dc61dad3", "694e1c8e-f704-4b23-9b07-e65db1620e47"):
        org.post("contacts", {"contactid": contact, "lastname": "Member"})
    assert send(org, "POST", "msdyncrm_SegmentMembersUpdate", BY_IDS).status_code == 204
    assert size(org, "59ac8bbf-57e7-e811-a9a9-000d3a35f403") == 2
    removal = BY_IDS.replace("addByIds", "removeByIds")
    assert send(org, "POST", "msdyncrm_SegmentMembersUpdate", removal).status_code == 204
    assert size(org, "59ac8bbf-57e7-e811-a9a9-000d3a35f403") == 0
    named(org, "b5466fbb-2cef-e911-a81d-000d3a6d200c", "by query")
    account = "1cc00a15-37ef-e911-a81d-000d3a6d200c"
    org.post("accounts", {"accountid": account, "name": "An account"})
    for email in ("a@example.org", None):
        body = {"lastname": "Employee", "emailaddress1": email}
        org.post("contacts", {**body, "parentcustomerid_account@odata.bind": f"/accounts({account})"})
    assert send(org, "POST", "msdyncrm_SegmentMembersUpdate", BY_QUERY).status_code == 204
    assert size(org, "b5466fbb-2cef-e911-a81d-000d3a6d200c") == 1
    reply = send(org, "POST", "msdyncrm_SegmentMembersUpdate", GET_STATE)
    assert json.loads(reply.json()["SegmentState"])["pendingOperations"] == 0
    removal = BY_QUERY.replace("addByQuery", "removeByQuery")
    assert send(org, "POST", "msdyncrm_SegmentMembersUpdate", removal).status_code == 204
    assert size(org, "b5466fbb-2cef-e911-a81d-000d3a6d200c") == 0


def test_retrieving_members(org):
    """The recommended action and the deprecated FetchXML find the members of the segments they name."""
    people = org.get("contacts?$top=8&$orderby=fullname,contactid")["value"]
    listed = json.dumps([f"crm{row['contactid']}" for row in people])
    for segment in ("e1fa7fdc-5c78-ea11-a811-000d3a8e8fcc", "bfc9d5d6-d6aa-e911-a859-000d3a3159df"):
        named(org, segment, segment, msdyncrm_segmentmemberids=listed)
    row = org.get("msdyncrm_segments(e1fa7fdc-5c78-ea11-a811-000d3a8e8fcc)")
    assert row["msdyncrm_segmentqueryname"] == "SEGMENT_CRM_ID_e1fa7fdc5c78ea11a811000d3a8e8fcc"
    result = json.loads(send(org, "POST", "msdyncrm_FetchContactsByQuery", FETCH).json()["Result"])
    attributes = ("fullname", "emailaddress1", "company", "_parentcustomerid_value", "contactid")
    assert result["entities"] == [{name: row[name] for name in attributes} for row in people]
    assert (result["totalRecordCount"], result["moreRecords"]) == (8, False)
    found = org.get(f"contacts?fetchXml={quote(LINK)}")["value"]
    assert [row["contactid"] for row in found] == [row["contactid"] for row in people][:5]
    assert set(found[0]) == {"@odata.etag", "fullname", "contactid"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        (VALIDATE, "[]"),
        (VALIDATE_UNKNOWN, '[{"ErrorCode":"SegmentDciValidator_SegmentInvalid","FieldName":"msdyncrm_query"}]'),
    ],
)
def test_validating_segments(org, text, result):
    """A validation answers 200 and the printed string, valid or not."""
    reply = send(org, "POST", "msdyncrm_ValidateSegment", text)
    assert (reply.status_code, reply.json()["ValidationResult"]) == (200, result)


def test_journeys(org):
    """A journey is created, found among the live ones once it has been published, and deleted."""
    org.post("msdyncrm_contentsettingss", {"msdyncrm_contentsettingsid": "1922b1d8-0523-e911-a9ba-000d3a1e689f"})
    named(org, "24db2671-1529-e911-a9b7-000d3a1e6adc", "TC407937_DynamicSegment_2KZQ1p")
    owner = org.get("WhoAmI")["UserId"]
    journey = create(org, "msdyncrm_customerjourneys", JOURNEY.replace("d0e20c01-d6c6-480f-aab5-0fa6749565a5", owner))
    row = org.get(f"msdyncrm_customerjourneys({journey})")
    assert row["_msdyncrm_contentsettingsid_value"] == "1922b1d8-0523-e911-a9ba-000d3a1e689f"
    assert (row["msdyncrm_startdatetime"], row["_ownerid_value"]) == ("2019-02-09T11:29:00Z", owner)
    assert send(org, "PATCH", f"msdyncrm_customerjourneys({journey})", GO_LIVE).status_code == 204
    live = org.get("msdyncrm_customerjourneys?$filter=statuscode eq 192350001")["value"]
    assert [row["msdyncrm_customerjourneyid"] for row in live] == [journey]
    assert json.loads(live[0]["msdyncrm_validationresults"]) == {"ActivityValidationResults": [], "Result": "Valid"}
    assert send(org, "DELETE", f"msdyncrm_customerjourneys({journey})").status_code == 204


def test_validating_a_journey(org):
    """The example of a validation gets the printed response, to the letter."""
    reply = send(org, "POST", "msdyncrm_CustomerJourneyValidate", VALIDATE_JOURNEY)
    assert reply.status_code == 200
    assert reply.json() == json.loads(VALIDATED.replace("{{orgUrl}}", org.sandbox.base_url))
