"""Annotations, counts and headers of answers."""

import uuid
from urllib.parse import quote

import pytest
from cij_sandbox.testing import running_sandbox

from ..organisation import Organisation

FORMATTED = "OData.Community.Display.V1.FormattedValue"
NAVIGATION = "Microsoft.Dynamics.CRM.associatednavigationproperty"
TABLE = "Microsoft.Dynamics.CRM.lookuplogicalname"
TOTAL = "Microsoft.Dynamics.CRM.totalrecordcount"
EXCEEDED = "Microsoft.Dynamics.CRM.totalrecordcountlimitexceeded"


def asking(*terms):
    """Return the header that asks for annotations."""
    return {"Prefer": f'odata.include-annotations="{",".join(terms)}"'}


@pytest.fixture
def contact(org):
    """Provide a contact with a value of every kind."""
    row_id = str(uuid.uuid4())
    values = {"donotemail": False, "donotbulkemail": True, "gendercode": 2, "creditlimit": 1234.5, "lastname": "A"}
    org.post("contacts", {"contactid": row_id, "birthdate": "2001-02-03", "numberofchildren": 1200, **values})
    yield row_id
    org.web.delete(f"contacts({row_id})")


def formatted(row):
    """Return the formatted values of a row."""
    return {name.removesuffix(f"@{FORMATTED}"): value for name, value in row.items() if name.endswith(f"@{FORMATTED}")}


def test_values_are_formatted(org, contact):
    """Choices, flags, dates, numbers, money, states and lookups have a formatted value; texts and ids have none."""
    row = org.get(f"contacts({contact})", **asking(FORMATTED))
    shown = formatted(row)
    for name in ("createdon", "modifiedon"):
        year, month, day = (int(part) for part in row[name][:10].split("-"))
        hour, minute = int(row[name][11:13]), row[name][14:16]
        half = "AM" if hour < 12 else "PM"
        assert shown.pop(name) == f"{month}/{day}/{year} {(hour + 11) % 12 + 1}:{minute} {half}"
    assert shown.pop("versionnumber") == f"{row['versionnumber']:,}"
    assert shown == {
        "donotemail": "No",
        "donotbulkemail": "Yes",
        "gendercode": "Female",
        "creditlimit": "$1,234.50",
        "birthdate": "2/3/2001",
        "numberofchildren": "1,200",
        "statecode": "Active",
        "statuscode": "Active",
        "_ownerid_value": "# CIJ sandbox application",
        "_owningbusinessunit_value": "CIJ sandbox",
    }
    assert not any(name.endswith((NAVIGATION, TABLE)) for name in row)


def test_annotations_precede_their_property(org, contact):
    """A property's annotations come right before it, as the document prints them."""
    row = org.get(f"contacts({contact})?$select=_ownerid_value,lastname", **asking("*"))
    annotations = [f"_ownerid_value@{term}" for term in (FORMATTED, NAVIGATION, TABLE)]
    assert list(row)[-5:] == ["lastname", *annotations, "_ownerid_value"]
    assert [row[name] for name in annotations[1:]] == ["ownerid", "systemuser"]


@pytest.mark.parametrize(
    ("terms", "found"),
    [
        (["*"], {FORMATTED, NAVIGATION, TABLE}),
        (["Microsoft.Dynamics.CRM.*"], {NAVIGATION, TABLE}),
        ([TABLE, FORMATTED], {TABLE, FORMATTED}),
        ([f"{TABLE}, {NAVIGATION}"], {TABLE, NAVIGATION}),
        (["Microsoft.PowerApps.*"], set()),
    ],
)
@pytest.mark.parametrize("path", ["contacts({})?", "contacts?$filter=contactid eq {}&"])
def test_only_what_was_asked_for_is_there(org, contact, terms, found, path):
    """Names and patterns select the annotations of one row and of many, and the answer names the applied ones."""
    reply = org.web.get(f"{path.format(contact)}$select=_ownerid_value", headers=asking(*terms))
    row = reply.json().get("value", [reply.json()])[0]
    assert {name.partition("@")[2] for name in row if name.startswith("_ownerid_value@")} == found
    assert reply.headers["Preference-Applied"] == asking(*terms)["Prefer"]


def test_without_asking_nothing_is_annotated(org, contact):
    """A plain read shows control information only."""
    reply = org.web.get(f"contacts({contact})")
    assert {name for name in reply.json() if "@" in name} == {"@odata.context", "@odata.etag"}
    assert "Preference-Applied" not in reply.headers


def test_preferences_add_up(org, contact):
    """Preferences in one header or in several are all applied, and a written row is annotated as well."""
    several = [("Prefer", "odata.maxpagesize=3"), ("Prefer", f'odata.include-annotations="{TOTAL},{TABLE}"')]
    reply = org.web.get("leads?$select=_ownerid_value&$count=true", headers=several)
    assert reply.headers["Preference-Applied"] == ", ".join(value for _, value in several)
    assert len(reply.json()["value"]) == 3
    assert {"@odata.count", f"@{TOTAL}"} < set(reply.json())
    wish = {"Prefer": f"return=representation,{asking(FORMATTED)['Prefer']}"}
    row = org.web.patch(f"contacts({contact})", json={"gendercode": 1}, headers=wish)
    assert row.json()[f"gendercode@{FORMATTED}"] == "Male"
    assert row.headers["Preference-Applied"] == f"return=representation, {asking(FORMATTED)['Prefer']}"


