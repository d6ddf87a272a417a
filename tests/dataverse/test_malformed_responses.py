"""Responses that are truncated, come from a proxy, loop or cannot be parsed."""

from __future__ import annotations

import gzip

import pytest

from airflow_provider_cij.errors import (
    CijConflictError,
    CijIncompleteError,
    CijRefusedError,
    CijReplyError,
    CijServerError,
    CijUnreachableError,
)
from tests.scripted import Answer
from tests.scripted_client import ROW, FakeClock, run_client

INNER = {
    "error": {
        "code": "0x80040265",
        "message": "Exception 'WebException' occured: The remote server returned an error: (503) Server Unavailable.",
    }
}


class Truncated(bytes):
    """A body shorter than its Content-Length."""

    def __len__(self) -> int:
        return super().__len__() + 10


BROKEN = [
    Answer(200, Truncated(b'{"value": [{"a"'), {"Connection": "close"}),
    Answer(200, b'{"value": [{"a": 1},'),
    Answer(200, b"<html><title>Log in to the network</title></html>"),
]


def _act(client):
    return client.action("msdynmkt_X", {}, repeatable=True)


def _act_once(client):
    return client.action("msdynmkt_X", {}, repeatable=False)


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("work", [lambda client: client.get("WhoAmI"), _act])
def test_a_truncated_response_is_retried_when_idempotent(scripted, broken, work):
    """A truncated response to a read or an idempotent write is retried."""
    assert run_client(scripted, broken, Answer(body={"a": 1}), work=work) == {"a": 1}
    assert len(scripted.requests) == 2


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("work", [_act_once, lambda client: client.post("contacts", {"a": 1}, repeatable=False)])
def test_a_truncated_response_to_a_non_idempotent_request(scripted, broken, work):
    """A truncated response to a request that is not idempotent is raised as executed with an unreadable result."""
    with pytest.raises(CijReplyError, match=r"POST \w+ was answered with .*Its status is a success: check whether"):
        run_client(scripted, broken, work=work)
    assert len(scripted.requests) == 1


@pytest.mark.parametrize(
    "work", [lambda client: client.patch(ROW, {"a": 1}), lambda client: client.delete(ROW), lambda c: c.get("WhoAmI")]
)
def test_a_proxys_page_never_passes_for_a_success(scripted, work):
    """An HTML page with status 200 is an error that names its likely sender, whatever the request."""
    with pytest.raises(CijReplyError, match="a proxy or a login page answers"):
        run_client(scripted, BROKEN[-1], work=work)
    assert len(scripted.requests) == 3


def test_complete_but_invalid_json_is_not_retried(scripted):
    """A complete response of invalid JSON is not retried, and the error keeps its text."""
    wrong = b'{"ResultText":"{"members":["a, b"]}"}'
    with pytest.raises(CijReplyError) as caught:
        run_client(scripted, Answer(200, wrong), work=_act)
    assert caught.value.raw == wrong.decode()
    assert len(scripted.requests) == 1


@pytest.mark.parametrize("status", [400, 503])
def test_a_truncated_refusal_keeps_its_status(scripted, status):
    """A refusal with a truncated body is classified by its status."""
    broken = Answer(status, Truncated(b'{"error": {"mess'), {"Connection": "close"})
    with pytest.raises(CijRefusedError if status == 400 else CijServerError, match=f"HTTP {status}"):
        run_client(scripted, broken, work=_act_once)
    assert len(scripted.requests) == 1


def test_a_backend_error_is_retried_once(scripted):
    """An error of the backend is retried once and then raised as retryable."""
    assert run_client(scripted, Answer(400, INNER), Answer(body={"a": 1}), work=_act) == {"a": 1}
    scripted.requests.clear()
    with pytest.raises(CijServerError, match=r"\(503\) Server Unavailable") as caught:
        run_client(scripted, Answer(400, INNER), work=_act)
    assert not caught.value.permanent
    assert len(scripted.requests) == 2
    scripted.requests.clear()
    with pytest.raises(CijServerError):
        run_client(scripted, Answer(400, INNER), work=_act_once)
    assert len(scripted.requests) == 1


