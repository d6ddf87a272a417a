"""Thousands of conversations with a service that fails in every way, through the client itself.

Only what is not ours is replaced: the event loop's sockets, the login below msal, and time.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import h11
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_cij.dataverse import auth
from airflow_provider_cij.dataverse.client import Clock, DataverseClient
from airflow_provider_cij.dataverse.connections import Connection, Connections
from airflow_provider_cij.dataverse.retry import RetryPolicy
from airflow_provider_cij.dataverse.settings import Settings
from airflow_provider_cij.errors import CijAuthError, CijError

HOST = "https://contoso.crm4.dynamics.com"
ROW = "contacts(0f5b0c7f-395d-447b-b14c-315a601f878e)"
HOLD = 60.0
ROUNDS = RetryPolicy().max_attempts + 1
CONTEXT = ssl.create_default_context()
_numbers = itertools.count()


class VirtualClock(Clock):
    """A clock that jumps to the next sleeper's end once no other task can run."""

    def __init__(self) -> None:
        self.time = 1_790_000_000.0
        self._ends: list[float] = []

    def now(self) -> float:
        return self.time

    monotonic = now

    async def sleep(self, seconds: float) -> None:
        end = self.time + seconds
        self._ends.append(end)
        try:
            while self.time < end:
                for _ in range(30):  # the others first
                    await asyncio.sleep(0)
                if min(self._ends) == end:
                    self.time = max(self.time, end)
        finally:
            self._ends.remove(end)


@dataclass(frozen=True)
class Turn:
    """One attempt as the service sees it, and whether the request may have been executed."""

    landed: bool
    status: int = 0
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    breaks: Exception | str | None = None
    told: float | None = None
    takes: float = 0.0


@dataclass(eq=False)
class Wire:
    """A network that plays the script, a turn for each connection, and records what was sent and when."""

    script: Iterator[Turn]
    clock: VirtualClock
    sent: list[tuple[float, Turn]] = field(default_factory=list)
    told: list[tuple[float, float]] = field(default_factory=list)

    async def connect(self) -> Turn:
        """Begin a turn, which a refused connection ends."""
        turn = next(self.script, Turn(landed=True, status=204))
        self.sent.append((self.clock.now(), turn))
        if turn.takes:
            await self.clock.sleep(turn.takes)
        if turn.told is not None:
            self.told.append((self.clock.now(), turn.told))
        if isinstance(turn.breaks, OSError) and not turn.landed:
            raise turn.breaks
        return turn

    def answer(self, turn: Turn) -> list[bytes | Exception]:
        """Return what is received: bytes, ``b""`` for the end, or what breaks the connection."""
        if turn.breaks and not turn.status:
            return [turn.breaks if isinstance(turn.breaks, Exception) else turn.breaks.encode()]
        headers = {**turn.headers, "Connection": "close", "Content-Length": str(len(turn.body) + bool(turn.breaks))}
        if turn.told is not None:
            as_date = int(turn.told) % 2 and turn.told == int(turn.told)
            headers["Retry-After"] = (
                formatdate(self.clock.now() + turn.told, usegmt=True) if as_date else f"{turn.told:.3f}"
            )
        head = f"HTTP/1.1 {turn.status} \r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return [head.encode() + b"\r\n" + turn.body, turn.breaks if isinstance(turn.breaks, Exception) else b""]


