"""One HTTP exchange, bounded in time and size. The client of the Web API and the client of the login share it."""

from __future__ import annotations

import asyncio
import io
import zlib
from collections.abc import Mapping
from typing import Any

import httpx

from airflow_provider_cij.dataverse.connections import Connection
from airflow_provider_cij.dataverse.redact import words_of
from airflow_provider_cij.dataverse.sender import sender

# Seconds.
_CONNECT_TIMEOUT = 10
_USER_AGENT = "airflow-provider-cij"
# Bytes decoded at a time.
_CHUNK = 2**20
# Bytes of an error's body; the rest is not read.
_LARGEST_REFUSAL = 2**20


class TooLargeError(Exception):
    """A success's body is larger than its limit."""


class EncodingError(Exception):
    """A body has a content encoding that was not asked for, or is not encoded as its header says."""


class BrokenError(Exception):
    """There is no complete response.

    :param why: what happened, without secrets
    :param status: the HTTP status; None, the default, when none was received
    :param headers: the headers received, by default none
    :param sent: False when the request was surely not sent; by default True
    """

    def __init__(
        self, why: str, *, status: int | None = None, headers: Mapping[str, str] | None = None, sent: bool = True
    ) -> None:
        super().__init__(why)
        self.why = why
        self.status = status
        self.headers = headers or {}
        self.sent = sent


async def exchange(
    connection: Connection,
    method: str,
    url: str,
    *,
    content: bytes | None = None,
    headers: Mapping[str, str],
    seconds: float,
    largest: int,
) -> tuple[int, Mapping[str, str], bytes]:
    """Send one request and read its response, within a time.

    :param connection: of the address's host, and idle; it must be closed after an error
    :param method: the HTTP method
    :param url: the whole address
    :param content: the body, by default none
    :param headers: the headers of this request
    :param seconds: for the whole exchange, from connecting to the last byte; connecting has 10 at most
    :param largest: bytes of a success's decoded body, at most; an error's body is cut at 1 MiB
    :return: status, headers by lower-case name, decoded body
    :raises BrokenError: there is no complete response
    :raises TooLargeError: the body of a success is larger than ``largest``
    :raises EncodingError: the body can't be decoded
    :raises httpx.InvalidURL: the address can't be used
    :raises UnicodeError: a header holds characters that can't be sent
    """
    status: int | None = None
    received: Mapping[str, str] = {}
    opened = False
    if on_behalf := sender.get():
        on_behalf.on_request()
    try:
        async with asyncio.timeout(seconds) as limit:
            await _open(connection)
            opened = True
            sent_headers = {"User-Agent": _USER_AGENT, "Accept-Encoding": "gzip, deflate", **headers}
            response = await connection.send(method, url, sent_headers, content)
            status, received = response.status_code, httpx.Headers(response.headers.raw_items())
            body = await _body(connection, status, received.get("content-encoding", ""), largest)
            connection.release()
            return status, received, body
    except (httpx.InvalidURL, UnicodeError, TooLargeError, EncodingError, BrokenError):
        raise
    except Exception as error:  # those of the libraries below have no class in common
        why = _reason(error, limit, f"the response was not complete within {seconds:g} s")
        raise BrokenError(why, status=status, headers=received, sent=opened) from None


async def _open(connection: Connection) -> None:
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT) as limit:
            await connection.open()
    except Exception as error:
        why = _reason(error, limit, f"there was no connection within {_CONNECT_TIMEOUT} s")
        raise BrokenError(why, sent=False) from None


def _reason(error: Exception, limit: asyncio.Timeout, late: str) -> str:
    if isinstance(error, TimeoutError) and limit.expired():
        return late
    return f"{type(error).__name__}: {words_of(str(error), bool)}"


async def _body(connection: Connection, status: int, encoding: str, largest: int) -> bytes:
    limit = largest if status < 300 else min(largest, _LARGEST_REFUSAL)
    body = io.BytesIO()
    decode = _decoder(encoding)
    while (pending := await connection.read()) is not None:
        while pending:
            part, pending = decode(pending)
            body.write(part)
            if body.tell() > limit:
                if status < 300:
                    raise TooLargeError
                body.truncate(limit)
                return body.getvalue()
    return body.getvalue()


def _decoder(encoding: str) -> Any:
    """Return a function that decodes one chunk, a megabyte at a time, to bytes and what is still to be decoded."""
    codings = [coding.strip().lower() for coding in encoding.split(",")]
    codings = [coding for coding in codings if coding not in ("", "identity")]
    if not codings:
        return lambda chunk: (chunk, b"")
    if len(codings) > 1 or codings[0] not in ("gzip", "x-gzip", "deflate"):
        raise EncodingError("an encoding that was not asked for")
    # 47: gzip or zlib, by its header. Some servers send "deflate" without one.
    made: list[Any] = []

    def decode(chunk: bytes) -> tuple[bytes, bytes]:
        if not made:
            headless = codings[0] == "deflate" and chunk[0] & 0x0F != 8
            made.append(zlib.decompressobj(-zlib.MAX_WBITS if headless else 47))
        try:
            part = made[0].decompress(chunk, _CHUNK)
        except zlib.error:
            raise EncodingError("a body that is not encoded as it says") from None
        return part, b"" if made[0].eof else made[0].unconsumed_tail

    return decode
