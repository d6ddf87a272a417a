"""The bytes of one socket, plain or inside TLS."""

from __future__ import annotations

import asyncio
import select
from ssl import SSLContext, SSLError
from typing import Any

from airflow_provider_cij.dataverse.addresses import connected_socket

# Bytes that are received before anybody reads them.
_MOST_UNREAD = 2**18


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
        if isinstance(loop, asyncio.BaseEventLoop):
            await loop.create_connection(lambda: self, sock=await connected_socket(host, port))
        else:  # uvloop, which would close a given socket twice when this is cancelled, and tries one address at a time
            await loop.create_connection(lambda: self, host, port)
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
        """Close the socket. One that is being connected is closed once it is connected. ``read`` returns the end."""
        self._end(None)
        if self._transport:
            self._transport.abort()

    def _open(self) -> asyncio.Transport:
        if self._ended or self._transport is None:
            raise self._error or ConnectionAbortedError("the connection was closed")
        return self._transport

    def _silent(self) -> asyncio.Transport:
        """Return the open transport.

        :raises OSError: the socket has ended, or bytes were received before TLS: they must not be taken for a response
        """
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
        """Note that the socket is open. A callback of asyncio, as the methods below are."""
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
