"""The Create Journey From Template API: its examples, its modes, and each of its error codes."""

import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from .helpers import CREATE, EVENT, content_path, create, email, live_segment, named, row, template

NOBODY = "00000000-0000-4000-8000-00000000beef"
PUBLISH = {"createmode": "Publish"}


@pytest.fixture(scope="module")
def segment(org):
    """Provide a segment that is live."""
    return live_segment(org)


def moment(**ahead):
    """Return a time in the future."""
    return (datetime.now(UTC) + timedelta(**ahead)).strftime("%Y-%m-%dT%H:%M:%SZ")


def own_template(org, document):
    """Create a template; return its id."""
    row_id = str(uuid.uuid4())
    text = document if isinstance(document, str) else json.dumps(document)
    body = {"msdynmkt_journeytemplateid": row_id, "msdynmkt_name": "of a test", "msdynmkt_journeytemplatejson": text}
    org.post("msdynmkt_journeytemplates", body)
    return row_id


def test_the_basic_example(org, segment):
    """A template, a name and two times, one with an offset, make a draft with a matching row and JSON."""
    source, _ = template(org)
    year = datetime.now(UTC).year + 1
    times = {"journeystarttime": f"{year}-09-15T09:00:00", "journeyendtime": f"{year}-10-23T12:30:00.000+02:00"}
    journey, errors, body = create(org, source, {"$.trigger.audience": segment}, **times)
    assert errors == []
    found = row(org, journey)
    assert (found["statecode"], found["statuscode"], found["msdynmkt_triggertype"]) == (0, 1, 2)
    assert found["msdynmkt_name"] == body["msdynmkt_journeyname"]
    assert found["msdynmkt_journeystarttime"] == f"{year}-09-15T09:00:00Z"
    assert found["msdynmkt_journeyendtime"] == f"{year}-10-23T10:30:00Z"
    assert found["_msdynmkt_templateid_value"] == source
    document = json.loads(found["msdynmkt_journeyjson"])
    assert document["name"] == body["msdynmkt_journeyname"]
    assert document["trigger"]["parameters"] == {
        "startTime": f"{year}-09-15T09:00:00Z",
        "endTime": f"{year}-10-23T10:30:00Z",
    }


def test_the_advanced_example(org, segment):
    """A journey with every kind of change, columns of a merged journey and an owner is created as requested."""
    _, document = template(org, EVENT)
    document["actions"]["6b461239-d698-449d-9196-0e365753798e"] = {"type": "Email", "parameters": {"contentId": ""}}
    document["actions"]["b03bff11-1b09-4566-967b-4cc77270c0f6"] = {"type": "Sms", "parameters": {"smsId": "x"}}
    document["trigger"] |= {"exclusionSegments": [], "parameters": {"condition": {"rightOperand": {"value": {}}}}}
    ready, unit = email(org, 2), str(uuid.uuid4())
    org.post("businessunits", {"businessunitid": unit, "name": "of a test"})
    changes = {
        "$.actions['6b461239-d698-449d-9196-0e365753798e'].parameters.contentId": ready,
        "$.actions['b03bff11-1b09-4566-967b-4cc77270c0f6'].parameters.smsId": "6fcbe68f-ef8e-f011-b4cb-000d3a5972e9",
        "$.trigger.exclusionSegments": f"['{segment}']",
        "$.trigger.parameters.condition.rightOperand.value": '{"logicalName":"msevtmgt_event","id":"d13019d9"}',
    }
    merged = {
        "@odata.type": "Microsoft.Dynamics.CRM.msdynmkt_journey",
        "msdynmkt_frequencycaptype": 1,
        "msdynmkt_name": "not this one",
        "msdynmkt_journeyjson": "{}",
        "statuscode": 2,
    }
    source = own_template(org, document)
    journey, errors, body = create(
        org, source, changes, createmode="Draft", owningbusinessunitid=unit, mergesourcejourney=merged
    )
    assert errors == []
    found = row(org, journey)
    assert (found["msdynmkt_frequencycaptype"], found["statuscode"]) == (1, 1)
    assert (found["_owningbusinessunit_value"], found["msdynmkt_triggertype"]) == (unit, 3)
    made = json.loads(found["msdynmkt_journeyjson"])
    assert made["trigger"]["exclusionSegments"] == [segment]
    assert made["trigger"]["parameters"]["condition"]["rightOperand"]["value"]["id"] == "d13019d9"
    document["name"] = body["msdynmkt_journeyname"]
    document["trigger"] = made["trigger"]
    for path in list(changes)[:2]:
        action, _, parameter = path.removeprefix("$.actions['").partition("'].parameters.")
        document["actions"][action]["parameters"][parameter] = changes[path]
    assert made == document