def test_a_413_is_final_and_explained(scripted):
    """A 413 is final and its error says what to do."""
    with pytest.raises(CijRefusedError, match="send less at once"):
        run_client(scripted, Answer(413), work=_act)
    assert len(scripted.requests) == 1


def test_a_version_conflict_after_a_lost_response_is_retryable(scripted):
    """A 412 after a lost response may be our own change, so the conflict is retryable."""
    changed = Answer(412, {"error": {"code": "0x80060882", "message": "The version doesn't match."}})

    def work(client):
        return client.patch(ROW, {"a": 1}, if_match='W/"1"')

    with pytest.raises(CijUnreachableError, match="Whether it took effect is not known"):
        run_client(scripted, Answer(hang_up=True), changed, work=work)
    with pytest.raises(CijConflictError):
        run_client(scripted, changed, work=work)


def test_the_entity_id_header_is_never_requested(scripted, tmp_path_factory):
    """The id of a new row is read from OData-EntityId, whose URL is never requested."""
    url = "https://evil.test/api/data/v9.2/contacts(0F5B0C7F-395D-447B-B14C-315A601F878E)"
    headers = {"OData-EntityId": url, "Location": url}
    made = run_client(
        scripted, Answer(204, headers=headers), work=lambda client: client.post("contacts", {}, repeatable=False)
    )
    assert made == "0f5b0c7f-395d-447b-b14c-315a601f878e"
    assert len(scripted.requests) == 1


@pytest.mark.parametrize(
    "link",
    [
        "http://localhost/api/data/v9.2/contacts",
        "https://[half",
        "https://localhost:port/",
        "//evil.test",
        "https:evil.test",
        "https://localhost:1@evil.test/",
        "\\\\evil.test\\x",
        "https://localhost\t.evil.test/\x00",
        "ftp://x",
    ],
)
def test_an_unsafe_or_unreadable_next_link_is_an_error(scripted, link):
    """A next link that is unsafe, incomplete or unreadable is a CijError, and no request follows it."""

    async def work(client):
        return [page async for page in client.pages("contacts")]

    for answer in (Answer(body={"value": [], "@odata.nextLink": link}), Answer(307, headers={"Location": link[:9]})):
        scripted.requests.clear()
        with pytest.raises((CijReplyError, CijRefusedError)):
            run_client(scripted, answer, Answer(404), work=work)
        assert len(scripted.requests) <= 2


def test_a_loop_of_next_links_is_an_error(scripted):
    """A next link to a page that was read already is an error."""
    links = [f"{scripted.url}/api/data/v9.2/contacts?page={number}" for number in (1, 2, 1)]

    async def work(client):
        return [page async for page in client.pages("contacts")]

    with pytest.raises(CijIncompleteError, match="same page"):
        run_client(scripted, *(Answer(body={"value": [], "@odata.nextLink": link}) for link in links), work=work)
    assert len(scripted.requests) == 3


def test_a_response_beyond_the_size_limit_is_an_error(scripted):
    """A response beyond the size limit is an error of the task, not of the worker's memory."""
    answer = Answer(200, gzip.compress(bytes(2**28 + 1), 1), {"Content-Encoding": "gzip"})
    with pytest.raises(CijReplyError, match="more than 256 MiB"):
        run_client(scripted, answer, work=lambda client: client.get("WhoAmI"))
    assert len(scripted.requests) == 1


def test_a_token_that_expires_between_pages_is_renewed(scripted):
    """A token that expires while pages are read is renewed."""

    async def work(client):
        return [row["n"] async for page in client.pages("contacts") for row in page]

    pages = [Answer(body={"value": [{"n": 1}], "@odata.nextLink": f"{scripted.url}/api/data/v9.2/contacts?p=2"})]
    pages += [Answer(401), Answer(body={"value": [{"n": 2}]})]
    assert run_client(scripted, *pages, work=work, clock=FakeClock()) == [1, 2]
    assert [request.token[-1] for request in scripted.requests] == ["1", "1", "2"]
