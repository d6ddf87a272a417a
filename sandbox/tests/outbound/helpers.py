"""Outbound segments as the tests ask for them."""

import json
import uuid

DRAFT, LIVE, STOPPED, EDITABLE, EXPIRED, ERROR, GOING_LIVE, STOPPING = range(192350000, 192350008)
DYNAMIC, STATIC, COMPOUND = range(192350000, 192350003)
REQUIRED = {
    "msdyncrm_segments": {"msdyncrm_segmentname": "A segment", "msdyncrm_segmenttype": STATIC},
    "msdyncrm_customerjourneys": {"msdyncrm_name": "A journey"},
}


def create(org, status=GOING_LIVE, kind=STATIC, **columns):
    """Create a segment with a name of its own; return its id."""
    body = {"msdyncrm_segmentname": f"s_{uuid.uuid4().hex}", "msdyncrm_segmenttype": kind, "statuscode": status}
    return org.post("msdyncrm_segments", {**body, **columns}).headers["OData-EntityId"][-37:-1]


def row_of(org, segment):
    """Return the row of a segment."""
    return org.get(f"msdyncrm_segments({segment})")


def change(org, segment, status=204, **columns):
    """Update a segment; return the answer's error."""
    reply = org.web.patch(f"msdyncrm_segments({segment})", json=columns, headers={"If-Match": "*"})
    assert reply.status_code == status, reply.text
    return reply.json()["error"] if reply.content else None


def update(org, segment, wanted, **more):
    """Request a change of members."""
    body = {"msdyncrm_segmentid": segment, "msdyncrm_operation": wanted, **more}
    return org.web.post("msdyncrm_SegmentMembersUpdate", json=body)


def state(org, segment):
    """Return the answer of getState."""
    return json.loads(update(org, segment, "getState").json()["SegmentState"])


def fetch(org, query, *, skip=None, take=None, expect=200, **more):
    """Return the answer of FetchContactsByQuery, whose two halves agree unless told otherwise."""
    paging = f" count='{take}' page='{(skip or 0) // take + 1}'" if take else ""
    xml = (
        f"<fetch returntotalrecordcount='true'{paging}><entity name='contact'>"
        "<attribute name='contactid'/><order attribute='fullname'/></entity></fetch>"
    )
    text = f"({query}).ORDERBY(fullname ASC)" + (f".SKIP({skip}).TAKE({take})" if take else "") + ".SELECT(contactid)"
    reply = org.web.post("msdyncrm_FetchContactsByQuery", json={"Query": text, "FetchXml": xml, **more})
    assert reply.status_code == expect, reply.text
    return json.loads(reply.json()["Result"]) if expect == 200 else reply.json()["error"]["message"]


def found(org, query):
    """Return the ids a query finds."""
    return {row["contactid"] for row in fetch(org, query)["entities"]}


def prefixed(ids):
    """Write ids as the column wants them."""
    return json.dumps([f"crm{member}" for member in ids])


def people(org, filter_="contactid ne null"):
    """Return the ids of contacts, sorted."""
    rows = org.get(f"contacts?$select=contactid&$orderby=contactid&$filter={filter_}")["value"]
    return [row["contactid"] for row in rows]
