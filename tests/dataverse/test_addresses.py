"""Hosts with several addresses, of which some do not answer, with real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.dataverse import addresses as addresses_module
from airflow_provider_cij.dataverse.addresses import _by_turns, connected_socket
from airflow_provider_cij.dataverse.stream import Stream

NOBODY = "127.0.0.9"


@pytest.fixture
def listening():
    """Accept at one address; return the port, on which nobody listens at others."""
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as server:
        yield server.getsockname()[1]


@pytest.fixture
def silent(listening):
    """Return an address that does not answer: its queue of connections is full."""
    with socket.socket() as server, contextlib.ExitStack() as stack:
        server.bind(("127.0.0.8", listening))
        server.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.8", listening))
        yield "127.0.0.8"


class Loop(asyncio.SelectorEventLoop):
    """An event loop that knows the addresses of one host."""

    addresses: Sequence[str] = ()

    async def getaddrinfo(self, host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.addresses]


def _run(work, addresses):
    """Run work on a loop whose host has these addresses."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.get_loop().addresses = addresses
        return runner.run(work())


def _open_sockets():
    links = Path("/proc/self/fd").iterdir()
    return sum(link.readlink().name.startswith("socket:") for link in links if link.is_symlink())


async def _cancel_at_each_turn(host, port):
    before = _open_sockets()
    for turns in range(30):
        stream = Stream()
        opening = asyncio.create_task(stream.connect(host, port))
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait([opening])
        stream.close()
        for _ in range(5):
            await asyncio.sleep(0)
        assert _open_sockets() == before, turns


@pytest.mark.parametrize("addresses", [("127.0.0.1",), (NOBODY, "127.0.0.1"), ("127.0.0.1", "127.0.0.1")])
def test_a_connection_that_is_cancelled_leaves_no_socket_open(listening, addresses):
    """Whenever a connection is cancelled while it is opened, its sockets are closed."""
    _run(lambda: _cancel_at_each_turn("contoso.com", listening), addresses)


def test_a_connection_that_is_cancelled_beside_a_silent_address_leaves_no_socket_open(listening, silent, monkeypatch):
    """Whenever a connection is cancelled while several addresses are tried at once, the sockets of all are closed."""
    monkeypatch.setattr(addresses_module, "_NEXT_ADDRESS", 0)
    _run(lambda: _cancel_at_each_turn("contoso.com", listening), [silent, "127.0.0.1"])


def test_a_connection_that_is_cancelled_on_uvloop_leaves_no_socket_open(listening):
    """Whenever a connection is cancelled while uvloop opens it, its socket is closed."""
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_cancel_at_each_turn("127.0.0.1", listening))


def test_a_loop_that_ends_while_it_connects_leaves_no_socket_open(listening, silent):
    """A program that ends while connections are opened closes their sockets."""

    async def work():
        for turns in range(10):
            _tasks.append(asyncio.create_task(connected_socket("contoso.com", listening)))
            for _ in range(turns):
                await asyncio.sleep(0)

    _tasks = []
    before = _open_sockets()
    _run(work, [silent])
    assert _open_sockets() == before
    assert all(task.cancelled() for task in _tasks)


def test_the_next_address_is_tried_beside_one_that_is_silent(listening, silent):
    """When a host's first address does not answer, the next one is used, and no socket of the first stays open."""

    async def work():
        before = _open_sockets()
        with await connected_socket("contoso.com", listening) as sock:
            assert sock.getpeername() == ("127.0.0.1", listening)
            assert not sock.getblocking()
            await asyncio.sleep(0)
            assert _open_sockets() == before + 1
        assert _open_sockets() == before

    _run(work, [silent, "127.0.0.1"])


def test_an_address_that_refuses_is_followed_by_the_next(listening):
    """When a host's first address refuses, the next one is used."""

    async def work():
        with await connected_socket("contoso.com", listening) as sock:
            return sock.getpeername()

    assert _run(work, [NOBODY, "127.0.0.1"]) == ("127.0.0.1", listening)


@pytest.mark.parametrize(
    ("addresses", "words"),
    [
        ([NOBODY], r"127\.0\.0\.9"),
        ([NOBODY, NOBODY], r"^[^;]*127\.0\.0\.9[^;]*$"),
        ([NOBODY, "127.0.0.10"], r"127\.0\.0\.9.*; .*127\.0\.0\.10"),
        ([], "no address"),
    ],
)
def test_a_host_that_does_not_answer_is_an_error(listening, addresses, words):
    """A host of which no address answers is an OSError that says why for each."""

    async def work():
        await connected_socket("contoso.com", listening)

    with pytest.raises(OSError, match=words):
        _run(work, addresses)


@given(st.lists(st.tuples(st.sampled_from([4, 6, 10]), st.integers()), unique=True))
def test_addresses_of_two_kinds_are_tried_in_turn(addresses):
    """All addresses are tried once, each kind in its order, and the first comes first."""
    order = _by_turns(addresses)
    assert sorted(order) == sorted(addresses)
    assert order[:1] == addresses[:1]
    kinds = {kind for kind, _ in addresses}
    assert all(
        [one for one in order if one[0] == kind] == [one for one in addresses if one[0] == kind] for kind in kinds
    )
    assert len({kind for kind, _ in order[: len(kinds)]}) == len(kinds)
