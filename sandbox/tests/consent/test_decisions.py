"""Which messages are sent: enforcement models, topics, business units, duplicates; asked for, and by a journey."""

import json
import time
import uuid

import pytest

from ..journeys import helpers
from ..organisation import running_organisation

COMMERCIAL = "10000000-0000-0000-0000-000000000003"
SET = "msdynmkt_contactpointconsent4s"
NOT_SET, IN, OUT = 534120000, 534120001, 534120002
RESTRICTIVE, NON_RESTRICTIVE, DISABLED = 534120000, 534120001, 534120002
EMAIL, TEXT, CUSTOM = 534120000, 534120001, 534120002
SENT = {RESTRICTIVE: {IN}, NON_RESTRICTIVE: {IN, None, NOT_SET}, DISABLED: {IN, OUT, None, NOT_SET}}


@pytest.fixture(scope="module")
def asked():
    """Provide a sandbox in which consent can be asked for."""
    with running_organisation("--with-check-consent", "--compute-seconds", "0.2") as organisation:
        yield organisation


@pytest.fixture(scope="module")
def scoped():
    """Provide a sandbox with business-unit scoping."""
    with running_organisation("--with-check-consent", "--business-unit-scoping") as organisation:
        yield organisation


def create(org, entity_set, **columns):
    """Create a row; return its id."""
    return org.post(entity_set, columns).headers["OData-EntityId"].rpartition("(")[2].rstrip(")")


def purpose(org, **columns):
    """Create a purpose that restricts nothing but what the test says."""
    return create(org, "msdynmkt_purposes", msdynmkt_name=f"purpose {uuid.uuid4()}", **columns)


def topic(org, purpose_id):
    """Create a topic of a purpose."""
    bound = {"msdynmkt_purposeId@odata.bind": f"/msdynmkt_purposes({purpose_id})"}
    return create(org, "msdynmkt_topics", msdynmkt_name="a topic", **bound)


def unit(org):
    """Create a business unit."""
    return create(org, "businessunits", name=f"unit {uuid.uuid4()}")


def consent(org, address, value, purpose_id, topic_id=None, channel=EMAIL, **more):
    """Create a consent; return its id."""
    body = {
        "msdynmkt_contactpointvalue": address,
        "msdynmkt_contactpointtype": channel,
        "msdynmkt_contactpointconsenttype": 534120001 if topic_id else 534120000,
        "msdynmkt_value": value,
        "msdynmkt_purposeId@odata.bind": f"/msdynmkt_purposes({purpose_id})",
        **({"msdynmkt_topicId@odata.bind": f"/msdynmkt_topics({topic_id})"} if topic_id else {}),
        **more,
    }
    return create(org, SET, **body)


def move(org, entity_set, row_id, unit_id):
    """Give a row to a business unit."""
    body = {"owningbusinessunit@odata.bind": f"/businessunits({unit_id})"}
    assert org.web.patch(f"{entity_set}({row_id})", json=body, headers={"If-Match": "*"}).status_code == 204


def ask(org, *addresses, purpose_id, topic_id=None, profile_id=None, channel="email"):
    """Ask whether messages are sent; return one answer for each address."""

    def reference(table, key, row_id):
        return {"@odata.type": f"Microsoft.Dynamics.CRM.{table}", key: row_id}

    body = {
        "contactpoints": list(addresses),
        "channeltype": channel,
        "purpose": reference("msdynmkt_purpose", "msdynmkt_purposeid", purpose_id),
    }
    if topic_id:
        body["topic"] = reference("msdynmkt_topic", "msdynmkt_topicid", topic_id)
    if profile_id:
        table = "msdynmkt_compliancesettings4"
        body["complianceprofile"] = reference(table, f"{table}id", profile_id)
    found = org.post("msdynmkt_checkconsent", body, 200).json()["consents"]
    assert [one["contactpoint"] for one in found] == list(addresses)
    return [one["consentformessage"] for one in found]


def address():
    """Return an address that no consent has."""
    return f"{uuid.uuid4()}@example.org"


