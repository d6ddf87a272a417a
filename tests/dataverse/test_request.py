"""What a request is, and what log lines and errors call it."""

from __future__ import annotations

import pytest

from airflow_provider_cij.dataverse.request import Request, encode, ids_in_request, request_name
from airflow_provider_cij.errors import CijInputError, CijReplyError

ROOT = "https://contoso.crm4.dynamics.com/api/data/v9.2/"
ID = "11111111-2222-3333-4444-555555555555"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("contacts?$filter=emailaddress1 eq 'ada@contoso.test'", "GET contacts"),
        (f"contacts({ID})", "GET contacts(…)"),
        (f"msdynmkt_segments({ID})?$select=statuscode", f"GET msdynmkt_segments({ID})"),
        (f"{ROOT}contacts?$skiptoken=ada", "GET contacts"),
    ],
)
def test_a_name_holds_neither_query_options_nor_people(path, name):
    """Log lines and errors name the table or the segment of a request, and no person."""
    assert request_name("GET", path, ROOT) == name


@pytest.mark.parametrize(
    "link", ["https://evil.test/api", "//evil.test/", "https://contoso.crm4.dynamics.com@evil.test/"]
)
def test_a_link_to_another_host_is_no_target(link):
    """A token goes to the organisation's own host alone."""
    with pytest.raises(CijReplyError, match="GET contacts was answered with a link to another host"):
        Request("GET", "contacts", "GET contacts").target(ROOT, link, "https://contoso.crm4.dynamics.com")


def test_a_path_and_a_redirect_lead_to_the_organisation():
    """A path is relative to the Web API's root, and a redirect to where the request went."""
    request = Request("GET", "WhoAmI", "GET WhoAmI")
    assert request.target(ROOT, "WhoAmI", "https://contoso.crm4.dynamics.com") == f"{ROOT}WhoAmI"
    assert (
        request.target(f"{ROOT}a", "/b", "https://contoso.crm4.dynamics.com") == "https://contoso.crm4.dynamics.com/b"
    )


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), {1, 2}])
def test_a_body_that_is_no_json_is_refused_before_it_is_sent(value):
    """The error names the request, and not the value."""
    with pytest.raises(CijInputError, match="POST contacts was not sent") as raised:
        encode({"value": value}, "POST contacts")
    assert str(value) not in str(raised.value)


def test_ids_of_segments_may_be_repeated_and_ids_of_people_may_not():
    """An error repeats the ids of segments and groups, not those of their members."""
    member = "99999999-2222-3333-4444-555555555555"
    body = {"SegmentId": ID, "EntityIds": [member]}
    assert ids_in_request(f"contacts({member})/x", body) == {ID}
