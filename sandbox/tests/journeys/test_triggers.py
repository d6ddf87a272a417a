"""Custom triggers: discovered, raised, recorded and refused."""

import json
import re
import uuid

import pytest
from cij_sandbox.testing import running_sandbox

from ..organisation import Organisation

ORDER = {
    "msdynmkt_ordernumber": "A-1",
    "msdynmkt_total": 12.5,
    "msdynmkt_items": 2,
    "msdynmkt_express": True,
    "msdynmkt_deliveryon": "2030-05-01T10:00:00+02:00",
}
READY = "msdynmkt_state eq 534120002"


def event(profile, **attributes):
    """Return the body of an event."""
    moment = "2030-01-01T00:00:00Z"
    return {
        "msdynmkt_signaltimestamp": moment,
        "msdynmkt_signalingestiontimestamp": moment,
        "msdynmkt_signaluserauthid": profile,
        "msdynmkt_profileid": profile,
        **attributes,
    }


def raised(org, profile):
    """Return the triggers raised for a profile, in order."""
    return [found["trigger"] for found in org.sandbox.events() if found["profile_id"] == profile]


def own_trigger(org, state="Ready to use", **attributes):
    """Add a trigger; return its name."""
    name = f"msdynmkt_{uuid.uuid4().hex[:12]}"
    org.sandbox.add_trigger(name, state, **attributes)
    return name


def change_set(org, operations):
    """Send POST requests as one change set."""
    parts = "".join(
        "--c\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
        f"Content-ID: {number}\r\n\r\nPOST {path} HTTP/1.1\r\n\r\n{json.dumps(body)}\r\n"
        for number, (path, body) in enumerate(operations)
    )
    text = f"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n{parts}--c--\r\n--b--\r\n"
    return org.web.post("$batch", content=text, headers={"Content-Type": "multipart/mixed; boundary=b"})


def test_an_event_is_accepted_and_counted(org):
    """A POST with every attribute answers 204; the profile is recorded, the values are not."""
    profile = str(uuid.uuid4())
    before = org.sandbox.events()
    last = before[-1]["number"] if before else 0
    for binding in ({}, {"bindingid": f"contact/{profile}"}):
        reply = org.post("msdynmkt_orderplaced", event(profile, **ORDER, **binding))
        assert (reply.content, reply.headers["OData-Version"]) == (b"", "4.0")
    org.post("msdynmkt_cartabandoned", event(profile, msdynmkt_carturl="https://contoso.com/cart"))
    assert raised(org, profile) == ["msdynmkt_orderplaced"] * 2 + ["msdynmkt_cartabandoned"]
    found = org.sandbox.events(last)
    assert all(entry.keys() == {"number", "trigger", "profile_id", "time"} for entry in found)
    assert all(entry["number"] > last and re.fullmatch(r"[\d-]{10}T[\d:]{8}Z", entry["time"]) for entry in found)
    url = f"/sandbox/events?since={last}&trigger=msdynmkt_cartabandoned"
    (only,) = org.plain.get(url).json()["events"]
    assert (only["trigger"], only["profile_id"]) == ("msdynmkt_cartabandoned", profile)


