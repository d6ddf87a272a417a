"""Replies that are cut off, not the organisation's own, endless or beside the point."""

from __future__ import annotations

import pytest

from airflow_provider_cij.dataverse import asking
from airflow_provider_cij.errors import (
    CijConflictError,
    CijIncompleteError,
    CijRefusedError,
    CijReplyError,
    CijServerError,
    CijUnreachableError,
)
from tests.conversation import ROW, FakeClock, converse
from tests.scripted import Answer

INNER = {
    "error": {
        "code": "0x80040265",
        "message": "Exception 'WebException' occured: The remote server returned an error: (503) Server Unavailable.",
    }
}


class Cut(bytes):
    """A body that says it is longer than it is."""

    def __len__(self) -> int:
        return super().__len__() + 10


BROKEN = [
    Answer(200, Cut(b'{"value": [{"a"'), {"Connection": "close"}),
    Answer(200, b'{"value": [{"a": 1},'),
    Answer(200, b"<html><title>Log in to the network</title></html>"),
]


def _act(client):
    return client.action("msdynmkt_X", {}, repeatable=True)


def _act_once(client):
    return client.action("msdynmkt_X", {}, repeatable=False)


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("talk", [lambda client: client.get("WhoAmI"), _act])
def test_a_broken_reply_is_asked_for_again(scripted, broken, talk):
    """Of a read, and of a write that may be done twice."""
    assert converse(scripted, broken, Answer(body={"a": 1}), talk=talk) == {"a": 1}
    assert len(scripted.asked) == 2


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("talk", [_act_once, lambda client: client.post("contacts", {"a": 1}, repeatable=False)])
def test_a_broken_reply_to_what_must_not_be_done_twice(scripted, broken, talk):
    """The error says that it was done, as far as anybody knows."""
    with pytest.raises(CijReplyError, match=r"POST \w+ was answered with .*answered as done: look whether"):
        converse(scripted, broken, talk=talk)
    assert len(scripted.asked) == 1


@pytest.mark.parametrize(
    "talk", [lambda client: client.patch(ROW, {"a": 1}), lambda client: client.delete(ROW), lambda c: c.get("WhoAmI")]
)
def test_a_proxys_page_never_passes_for_a_success(scripted, talk):
    """Whatever was asked: a page with status 200 is named, and who may have sent it."""
    with pytest.raises(CijReplyError, match="a proxy or a login page answers"):
        converse(scripted, BROKEN[-1], talk=talk)
    assert len(scripted.asked) == 3


def test_json_that_came_whole_but_wrong_is_final(scripted):
    """It would come the same again; who can make more of it finds it beside the message."""
    wrong = b'{"ResultText":"{"members":["a, b"]}"}'
    with pytest.raises(CijReplyError) as caught:
        converse(scripted, Answer(200, wrong), talk=_act)
    assert caught.value.raw == wrong.decode()
    assert len(scripted.asked) == 1


@pytest.mark.parametrize("status", [400, 503])
def test_a_refusal_whose_words_broke_off_is_still_that(scripted, status):
    """The status is enough to know what to do."""
    broken = Answer(status, Cut(b'{"error": {"mess'), {"Connection": "close"})
    with pytest.raises(CijRefusedError if status == 400 else CijServerError, match=f"HTTP {status}"):
        converse(scripted, broken, talk=_act_once)
    assert len(scripted.asked) == 1


def test_an_error_of_the_service_behind_is_tried_once_more(scripted):
    """It may pass; if not it may be the request's fault, but Airflow may try again later."""
    assert converse(scripted, Answer(400, INNER), Answer(body={"a": 1}), talk=_act) == {"a": 1}
    scripted.asked.clear()
    with pytest.raises(CijServerError, match=r"\(503\) Server Unavailable") as caught:
        converse(scripted, Answer(400, INNER), talk=_act)
    assert not caught.value.permanent
    assert len(scripted.asked) == 2
    scripted.asked.clear()
    with pytest.raises(CijServerError):
        converse(scripted, Answer(400, INNER), talk=_act_once)
    assert len(scripted.asked) == 1


def test_a_request_too_large_says_what_to_do(scripted):
    """413 is final."""
    with pytest.raises(CijRefusedError, match="send less at once"):
        converse(scripted, Answer(413), talk=_act)
    assert len(scripted.asked) == 1


def test_a_change_may_meet_itself(scripted):
    """After a lost reply a changed etag may be our own doing: no conflict for good, but one that may be mended."""
    changed = Answer(412, {"error": {"code": "0x80060882", "message": "The version doesn't match."}})

    def talk(client):
        return client.patch(ROW, {"a": 1}, if_match='W/"1"')

    with pytest.raises(CijUnreachableError, match="Whether it took effect is not known"):
        converse(scripted, Answer(hang_up=True), changed, talk=talk)
    with pytest.raises(CijConflictError):
        converse(scripted, changed, talk=talk)


def test_a_new_rows_id_is_read_but_its_address_is_never_asked(scripted, tmp_path_factory):
    """Whatever host it names."""
    url = "https://evil.test/api/data/v9.2/contacts(0F5B0C7F-395D-447B-B14C-315A601F878E)"
    headers = {"OData-EntityId": url, "Location": url}
    made = converse(
        scripted, Answer(204, headers=headers), talk=lambda client: client.post("contacts", {}, repeatable=False)
    )
    assert made == "0f5b0c7f-395d-447b-b14c-315a601f878e"
    assert len(scripted.asked) == 1


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
def test_a_link_that_leads_nowhere_good_is_not_followed(scripted, link):
    """Unsafe, half or unreadable: each is one of our errors, and nothing is asked there."""

    async def talk(client):
        return [page async for page in client.pages("contacts")]

    for answer in (Answer(body={"value": [], "@odata.nextLink": link}), Answer(307, headers={"Location": link[:9]})):
        scripted.asked.clear()
        with pytest.raises((CijReplyError, CijRefusedError)):
            converse(scripted, answer, Answer(404), talk=talk)
        assert len(scripted.asked) <= 2


def test_pages_that_go_round_in_a_circle_end(scripted):
    """A link back to a page that was read already would be followed for ever."""
    links = [f"{scripted.url}/api/data/v9.2/contacts?page={number}" for number in (1, 2, 1)]

    async def talk(client):
        return [page async for page in client.pages("contacts")]

    with pytest.raises(CijIncompleteError, match="same page"):
        converse(scripted, *(Answer(body={"value": [], "@odata.nextLink": link}) for link in links), talk=talk)
    assert len(scripted.asked) == 3


def test_an_endless_body_is_not_read_to_its_end(scripted, monkeypatch):
    """Past what any reply may have, it is an error: a task's, and not the worker's end."""
    monkeypatch.setattr(asking, "LARGEST_BODY", 2**20)
    with pytest.raises(CijReplyError, match="more than 1 MiB"):
        converse(scripted, Answer(200, b"[" * (2**20 + 1)), talk=lambda client: client.get("WhoAmI"))
    assert len(scripted.asked) == 1


def test_a_token_that_ends_between_pages_is_renewed(scripted):
    """Each page may need its own."""

    async def talk(client):
        return [row["n"] async for page in client.pages("contacts") for row in page]

    pages = [Answer(body={"value": [{"n": 1}], "@odata.nextLink": f"{scripted.url}/api/data/v9.2/contacts?p=2"})]
    pages += [Answer(401), Answer(body={"value": [{"n": 2}]})]
    assert converse(scripted, *pages, talk=talk, clock=FakeClock()) == [1, 2]
    assert [asked.token[-1] for asked in scripted.asked] == ["1", "1", "2"]
