"""Row operations: create, read, update, delete, conditions and errors."""

import json
import uuid

import pytest

CODES = {"plug-in": "0x80040265", "payload": "0x80048d19", "query": "0x80060888", "missing": "0x80040217"}
NOBODY = "00000000-0000-0000-0000-00000000beef"


@pytest.fixture
def contact(org):
    """Provide the id of a contact of one's own."""
    row_id = str(uuid.uuid4())
    org.post("contacts", {"contactid": row_id, "firstname": "Zoë", "lastname": "O'Hara", "creditlimit": 10.5})
    yield row_id
    org.web.delete(f"contacts({row_id})")


def test_create_answers_with_the_link_or_the_row(org):
    """A create answers 204 and a link, or 201 and the row when the client prefers it."""
    plain = org.post("contacts", {"lastname": "A"})
    assert plain.headers["OData-EntityId"] == plain.headers["Location"]
    assert plain.headers["OData-EntityId"].startswith(f"{org.sandbox.base_url}/api/data/v9.2/contacts(")
    full = org.post("contacts", {"lastname": "B"}, 201, Prefer="return=representation")
    assert full.headers["Preference-Applied"] == "return=representation"
    assert full.json()["fullname"] == "B"
    assert full.json()["firstname"] is None
    assert full.json()["@odata.etag"].startswith('W/"')
    for reply in (plain, full):
        org.web.delete(reply.headers["OData-EntityId"])


def test_a_row_is_read_with_its_etag_and_lookups(org, contact):
    """Reading shows nulls, lookups as _x_value and the ETag; $select shows what was asked and the key."""
    row = org.get(f"contacts({contact.upper()})")
    assert (row["fullname"], row["creditlimit"], row["jobtitle"]) == ("Zoë O'Hara", 10.5, None)
    assert row["_owningbusinessunit_value"] == org.get("WhoAmI()")["BusinessUnitId"]
    assert set(org.get(f"contacts({contact})?$select=lastname")) == {
        "@odata.context",
        "@odata.etag",
        "contactid",
        "lastname",
    }


def test_a_write_answers_with_the_selected_properties(org, contact):
    """With return=representation, $select chooses the properties of the answer, and 201 or 200 says what was done."""
    prefer = {"Prefer": "return=representation"}
    new = str(uuid.uuid4())
    for row_id, status in ((new, 201), (new, 200), (contact, 200)):
        path = f"contacts({row_id})?$select=lastname"
        reply = org.web.patch(path, json={"lastname": "C", "firstname": "D"}, headers=prefer)
        assert reply.status_code == status
        assert reply.json().keys() == {"@odata.context", "@odata.etag", "contactid", "lastname"}
    assert org.web.patch(f"contacts({new})?$select=nothing", json={}).status_code == 400
    assert org.web.delete(f"contacts({new})?$select=lastname").status_code == 501
    org.web.delete(f"contacts({new})")


def test_a_single_property_is_read_and_written(org, contact):
    """A property of a row is read as JSON or as text, set by PUT and emptied by DELETE; without a value it is a 204."""
    path = f"contacts({contact})/firstname"
    found = org.get(path)
    assert (found["value"], found["@odata.context"].partition("#")[2]) == ("Zoë", path)
    assert org.web.get(f"{path}/$value").text == "Zoë"
    assert org.web.put(path, json={"value": "Zoe"}).status_code == 204
    assert org.get(path)["value"] == "Zoe"
    assert org.web.delete(path).status_code == 204
    assert org.web.get(path).status_code == org.web.get(f"{path}/$value").status_code == 204
    assert org.web.put(f"contacts({NOBODY})/firstname", json={"value": "x"}).status_code == 404
    assert org.web.post(path, json={"value": "x"}).status_code == 405
    assert org.web.get(f"contacts({contact})/nothing").status_code == 501


def test_a_chosen_key_is_taken_once(org, contact):
    """The client may choose the primary key; a second row with it is a duplicate."""
    reply = org.post("contacts", {"contactid": contact, "lastname": "again"}, 412)
    assert reply.json()["error"]["code"] == "0x80040237"


def test_update_is_an_upsert_unless_a_condition_forbids_it(org, contact):
    """PATCH creates a missing row, except under If-Match; with If-None-Match it does not change an existing one."""
    new = str(uuid.uuid4())
    missing = org.web.patch(f"contacts({new})", json={"lastname": "x"}, headers={"If-Match": "*"})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, CODES["missing"])
    assert missing.json()["error"]["message"] == f"contact With Id = {new} Does Not Exist"
    assert org.web.patch(f"contacts({new})", json={"lastname": "x"}).status_code == 204
    assert org.get(f"contacts({new})")["lastname"] == "x"
    taken = org.web.patch(f"contacts({new})", json={"lastname": "y"}, headers={"If-None-Match": "*"})
    assert taken.status_code == 412
    assert org.web.patch(f"contacts({new})", json={"lastname": "z"}, headers={"If-Match": "*"}).status_code == 204
    assert org.web.delete(f"contacts({new})").status_code == 204
    assert org.web.delete(f"contacts({new})").status_code == 404


