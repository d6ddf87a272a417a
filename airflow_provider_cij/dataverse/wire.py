"""One HTTP exchange, bounded in time and size. The client of the Web API and the client of the login share it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import ipaddress
import os
import re
import urllib.request
import zlib
from collections.abc import AsyncIterator, Iterable, Mapping
from ssl import SSLContext
from typing import Any
from urllib.parse import urlsplit

import httpx

from airflow_provider_cij.dataverse.redact import words_of
from airflow_provider_cij.dataverse.sender import sender
from airflow_provider_cij.errors import CijInputError

# Seconds.
_CONNECT_TIMEOUT = 10
_USER_AGENT = "airflow-provider-cij"
# Bytes decoded at a time.
_CHUNK = 2**20
# Bytes of an error's body; the rest is not read.
_LARGEST_REFUSAL = 2**20
# The characters of a query that need no encoding (RFC 3986, 3.4).
_QUERY = re.compile(r"(?:[\w.~!$&'()*+,;=:@/?-]++|%[0-9A-Fa-f]{2})*+", re.ASCII)


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


# These are raised before anything is sent. After any other error the request may have arrived.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.ProxyError)


class DirectTransport(httpx.AsyncHTTPTransport):
    """A transport without a proxy, which takes an address in two parts.

    httpx checks an address character by character, which takes 2 ms for the 30,000 of a lookup's query.
    """

    def request(self, method: str, url: str, extensions: dict[str, Any], **given: Any) -> httpx.Request:
        """Return a request whose query, when it is sound, is sent as it is given.

        :param method: the HTTP method
        :param url: the whole address
        :param extensions: httpx's request extensions
        :param given: further arguments of ``httpx.Request``
        """
        path, mark, query = url.partition("?")
        if not mark or not _QUERY.fullmatch(query):
            return httpx.Request(method, url, extensions=extensions, **given)
        address = httpx.URL(path)
        target = {"target": address.raw_path + f"?{query}".encode()}
        return httpx.Request(method, address, extensions=extensions | target, **given)


def open_transport(url: str, context: SSLContext) -> httpx.AsyncHTTPTransport:
    """Open a transport of one connection, with the environment's proxy. An ``AsyncClient`` is not needed.

    :param url: the address it is for; it selects the proxy
    :param context: how TLS is checked
    :return: the transport, for an ``async with``
    :raises CijInputError: the environment names a proxy that can't be used
    """
    name, proxy = proxy_of(url)
    try:
        parts = urlsplit(proxy or "http://none")
        if not parts.hostname or parts.port == 0:  # reading a port out of range raises
            raise ValueError
        kind = httpx.AsyncHTTPTransport if proxy else DirectTransport
        return kind(
            verify=context,
            # httpx would close an idle connection after 5 s: a reconnect for every poll.
            limits=httpx.Limits(max_connections=1, keepalive_expiry=90),
            trust_env=False,
            proxy=httpx.Proxy(proxy) if proxy else None,
        )
    except (httpx.InvalidURL, ImportError, ValueError, TypeError, OverflowError) as error:
        hint = "Give an address such as http://proxy.contoso.test:3128."
        if isinstance(error, ImportError):
            hint = "A SOCKS proxy needs the package httpx[socks] (socksio)."
        raise CijInputError(f"The environment variable {name} names a proxy that can't be used.", hint=hint) from None


class Transports:
    """Transports of one host. Each has one connection: httpx's pool checks all of its connections at each request.

    :param transports: the transports
    """

    def __init__(self, transports: Iterable[httpx.AsyncBaseTransport]) -> None:
        self._all = list(transports)
        self._idle = self._all[::-1]

    @classmethod
    def open(cls, url: str, context: SSLContext, connections: int) -> Transports:
        """Open transports as ``open_transport`` does.

        :param url: the address they are for
        :param context: how TLS is checked
        :param connections: how many transports there are: exchanges at once at most
        :raises CijInputError: the environment names a proxy that can't be used
        """
        return cls(open_transport(url, context) for _ in range(connections))

    @contextlib.asynccontextmanager
    async def idle(self) -> AsyncIterator[httpx.AsyncBaseTransport]:
        """Return an idle transport for one exchange, the last one that was used: its connection is likely open."""
        transport = self._idle.pop()
        try:
            yield transport
        except BaseException:
            # httpcore may count the connection of a cancelled request as active for good: it is closed to make room.
            await transport.aclose()
            raise
        finally:
            self._idle.append(transport)

    async def aclose(self) -> None:
        """Close all."""
        for transport in self._all:
            await transport.aclose()


def proxy_of(url: str) -> tuple[str, str | None]:
    """Return the environment's proxy for an address.

    :param url: the address
    :return: the name of the environment variable and the proxy's address; ``""`` and None without a proxy
    """
    parts, proxies = urlsplit(url), urllib.request.getproxies()
    scheme = next((name for name in (parts.scheme, "all") if proxies.get(name)), "")
    if not scheme or _bypasses_proxy(parts.hostname or "", parts.port, proxies.get("no", "")):
        return "", None
    proxy = proxies[scheme].strip()
    name = f"{scheme.upper()}_PROXY"
    return name if name in os.environ else name.lower(), proxy if "://" in proxy else f"http://{proxy}"


def _bypasses_proxy(host: str, port: int | None, no_proxy: str) -> bool:
    for entry in (part.strip().lower() for part in no_proxy.split(",")):
        if entry == "*":
            return True
        bare = entry.partition("://")[2] or entry
        if _is_in(host, bare):
            return True
        name, _, its_port = bare.partition(":") if bare.count(":") == 1 else (bare, "", "")
        name = name.removeprefix("*").lstrip(".")
        if name and (host == name or host.endswith(f".{name}")) and its_port in ("", str(port or 443)):
            return True
    return False


def _is_in(host: str, entry: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    return False


async def exchange(
    transport: httpx.AsyncBaseTransport,
    method: str,
    url: str,
    *,
    content: bytes | None = None,
    headers: Mapping[str, str],
    seconds: float,
    largest: int,
) -> tuple[int, Mapping[str, str], bytes]:
    """Send one request and read its response, within a time.

    :param transport: as ``open_transport`` returns it
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
    if on_behalf := sender.get():
        on_behalf.on_request()
    try:
        timeouts = {"connect": min(seconds, _CONNECT_TIMEOUT), "read": seconds, "write": seconds}
        sent_headers = {"User-Agent": _USER_AGENT, "Accept-Encoding": "gzip, deflate", **headers}
        # A proxy's CONNECT would be sent to the target of its request.
        new = transport.request if isinstance(transport, DirectTransport) else httpx.Request
        request = new(method, url, headers=sent_headers, content=content, extensions={"timeout": timeouts})
        async with asyncio.timeout(seconds), _response(transport, request) as response:
            status, received = response.status_code, response.headers
            return status, received, await _body(response, largest)
    except TimeoutError:
        raise BrokenError(
            f"the response was not complete within {seconds:g} s", status=status, headers=received
        ) from None
    except (httpx.InvalidURL, UnicodeError, TooLargeError, EncodingError):
        raise
    except httpx.LocalProtocolError:  # its message quotes the header
        raise UnicodeError("a header can't be sent") from None
    except httpx.HTTPError as error:
        raise BrokenError(
            _reason(error), status=status, headers=received, sent=not isinstance(error, _NOT_SENT)
        ) from None
    except (httpx.StreamError, OSError, RuntimeError, ValueError, OverflowError) as error:
        raise BrokenError(_reason(error), status=status, headers=received) from None


@contextlib.asynccontextmanager
async def _response(transport: httpx.AsyncBaseTransport, request: httpx.Request) -> AsyncIterator[httpx.Response]:
    response = await transport.handle_async_request(request)
    try:
        yield response
    finally:
        await response.aclose()


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {words_of(str(error), bool)}"


async def _body(response: httpx.Response, largest: int) -> bytes:
    limit = largest if response.status_code < 300 else min(largest, _LARGEST_REFUSAL)
    body = io.BytesIO()
    decode = _decoder(response.headers)
    async for chunk in response.aiter_raw(_CHUNK):
        pending = chunk
        while pending:
            part, pending = decode(pending)
            body.write(part)
            if body.tell() > limit:
                if response.status_code < 300:
                    raise TooLargeError
                body.truncate(limit)
                return body.getvalue()
    return body.getvalue()


def _decoder(headers: httpx.Headers) -> Any:
    """Return a function that decodes one chunk, a megabyte at a time, to bytes and what is still to be decoded."""
    codings = [coding.strip().lower() for coding in headers.get("content-encoding", "").split(",")]
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
