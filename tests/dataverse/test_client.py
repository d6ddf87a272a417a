from __future__ import annotations

import asyncio
import json

import pytest

from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.dataverse.retry import RetryPolicy
from airflow_provider_cij.errors import (
    CijAuthError,
    CijInputError,
    CijNotFoundError,
    CijRefusedError,
    CijReplyError,
    CijServerError,
    CijThrottledError,
    CijUnreachableError,
)
from tests.scripted import Answer, ScriptedServer
from tests.scripted_client import ROW, FakeClock, run_client

BUSY = {"error": {"code": "0x80072322", "message": "Number of requests exceeded the limit of 6000."}}


def test_request_headers(scripted):
    """A request carries OData headers, the token and a request id; a change sends If-Match so it creates no row."""

    async def work(client):
        await client.patch(ROW, {"firstname": "Ada"})

    run_client(scripted, Answer(204), work=work, caller_object_id="0f5b0c7f-395d-447b-b14c-315a601f878e")
    (request,) = scripted.requests
    assert (request.method, request.path) == ("PATCH", f"/api/data/v9.2/{ROW}")
    assert request.token == "canary-token-1"
    assert request.headers["if-match"] == "*"
    assert request.headers["odata-version"] == request.headers["odata-maxversion"] == "4.0"
    assert request.headers["content-type"] == "application/json; charset=utf-8"
    assert request.headers["callerobjectid"] == "0f5b0c7f-395d-447b-b14c-315a601f878e"
    assert request.headers["x-ms-client-request-id"]
    assert json.loads(request.body) == {"firstname": "Ada"}


def test_a_429_holds_all_requests_until_retry_after(scripted):
    """One 429 holds every request of the client until its Retry-After has passed."""
    clock = FakeClock()
    told: list[float] = []

    async def work(client):
        await client.get("WhoAmI")
        told.append(clock.now())
        await asyncio.gather(*(client.get("WhoAmI") for _ in range(5)))

    busy = Answer(429, BUSY, {"Retry-After": "10"})
    run_client(scripted, busy, Answer(body={}), work=work, clock=clock, max_concurrency=1)
    assert told[0] >= 1010
    assert len(scripted.requests) == 7


def test_a_retry_after_beyond_the_limit_is_raised(scripted):
    """A Retry-After longer than the client may wait is raised with its length."""
    with pytest.raises(CijThrottledError) as caught:
        run_client(scripted, Answer(429, BUSY, {"Retry-After": "600"}), work=lambda client: client.get("WhoAmI"))
    assert caught.value.retry_after == 600
    assert caught.value.code == "0x80072322"
    assert len(scripted.requests) == 1


def test_a_refused_token_is_replaced_once(scripted):
    """A 401 fetches a fresh token once; a second 401 is raised."""
    run_client(scripted, Answer(401), Answer(body={}), work=lambda client: client.get("WhoAmI"))
    assert [request.token for request in scripted.requests] == ["canary-token-1", "canary-token-2"]
    with pytest.raises(CijAuthError, match="check host, tenant and client id"):
        run_client(scripted, Answer(401), work=lambda client: client.get("WhoAmI"))
    assert len(scripted.logins) == 3


def test_clients_of_a_connection_share_a_token(scripted):
    """Clients of one connection share its token, also when they start at the same time."""

    async def work(client):
        await asyncio.gather(*(client.get("WhoAmI") for _ in range(8)))

    for _ in range(3):
        run_client(scripted, Answer(body={}), work=work)
    assert len(scripted.logins) == 1


@pytest.mark.parametrize("trouble", [Answer(hang_up=True), Answer(503, b"<title>Unavailable</title>")])
def test_a_lost_response_is_retried_only_when_idempotent(scripted, trouble):
    """A request that is not idempotent is not repeated, and the error says that its effect is unknown."""
    run_client(scripted, trouble, Answer(204), work=lambda client: client.action("msdynmkt_X", {}, repeatable=True))
    assert len(scripted.requests) == 2
    scripted.requests.clear()
    with pytest.raises((CijUnreachableError, CijServerError)):
        run_client(scripted, trouble, work=lambda client: client.action("msdynmkt_X", {}, repeatable=False))
    assert len(scripted.requests) == 1


def test_retries_end_after_five_attempts(scripted):
    """A failing request is sent five times and then raised."""
    clock = FakeClock()
    with pytest.raises(CijServerError, match="Unavailable"):
        run_client(
            scripted, Answer(503, b"<title>Unavailable</title>"), work=lambda client: client.get("WhoAmI"), clock=clock
        )
    assert len(scripted.requests) == 5
    assert len(clock.waits) == 4


def test_a_repeated_delete_may_find_no_row(scripted):
    """A 404 after a lost response to a delete is a success; without one it is an error."""
    gone = Answer(404, {"error": {"code": "0x80040217", "message": "contact Does Not Exist"}})
    run_client(scripted, Answer(hang_up=True), gone, work=lambda client: client.delete(ROW))
    with pytest.raises(CijNotFoundError):
        run_client(scripted, gone, work=lambda client: client.delete(ROW))