def test_a_journey_is_a_template_too(org, segment):
    """The id of a journey can stand for a template, and the journey does not change."""
    first, _, _ = create(org, changes={"$.trigger.audience": segment})
    before = row(org, first)
    second, errors, body = create(org, first)
    assert errors == []
    found = row(org, second)
    assert json.loads(found["msdynmkt_journeyjson"]) == {
        **json.loads(before["msdynmkt_journeyjson"]),
        "name": body["msdynmkt_journeyname"],
    }
    assert found["_msdynmkt_templateid_value"] is None
    assert row(org, first) == before


@pytest.mark.parametrize("mode", ["Draft", "Publish"])
@pytest.mark.parametrize(
    ("code", "changes", "more"),
    [
        ("InvalidJourneyTemplateId", None, {"journeytemplateid": NOBODY}),
        ("InvalidJsonPathModifications", None, {"jsonpathmodifications": "{'$.trigger.audience'"}),
        ("InvalidJsonPathModifications", {"$.trigger.exclusionSegments": [NOBODY]}, {}),
        ("InvalidJsonPath", {"$.trigger.Audience": NOBODY}, {}),
        ("InvalidJsonPath", {"$.trigger": "{}", "$.trigger.parameters.startTime": ""}, {}),
        ("InvalidJsonPath", {"$..Audience": NOBODY}, {}),
        ("InvalidJsonAfterModificationApplied", {"$.trigger.exclusionSegments": NOBODY}, {}),
        ("InvalidJson", {"$.trigger.exclusionSegments": "[1]"}, {}),
        ("InvalidJson", {"$.exitCriteria.exitEvents": "[" * 900 + "]" * 900}, {}),
        ("InvalidJsonAfterModificationApplied", {"$.type": "1e999"}, {}),
        ("InvalidJsonAfterModificationApplied", {"$.exitCriteria.exitEvents": "[" * 9999}, {}),
        ("EmptyJourneyName", {}, {"journeyname": "  "}),
        ("NonExistingBusinessUnit", {}, {"owningbusinessunitid": NOBODY}),
        ("InvalidBusinessUnit", {}, {"owningbusinessunitid": str(uuid.UUID(int=0))}),
        ("UnableToSaveJourneyEntity", {}, {"journeyname": "x" * 151}),
    ],
)
def test_errors_that_allow_no_journey(org, segment, code, changes, more, mode):
    """Some errors allow no journey in either mode."""
    if changes is not None:
        changes = {"$.trigger.audience": segment, **changes}
    journey, errors, body = create(org, None, changes, createmode=mode, **more)
    assert (journey, errors) == (None, [code])
    assert named(org, body) == []


@pytest.mark.parametrize(
    ("code", "changes", "more"),
    [
        ("InvalidDefinition", {"$.trigger.audience": ""}, {}),
        ("InvalidDefinition", {"$.trigger.type": "Sometimes"}, {}),
        ("NonExistingSegment", {"$.trigger.audience": NOBODY}, {}),
        ("NonExistingSegment", {"$.trigger.audience": "my segment"}, {}),
        ("NonExistingSegment", {"$.trigger.exclusionSegments": json.dumps([NOBODY])}, {}),
        ("NonExistingSegment", {"$.exitCriteria.suppressionSegments": json.dumps([NOBODY])}, {}),
        ("SegmentNotInLiveState", {"$.trigger.audience": "<draft>"}, {}),
        ("SegmentEntityMismatch", {"$.trigger.audience": "<leads>"}, {}),
        ("NonExistingMessage", {"<content>": NOBODY}, {}),
        ("InvalidStartTime", {}, {"journeystarttime": "2020-01-01T00:00:00Z"}),
        ("InvalidStartTime", {"$.trigger.parameters.startTime": "tomorrow"}, {}),
        ("InvalidEndTime", {}, {"journeyendtime": "2020-01-01T00:00:00Z"}),
        ("InvalidTimeRange", {}, {"journeystarttime": moment(days=2), "journeyendtime": moment(days=1)}),
        ("InvalidTimeRange", {}, {"journeystarttime": moment(days=1), "journeyendtime": moment(days=367)}),
    ],
)
def test_errors_that_a_draft_may_have(org, segment, code, changes, more):
    """A draft is made although it is invalid; a journey that is to be published is not."""
    _, document = template(org)
    written = {"<draft>": org.segment()[0], "<leads>": live_segment(org, "lead") if "Mismatch" in code else ""}
    changes = {
        "$.trigger.audience": segment,
        **{content_path(document) if path == "<content>" else path: value for path, value in changes.items()},
    }
    changes = {path: written.get(value, value) for path, value in changes.items()}
    journey, errors, body = create(org, None, changes, **more)
    assert errors == [code]
    assert named(org, body) == [journey]
    journey, errors, body = create(org, None, changes, **more, **PUBLISH)
    assert (journey, errors, named(org, body)) == (None, [code], [])


