"""Consent: purposes and topics, rows that bind them, searching, and the seeded opt-outs."""

import uuid

import pytest

COMMERCIAL = "10000000-0000-0000-0000-000000000003"
SET = "msdynmkt_contactpointconsent4s"
EMAIL, PHONE = 534120000, 534120001
FOR_PURPOSE, FOR_TOPIC = 534120000, 534120001
OPTED_IN, OPTED_OUT = 534120001, 534120002


def consent(address, value=OPTED_OUT, **more):
    """Return the body of a consent to the commercial purpose."""
    return {
        "msdynmkt_contactpointvalue": address,
        "msdynmkt_contactpointtype": EMAIL,
        "msdynmkt_contactpointconsenttype": FOR_PURPOSE,
        "msdynmkt_value": value,
        "msdynmkt_source": 534120000,
        "msdynmkt_logicalreason": 534119999,
        "msdynmkt_purposeId@odata.bind": f"/msdynmkt_purposes({COMMERCIAL})",
        **more,
    }


def search(org, address, *conditions):
    """Return the consents of an address."""
    words = (f"msdynmkt_contactpointvalue eq '{address}'", f"msdynmkt_contactpointtype eq {EMAIL}", *conditions)
    return org.get(f"{SET}?$filter={' and '.join(words)}")["value"]


def address():
    """Return an address that no consent has."""
    return f"{uuid.uuid4()}@example.org"


def test_search_then_create_or_update(org):
    """A consent is found by value, type and purpose, regardless of case, and updated in place."""
    mine = address()
    for_commercial = f"_msdynmkt_purposeid_value eq {COMMERCIAL}"
    assert search(org, mine, for_commercial) == []
    row = org.post(SET, consent(mine), 201, Prefer="return=representation").json()
    assert {name: row[name] for name in consent(mine) if "@" not in name} == {
        name: value for name, value in consent(mine).items() if "@" not in name
    }
    assert (row["_msdynmkt_purposeid_value"], row["_msdynmkt_topicid_value"], row["statuscode"]) == (
        COMMERCIAL,
        None,
        1,
    )
    (found,) = search(org, mine.upper(), for_commercial)
    assert found == {name: value for name, value in row.items() if name != "@odata.context"}
    path = f"{SET}({row['msdynmkt_contactpointconsent4id']})"
    change = {"msdynmkt_value": OPTED_IN, "msdynmkt_reason": "asked for it"}
    assert org.web.patch(path, json=change, headers={"If-Match": "*"}).status_code == 204
    (found,) = search(org, mine, for_commercial, f"msdynmkt_value eq {OPTED_IN}")
    assert found["msdynmkt_reason"] == "asked for it"
    assert org.web.delete(path).status_code == 204
    assert search(org, mine) == []


def test_consent_to_a_topic(org):
    """A topic can be bound beside its purpose, filtered by, read with its name, and unbound."""
    topics = org.get(f"msdynmkt_topics?$filter=_msdynmkt_purposeid_value eq {COMMERCIAL}")["value"]
    topic = topics[0]["msdynmkt_topicid"]
    mine = address()
    bound = {"msdynmkt_topicId@odata.bind": f"/msdynmkt_topics({topic})", "msdynmkt_contactpointconsenttype": FOR_TOPIC}
    org.post(SET, consent(mine, **bound))
    org.post(SET, consent(mine))
    (row,) = search(org, mine, f"_msdynmkt_topicid_value eq {topic}")
    path = f"{SET}({row['msdynmkt_contactpointconsent4id']})"
    shown = org.get(path, Prefer='odata.include-annotations="*"')
    name = "_msdynmkt_topicid_value"
    assert shown[f"{name}@OData.Community.Display.V1.FormattedValue"] == topics[0]["msdynmkt_name"]
    assert shown[f"{name}@Microsoft.Dynamics.CRM.associatednavigationproperty"] == "msdynmkt_topicId"
    assert shown["msdynmkt_value@OData.Community.Display.V1.FormattedValue"] == "Opted Out"
    assert org.web.patch(path, json={"msdynmkt_topicId@odata.bind": None}).status_code == 204
    assert org.get(path)["_msdynmkt_topicid_value"] is None


