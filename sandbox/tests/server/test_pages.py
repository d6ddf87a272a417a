"""The pages for people: the organisation at /, tables, rows and members behind /main.aspx."""

import html
import re
import uuid

import pytest

from ..organisation import running_organisation

GROUP = "aaaaaaaa-0000-4000-8000-000000000077"
SCRIPT = "<script>alert('x')</script>"
MAIN = "/main.aspx?pagetype={}&etn={}&id={}"


@pytest.fixture(scope="module")
def shown():
    """Provide a client of a sandbox of one's own."""
    with running_organisation("--contacts", "120", "--leads", "3", "--compute-seconds", "0") as organisation:
        yield organisation


def page(org, path="/"):
    """Return the HTML of a page, which nobody needs a token for."""
    reply = org.plain.get(path)
    assert reply.status_code == 200, reply.text
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    assert SCRIPT not in reply.text
    return reply.text


def links(text):
    """Return the addresses of a page's links."""
    return [html.unescape(found) for found in re.findall(r'href="([^"]*)"', text)]


def test_the_organisation_is_shown(shown):
    """The first page shows segments, journeys, runs, triggers, requests and the number of rows of every table."""
    segment, _ = shown.segment("PROFILE(contact)")
    shown.web.patch(f"msdynmkt_segments({segment})", json={"msdynmkt_displayname": f"VIP {SCRIPT}"})
    assert shown.publish(segment) == 1
    journey = shown.journey(segment)
    shown.web.patch(f"msdynmkt_journeys({journey})", json={"msdynmkt_name": "Spring & summer"})
    profile = str(uuid.uuid4())
    shown.sandbox.add_trigger("msdynmkt_trialended")
    now = "2026-01-01T00:00:00Z"
    body = {"msdynmkt_signaltimestamp": now, "msdynmkt_signalingestiontimestamp": now}
    shown.post("msdynmkt_trialended", {**body, "msdynmkt_signaluserauthid": "x", "msdynmkt_profileid": profile})
    text = page(shown)
    assert html.escape(f"VIP {SCRIPT}") in text
    assert "Spring &amp; summer" in text
    assert "<td>Active<td>120<td>20" in text
    assert "<td>Succeeded<td>120" in text
    assert "contacts</a><td>120" in text
    assert "/api/data/v9.2/msdynmkt_PublishSegmentDefinition<td>204" in text
    assert profile in text


def test_the_faults_that_are_on_are_shown(shown):
    """The first page shows each fault rule with what it has struck, until it is cleared."""
    shown.sandbox.faults.add("429", path="AddStaticMembers", count=2, retry_after=9)
    try:
        assert html.escape('"path": "AddStaticMembers"') in page(shown)
    finally:
        shown.sandbox.faults.clear()
    assert "AddStaticMembers&quot;" not in page(shown)


def test_every_link_leads_somewhere(shown):
    """Whoever follows the links from the first page meets every table, and no link is dead."""
    segment, _ = shown.segment("PROFILE(contact)", ((GROUP, "Exclude"),))
    assert shown.publish(segment) == 1
    shown.journey(segment)
    seen, ahead = set(), ["/"]
    while ahead and len(seen) < 150:
        path = ahead.pop(0)
        if path not in seen:
            seen.add(path)
            ahead += links(page(shown, path))
    tables = {re.search(r"etn=(\w+)", path)[1] for path in seen if "entitylist" in path}
    assert tables >= {"contact", "lead", "msdynmkt_segment", "msdynmkt_journey", "msdynmkt_contactpointconsent4"}
    assert any("pagetype=members" in path for path in seen)


def test_the_rows_of_a_table_come_in_pages(shown):
    """The pages of a table show each row once, and lead to each other."""
    found, path = [], "/main.aspx?pagetype=entitylist&etn=contact"
    while path:
        text = page(shown, path)
        found += re.findall(r"pagetype=entityrecord&amp;etn=contact&amp;id=([0-9a-f-]{36})", text)
        path = next((link for link in links(text) if f"page={len(found) // 50 + 1}" in link), None)
    assert len(found) == len(set(found)) == 120
    assert "120 rows" in page(shown, "/main.aspx?pagetype=entitylist&etn=contact&page=9999999")


def test_the_members_are_shown_with_names(shown):
    """The members of the last evaluation are shown by name and e-mail, and an id that is no contact as it is."""
    stranger = str(uuid.uuid4())
    segment, _ = shown.segment("", ((GROUP, "Include"),))
    known = shown.get("contacts?$top=1&$filter=emailaddress1 ne null")["value"][0]
    body = {"SegmentId": segment, "GroupId": GROUP, "EntityIds": [stranger, known["contactid"]]}
    shown.post("msdynmkt_AddStaticMembers", body)
    assert shown.publish(segment) == 1
    text = page(shown, MAIN.format("members", "msdynmkt_segment", segment))
    assert html.escape(known["emailaddress1"]) in text
    assert f"{stranger}<td>no contact has this id" in text


@pytest.mark.parametrize("column", ["lastname", "description", "jobtitle"])
def test_what_rows_hold_is_escaped(shown, column):
    """Text of a row is never HTML, in lists, in records and in long texts."""
    made = shown.web.post("contacts", json={column: f"{SCRIPT}"}, headers={"Prefer": "return=representation"}).json()
    page(shown, "/main.aspx?pagetype=entitylist&etn=contact")
    text = page(shown, MAIN.format("entityrecord", "contact", made["contactid"]))
    assert html.escape(SCRIPT) in text
    shown.web.delete(f"contacts({made['contactid']})")


@pytest.mark.parametrize(
    "query",
    [
        "etn=nothing",
        "etn=contact",
        "etn=contact&id=00000000-0000-4000-8000-00000000beef",
        "etn=%3Cscript%3E&id=%3Cscript%3E",
        "",
    ],
)
def test_what_is_not_there_is_not_found(shown, query):
    """A table or a row that does not exist is a 404 that names it, escaped."""
    reply = shown.plain.get(f"/main.aspx?{query}")
    assert reply.status_code == 404
    assert "<script>" not in reply.text


@pytest.mark.parametrize("path", ["/", "/main.aspx?pagetype=entitylist&etn=contact"])
def test_pages_are_for_this_machine_alone(shown, path):
    """Pages load and run nothing, can't be framed or cached, and are refused under another host name and to writes."""
    headers = shown.plain.get(path).headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
    assert headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in headers
    assert shown.plain.get(path, headers={"Host": "evil.example"}).status_code == 400
    assert shown.plain.post(path).status_code == 405
    assert shown.sandbox.client_secret not in shown.plain.get(path).text


def test_looking_is_no_request(shown):
    """The first page is not among the requests that tests count."""
    before = len(shown.sandbox.requests())
    page(shown)
    assert len(shown.sandbox.requests()) == before
