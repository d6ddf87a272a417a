"""Servers that never come to an end: in time, in size, in pages, in patience."""

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

from airflow_provider_cij.dataverse import client as client_module
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.dataverse.retry import RetryRules
from airflow_provider_cij.errors import (
    CijError,
    CijIncompleteError,
    CijReplyError,
    CijThrottledError,
    CijUnreachableError,
)
from tests.conversation import FakeClock, converse
from tests.scripted import Answer, ScriptedServer

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


def _once(server: ScriptedServer, talk=_who, **settings):
    """Ask one time, on a clock that goes."""

    async def main():
        async with DataverseClient(server.settings(**settings), rules=RetryRules(attempts=1)) as client:
            return await talk(client)

    return asyncio.run(main())


@pytest.mark.parametrize("what", DRIPPING)
def test_a_reply_that_drips_ends_at_the_deadline(scripted, what):
    """Each part comes in time, and the whole never does."""
    scripted.script = [DRIPPING[what]]
    started = time.monotonic()
    with pytest.raises(CijError):
        _once(scripted, timeout_seconds=0.7)
    assert 0.6 < time.monotonic() - started < 3


@pytest.mark.parametrize("what", DRIPPING)
def test_a_login_that_drips_ends_at_the_deadline_for_all(scripted, what):
    """Those who wait for another's login are not held longer, and the next login is free to come."""
    scripted.script = [Answer(body={"a": 1})]
    scripted.login_answers = [DRIPPING[what]]

    async def crowd(client):
        return await asyncio.gather(*(client.get("WhoAmI") for _ in range(4)), return_exceptions=True)

    started = time.monotonic()
    told = _once(scripted, crowd, timeout_seconds=0.7)
    assert 0.6 < time.monotonic() - started < 3
    assert {type(one) for one in told} == {CijUnreachableError}
    assert _once(scripted, timeout_seconds=0.7) == {"a": 1}


_CHILD = """
import asyncio, json, resource, sys
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.dataverse.retry import RetryRules
from airflow_provider_cij.dataverse.settings import Settings
from airflow_provider_cij.errors import CijError

async def ask():
    settings = Settings(**json.loads(sys.argv[1]))
    async with DataverseClient(settings, rules=RetryRules(attempts=1)) as client:
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
    """Ask from a process of its own: what it said, and by how many MiB it grew."""
    command = [sys.executable, "-c", _CHILD, json.dumps(asdict(server.settings()))]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    said, grown = done.stdout.splitlines()[-2:]
    return said, int(grown)


def _bomb(zeros_mib: int) -> bytes:
    """Give zlib's form of many zeros: one block of a mebibyte, again and again."""
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
def test_a_decompression_bomb_takes_no_gigabytes(scripted, what):
    """Decoding ends at the limit, and does not begin where there are two encodings."""
    scripted.script = [BOMBS[what]]
    said, grown = _grown(scripted)
    assert "more than 256 MiB" in said or "not asked for" in said or "HTTP 400" in said
    assert grown < (700 if what == "deflate" else 100)


@pytest.mark.parametrize("status", [b"200 OK", b"400 Bad"])
def test_an_endless_login_reply_is_not_kept(scripted, status):
    """A mebibyte is read of it."""
    start = b"HTTP/1.1 " + status + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    scripted.login_answers = [_endless(start, b"100000\r\n" + b" " * 2**20 + b"\r\n", 0.0)]
    said, grown = _grown(scripted)
    assert "login service" in said
    assert grown < 100


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip", "deflate", "x-gzip, identity", "identity"])
def test_whatever_a_body_is_encoded_in_ends_in_a_value_or_an_error(scripted, encoding):
    """Neither garbage nor an encoding that was not asked for passes for JSON."""
    answer = Answer(200, b'{"a": 1}', {"Content-Encoding": encoding})
    if encoding == "identity":
        assert converse(scripted, answer, talk=_who) == {"a": 1}
        return
    with pytest.raises(CijReplyError, match=r"not asked for|not encoded as it says"):
        converse(scripted, answer, talk=_who)


@pytest.mark.parametrize("told", ["86400", "999999999", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT", "1e400"])
def test_a_day_and_more_to_wait_is_an_error_that_says_so(scripted, told):
    """The throttle that it closes is open again a day later."""
    clock = FakeClock()
    answer = Answer(429, {"error": {"code": "0x80072322", "message": "busy"}}, {"Retry-After": told})
    readable = told != "1e400"
    with pytest.raises(CijThrottledError) as caught:
        converse(scripted, answer, talk=_who, clock=clock, max_hold_seconds=86_400)
    assert caught.value.retry_after == (86_400 if readable else None)
    assert (f"Retry-After: {told[:20]}" in str(caught.value)) is readable
    assert len(str(caught.value)) < 1000
    clock.time += 86_401
    assert converse(scripted, Answer(body={"a": 1}), talk=_who, clock=clock, max_hold_seconds=86_400) == {"a": 1}


def test_pages_without_rows_end(scripted):
    """A new link each time does not make a list."""
    pages = [
        Answer(body={"value": [], "@odata.nextLink": f"{scripted.url}/api/data/v9.2/contacts?page={number}"})
        for number in range(200)
    ]

    async def read(client):
        return [page async for page in client.pages("contacts")]

    with pytest.raises(CijIncompleteError, match="did not end"):
        converse(scripted, *pages, talk=read)
    assert len(scripted.asked) == 100


def test_pages_that_go_on_for_ever_end(scripted, monkeypatch):
    """They do so with rows in them as well."""
    monkeypatch.setattr(client_module, "_MOST_PAGES", 20)
    pages = [
        Answer(body={"value": [{}], "@odata.nextLink": f"{scripted.url}/api/data/v9.2/contacts?page={number}"})
        for number in range(50)
    ]

    async def read(client):
        return [page async for page in client.pages("contacts")]

    with pytest.raises(CijIncompleteError, match="20 were read"):
        converse(scripted, *pages, talk=read)