def test_conditions_on_the_version(org, contact):
    """An ETag guards updates and deletes against a newer version, and saves a read of the same one."""
    old = org.get(f"contacts({contact})")["@odata.etag"]
    reply = org.web.patch(
        f"contacts({contact})", json={"jobtitle": "Chief"}, headers={"If-Match": old, "Prefer": "return=representation"}
    )
    assert (reply.status_code, reply.json()["jobtitle"]) == (200, "Chief")
    for send in (
        lambda h: org.web.patch(f"contacts({contact})", json={}, headers=h),
        lambda h: org.web.delete(f"contacts({contact})", headers=h),
    ):
        stale = send({"If-Match": old})
        assert (stale.status_code, stale.json()["error"]["code"]) == (412, "0x80060882")
    current = reply.json()["@odata.etag"]
    assert org.web.get(f"contacts({contact})", headers={"If-None-Match": current}).status_code == 304
    assert org.web.get(f"contacts({contact})", headers={"If-None-Match": "null"}).status_code == 200


@pytest.mark.parametrize(
    ("table", "body", "code", "words"),
    [
        ("contacts", {"nickname1": "x"}, CODES["payload"], "'nickname1' does not exist on type"),
        ("contacts", {"Lastname": "x"}, CODES["payload"], "'Lastname'"),
        ("contacts", {"lastname": 3}, CODES["payload"], "'lastname'"),
        ("contacts", {"donotemail": 1}, CODES["payload"], "'donotemail'"),
        ("contacts", {"creditlimit": "1"}, CODES["payload"], "'creditlimit'"),
        ("contacts", {"creditlimit": -1}, "0x80044330", "'creditlimit'"),
        ("contacts", {"numberofchildren": -1}, "0x8004432F", "'numberofchildren'"),
        ("contacts", {"birthdate": "31.12.2000"}, CODES["payload"], "'birthdate'"),
        ("contacts", {"contactid": "nobody"}, CODES["payload"], "'contactid'"),
        ("contacts", {"lastname": "x" * 51}, "0x80044331", "'50'"),
        ("contacts", {"lastname": "\ud800"}, CODES["payload"], "'lastname'"),
        ("contacts", {"gendercode": 9}, "0x8004431a", "Accepted Values: 1,2"),
        ("contacts", {"statecode": 0, "statuscode": 2}, "0x80048408", "2 is not a valid status code for state code 0"),
        ("contacts", {"parentcustomerid@odata.bind": "/accounts(x)"}, CODES["payload"], "'parentcustomerid'"),
        ("contacts", {"owningbusinessunit@odata.bind": "/businessunits(x)"}, CODES["payload"], "business unit"),
        ("msdynmkt_segments", {"msdynmkt_displayname": "x" * 101}, "0x80044331", "'100'"),
        ("msdynmkt_segments", {"msdynmkt_type": 1}, "0x8004431a", "Accepted Values: 10,11,12"),
        ("msdynmkt_segments", {"statecode": 0, "statuscode": 5}, "0x80048408", "5 is not"),
        ("msdynmkt_segments", {"msdynmkt_baseentitylogicalname": "account"}, CODES["plug-in"], "'account'"),
        ("msdynmkt_segmentdefinitions", {"msdynmkt_excludedmembers": "x" * 4001}, "0x80044331", "'4000'"),
        ("msdynmkt_segmentdefinitions", {"msdynmkt_staticlistmembers": []}, CODES["payload"], "StartArray"),
        ("msdynmkt_segmentdefinitions", {"msdynmkt_staticlistmembers": "[{]"}, CODES["plug-in"], "not valid JSON"),
        ("msdynmkt_segmentdefinitions", {"msdynmkt_staticlistmembers": '[{"groupId":"1"}]'}, CODES["plug-in"], "GUID"),
        (
            "msdynmkt_segmentdefinitions",
            {"msdynmkt_staticlistmembers": f'[{{"groupId":"{NOBODY}","includeType":"Maybe"}}]'},
            CODES["plug-in"],
            "Maybe",
        ),
    ],
)
def test_a_wrong_value_is_refused_by_name(org, table, body, code, words):
    """A body that does not fit its table is refused with the documented code, naming what is wrong."""
    # Encoded here because httpx refuses the lone surrogate.
    reply = org.web.post(table, content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["code"] == code
    assert words in reply.json()["error"]["message"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"lastname": NaN}', "[" * 100_000, "\x00", '{"a":1,}'])
def test_a_body_that_is_no_json_object_is_refused(org, text):
    """Anything but one JSON object is refused as a bad payload."""
    reply = org.web.post("contacts", content=text, headers={"Content-Type": "application/json"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, CODES["payload"])


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "words"),
    [
        ("GET", "msdyncrm_lists", 404, CODES["query"], "Resource not found for the segment 'msdyncrm_lists'."),
        ("POST", "msdynmkt_Foo", 404, CODES["query"], "Resource not found for the segment 'msdynmkt_Foo'."),
        ("GET", f"contacts({NOBODY})", 404, CODES["missing"], f"contact With Id = {NOBODY} Does Not Exist"),
        ("GET", "contacts(abc)", 400, CODES["query"], "abc"),
        ("GET", "contacts(emailaddress1='x')", 400, "0x80060890", "contact"),
        ("GET", "contacts?$select=nope", 400, CODES["query"], "Could not find a property named 'nope' on type"),
        ("GET", "contacts?$filter=nope eq 1", 400, CODES["query"], "'nope'"),
        ("GET", "contacts?$filter=lastname eq 1", 400, CODES["query"], "incompatible types"),
        ("GET", "contacts?$filter=lastname eq", 400, CODES["query"], "position"),
        ("GET", "contacts?$filter=foo(lastname,'x')", 400, CODES["query"], "unknown function with name 'foo'"),
        ("GET", "contacts?$orderby=nope", 400, CODES["query"], "'nope'"),
        ("GET", "contacts?$top=-1", 400, CODES["query"], "$top"),
        ("GET", "contacts?$skiptoken=1", 400, CODES["query"], "$skiptoken"),
        ("GET", "contacts?$top=1&$top=2", 400, CODES["query"], "more than once"),
        ("GET", "contacts?$apply=aggregate($count as n)", 501, "", "$apply"),
        ("GET", "contacts?$expand=Contact_Tasks", 501, "", "$expand"),
        ("GET", "contacts?$filter=Contact_Tasks/any(t:t/statecode eq 0)", 501, "", "navigation"),
        ("GET", "contacts?$filter=tolower(lastname) eq 'x'", 501, "", "tolower"),
        ("GET", "contacts?$filter=firstname eq lastname", 501, "", "lastname"),
        ("GET", "contacts?$filter=Microsoft.Dynamics.CRM.Today(PropertyName='createdon')", 501, "", "Today"),
        (
            "GET",
            "contacts?$filter=Microsoft.Dynamics.CRM.ContainValues(PropertyName='gendercode',PropertyValues=[\"1\"])",
            501,
            "",
            "ContainValues",
        ),
        ("POST", "contacts/Microsoft.Dynamics.CRM.DeleteMultiple", 501, "", "DeleteMultiple"),
        ("POST", "msdynmkt_CreateDraftJourneyVersion", 501, "", "msdynmkt_CreateDraftJourneyVersion"),
        ("GET", "$metadata", 501, "", "$metadata"),
        ("GET", "EntityDefinitions?$filter=startswith(LogicalName,'c')", 501, "", "EntityDefinitions"),
        ("POST", "systemusers", 501, "", "systemusers"),
        ("PUT", f"contacts({NOBODY})", 405, "", "'PUT'"),
        ("DELETE", "contacts", 405, "", "'DELETE'"),
        ("GET", "msdynmkt_AddStaticMembers", 404, "", "/api/data/v9.2/msdynmkt_AddStaticMembers'."),
        ("POST", "WhoAmI", 404, "", "No HTTP resource was found that matches the request URI '"),
    ],
)
def test_a_wrong_request_is_told_why(org, method, path, status, code, words):
    """A request for what does not exist, parse or work here is refused with status, code and name."""
    reply = org.web.request(method, path, json={} if method != "GET" else None)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), reply.text
    assert words in reply.json()["error"]["message"]