@pytest.mark.parametrize(
    ("name", "code"), [("msdynmkt_nothing", "NonExistingEvent"), ("msdynmkt_birthday", "EventNotInLiveState")]
)
def test_the_trigger_of_a_journey_must_be_ready(org, name, code):
    """A trigger-based journey needs no segment but a custom trigger that is ready to use."""
    source, _ = template(org, EVENT)
    assert create(org, source)[1] == []
    assert create(org, source, {"$.trigger.eventName": name}, **PUBLISH)[:2] == (None, [code])


def test_drafts_ignore_a_message_that_is_not_ready(org, segment):
    """A draft may have an e-mail that is a draft itself; nothing is published with it until it is ready to send."""
    _, document = template(org)
    row_id = str(uuid.uuid4())
    org.post("msdynmkt_emails", {"msdynmkt_emailid": row_id, "msdynmkt_name": "of a test"})
    changes = {"$.trigger.audience": segment, content_path(document): row_id}
    assert create(org, None, changes)[1] == []
    assert create(org, None, changes, **PUBLISH)[:2] == (None, ["NotReadyToSendMessageState"])
    assert org.web.patch(f"msdynmkt_emails({row_id})", json={"statuscode": 2}).status_code == 204
    assert create(org, None, changes, **PUBLISH)[1] == []


def test_names_are_unique(org, segment):
    """A name that a journey has, in any case, is refused until that journey is deleted."""
    first, _, body = create(org, None, {"$.trigger.audience": segment})
    name = body["msdynmkt_journeyname"].upper()
    assert create(org, None, {}, journeyname=name)[:2] == (None, ["DuplicateJourneyName"])
    assert org.web.delete(f"msdynmkt_journeys({first})").status_code == 204
    assert create(org, None, {"$.trigger.audience": segment}, journeyname=name)[1] == []


def test_all_errors_are_told_at_once(org):
    """The answer for a draft lists all errors, with the messages of the document where it has some."""
    changes = {"$.trigger.audience": NOBODY}
    source, _ = template(org)
    body = {
        "msdynmkt_journeytemplateid": source,
        "msdynmkt_journeyname": f"journey {uuid.uuid4()}",
        "msdynmkt_jsonpathmodifications": json.dumps(changes),
        "msdynmkt_journeystarttime": "2020-01-01T00:00:00Z",
    }
    reply = org.post(CREATE, body, 200).json()
    assert json.loads(reply["msdynmkt_errors"]) == [
        {"ErrorCode": "NonExistingSegment", "ErrorMessage": f"Segment with ID: {NOBODY} does not exist."},
        {"ErrorCode": "InvalidStartTime", "ErrorMessage": "Journey start time cannot be in the past."},
    ]
    assert row(org, reply["msdynmkt_journeyid"])["statuscode"] == 1
    bad = create(org, None, {"$.b": "c"}, journeyname="", owningbusinessunitid=NOBODY)
    assert bad[:2] == (None, ["EmptyJourneyName", "NonExistingBusinessUnit", "InvalidJsonPath"])


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ("nonsense", "InvalidJourneyJsonInTemplate"),
        ("[]", "InvalidJourneyJsonInTemplate"),
        ("", "InvalidJourneyJsonInTemplate"),
        ({"trigger": "none"}, "InvalidJson"),
        ({"trigger": {"audience": 5}}, "InvalidJson"),
        ({"trigger": {}, "actions": []}, "InvalidJson"),
        ({"trigger": {}, "targetEntityLogicalNames": "contact"}, "InvalidJson"),
    ],
)
def test_templates_that_are_wrong_themselves(org, document, code):
    """A template without JSON and one with invalid JSON have different errors."""
    assert create(org, own_template(org, document))[:2] == (None, [code])


def test_messages_inside_branches_are_looked_into(org, segment):
    """An e-mail in a branch must exist too, and each is named once."""
    _, document = template(org)
    inner = {"type": "Email", "parameters": {"contentId": NOBODY}}
    branch = {"type": "Event", "succeedActions": {"a": inner}, "timeoutActions": {"b": inner}, "parameters": {}}
    document["actions"]["branch"] = branch
    source = own_template(org, document)
    assert create(org, source, {"$.trigger.audience": segment})[1] == ["NonExistingMessage"]