@pytest.mark.parametrize("model", SENT)
def test_the_enforcement_model_of_the_channel_decides(asked, model):
    """Each model sends as documented, on the channel whose column holds it; the others stay restrictive."""
    of_purpose = purpose(asked, msdynmkt_enforcementmodel=model, msdynmkt_smsenforcementmodel=RESTRICTIVE)
    people = {value: address() for value in (IN, OUT, NOT_SET, None)}
    for value, person in people.items():
        if value is not None:
            consent(asked, person, value, of_purpose)
            consent(asked, person, value, of_purpose, channel=TEXT)
    sent = ask(asked, *people.values(), purpose_id=of_purpose)
    assert {value for value, yes in zip(people, sent, strict=True) if yes} == SENT[model]
    sent = ask(asked, *people.values(), purpose_id=of_purpose, channel="sms")
    assert {value for value, yes in zip(people, sent, strict=True) if yes} == {IN}


@pytest.mark.parametrize("model", SENT)
def test_a_topic_needs_its_purpose(asked, model):
    """A message about a topic is sent when both the purpose and the topic pass."""
    of_purpose = purpose(asked, msdynmkt_enforcementmodel=model)
    of_topic = topic(asked, of_purpose)
    pairs = [(first, second) for first in (IN, OUT, None) for second in (IN, OUT, None)]
    people = [address() for _ in pairs]
    for person, (first, second) in zip(people, pairs, strict=True):
        if first:
            consent(asked, person, first, of_purpose)
        if second:
            consent(asked, person, second, of_purpose, of_topic)
    sent = ask(asked, *people, purpose_id=of_purpose, topic_id=of_topic)
    assert sent == [first in SENT[model] and second in SENT[model] for first, second in pairs]


def test_the_latest_of_duplicates_counts_inactive_or_not(asked):
    """Of several consents the most recently modified one counts, in whatever state it is."""
    of_purpose = purpose(asked, msdynmkt_enforcementmodel=RESTRICTIVE)
    person = address()
    first = consent(asked, person, IN, of_purpose)
    asked.advance(seconds=5)
    second = consent(asked, person.upper(), OUT, of_purpose)
    assert ask(asked, person, purpose_id=of_purpose) == [False]
    asked.advance(seconds=5)
    for row, columns in ((first, {"msdynmkt_value": IN}), (second, {})):
        body = {"statecode": 1, "statuscode": 2, **columns}
        assert asked.web.patch(f"{SET}({row})", json=body, headers={"If-Match": "*"}).status_code == 204
        asked.advance(seconds=5)
    assert ask(asked, person, purpose_id=of_purpose) == [False]
    assert asked.web.patch(f"{SET}({first})", json={"msdynmkt_value": IN}).status_code == 204
    assert ask(asked, person, purpose_id=of_purpose) == [True]


def test_the_owner_of_the_purpose_owns_its_consents(asked):
    """A new consent is in the business unit of its purpose, whoever writes it."""
    of_purpose, there = purpose(asked), unit(asked)
    move(asked, "msdynmkt_purposes", of_purpose, there)
    row = consent(asked, address(), IN, of_purpose)
    assert asked.get(f"{SET}({row})")["_owningbusinessunit_value"] == there


@pytest.mark.parametrize("scoping", [False, True])
def test_business_units_are_looked_through_in_order(asked, scoped, scoping):
    """The purpose's unit comes first, then the profile's, and any other one where scoping is off."""
    org = scoped if scoping else asked
    of_purpose = purpose(org, msdynmkt_enforcementmodel=NON_RESTRICTIVE)
    profile = create(org, "msdynmkt_compliancesettings4s", msdynmkt_name="a profile")
    units = [unit(org) for _ in range(3)]
    move(org, "msdynmkt_purposes", of_purpose, units[0])
    move(org, "msdynmkt_compliancesettings4s", profile, units[1])
    person = address()
    rows = []
    for there, value in zip(units, (IN, OUT, IN), strict=True):
        rows.append(consent(org, person, value, of_purpose))
        move(org, SET, rows[-1], there)
        org.advance(seconds=5)
    assert ask(org, person, purpose_id=of_purpose, profile_id=profile) == [True]
    org.web.delete(f"{SET}({rows[0]})")
    assert ask(org, person, purpose_id=of_purpose, profile_id=profile) == [False]
    assert ask(org, person, purpose_id=of_purpose) == [True]
    assert org.web.patch(f"{SET}({rows[2]})", json={"msdynmkt_value": OUT}).status_code == 204
    assert ask(org, person, purpose_id=of_purpose) == [scoping]


