"""Journeys as the tests ask for them."""

import json
import time
import uuid

CREATE = "msdynmkt_CreateJourneyFromTemplate"
ONE_TIME, RECURRING, EVENT = "One e-mail to a segment", "One e-mail to a segment, every week", "Order confirmation"


def template(org, name=ONE_TIME):
    """Return a seeded template: its id and its JSON."""
    (row,) = org.get(f"msdynmkt_journeytemplates?$filter=msdynmkt_name eq '{name}'")["value"]
    return row["msdynmkt_journeytemplateid"], json.loads(row["msdynmkt_journeytemplatejson"])


def email(org, status):
    """Return the id of an e-mail with a status."""
    return org.get(f"msdynmkt_emails?$filter=statuscode eq {status}&$top=1")["value"][0]["msdynmkt_emailid"]


def content_path(document):
    """Return the path of the e-mail of a template's only action."""
    (action_id,) = document["actions"]
    return f"$.actions['{action_id}'].parameters.contentId"


def create(org, source=None, changes=None, **more):
    """Ask for a journey; return its id, the codes of its errors, and the request."""
    body = {
        "msdynmkt_journeytemplateid": source or template(org)[0],
        "msdynmkt_journeyname": f"journey {uuid.uuid4()}",
        **({} if changes is None else {"msdynmkt_jsonpathmodifications": json.dumps(changes)}),
        **{f"msdynmkt_{name}": value for name, value in more.items()},
    }
    reply = org.post(CREATE, body, 200).json()
    assert reply["@odata.context"].endswith(f"#Microsoft.Dynamics.CRM.{CREATE}Response")
    errors = json.loads(reply["msdynmkt_errors"])
    assert all(error.keys() == {"ErrorCode", "ErrorMessage"} and error["ErrorMessage"] for error in errors)
    assert reply["msdynmkt_isvalid"] is (errors == [])
    return reply["msdynmkt_journeyid"], [error["ErrorCode"] for error in errors], body


def live_segment(org, base="contact", **definition):
    """Create a segment and have it published."""
    segment, _ = org.segment(f"PROFILE({base}).FILTER(ISNULL(lastname))", base=base, **definition)
    assert org.publish(segment) == 1
    return segment


def row(org, journey):
    """Return the row of a journey."""
    return org.get(f"msdynmkt_journeys({journey})")


def named(org, body):
    """Return the ids of the journeys that have the name of a request."""
    found = org.get(f"msdynmkt_journeys?$filter=msdynmkt_name eq '{body['msdynmkt_journeyname']}'")["value"]
    return [journey["msdynmkt_journeyid"] for journey in found]


def walk(org, journey, until, seconds=20):
    """Wait for a status; return all states and statuses on the way."""
    seen = []
    end = time.monotonic() + seconds
    while not seen or seen[-1][1] != until:
        now = row(org, journey)
        pair = (now["statecode"], now["statuscode"])
        seen += [pair] if pair not in seen else []
        assert time.monotonic() < end, seen
        time.sleep(0.02)
    return seen
