"""Decoding of responses: encodings, surrogates, and values that Airflow can store."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import json
import socket
import sqlite3
import ssl
import threading
import time

import httpx
import pytest
from airflow.triggers.base import TriggerEvent
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.dataverse.clock import Clock
from airflow_provider_cij.dataverse.connections import Connections, connector
from airflow_provider_cij.dataverse.texts import json_of, storable
from airflow_provider_cij.dataverse.wire import BrokenError, exchange
from airflow_provider_cij.errors import CijError, CijForbiddenError, CijInputError, CijReplyError
from airflow_provider_cij.triggers._waiting import event_of
from tests.scripted import Answer
from tests.scripted_client import run_client

_CONNECTION = connector("https://localhost", ssl.create_default_context())()
LONG = [b"\\", b"\0", b"<", b"<title>", b"a", b"::a", b"a@", b"contacts(", b"eyJ", b"?", b"-----BEGIN "]


def _who(client):
    return client.get("WhoAmI")


def test_an_exchange_has_a_connection_to_itself():
    """Exchanges at once have connections of their own, and the one that was used last is used first again."""

    async def main():
        connections = Connections(connector("https://localhost", ssl.create_default_context()))
        async with contextlib.AsyncExitStack() as exchanges:
            used = [await exchanges.enter_async_context(connections.idle()) for _ in range(52)]
            assert len(set(used)) == 52
        async with connections.idle() as connection:
            assert connection is used[0]
        connections.close()

    asyncio.run(main())


def test_a_cancelled_request_leaves_its_connection_free(scripted):
    """After a request is cancelled at any moment, the next one is answered on the one connection that is allowed."""

    async def work(client):
        await client.get("WhoAmI")
        began = time.monotonic()
        await client.get("WhoAmI")
        longest = 2 * (time.monotonic() - began)
        for number in range(200):
            request = asyncio.create_task(client.get("WhoAmI"))
            await asyncio.sleep(longest * number / 200)
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)
            await client.get("WhoAmI")

    run_client(scripted, Answer(body={}), work=work, clock=Clock(), max_concurrency=1, timeout_seconds=5)


@pytest.mark.parametrize("ends", ["cancelled", "timed out"])
def test_a_handshake_that_does_not_end_leaves_no_socket(ends):
    """A request that is cancelled or times out in the middle of a TLS handshake closes its socket."""
    seconds = 0.2 if ends == "timed out" else 60

    async def main(url, accepted):
        connections = Connections(connector(url, ssl.create_default_context()))

        async def send():
            async with connections.idle() as connection:
                await exchange(connection, "GET", url, headers={}, seconds=seconds, largest=1)

        request = asyncio.create_task(send())
        server, _ = await asyncio.to_thread(accepted)
        with server:
            server.settimeout(30)
            assert await asyncio.to_thread(server.recv, 1)  # the handshake has begun
            if ends == "cancelled":
                request.cancel()
            with pytest.raises((asyncio.CancelledError, BrokenError)):
                await request
            while await asyncio.to_thread(server.recv, 4096):
                pass  # the socket is closed when nothing follows

    with socket.create_server(("127.0.0.1", 0)) as listener:
        asyncio.run(main(f"https://localhost:{listener.getsockname()[1]}", listener.accept))
    gc.collect()  # a socket that is left open is a warning, and an error


@pytest.mark.parametrize("stage", ["handshake", "response"])
def test_a_client_that_closes_ends_requests_in_flight(scripted, stage):
    """An error leaves the client as it is while others are in flight: they end, and nothing stays open."""
    answer, released = scripted.answer, threading.Event()

    def refuse_one(request):
        if "slow" in request.path:
            released.wait(30)
        return Answer(403) if request.path.endswith("refused") else answer(request)

    async def work(client):
        await client.get("WhoAmI")
        slow = [asyncio.create_task(client.get(f"slow{number}")) for number in range(7)]
        await asyncio.sleep(0 if stage == "handshake" else 0.5)
        await asyncio.gather(client.get("refused"), *slow)

    scripted.answer = refuse_one
    with pytest.raises(CijForbiddenError):
        run_client(scripted, Answer(body={}), work=work, clock=Clock(), timeout_seconds=20)
    released.set()
    gc.collect()


def test_an_unusable_host_is_refused(scripted):
    """A host that is no address is refused before anything is sent."""
    with pytest.raises(CijInputError, match=r"999\.1\.1\.1 can't be used"):
        run_client(scripted, work=_who, base_url="https://999.1.1.1")


def test_the_next_request_is_sent_before_a_large_response_is_parsed(scripted):
    """A request that waits for another one to end is sent before that one's large response is parsed."""
    large, arrived, parsed = Answer(body={"value": [{"number": number} for number in range(100_000)]}), [], []
    answer = scripted.answer

    def note(request):
        arrived.append(time.monotonic())
        return answer(request)

    async def read(client):
        await client.rows("contacts")
        parsed.append(time.monotonic())

    async def work(client):
        await client.get("WhoAmI")
        await asyncio.gather(read(client), read(client))

    scripted.answer = note
    run_client(scripted, Answer(body={}), large, work=work, clock=Clock(), max_concurrency=1)
    assert arrived[-1] < parsed[0]