def test_a_row_with_annotations_is_never_unmodified(org, contact):
    """If-None-Match spares a read only where nothing but the row can have changed."""
    etag = {"If-None-Match": org.get(f"contacts({contact})")["@odata.etag"]}
    assert org.web.get(f"contacts({contact})", headers=etag).status_code == 304
    assert org.web.get(f"contacts({contact})", headers={**etag, **asking("*")}).status_code == 200


def test_an_error_has_details_on_request(org):
    """An error has details for requests that ask for annotations."""
    path, body = "msdynmkt_PublishSegmentDefinition", {"SegmentId": str(uuid.uuid4())}
    assert set(org.post(path, body, 400).json()["error"]) == {"code", "message"}
    error = org.post(path, body, 400, **asking("*")).json()["error"]
    cds = "@Microsoft.PowerApps.CDS"
    assert error[f"{cds}.HelpLink"].endswith("&error=Microsoft.Crm.CrmException%3a80040265&client=platform")
    assert error[f"{cds}.InnerError.Message"] == error["message"]
    details = {f"{cds}.ErrorDetails.OperationStatus", f"{cds}.ErrorDetails.SubErrorCode"}
    assert set(error) - {"code", "message"} == {
        f"{cds}.HelpLink",
        f"{cds}.InnerError.Message",
        f"{cds}.TraceText",
        *details,
    }
    some = org.post(path, body, 400, **asking("Microsoft.PowerApps.CDS.ErrorDetails*")).json()["error"]
    assert set(some) == {"code", "message", *details}
    plain = org.web.get(f"contacts({uuid.uuid4()})", headers=asking("*")).json()["error"]
    assert f"{cds}.HelpLink" in plain
    assert not set(plain) & details


def test_counts(org):
    """$count counts what a filter finds, alone as plain text, with rows beside them whatever the page or $top."""
    mark = f"count {uuid.uuid4()}"
    for name in ("A", "B", "C"):
        org.post("contacts", {"jobtitle": mark, "lastname": name})
    wanted = quote(f"jobtitle eq '{mark}'")
    alone = org.web.get(f"contacts/$count?$filter={wanted}")
    assert (alone.text, alone.headers["Content-Type"].partition(";")[0]) == ("3", "text/plain")
    assert int(org.web.get("leads/$count").text) == 200
    for more, rows in (("", 3), ("&$top=1", 1), ("&$top=0", 0)):
        reply = org.get(f"contacts?$filter={wanted}&$count=true{more}", **asking("Microsoft.Dynamics.CRM.*"))
        assert (reply["@odata.count"], len(reply["value"])) == (3, rows)
        assert (reply[f"@{TOTAL}"], reply[f"@{EXCEEDED}"]) == (3, False)
        assert "@odata.nextLink" not in reply
    silent = org.get(f"contacts?$filter={wanted}", **asking(TOTAL))
    assert silent[f"@{TOTAL}"] == -1
    assert "@odata.count" not in silent
    assert org.web.get("contacts/$count?$top=1").status_code == 501
    assert org.web.post("contacts/$count").status_code == 405


def test_pages_keep_the_top_and_the_annotations(org):
    """The link to the next page keeps $count, and annotations are shown to requests that ask for them again."""
    path = "leads?$select=statecode&$count=true"
    prefer = {"Prefer": f'odata.maxpagesize=150,odata.include-annotations="{FORMATTED}"'}
    rows = []
    while path:
        reply = org.get(path, **prefer)
        assert reply["@odata.count"] == 200
        rows += reply["value"]
        path = reply.get("@odata.nextLink")
    assert len(rows) == 200
    assert all(f"statecode@{FORMATTED}" in row for row in rows)


def test_counting_ends_at_its_limits():
    """More than 5,000 rows count as 5,000, 5,000 rows do not exceed the limit, and an aggregate refuses 50,001."""
    with running_sandbox("--contacts", "50001", "--leads", "5000") as sandbox:
        org = Organisation(sandbox)
        for name, exceeded in (("contacts", True), ("leads", False)):
            reply = org.get(f"{name}?$top=1&$count=true", **asking("*"))
            assert (reply["@odata.count"], reply[f"@{TOTAL}"], reply[f"@{EXCEEDED}"]) == (5000, 5000, exceeded)
            assert org.web.get(f"{name}/$count").text == "5000"
        count = (
            "<fetch aggregate='true'><entity name='contact'><attribute name='contactid' aggregate='count' alias='n'/>"
        )
        some = "<filter><condition attribute='statecode' operator='eq' value='1'/></filter></entity></fetch>"
        refused = org.web.get(f"contacts?fetchXml={quote(count + '</entity></fetch>')}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "0x8004E023")
        assert 0 < org.get(f"contacts?fetchXml={quote(count + some)}")["value"][0]["n"] < 50_000
        org.close()


@pytest.mark.parametrize(
    "header",
    [
        {"Consistency": "Strong"},
        {"If-None-Match": "null"},
        {"MSCRM.SuppressDuplicateDetection": "false"},
        {"MSCRM.BypassCustomPluginExecution": "true"},
        {"MSCRM.SolutionUniqueName": "Default"},
        {"MSCRMCallerID": str(uuid.uuid4())},
        {"CallerObjectId": str(uuid.uuid4())},
    ],
    ids=lambda header: next(iter(header)),
)
def test_headers_that_change_nothing_here_are_taken(org, header):
    """Headers of Dataverse that the sandbox ignores do not disturb reads and writes."""
    reply = org.web.post("contacts", json={"lastname": "A"}, headers=header)
    assert reply.status_code == 204
    link = reply.headers["OData-EntityId"]
    assert org.web.get(link, headers=header).status_code == 200
    assert org.web.delete(link, headers=header).status_code == 204