@pytest.mark.parametrize(
    "body",
    [
        {"msdynmkt_journeyname": None},
        {"msdynmkt_journeyname": 5},
        {"msdynmkt_journeyname": "\ud800"},
        {"msdynmkt_journeytemplateid": "my template"},
        {"msdynmkt_journeystarttime": "tomorrow"},
        {"msdynmkt_jsonpathmodifications": {"$.a": "b"}},
        {"msdynmkt_owningbusinessunitid": 5},
        {"msdynmkt_mergesourcejourney": {"msdynmkt_frequencycaptype": 1}},
        {"msdynmkt_mergesourcejourney": {"@odata.type": "Microsoft.Dynamics.CRM.msdynmkt_journey", "cr15c_x": 1}},
        {"msdynmkt_unknown": 1},
    ],
)
def test_requests_of_the_wrong_form(org, body):
    """A request that OData refuses is a 400 and not an answer of the action."""
    whole = {"msdynmkt_journeytemplateid": template(org)[0], "msdynmkt_journeyname": f"{uuid.uuid4()}", **body}
    reply = org.web.post(CREATE, content=json.dumps(whole), headers={"Content-Type": "application/json"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "0x80048d19")


def test_a_mode_that_is_none(org):
    """Modes other than Draft and Publish are refused."""
    body = {"msdynmkt_journeytemplateid": template(org)[0], "msdynmkt_journeyname": f"{uuid.uuid4()}"}
    error = org.post(CREATE, {**body, "msdynmkt_createmode": "Live"}, 400).json()["error"]
    assert error["code"] == "0x80040265"
    assert "neither Draft nor Publish" in error["message"]


def test_json_without_a_journey(org, segment):
    """CreateJourneyJsonFromTemplate returns JSON and inserts no row; ValidateJourneyJson returns its errors."""
    source, document = template(org)
    name = "msdynmkt_CreateJourneyJsonFromTemplate"
    count = org.get("msdynmkt_journeys?$count=true")["@odata.count"]
    reply = org.post(name, {"msdynmkt_journeytemplateid": source}, 200).json()
    assert json.loads(reply["msdynmkt_journeyjson"]) == document
    assert json.loads(reply["msdynmkt_errors"])[0]["ErrorCode"] == "InvalidDefinition"
    body = {"msdynmkt_journeytemplateid": source, "msdynmkt_journeyname": "Spring"}
    changes = {"$.trigger.audience": segment, content_path(document): email(org, 1)}
    reply = org.post(name, {**body, "msdynmkt_jsonpathmodifications": json.dumps(changes)}, 200).json()
    assert (reply["msdynmkt_isvalid"], reply["msdynmkt_errors"]) == (True, "[]")
    made = json.loads(reply["msdynmkt_journeyjson"])
    assert (made["name"], made["trigger"]["audience"]) == ("Spring", segment)
    bad = org.post(name, {"msdynmkt_journeytemplateid": NOBODY}, 200).json()
    assert (bad["msdynmkt_journeyjson"], bad["msdynmkt_isvalid"]) == (None, False)

    def validate(text):
        body = {"msdynmkt_conversationid": "a test", "msdynmkt_shouldvalidatecontract": True}
        reply = org.post("msdynmkt_ValidateJourneyJson", {**body, "msdynmkt_journeyjson": text}, 200).json()
        return reply["msdynmkt_isvalid"], [error["ErrorCode"] for error in json.loads(reply["msdynmkt_errors"])]

    assert validate(reply["msdynmkt_journeyjson"]) == (False, ["NotReadyToSendMessageState"])
    document["trigger"]["audience"] = segment
    assert validate(json.dumps(document)) == (True, [])
    assert validate("nonsense") == (False, ["InvalidJson"])
    assert org.get("msdynmkt_journeys?$count=true")["@odata.count"] == count


def test_the_actions_are_discovered(org):
    """Inputs and outputs of the action are in the customapi tables with their types."""
    expand = "CustomAPIRequestParameters($select=uniquename,type,isoptional),CustomAPIResponseProperties"
    (api,) = org.get(f"customapis?$filter=uniquename eq '{CREATE}'&$expand={expand}")["value"]
    inputs = {given["uniquename"]: (given["type"], given["isoptional"]) for given in api["CustomAPIRequestParameters"]}
    assert inputs == {
        "msdynmkt_journeytemplateid": (12, False),
        "msdynmkt_journeyname": (10, False),
        "msdynmkt_jsonpathmodifications": (10, True),
        "msdynmkt_journeystarttime": (1, True),
        "msdynmkt_journeyendtime": (1, True),
        "msdynmkt_createmode": (10, True),
        "msdynmkt_owningbusinessunitid": (12, True),
        "msdynmkt_mergesourcejourney": (3, True),
    }
    outputs = {found["uniquename"]: found["type"] for found in api["CustomAPIResponseProperties"]}
    assert outputs == {"msdynmkt_journeyid": 12, "msdynmkt_isvalid": 0, "msdynmkt_errors": 10}