class Transport(asyncio.Transport):
    """A connection that plays one turn."""

    def __init__(self, wire: Wire, turn: Turn, protocol: Any, silent: socket.socket) -> None:
        super().__init__()
        self._wire, self._turn, self._protocol, self._silent = wire, turn, protocol, silent
        self._server = h11.Connection(h11.SERVER)

    def write(self, data: Any) -> None:
        """Answer once the request is complete."""
        self._server.receive_data(data)
        while (event := self._server.next_event()) is not h11.NEED_DATA and event is not h11.PAUSED:
            if isinstance(event, h11.Request):
                assert dict(event.headers)[b"host"] == b"contoso.crm4.dynamics.com"
                assert dict(event.headers)[b"authorization"].startswith(b"Bearer token-")
            if isinstance(event, h11.EndOfMessage):
                asyncio.get_running_loop().call_soon(self._answer)

    def _answer(self) -> None:
        for received in self._wire.answer(self._turn):
            if isinstance(received, Exception):
                self._protocol.connection_lost(received)
            elif received:
                self._protocol.data_received(received)
            else:
                self._protocol.eof_received()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        assert name == "socket"
        return self._silent

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        """Do nothing: no socket is open."""


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose connections lead to the wire. Nothing arrives on its silent socket."""

    wire: Wire
    silent: socket.socket
    turns: dict[Any, Turn]

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> Any:
        assert (host, port) == ("contoso.crm4.dynamics.com", 443)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("192.0.2.1", 443))]

    async def sock_connect(self, sock: Any, address: Any) -> None:
        self.turns[sock] = await self.wire.connect()

    async def create_connection(self, factory: Any, *_: Any, sock: Any = None, **__: Any) -> Any:
        protocol = factory()
        transport = Transport(self.wire, self.turns.pop(sock), protocol, self.silent)
        sock.close()
        protocol.connection_made(transport)
        return transport, protocol

    async def start_tls(self, transport: Any, *_: Any, **named: Any) -> Any:
        assert named["server_hostname"] == "contoso.crm4.dynamics.com"
        return transport


class Client(DataverseClient):
    """The client under test without a file of its throttle."""

    async def __aenter__(self) -> Client:
        self._http = Connections(lambda: Connection(httpx.URL(self.settings.base_url), CONTEXT, None))
        return self


waits = st.one_of(st.none(), st.integers(0, 90).map(float), st.floats(0, 5).map(lambda wait: round(wait, 3)))
bodies = st.sampled_from(
    [b"", b"<html><title>Busy</title></html>", b'{"error":{"code":"0x80040265","message":"no"}}', b"\xff{", b"[[1"]
)
inner = b'{"error":{"code":"0x80040265","message":"The remote server returned an error: (503)."}}'
lost = st.sampled_from([ConnectionResetError("scripted"), TimeoutError("scripted"), "", "no HTTP\r\n\r\n"])
never_left = st.sampled_from(
    [ConnectionRefusedError("scripted"), socket.gaierror("scripted"), ssl.SSLError("scripted")]
)
moved = {"Location": "/api/data/v9.2/WhoAmI"}
turns = st.one_of(
    st.builds(Turn, st.just(False), st.just(429), bodies, told=waits),
    st.builds(Turn, st.just(True), st.sampled_from([408, 500, 502, 503, 504]), bodies, told=waits),
    st.builds(Turn, st.just(True), st.just(400), st.just(inner)),
    st.builds(Turn, st.just(False), st.just(401), bodies),
    st.builds(Turn, st.just(False), st.sampled_from([307, 308]), headers=st.just(moved)),
    st.builds(Turn, st.just(False), st.sampled_from([400, 403, 404, 405, 412, 413, 501, 302, 304, 599]), bodies),
    st.builds(Turn, st.just(True), breaks=lost),
    st.builds(Turn, st.just(False), breaks=never_left),
    st.builds(Turn, st.just(True), st.just(200), breaks=lost),
    st.builds(Turn, st.just(True), st.just(200), st.sampled_from([b'{"value":[]}', b'{"val', b"<html>", b"null"])),
)
LOGINS: dict[str, Callable[[], dict[str, object]]] = {
    "good": lambda: {"access_token": f"token-{next(_numbers)}", "expires_in": 3599},
    "no": lambda: {"error": "invalid_client", "error_description": "AADSTS7000215: no"},
    "later": lambda: {"error": "temporarily_unavailable"},
}
CALLS: dict[str, tuple[bool, Callable[[DataverseClient], Awaitable[object]]]] = {
    "get": (True, lambda client: client.get("WhoAmI")),
    "patch": (True, lambda client: client.patch(ROW, {"a": 1})),
    "patch what was read": (True, lambda client: client.patch(ROW, {"a": 1}, if_match='W/"1"')),
    "delete": (True, lambda client: client.delete(ROW)),
    "create": (True, lambda client: client.post("contacts", {"a": 1}, repeatable=True)),
    "act": (True, lambda client: client.action("msdynmkt_X", {}, repeatable=True)),
    "act once": (False, lambda client: client.action("msdynmkt_X", {}, repeatable=False)),
    "create once": (False, lambda client: client.post("contacts", {"a": 1}, repeatable=False)),
}


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """Keep one event loop for all examples."""
    silent, other_end = socket.socketpair()
    with silent, other_end, asyncio.Runner(loop_factory=Loop) as event_loop:
        loop = event_loop.get_loop()
        assert isinstance(loop, Loop)
        loop.silent = silent
        loop.turns = {}
        yield event_loop


def _settings(logins: list[str]) -> Settings:
    own = Settings(HOST, "t", str(next(_numbers)), client_secret="s", max_throttle_wait_seconds=HOLD, max_concurrency=3)
    script = iter(logins)

    def acquire(fresh: bool) -> dict[str, object]:
        word = next(script, "good")
        if word == "down":
            raise ConnectionRefusedError("scripted")
        return LOGINS[word]()

    auth._source(own)._acquire = acquire
    return own


async def _converse(wire: Wire, own: Settings, call: str) -> object:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop)
    loop.wire = wire
    async with Client(own, wire.clock) as client:
        try:
            return await CALLS[call][1](client)
        except CijError as error:
            return error


@settings(max_examples=3 * settings.default.max_examples)
@given(call=st.sampled_from(list(CALLS)), script=st.lists(turns, max_size=12))
def test_any_failure_sequence_ends_with_a_result_or_a_cij_error(runner, call, script):
    """No request is executed twice that must not be, none is sent too early, and every wait ends."""
    clock = VirtualClock()
    wire = Wire(iter(script), clock)
    started = clock.now()
    outcome = runner.run(_converse(wire, _settings([]), call))

    if not CALLS[call][0]:
        assert sum(turn.landed for _, turn in wire.sent) <= 1
        assert not any(turn.landed for _, turn in wire.sent[:-1])
    for (at, turn), (later, _) in itertools.pairwise(wire.sent):
        # A date in Retry-After has no fractions.
        assert later >= at + (turn.told or 0) - (1 if turn.told else 0)
    moves = sum(turn.status in (307, 308) for _, turn in wire.sent)
    # A row that clashes with its deletion is looked at.
    assert len(wire.sent) <= (2 * ROUNDS if call == "delete" else ROUNDS) + moves
    assert clock.now() - started <= ROUNDS * (HOLD + 2)
    if not isinstance(outcome, CijError):
        assert wire.sent[-1][1].landed or call == "delete"


@settings(max_examples=2 * settings.default.max_examples)
@given(
    call=st.sampled_from(list(CALLS)),
    script=st.lists(turns, max_size=4),
    logins=st.lists(st.sampled_from(["good", "no", "later", "down"]), max_size=7),
)
def test_any_login_failure_sequence_sends_nothing_without_a_token(runner, call, script, logins):
    """A login outage is retried, a refusal is not, and nothing is sent without a token."""
    clock = VirtualClock()
    wire = Wire(iter(script), clock)
    own = _settings(logins)
    outcome = runner.run(_converse(wire, own, call))
    if logins and logins[0] == "no":
        assert isinstance(outcome, CijAuthError)
        # The refusal is cached for a while: no request is sent.
        assert isinstance(runner.run(_converse(wire, own, call)), CijAuthError)
        assert wire.sent == []
    if not CALLS[call][0] and wire.sent:
        assert not any(turn.landed for _, turn in wire.sent[:-1])


crowd = st.one_of(
    st.builds(Turn, st.just(False), st.just(429), told=st.integers(0, 40).map(float), takes=st.floats(0.01, 2)),
    st.builds(Turn, st.just(True), st.just(204), takes=st.floats(0.01, 2)),
)


@settings(max_examples=2 * settings.default.max_examples)
@given(script=st.lists(crowd, min_size=1, max_size=30))
def test_a_429_holds_all_clients_of_a_connection(runner, script):
    """After a 429 no client of the connection sends before Retry-After, and never too many send together."""
    clock = VirtualClock()
    wire = Wire(iter(script), clock)
    own = _settings([])

    async def crowded() -> list[object]:
        return await asyncio.gather(*(_converse(wire, own, "act") for _ in range(9)))

    outcomes = runner.run(crowded())
    for caplog_all, wait in wire.told:
        # What goes out in the same instant may have been on its way.
        assert not [at for at, _ in wire.sent if caplog_all < at < caplog_all + wait - 1]
    ends = [(at + turn.takes, -1) for at, turn in wire.sent]
    steps = sorted([(at, 1) for at, _ in wire.sent] + ends)
    assert max(itertools.accumulate(step for _, step in steps)) <= own.max_concurrency
    assert len(outcomes) == 9