def test_forty_requests_run_at_once(scripted):
    """Forty requests run at once where the connection allows it."""
    meeting = threading.Barrier(40)
    answer = scripted.answer

    def together(request):
        if request.path.endswith("WhoAmI"):
            meeting.wait(30)
        return answer(request)

    async def work(client):
        await asyncio.gather(*(client.get("WhoAmI") for _ in range(40)))

    scripted.answer = together
    run_client(scripted, Answer(body={}), work=work, clock=Clock(), max_concurrency=40)
    assert len(scripted.requests) == 40


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        ("$filter=fullname%20eq%20'%C3%85sa'&$select=a,b", None),
        ("$filter=In(PropertyName='a',PropertyValues=%5B%22b%22%5D)&$top=1;@p=*+!~?", None),
        ("$skiptoken=<cookie page=%22", "$skiptoken=%3Ccookie%20page=%22"),
        ("$filter=a eq 'å'", "$filter=a%20eq%20'%C3%A5'"),
        ("", ""),
    ],
)
def test_a_sound_query_is_sent_as_it_is_given(scripted, query, sent):
    """A query of sound characters is sent as it is given, and any other one is encoded."""
    run_client(scripted, Answer(body={}), work=lambda client: client.get(f"contacts?{query}"))
    (request,) = scripted.requests
    assert request.path.partition("?")[2] == (query if sent is None else sent)


@given(
    st.text(st.sampled_from("abcXYZ019-._~!$&'()*+,;=:@/?"), min_size=1, max_size=60),
    st.lists(st.sampled_from(["%20", "%C3%A5", "%2f"])),
)
def test_httpx_would_send_a_sound_address_as_well(plain, encoded):
    """An address that is sent as it is given is the one that httpx makes of it."""
    url = f"https://localhost/api/data/v9.2/contacts?{plain}{''.join(encoded)}"
    assert _CONNECTION.target(url).encode() == httpx.URL(url).raw_path


def test_two_encodings_are_refused_and_one_is_read(scripted):
    """A body with one encoding is read; one with two, which may expand to gigabytes, is refused."""
    body = gzip.compress(b'{"a": 1}')
    assert run_client(scripted, Answer(200, body, {"Content-Encoding": "gzip"}), work=_who) == {"a": 1}
    with pytest.raises(CijReplyError, match="not asked for"):
        run_client(scripted, Answer(200, gzip.compress(body), {"Content-Encoding": "gzip, gzip"}), work=_who)


@pytest.mark.parametrize("text", [r'"\ud83d"', r'"\u0000"', r'"{\"a\": \"\\ud83d\"}"', r'"\\\ud83d\\\ude00"'])
def test_lone_surrogates_are_replaced_at_any_depth(text):
    """Lone surrogates are replaced in JSON and in JSON within a string."""
    value = json_of(text.encode())
    value = json.loads(value) if value.startswith("{") else value
    assert storable(value) == value
    json.dumps(value, ensure_ascii=False).encode()


def test_surrogate_pairs_are_kept():
    """A surrogate pair at one depth is one character and is kept."""
    assert json_of(rb'"\ud83d\ude00"') == "\U0001f600"
    assert json.loads(json_of(rb'"[\"\\ud83d\\ude00\"]"')) == ["\U0001f600"]


@pytest.mark.parametrize("value", ["\ud83d", "\x00", 2**80, float("nan"), {"\ud83d": [object()]}])
def test_an_event_holds_only_storable_values(value):
    """An event is reduced to values that Airflow can store, since any other would end the triggerer."""
    event = event_of({"name": value})
    assert isinstance(event, TriggerEvent)
    json.dumps(event.payload, ensure_ascii=False, allow_nan=False).encode()


def test_escaped_backslashes_are_not_surrogates():
    """The number of backslashes decides whether a text is an escape."""
    assert json_of(rb'"\\\ud83d\ude00"') == "\\\U0001f600"
    assert json.loads(json_of(rb'"[\"\\\\\\ud83d\\ude00\"]"')) == ["\\\U0001f600"]


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("piece", LONG)
def test_long_texts_are_redacted_in_linear_time(scripted, status, piece):
    """Texts of one MiB are redacted quickly, so no pattern blocks the event loop."""
    body = piece * (2**20 // len(piece))
    for sent in (body, b'{"error": {"message": "\\\\u0041' + body + b'"}}'):
        started = time.process_time()
        with contextlib.suppress(CijError):
            run_client(scripted, Answer(status, sent), work=_who)
        assert time.process_time() - started < 3


HALVES = {
    "name": "\ud83d\x00",
    "\udc00": ["\ud83d", {"x": "\x00"}],
    "big": 2**70,
    "none": float("nan"),
    "odd": object(),
}


def test_airflow_serializes_every_event(tmp_path):
    """Airflow's messages, event serializer and database accept every event."""
    from airflow.sdk.execution_time.comms import _RequestFrame
    from airflow.serialization.serialized_objects import BaseSerialization

    deep: object = "end"
    for _ in range(3000):
        deep = [deep]
    event = event_of(HALVES | {"deep": deep})
    _RequestFrame(1, {"events": [(1, event.model_dump())]}).as_bytes()
    json.dumps(BaseSerialization.serialize(event.payload))
    stored = json.dumps(event.payload, ensure_ascii=False, allow_nan=False)
    with contextlib.closing(sqlite3.connect(tmp_path / "db")) as database:
        database.execute("CREATE TABLE t (x JSON)")
        database.execute("INSERT INTO t VALUES (?)", (stored,))
        assert database.execute("SELECT json_valid(x) FROM t").fetchone() == (1,)
    assert "\\u0000" not in stored
    assert type(event.payload["name"]) is str