def test_every_answer_carries_request_ids(org):
    """Each answer has an id of its own and echoes the client's."""
    first = org.web.get("WhoAmI", headers={"x-ms-client-request-id": "mine"})
    second = org.web.get("nope")
    assert first.headers["x-ms-client-request-id"] == "mine"
    assert first.headers["REQ_ID"] == first.headers["x-ms-service-request-id"]
    assert second.headers["x-ms-service-request-id"] != first.headers["x-ms-service-request-id"]


def test_a_body_over_the_limit_is_refused(org):
    """A body of more than 16 MiB is refused before it is read."""
    reply = org.web.post("contacts", content=b" " * (16 * 1024 * 1024 + 1))
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "0x8004418A")


def test_clients_find_their_way(org):
    """Version, table metadata and the custom API catalogue answer the first requests of clients."""
    assert org.get("RetrieveVersion()")["Version"].startswith("9.2.")
    one = org.get("EntityDefinitions(LogicalName='msdynmkt_segment')?$select=EntitySetName,PrimaryIdAttribute")
    assert (one["EntitySetName"], one["PrimaryIdAttribute"]) == ("msdynmkt_segments", "msdynmkt_segmentid")
    many = org.get("EntityDefinitions?$filter=LogicalName eq 'contact'&$select=EntitySetName")["value"]
    assert [row["EntitySetName"] for row in many] == ["contacts"]
    found = org.get(
        "customapis?$select=uniquename&$filter=uniquename eq 'msdynmkt_MembersList'"
        "&$expand=CustomAPIRequestParameters($select=uniquename,type,isoptional),"
        "CustomAPIResponseProperties($select=uniquename,type)"
    )["value"]
    inputs = {row["uniquename"]: row["isoptional"] for row in found[0]["CustomAPIRequestParameters"]}
    assert inputs == {"SegmentId": False, "PageNumber": True, "PageSize": True}
    assert {row["uniquename"] for row in found[0]["CustomAPIResponseProperties"]} == {"StatusCode", "ResultText"}