def test_nobody_is_mailed_by_an_external_provider(asked):
    """Where a compliance profile has an external consent provider, the tables decide nothing."""
    provider = create(asked, "msdynmkt_consentproviders", msdynmkt_name="a provider")
    bound = {"msdynmkt_ConsentProviderId@odata.bind": f"/msdynmkt_consentproviders({provider})"}
    profile = create(asked, "msdynmkt_compliancesettings4s", msdynmkt_name="a profile", **bound)
    of_purpose = purpose(asked, msdynmkt_enforcementmodel=DISABLED)
    assert ask(asked, address(), purpose_id=of_purpose, profile_id=profile) == [False]


def test_the_action_is_behind_a_switch(org):
    """Without its switch the action neither exists nor is listed."""
    org.post("msdynmkt_checkconsent", {}, 404)
    assert org.get("customapis?$filter=uniquename eq 'msdynmkt_checkconsent'")["value"] == []


def test_a_journey_mails_whom_consent_allows(asked):
    """A live journey mails its audience by consent to its e-mail's purpose; a page shows who was left out and why."""
    of_purpose = purpose(asked, msdynmkt_enforcementmodel=RESTRICTIVE)
    bound = {"msdynmkt_purpose@odata.bind": f"/msdynmkt_purposes({of_purpose})"}
    email = create(asked, "msdynmkt_emails", msdynmkt_name="an e-mail", statuscode=2, **bound)
    mark = f"mailed {uuid.uuid4()}"
    people = {value: address() for value in (IN, OUT, None)}
    for value, person in {**people, "none": None}.items():
        asked.post("contacts", {"lastname": "x", "jobtitle": mark, "emailaddress1": person})
        if value in (IN, OUT):
            consent(asked, person, value, of_purpose)
    segment, _ = asked.segment(f"PROFILE(contact).FILTER(jobtitle == '{mark}')")
    assert asked.publish(segment) == 1
    source, document = helpers.template(asked)
    changes = {"$.trigger.audience": segment, helpers.content_path(document): email}
    journey, errors, _ = helpers.create(asked, source, changes, createmode="Publish")
    assert errors == []
    end = time.monotonic() + 20
    while not (found := asked.plain.get(f"/sandbox/mail?journey={journey}").json()["mail"]):
        assert time.monotonic() < end
        time.sleep(0.05)
    told = {one["address"]: (one["sent"], one["reason"]) for one in found}
    assert told == {
        people[IN]: (True, "opted in"),
        people[OUT]: (False, "opted out of the purpose"),
        people[None]: (False, "not opted in to the purpose"),
        "": (False, "no emailaddress1"),
    }
    assert {one["message_id"] for one in found} == {email}
    page = asked.plain.get(f"/mail?journey={journey}").text
    assert all(text in page for text in (people[OUT], "opted out of the purpose", "no emailaddress1"))
    assert f"/mail?journey={journey}" in asked.plain.get("/mail").text


def test_a_page_escapes_what_it_shows(asked):
    """Names and addresses of rows are text on the page, never markup."""
    body = {"msdynmkt_name": "<b>x</b>", "msdynmkt_journeyjson": json.dumps({}), "statecode": 1, "statuscode": 2}
    asked.post("msdynmkt_journeys", body)
    end = time.monotonic() + 20
    while "&lt;b&gt;x" not in (page := asked.plain.get("/mail").text):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert "<b>x" not in page