def test_inputs_are_discovered(org):
    """The catalogue leads from a trigger to its action and from there to every input with its type."""
    table = org.get("EntityDefinitions(LogicalName='msdynmkt_eventmetadata')?$select=EntitySetName")
    assert table["EntitySetName"] == "msdynmkt_eventmetadataset"
    found = org.get(f"msdynmkt_eventmetadataset?$filter={READY} and msdynmkt_uniquename eq 'msdynmkt_orderplaced'")
    (trigger,) = found["value"]
    assert (trigger["msdynmkt_eventmetadatastatus"], trigger["statuscode"]) == (534120001, 1)
    api = trigger["_msdynmkt_customapiid_value"]
    assert org.get(f"customapis({api})")["uniquename"] == "msdynmkt_orderplaced"
    inputs = org.get(f"customapirequestparameters?$filter=_customapiid_value eq {api}")["value"]
    assert {given["uniquename"]: (given["type"], given["isoptional"]) for given in inputs} == {
        "msdynmkt_signaltimestamp": (1, False),
        "msdynmkt_signalingestiontimestamp": (1, False),
        "msdynmkt_signaluserauthid": (10, False),
        "msdynmkt_profileid": (10, False),
        "msdynmkt_ordernumber": (10, False),
        "msdynmkt_total": (2, False),
        "msdynmkt_items": (7, False),
        "msdynmkt_express": (0, False),
        "msdynmkt_deliveryon": (1, False),
        "bindingid": (10, True),
    }
    assert org.get(f"customapiresponseproperties?$filter=_customapiid_value eq {api}")["value"] == []


@pytest.mark.parametrize("name", [*event(""), *ORDER])
@pytest.mark.parametrize("null", [True, False])
def test_every_attribute_must_be_there(org, name, null):
    """A missing or null attribute is a 400 that names it, and no event is raised."""
    profile = str(uuid.uuid4())
    body = event(profile, **ORDER)
    if null:
        body[name] = None
    else:
        del body[name]
    error = org.post("msdynmkt_orderplaced", body, 400).json()["error"]
    assert error["code"] == "0x80048d19"
    assert f"'{name}'" in error["message"]
    assert raised(org, profile) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("msdynmkt_ordernumber", 5),
        ("msdynmkt_total", "12.5"),
        ("msdynmkt_total", True),
        ("msdynmkt_total", 10**400),
        ("msdynmkt_items", 2.5),
        ("msdynmkt_items", True),
        ("msdynmkt_items", 2**31),
        ("msdynmkt_express", 1),
        ("msdynmkt_express", "true"),
        ("msdynmkt_deliveryon", "tomorrow"),
        ("msdynmkt_deliveryon", 5),
        ("msdynmkt_signaltimestamp", ""),
        ("msdynmkt_profileid", {"id": "x"}),
        ("bindingid", 5),
        ("msdynmkt_unknown", "x"),
        ("msdynmkt_Total", 12.5),
    ],
)
def test_every_attribute_has_its_type(org, name, value):
    """A value of another type or an unknown attribute is a 400 that names it."""
    body = event(str(uuid.uuid4()), **ORDER) | {name: value}
    error = org.post("msdynmkt_orderplaced", body, 400).json()["error"]
    assert error["code"] == "0x80048d19"
    assert f"'{name}'" in error["message"]


def test_only_what_is_ready_is_raised(org):
    """A draft has no action, and a stopped trigger refuses events until it is ready again."""
    reply = org.post("msdynmkt_birthday", event("x"), 404)
    assert reply.json()["error"]["message"] == "Resource not found for the segment 'msdynmkt_birthday'."
    name = own_trigger(org, "Stopped", msdynmkt_plan="string")
    body = event(str(uuid.uuid4()), msdynmkt_plan="trial")
    error = org.post(name, body, 400).json()["error"]
    assert (error["code"], "not ready to use" in error["message"]) == ("0x80040265", True)
    org.sandbox.add_trigger(name, msdynmkt_plan="string", msdynmkt_price="float")
    org.post(name, body, 400)
    org.post(name, {**body, "msdynmkt_price": 5})
    assert raised(org, body["msdynmkt_profileid"]) == [name]
    assert org.web.get(name).status_code == 404
    assert org.web.post(f"{name}?$select=x", json=body).status_code == 501


