"""Sockets that break, answer early, say too much, or are slow; each with a real server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import socketserver
import ssl
import threading
import time

import pytest
import trustme

from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.dataverse.connections import Connections, connector
from airflow_provider_cij.dataverse.wire import BrokenError, exchange
from tests.scripted import Answer


@contextlib.contextmanager
def _serving(handle, context=None):
    """Run a server that handles each accepted socket, inside TLS with a context; give its address."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            with contextlib.suppress(OSError), contextlib.ExitStack() as tls:
                inside = tls.enter_context(context.wrap_socket(self.request, server_side=True)) if context else None
                handle(inside or self.request)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"{'https' if context else 'http'}://localhost:{server.server_address[1]}/"
        server.shutdown()


def _served(handle, content=None, rounds=1):
    """Run exchanges on one connection with a server that handles each accepted socket; return what they returned."""
    outcomes = []

    async def main(url):
        connections = Connections(connector(url, ssl.create_default_context()))
        for _ in range(rounds):
            async with connections.idle() as connection:
                status, _, body = await exchange(
                    connection, "POST", url, content=content, headers={}, seconds=30, largest=2**30
                )
                outcomes.append((status, body))
            time.sleep(0.05)  # noqa: ASYNC251  # the event loop does not see what comes in between
        connections.close()

    with _serving(handle) as url:
        asyncio.run(main(url))
    return outcomes


def test_a_refusal_before_the_body_has_left_is_read():
    """The response of a server that refuses a large body before it has read it is read, though it resets the socket."""

    def refuse(request):
        request.recv(4096)
        request.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # closing it resets it
        time.sleep(0.1)

    assert _served(refuse, bytes(50_000_000)) == [(413, b"no")]


@pytest.mark.parametrize("after", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"])
def test_nothing_beyond_a_response_is_taken_for_the_next_one(after):
    """A connection that is closed, or on which more comes than one response, is not used again."""
    accepted = []

    def answer(request):
        accepted.append(request)
        number = len(accepted)
        request.recv(4096)
        request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number + after)

    assert _served(answer, rounds=3) == [(200, b"1"), (200, b"2"), (200, b"3")]


def test_a_server_that_does_not_read_on_is_waited_for():
    """A large body arrives in full at a server that reads slowly, and a large response at a client that is busy."""
    size = 30_000_000

    def slow(request):
        received = 0
        while received < size:
            received += len(request.recv(2**20))
        request.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        request.sendall(bytes(size))

    assert _served(slow, bytes(size)) == [(200, bytes(size))]


def test_no_more_is_received_than_is_read():
    """A response that nobody reads is not received: memory stays flat."""
    sent = []

    def send_much(request):
        request.settimeout(1)
        request.recv(4096)
        request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        with contextlib.suppress(TimeoutError):
            while True:
                sent.append(request.send(bytes(2**20)))
        done.set()

    async def main(url):
        connection = connector(url, ssl.create_default_context())()
        await connection.open()
        await connection.send("GET", url, {}, None)
        await asyncio.to_thread(done.wait, 30)
        connection.close()

    done = threading.Event()
    with _serving(send_much) as url:
        asyncio.run(main(url))
    assert sum(sent) < 30_000_000  # what the kernel holds for both sides


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_plain_text_before_tls_is_no_response(tmp_path, loop):
    """What is sent in plain text before the TLS handshake is never read as a response: the exchange fails."""
    new_loop = asyncio.new_event_loop if loop == "asyncio" else pytest.importorskip("uvloop").new_event_loop
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_side)

    def forge(request):
        request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
        with contextlib.suppress(OSError), server_side.wrap_socket(request, server_side=True) as inside:
            inside.recv(4096)
            inside.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue")

    async def main(url):
        connections = Connections(connector(url, ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))))
        for _ in range(50):
            with pytest.raises(BrokenError) as caught:
                async with connections.idle() as connection:
                    await exchange(connection, "GET", url, headers={}, seconds=30, largest=9)
            assert not caught.value.sent
        connections.close()

    with _serving(forge) as url, asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main(url.replace("http:", "https:")))


def test_a_connection_with_an_unsent_body_is_not_used_again(scripted):
    """A request does not wait behind the rest of a body that the server answered before it had read it."""
    accepted = []

    def refuse(request):
        accepted.append(request)
        request.recv(4096)
        request.sendall(b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n")
        ended.wait(30)

    async def main(url):
        connections = Connections(connector(url, ssl.create_default_context(cafile=scripted.ca)))
        for body in (bytes(30_000_000), b"small"):
            async with connections.idle() as connection:
                status, _, _ = await exchange(connection, "POST", url, content=body, headers={}, seconds=30, largest=9)
                assert status == 429
        ended.set()
        connections.close()

    ended = threading.Event()
    with _serving(refuse, scripted._http.socket.context) as url:
        asyncio.run(main(url))
    assert len(accepted) == 2


@pytest.mark.parametrize("iterations", range(8))
def test_an_idle_connection_that_breaks_is_replaced(scripted, iterations):
    """An idle TLS connection that the other side resets is replaced, however far the event loop has come with it."""
    accepted = []

    def answer(request):
        accepted.append(request)
        request.recv(4096)
        request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        answered.wait(30)
        request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # closing it resets it

    async def main(url):
        connections = Connections(connector(url, ssl.create_default_context(cafile=scripted.ca)))
        for _ in range(2):
            async with connections.idle() as connection:
                status, _, _ = await exchange(connection, "POST", url, headers={}, seconds=30, largest=9)
                assert status == 200
            answered.set()
            time.sleep(0.1)  # noqa: ASYNC251  # the event loop does not see that it breaks
            answered.clear()
            for _ in range(iterations):
                await asyncio.sleep(0)
        connections.close()

    answered = threading.Event()
    with _serving(answer, scripted._http.socket.context) as url:
        asyncio.run(main(url))
    assert len(accepted) == 2


def test_a_connection_closed_in_its_handshake_was_not_sent_on():
    """A connection that is closed during the TLS handshake fails as one on which nothing was sent."""

    async def main(url, accepted):
        connections = Connections(connector(url, ssl.create_default_context()))

        async def send():
            async with connections.idle() as connection:
                await exchange(connection, "POST", url, headers={}, seconds=30, largest=1)

        request = asyncio.create_task(send())
        server, _ = await asyncio.to_thread(accepted)
        with server:
            assert await asyncio.to_thread(server.recv, 1)  # the handshake has begun
            connections.close()
            with pytest.raises(BrokenError) as caught:
                await request
        assert not caught.value.sent

    with socket.create_server(("127.0.0.1", 0)) as listener:
        asyncio.run(main(f"https://localhost:{listener.getsockname()[1]}", listener.accept))


def test_uvloop_runs_it_as_well(scripted):
    """The client runs on uvloop, which Airflow's API server uses."""
    uvloop = pytest.importorskip("uvloop")
    scripted.script = [Answer(body={"a": 1})]

    async def main():
        async with DataverseClient(scripted.settings()) as client:
            return await asyncio.gather(*(client.get("WhoAmI") for _ in range(3)))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == [{"a": 1}] * 3
