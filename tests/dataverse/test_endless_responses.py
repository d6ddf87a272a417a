"""Responses without an end: in time, in size, in pages and in Retry-After."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import subprocess
import sys
import time
import zlib
from dataclasses import asdict

import pytest

from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.dataverse.retry import RetryPolicy
from airflow_provider_cij.errors import (
    CijError,
    CijIncompleteError,
    CijReplyError,
    CijThrottledError,
    CijUnreachableError,
)
from tests.scripted import Answer, ScriptedServer
from tests.scripted_client import FakeClock, run_client

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def _endless(start: bytes, then: bytes, pause: float) -> Answer:
    return Answer(raw=lambda: itertools.chain([start], itertools.repeat(then)), pause=pause)


DRIPPING = {
    "body": _endless(HEAD + b"Content-Length: 100000\r\n\r\n", b" ", 0.1),
    "chunks": _endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", 0.1),
    "header": _endless(HEAD + b"X-Name: ", b"a", 0.1),
    "refusal": _endless(b"HTTP/1.1 500 No\r\nContent-Length: 100000\r\n\r\n", b" ", 0.1),
    "interim replies": _endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.1),
    "many interim replies": _endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100, 0.0),
}


def _who(client):
    return client.get("WhoAmI")


def _once(server: ScriptedServer, work=_who, **settings):
    """Send one request on the real clock."""

    async def main():
        async with DataverseClient(server.settings(**settings), retry_policy=RetryPolicy(max_attempts=1)) as client:
            return await work(client)

    return asyncio.run(main())


@pytest.mark.parametrize("what", DRIPPING)
def test_a_slow_response_ends_at_the_deadline(scripted, what):
    """A response whose parts arrive in time but never end is cut off at the deadline."""
    scripted.script = [DRIPPING[what]]
    started = time.monotonic()
    with pytest.raises(CijError):
        _once(scripted, timeout_seconds=0.7)
    assert 0.6 < time.monotonic() - started < 8


@pytest.mark.parametrize("what", DRIPPING)
def test_a_slow_login_ends_at_the_deadline_for_all_waiters(scripted, what):
    """A slow login ends at the deadline for every waiting request, and the next login can start."""
    scripted.script = [Answer(body={"a": 1})]
    scripted.login_answers = [DRIPPING[what]]

    async def crowd(client):
        return await asyncio.gather(*(client.get("WhoAmI") for _ in range(4)), return_exceptions=True)

    started = time.monotonic()
    told = _once(scripted, crowd, timeout_seconds=0.7)
    assert 0.6 < time.monotonic() - started < 8
    assert {type(error) for error in told} == {CijUnreachableError}
    assert _once(scripted, timeout_seconds=0.7) == {"a": 1}


_CHILD = """
import asyncio, json, resource, sys
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.dataverse.retry import RetryPolicy
from airflow_provider_cij.dataverse.settings import Settings
from airflow_provider_cij.errors import CijError

async def ask():
    settings = Settings(**json.loads(sys.argv[1]))
    async with DataverseClient(settings, retry_policy=RetryPolicy(max_attempts=1)) as client:
        return await client.get("WhoAmI")

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

before = peak()
try:
    print(asyncio.run(ask()))
except CijError as error:
    print(str(error))
print(peak() - before)
"""


def _grown(server: ScriptedServer) -> tuple[str, int]:
    """Send a request from a process of its own and return its output and the memory growth in MiB."""
    command = [sys.executable, "-c", _CHILD, json.dumps(asdict(server.settings()))]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    message, grown = done.stdout.splitlines()[-2:]
    return message, int(grown)


def _bomb(zeros_mib: int) -> bytes:
    """Yield zlib data that decompresses to zeros without end."""
    packer = zlib.compressobj(9)
    start = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + block * (zeros_mib - 1)


BOMBS = {
    "deflate": Answer(200, _bomb(8192), {"Content-Encoding": "deflate"}),
    "gzip, gzip": Answer(200, gzip.compress(_bomb(2048)), {"Content-Encoding": "gzip, gzip"}),
    "gzip of a refusal": Answer(400, gzip.compress(bytes(2**28), 1), {"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("what", BOMBS)
def test_decompression_is_bounded(scripted, what):
    """Decompression ends at the size limit and does not start for two encodings."""
    scripted.script = [BOMBS[what]]
    message, grown = _grown(scripted)
    assert "more than 256 MiB" in message or "not asked for" in message or "HTTP 400" in message
    assert grown < (700 if what == "deflate" else 100)


@pytest.mark.parametrize("status", [b"200 OK", b"400 Bad"])
def test_an_endless_login_response_is_cut_off(scripted, status):
    """At most one MiB of a login response is read."""
    start = b"HTTP/1.1 " + status + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    scripted.login_answers = [_endless(start, b"100000\r\n" + b" " * 2**20 + b"\r\n", 0.0)]
    message, grown = _grown(scripted)
    assert "login service" in message
    assert grown < 100


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip", "deflate", "x-gzip, identity", "identity"])
def test_any_encoded_body_is_a_value_or_a_cij_error(scripted, encoding):
    """A body in a broken or unrequested encoding never passes for JSON."""
    answer = Answer(200, b'{"a": 1}', {"Content-Encoding": encoding})
    if encoding == "identity":
        assert run_client(scripted, answer, work=_who) == {"a": 1}
        return
    with pytest.raises(CijReplyError, match=r"not asked for|not encoded as it says"):
        run_client(scripted, answer, work=_who)


@pytest.mark.parametrize("told", ["86400", "999999999", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT", "1e400"])
def test_a_retry_after_of_days_is_an_error(scripted, told):
    """A Retry-After of a day or more is an error, and the throttle it sets ends after a day."""
    clock = FakeClock()
    answer = Answer(429, {"error": {"code": "0x80072322", "message": "busy"}}, {"Retry-After": told})
    readable = told != "1e400"
    with pytest.raises(CijThrottledError) as caught:
        run_client(scripted, answer, work=_who, clock=clock, max_throttle_wait_seconds=86_400)
    assert caught.value.retry_after == (86_400 if readable else None)
    assert (f"Retry-After: {told[:20]}" in str(caught.value)) is readable
    assert len(str(caught.value)) < 1000
    clock.time += 86_401
    assert run_client(scripted, Answer(body={"a": 1}), work=_who, clock=clock, max_throttle_wait_seconds=86_400) == {
        "a": 1
    }


def test_endless_empty_pages_end(scripted):
    """Pages without rows end with an error although each has a new next link."""
    pages = [
        Answer(body={"value": [], "@odata.nextLink": f"{scripted.url}/api/data/v9.2/contacts?page={number}"})
        for number in range(200)
    ]

    async def read(client):
        return [page async for page in client.pages("contacts")]

    with pytest.raises(CijIncompleteError, match="did not end"):
        run_client(scripted, *pages, work=read)
    assert len(scripted.requests) == 100


def test_endless_pages_with_rows_end(scripted):
    """Pages with rows end with an error when there are more than any table can have."""
    pages = [
        Answer(body={"value": [{}], "@odata.nextLink": f"{scripted.url}/api/data/v9.2/contacts?page={number}"})
        for number in range(50)
    ]

    async def read(client):
        return [page async for page in client.pages("contacts", max_pages=20)]

    with pytest.raises(CijIncompleteError, match="20 were read"):
        run_client(scripted, *pages, work=read)
