"""The bytes of one socket, plain or inside TLS."""

from __future__ import annotations

import asyncio
import select
from ssl import SSLContext, SSLError
from typing import Any

import h11

# Seconds after which the next address of a host is tried beside the first (RFC 8305, 5).
_NEXT_ADDRESS = 0.25
# Bytes that are received before anybody reads them.
_MOST_UNREAD = 2**18
# Bytes of a response's headers, at most.
_LARGEST_HEAD = 100 * 2**10


class Stream(asyncio.Protocol):
    """A socket. What was received before it broke can still be read."""

    def __init__(self) -> None:
        self._raw: asyncio.Transport | None = None
        self._transport: asyncio.Transport | None = None
        """That of TLS, once it is there."""
        self._unread: list[bytes] = []
        self._size = 0
        self._reader: asyncio.Future[None] | None = None
        self._ended = False
        self._error: Exception | None = None

    async def connect(self, host: str, port: int) -> None:
        """Connect to a host, at the first of its addresses that answers.

        :param host: its name or address
        :param port: its port
        :raises OSError: there is no such host, or it does not answer
        """
        loop = asyncio.get_running_loop()
        # uvloop tries one address after another.
        named: dict[str, Any] = (
            {"happy_eyeballs_delay": _NEXT_ADDRESS} if isinstance(loop, asyncio.BaseEventLoop) else {}
        )
        await loop.create_connection(lambda: self, host, port, **named)
        self._open()

    async def start_tls(self, context: SSLContext, host: str) -> None:
        """Send and receive inside TLS from now on.

        :param context: how TLS is checked
        :param host: the name that the certificate must have
        :raises OSError: the handshake failed
        """
        transport = self._silent()
        try:
            self._transport = await asyncio.get_running_loop().start_tls(transport, self, context, server_hostname=host)
        except TypeError:  # Python 3.11 and 3.12 hide why TLS failed inside that of a proxy
            raise SSLError("the handshake failed: check the host's certificate") from None
        self._silent()

    def write(self, data: bytes) -> None:
        """Send bytes, without waiting until they have left.

        :param data: the bytes
        :raises OSError: the socket has ended
        """
        self._open().write(data)

    async def read(self) -> bytes:
        """Return what has been received, at least one byte; ``b""`` at the end.

        :raises OSError: the socket broke
        """
        if not self._unread and not self._ended:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        if not self._unread and self._error:
            raise self._error
        data = b"".join(self._unread)
        self._unread.clear()
        if self._size > _MOST_UNREAD and self._transport:
            self._transport.resume_reading()
        self._size = 0
        return data

    def is_idle(self) -> bool:
        """Return whether the socket is open, all was sent, and nothing has been received that was not read."""
        raw, transport = self._raw, self._transport
        if self._ended or self._unread or not raw or not transport or raw.is_closing():
            return False
        if raw.get_write_buffer_size() or transport.get_write_buffer_size():
            return False
        # The event loop may not have seen yet that the other side closed it.
        poll = select.poll()
        poll.register(raw.get_extra_info("socket"), select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Close the socket, or once it is connected. A reader reads its end."""
        self._end(None)
        if self._transport:
            self._transport.abort()

    def _open(self) -> asyncio.Transport:
        if self._ended or self._transport is None:
            raise self._error or ConnectionAbortedError("the connection was closed")
        return self._transport

    def _silent(self) -> asyncio.Transport:
        """Return the open transport. What somebody sends in plain text must not be read as if it came inside TLS."""
        transport = self._open()
        if self._unread:
            raise ConnectionAbortedError("more was received than the answer that was asked for")
        return transport

    def _end(self, error: Exception | None) -> None:
        if not self._ended:
            self._ended, self._error = True, error
        self._wake()

    def _wake(self) -> None:
        if self._reader and not self._reader.done():
            self._reader.set_result(None)

    def connection_made(self, transport: Any) -> None:
        """Take the open socket. asyncio calls this, and what follows."""
        self._raw = self._transport = transport
        if self._ended:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Keep what was received. Receive no more once there is much of it."""
        self._unread.append(data)
        self._size += len(data)
        if self._size > _MOST_UNREAD and self._transport:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """Note that the other side sends no more. asyncio closes the socket."""
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the socket is closed, and why."""
        self._end(exc)


def new_http() -> h11.Connection:
    """Return the state of a new connection."""
    return h11.Connection(h11.CLIENT, max_incomplete_event_size=_LARGEST_HEAD)


async def next_event(http: h11.Connection, stream: Stream) -> Any:
    """Return the next event of HTTP that was received.

    :param http: the state of the exchange
    :param stream: the socket
    :raises h11.RemoteProtocolError: what was received is no HTTP, or is not complete
    :raises OSError: the socket broke
    """
    while (event := http.next_event()) is h11.NEED_DATA:
        received = await stream.read()
        if not received and http.their_state is h11.SEND_RESPONSE:
            raise ConnectionResetError("the server closed the connection without a response")
        http.receive_data(received)
    return event


async def response_to(http: h11.Connection, stream: Stream, request: h11.Request, content: bytes | None) -> Any:
    """Send a request, and return the head of its final response.

    :param http: the state of the exchange
    :param stream: the socket
    :param request: the request's head
    :param content: its body, None for none
    :raises h11.LocalProtocolError: the request can't be sent
    :raises h11.RemoteProtocolError: what was received is no HTTP
    :raises OSError: the socket broke
    """
    events = (request, *((h11.Data(content),) if content else ()), h11.EndOfMessage())
    stream.write(b"".join(http.send(event) or b"" for event in events))
    while isinstance(event := await next_event(http, stream), h11.InformationalResponse):
        pass
    return event