@pytest.mark.parametrize(
    ("body", "status", "code", "word"),
    [
        (
            {"msdynmkt_purposeid@odata.bind": f"/msdynmkt_purposes({COMMERCIAL})"},
            400,
            "0x80048d19",
            "msdynmkt_purposeid",
        ),
        ({"msdynmkt_purposeId@odata.bind": f"/msdynmkt_topics({COMMERCIAL})"}, 400, "0x80048d19", "msdynmkt_topics"),
        ({"msdynmkt_purposeId@odata.bind": "/msdynmkt_purposes(x)"}, 400, "0x80048d19", "(x)"),
        ({"msdynmkt_purposeId@odata.bind": f"/msdynmkt_purposes({uuid.UUID(int=1)})"}, 404, "0x80040217", "purpose"),
        ({"_msdynmkt_purposeid_value": COMMERCIAL}, 400, "0x80048d19", "_msdynmkt_purposeid_value"),
        ({"msdynmkt_purposeid": COMMERCIAL}, 400, "0x80048d19", "msdynmkt_purposeid"),
        ({"msdynmkt_value": 1}, 400, "0x8004431a", "534120000,534120001,534120002"),
        ({"msdynmkt_contactpointtype": 534120004}, 400, "0x8004431a", "msdynmkt_contactpointtype"),
        ({"msdynmkt_contactpointvalue": "x" * 401}, 400, "0x80044331", "400"),
    ],
)
def test_what_no_consent_may_have(org, body, status, code, word):
    """Names are case-sensitive, options are closed, lengths are limited, and bound rows must exist."""
    error = org.post(SET, body, status).json()["error"]
    assert error["code"] == code
    assert word in error["message"]


def test_a_purpose_may_be_bound_by_its_url(org):
    """A bind takes a path with or without its slash, and the whole URL."""
    for link in ("msdynmkt_purposes", f"{org.sandbox.base_url}/api/data/v9.2/msdynmkt_purposes"):
        mine = address()
        org.post(SET, consent(mine, **{"msdynmkt_purposeId@odata.bind": f"{link}({COMMERCIAL.upper()})"}))
        assert search(org, mine)[0]["_msdynmkt_purposeid_value"] == COMMERCIAL


def test_purposes(org):
    """The commercial purpose has the id that it has in every organisation; the other kinds exist too."""
    row = org.get(f"msdynmkt_purposes({COMMERCIAL})")
    assert (row["msdynmkt_name"], row["msdynmkt_type"]) == ("Commercial", 534120000)
    kinds = {purpose["msdynmkt_type"] for purpose in org.get("msdynmkt_purposes")["value"]}
    assert kinds >= {534120000, 534120001, 534120002}


def test_some_have_opted_out(org):
    """One contact in ten has opted out of commercial e-mail and one in ten has opted in, each with its own address."""
    seeded = f"{SET}?$filter=createdon lt 2025-01-01&$select=msdynmkt_contactpointvalue,msdynmkt_value"
    rows = org.get(seeded)["value"]
    contacts = org.get("contacts?$filter=createdon lt 2025-01-01&$select=emailaddress1")["value"]
    out = [row for row in rows if row["msdynmkt_value"] == OPTED_OUT]
    assert len(rows) > len(out)
    assert 0.08 * len(contacts) < len(out) < 0.11 * len(contacts)
    known = {(contact["emailaddress1"] or "").casefold() for contact in contacts}
    points = [row["msdynmkt_contactpointvalue"].casefold() for row in rows]
    assert set(points) <= known
    assert len(set(points)) == len(points)
