"""Hosts with several addresses, of which some do not answer, with real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.dataverse.addresses import _by_turns, connected_socket
from airflow_provider_cij.dataverse.stream import Stream

LOOPS = ["asyncio", "uvloop"]
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


def _run(work, loop, addresses=("127.0.0.1",)):
    """Run work on a loop whose hosts have these addresses."""
    base = asyncio.SelectorEventLoop if loop == "asyncio" else pytest.importorskip("uvloop").Loop

    class Loop(base):
        async def getaddrinfo(self, host, port, **named):
            if host != "contoso.com":  # uvloop asks for addresses as well
                return await super().getaddrinfo(host, port, **named)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(work())


def _open_sockets():
    links = Path("/proc/self/fd").iterdir()
    return sum(link.readlink().name.startswith("socket:") for link in links if link.is_symlink())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("addresses", [("127.0.0.1",), (NOBODY, "127.0.0.1"), ("127.0.0.1", "127.0.0.1")])
def test_a_connection_that_is_cancelled_leaves_no_socket_open(listening, loop, addresses):
    """Whenever a connection is cancelled while it is opened, its sockets are closed."""

    async def work():
        before = _open_sockets()
        for turns in range(30):
            stream = Stream()
            opening = asyncio.create_task(stream.connect("contoso.com", listening))
            for _ in range(turns):
                await asyncio.sleep(0)
            opening.cancel()
            await asyncio.wait([opening])
            stream.close()
            for _ in range(5):
                await asyncio.sleep(0)
            assert _open_sockets() == before, turns

    _run(work, loop, addresses)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_that_ends_while_it_connects_leaves_no_socket_open(listening, silent, loop):
    """A program that ends while connections are opened closes their sockets."""

    async def work():
        for turns in range(10):
            _tasks.append(asyncio.create_task(connected_socket("contoso.com", listening)))
            for _ in range(turns):
                await asyncio.sleep(0)

    _tasks = []
    before = _open_sockets()
    _run(work, loop, [silent])
    assert _open_sockets() == before
    assert all(task.cancelled() for task in _tasks)


@pytest.mark.parametrize("loop", LOOPS)
def test_the_next_address_is_tried_beside_one_that_is_silent(listening, silent, loop):
    """When a host's first address does not answer, the next one is used, and no socket of the first stays open."""

    async def work():
        before = _open_sockets()
        with await connected_socket("contoso.com", listening) as sock:
            assert sock.getpeername() == ("127.0.0.1", listening)
            assert not sock.getblocking()
        assert _open_sockets() == before

    _run(work, loop, [silent, "127.0.0.1"])


@pytest.mark.parametrize("loop", LOOPS)
def test_an_address_that_refuses_is_followed_by_the_next(listening, loop):
    """When a host's first address refuses, the next one is used."""

    async def work():
        with await connected_socket("contoso.com", listening) as sock:
            return sock.getpeername()

    assert _run(work, loop, [NOBODY, "127.0.0.1"]) == ("127.0.0.1", listening)


@pytest.mark.parametrize(
    ("addresses", "words"),
    [
        ([NOBODY], r"127\.0\.0\.9"),
        ([NOBODY, NOBODY], r"^[^;]*127\.0\.0\.9[^;]*$"),
        ([NOBODY, "127.0.0.10"], r"127\.0\.0\.9.*; .*127\.0\.0\.10"),
        ([], "no address"),
    ],
)
@pytest.mark.parametrize("loop", LOOPS)
def test_a_host_that_does_not_answer_is_an_error(listening, loop, addresses, words):
    """A host of which no address answers is an OSError that says why for each."""

    async def work():
        await connected_socket("contoso.com", listening)

    with pytest.raises(OSError, match=words):
        _run(work, loop, addresses)


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