def test_triggers_of_ones_own(org):
    """A new trigger has inputs of every type, is shown as it was defined, and is an action."""
    kinds = ("boolean", "datetime", "decimal", "float", "integer", "reference", "string")
    attributes = {f"msdynmkt_a_{kind}": kind for kind in kinds}
    name = own_trigger(org, **attributes)
    shown = {trigger["name"]: trigger for trigger in org.plain.get("/sandbox/triggers").json()["triggers"]}
    assert shown[name] == {"name": name, "attributes": attributes, "state": "Ready to use"}
    assert {"msdynmkt_orderplaced", "msdynmkt_cartabandoned", "msdynmkt_birthday"} <= shown.keys()
    values = (True, "2030-01-01", 1, 1.5, 3, {"@odata.type": "Microsoft.Dynamics.CRM.opportunity"}, "")
    body = event("x", **dict(zip(attributes, values, strict=True)))
    org.post(name, body)
    org.post(name, {**body, "msdynmkt_a_reference": {"opportunityid": str(uuid.uuid4())}}, 400)


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"name": "orderplaced"},
        {"name": "msdynmkt_OrderPlaced"},
        {"name": "msdynmkt_emails"},
        {"name": "msdynmkt_x", "attributes": []},
        {"name": "msdynmkt_x", "attributes": {"plan": "string"}},
        {"name": "msdynmkt_x", "attributes": {"msdynmkt_plan": "text"}},
        {"name": "msdynmkt_x", "attributes": {"msdynmkt_plan": []}},
        {"name": "msdynmkt_x", "attributes": {"msdynmkt_profileid": "string"}},
        {"name": "msdynmkt_x", "attributes": {f"msdynmkt_{n}": "string" for n in range(30)}},
        {"name": "msdynmkt_x", "state": "Live"},
        {"name": "msdynmkt_x", "colour": "red"},
    ],
)
def test_triggers_that_make_no_sense(org, content):
    """An invalid trigger is refused with a reason."""
    count = len(org.plain.get("/sandbox/triggers").json()["triggers"])
    reply = org.plain.post("/sandbox/triggers", json=content)
    assert (reply.status_code, bool(reply.json()["error"])) == (400, True)
    assert len(org.plain.get("/sandbox/triggers").json()["triggers"]) == count


def test_the_endpoints_are_asked_properly(org):
    """The endpoints refuse what is no number or no JSON, and the catalogue cannot be written."""
    for since in ("x", "-1", "9" * 19):
        assert org.plain.get(f"/sandbox/events?since={since}").status_code == 400
    assert org.plain.post("/sandbox/triggers", content="{}").status_code == 415
    assert (
        org.plain.post("/sandbox/triggers", content="{", headers={"Content-Type": "application/json"}).status_code
        == 400
    )
    assert org.web.post("msdynmkt_eventmetadataset", json={"msdynmkt_name": "x"}).status_code == 501


def test_triggers_and_events_are_kept(tmp_path):
    """With --state triggers and events survive a restart, including the state of a seeded trigger."""
    state = ("--state", str(tmp_path / "state.sqlite"))
    with running_sandbox(*state) as sandbox:
        organisation = Organisation(sandbox)
        sandbox.add_trigger("msdynmkt_trialended", msdynmkt_plan="string")
        sandbox.add_trigger("msdynmkt_cartabandoned", "Stopped")
        organisation.post("msdynmkt_trialended", event("x", msdynmkt_plan="trial"))
        organisation.close()
    with running_sandbox(*state) as sandbox:
        organisation = Organisation(sandbox)
        organisation.post("msdynmkt_trialended", event("y", msdynmkt_plan="trial"))
        assert [entry["profile_id"] for entry in sandbox.events()] == ["x", "y"]
        organisation.post("msdynmkt_cartabandoned", event("x"), 400)
        organisation.close()


def test_events_of_a_change_set_that_fails(org):
    """An event in a change set is raised only if the whole change set succeeds."""
    profile = str(uuid.uuid4())
    for path, status, count in (("contacts(x)", 400, 0), ("msdynmkt_orderplaced", 200, 2)):
        body = event(profile, **ORDER)
        reply = change_set(org, [("msdynmkt_orderplaced", body), (path, body)])
        assert (reply.status_code, len(raised(org, profile))) == (status, count)
