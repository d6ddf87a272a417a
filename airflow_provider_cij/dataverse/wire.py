"""One HTTP exchange, bounded in time and size: what the Web API's client and the login's client share."""

from __future__ import annotations

import asyncio
import contextlib
import io
import ipaddress
import os
import urllib.request
import zlib
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ssl import SSLContext
from typing import Any
from urllib.parse import urlsplit

import httpx

from airflow_provider_cij.dataverse.redact import words_of
from airflow_provider_cij.errors import CijInputError

_CONNECT_TIMEOUT = 10
_CHUNK = 2**20
# Words of a refusal; what goes on behind them is not read.
_LARGEST_REFUSAL = 2**20


class TooLargeError(Exception):
    """A success's body is larger than its limit."""


class EncodingError(Exception):
    """A body is encoded in a way that was not asked for, or is not what it says it is."""


class BrokenError(Exception):
    """There is no whole reply.

    :param why: what happened, in words fit for an error
    :param status: the HTTP status, None when not even that came
    :param headers: what came of them
    :param sent: False when nothing has left
    """

    def __init__(
        self, why: str, *, status: int | None = None, headers: Mapping[str, str] | None = None, sent: bool = True
    ) -> None:
        super().__init__(why)
        self.why = why
        self.status = status
        self.headers = headers or {}
        self.sent = sent


# With these nothing has left yet. All else may have arrived.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.ProxyError)


def open_client(url: str, context: SSLContext, timeout: float, connections: int, **others: Any) -> httpx.AsyncClient:
    """Open a client that keeps no cookies and heeds the environment's proxy.

    :param url: what it is for
    :param context: how TLS is checked
    :param timeout: seconds for each part of an exchange
    :param connections: at most
    :raises CijInputError: the environment names a proxy that can't be used
    """
    name, proxy = proxy_of(url)
    try:
        parts = urlsplit(proxy or "http://none")
        if not parts.hostname or parts.port == 0:  # reading a port out of range raises
            raise ValueError
        return httpx.AsyncClient(
            verify=context,
            # The service's cookie would pin every request to one of its servers.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            timeout=httpx.Timeout(timeout, connect=min(timeout, _CONNECT_TIMEOUT), pool=None),
            # httpx would close an idle connection after 5 s: a reconnect for every poll.
            limits=httpx.Limits(
                max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=90
            ),
            trust_env=False,
            proxy=proxy,
            **others,
        )
    except (httpx.InvalidURL, ImportError, ValueError, TypeError, OverflowError) as error:
        hint = "Give an address such as http://proxy.contoso.test:3128."
        if isinstance(error, ImportError):
            hint = "A SOCKS proxy needs the package httpx[socks] (socksio)."
        raise CijInputError(f"The environment variable {name} names a proxy that can't be used.", hint=hint) from None


def proxy_of(url: str) -> tuple[str, str | None]:
    """Return the environment's proxy for an address.

    :param url: the address
    :return: the variable's name, and the proxy's address or None
    """
    parts, proxies = urlsplit(url), urllib.request.getproxies()
    scheme = next((one for one in (parts.scheme, "all") if proxies.get(one)), "")
    if not scheme or _past_the_proxy(parts.hostname or "", parts.port, proxies.get("no", "")):
        return "", None
    proxy = proxies[scheme].strip()
    name = f"{scheme.upper()}_PROXY"
    return name if name in os.environ else name.lower(), proxy if "://" in proxy else f"http://{proxy}"


def _past_the_proxy(host: str, port: int | None, no_proxy: str) -> bool:
    for entry in (one.strip().lower() for one in no_proxy.split(",")):
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
    client: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    content: bytes | None = None,
    headers: Mapping[str, str],
    seconds: float,
    largest: int,
) -> tuple[int, Mapping[str, str], bytes]:
    """Send one request and read its reply, all within a time.

    :param client: of ``open_client``
    :param method: HTTP method
    :param url: the whole address
    :param content: the body
    :param headers: those of this request
    :param seconds: for the whole of it, from connecting to the last byte
    :param largest: bytes of the decoded body
    :return: status, headers by lower-case name, body
    :raises BrokenError: there is no whole reply
    :raises TooLargeError: the body is larger
    :raises EncodingError: the body can't be decoded
    :raises httpx.InvalidURL: address or headers can't be sent
    :raises UnicodeError: a header holds what no header can
    """
    status: int | None = None
    got: Mapping[str, str] = {}
    try:
        async with asyncio.timeout(seconds):
            asking = {"Accept-Encoding": "gzip, deflate", **headers}
            async with client.stream(method, url, content=content, headers=asking) as response:
                status, got = response.status_code, response.headers
                return status, got, await _body(response, largest)
    except TimeoutError:
        raise BrokenError(f"not all of it came within {seconds:g} s", status=status, headers=got) from None
    except (httpx.InvalidURL, UnicodeError, TooLargeError, EncodingError):
        raise
    except httpx.LocalProtocolError:  # its words quote the header
        raise UnicodeError("a header can't be sent") from None
    except httpx.HTTPError as error:
        raise BrokenError(_words(error), status=status, headers=got, sent=not isinstance(error, _NOT_SENT)) from None
    except (httpx.StreamError, OSError, RuntimeError, ValueError, OverflowError) as error:
        raise BrokenError(_words(error), status=status, headers=got) from None


def _words(error: Exception) -> str:
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
    """Return what decodes one chunk, a megabyte at a time: it gives bytes, and what is still to be decoded."""
    codings = [one.strip().lower() for one in headers.get("content-encoding", "").split(",")]
    codings = [one for one in codings if one not in ("", "identity")]
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