def test_pages_follow_the_next_link_unchanged(scripted):
    """The next link is not rebuilt, and the Prefer header goes with each page."""
    link = f"{scripted.url}/api/data/v9.2/contacts?$select=fullname&$skiptoken=%3Ccookie%20page=%222%22/%3E"

    async def work(client):
        return [row["n"] async for page in client.pages("contacts?$select=fullname") for row in page]

    first = Answer(body={"value": [{"n": 1}], "@odata.nextLink": link})
    assert run_client(scripted, first, Answer(body={"value": [{"n": 2}]}), work=work) == [1, 2]
    assert [request.headers["prefer"] for request in scripted.requests] == ["odata.maxpagesize=5000"] * 2
    assert scripted.requests[1].path == link.removeprefix(scripted.url)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body={"value": [], "@odata.nextLink": "https://evil.test/api/data/v9.2/contacts"}),
        Answer(302, headers={"Location": "https://evil.test/"}),
        Answer(307, headers={"Location": "//evil.test/"}),
    ],
)
def test_links_to_another_host_are_not_followed(scripted, answer, tmp_path):
    """Neither a next link nor a redirect to another host is followed."""

    async def work(client):
        return [page async for page in client.pages("contacts")]

    with pytest.raises(CijReplyError, match="link to another host"):
        run_client(scripted, answer, work=work)
    assert len(scripted.requests) == 1


def test_a_second_server_never_sees_the_token(scripted, tmp_path_factory):
    """A real second server that a link names gets no request."""
    with ScriptedServer(tmp_path_factory.mktemp("other")) as other:
        other.script = [Answer(body={"value": []})]
        link = {"value": [], "@odata.nextLink": f"{other.url}/api/data/v9.2/contacts"}

        async def work(client):
            return [page async for page in client.pages("contacts")]

        with pytest.raises(CijReplyError):
            run_client(scripted, Answer(body=link), work=work)
        assert other.requests == []


def test_a_redirect_within_the_organisation_is_followed(scripted):
    """A redirect within the organisation is followed with the token, at most five times."""
    moved = Answer(307, headers={"Location": "/api/data/v9.2/WhoAmI?moved=1"})
    assert run_client(scripted, moved, Answer(body={"a": 1}), work=lambda client: client.get("WhoAmI")) == {"a": 1}
    assert scripted.requests[1].token == "canary-token-1"
    with pytest.raises(CijReplyError, match="more than 5 times"):
        run_client(scripted, moved, work=lambda client: client.get("WhoAmI"))


def test_an_unreachable_host_is_explained(scripted):
    """A failed connection is retried for any request and then raises an error that says what to check."""
    rules = RetryPolicy(max_attempts=2, initial_wait=0)

    async def main():
        # Log in first, as the login is on the same host.
        scripted.script = [Answer(body={})]
        async with DataverseClient(scripted.settings(), FakeClock(), rules) as client:
            await client.get("WhoAmI")
        scripted.__exit__()
        async with DataverseClient(scripted.settings(), FakeClock(), rules) as client:
            await client.action("msdynmkt_X", {}, repeatable=False)

    with pytest.raises(CijUnreachableError, match=r"was not sent: ConnectionRefusedError.*Check the host"):
        asyncio.run(main())


def test_an_untrusted_certificate_is_refused(scripted):
    """Without the CA in the connection, TLS fails at the login already."""
    with pytest.raises(CijUnreachableError, match=r"gave no token.*CERTIFICATE_VERIFY_FAILED"):
        run_client(scripted, Answer(body={}), work=lambda client: client.get("WhoAmI"), ca_bundle="")
    assert scripted.logins == []


def test_a_bad_ca_bundle_is_named(scripted, tmp_path):
    """A CA bundle that is missing or holds no certificate is named in the error."""
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    for path in (str(empty), str(tmp_path / "missing.pem")):
        with pytest.raises(CijInputError, match="ca_bundle"):
            run_client(scripted, Answer(body={}), work=lambda client: client.get("WhoAmI"), ca_bundle=path)


def test_errors_and_logs_hold_no_filter_and_no_secret(scripted, caplog_all):
    """Neither errors nor logs of any library hold a filter, which may hold an address, or a token."""
    no = Answer(400, {"error": {"code": "0x80040265", "message": "no"}}, {"x-ms-service-request-id": "req-7"})

    async def work(client):
        await client.get("contacts?$filter=emailaddress1 eq 'canary@x.test'")

    with pytest.raises(CijRefusedError) as caught:
        run_client(scripted, Answer(503), no, work=work)
    assert str(caught.value) == "GET contacts was refused: no [code 0x80040265, HTTP 400, request req-7]"
    names = {record.name.partition(".")[0] for record in caplog_all.records}
    assert names >= {"airflow_provider_cij", "msal"}
    assert not [record for record in caplog_all.records if "canary" in record.getMessage()]


def test_a_client_outside_async_with_is_refused(scripted):
    """A client used outside its ``async with`` raises RuntimeError."""

    async def main():
        client = DataverseClient(scripted.settings())
        await client.get("WhoAmI")

    with pytest.raises(RuntimeError, match="async with"):
        asyncio.run(main())
