"""Connections to one host, each for one exchange at a time, through the environment's proxy.

They are those of httpcore, the library that httpx sends with. httpx's own pool checks all of its connections at each
request, and may never use the connection of a cancelled request again.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from ssl import SSLContext
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx

from airflow_provider_cij.errors import CijInputError

# Seconds. httpx would close an idle connection after 5: a reconnect for every poll.
_KEPT_IDLE = 90
# The characters of a path and a query that need no encoding (RFC 3986, 3.3 and 3.4).
_SOUND = re.compile(r"/(?:[\w.~!$&'()*+,;=:@/?-]++|%[0-9A-Fa-f]{2})*+", re.ASCII)


class _Backend(httpcore.AnyIOBackend):
    """Opens sockets, and remembers the last one: httpcore forgets the socket of a TLS handshake that is cancelled."""

    opened: httpcore.AsyncNetworkStream | None = None

    async def connect_tcp(self, *given: Any, **named: Any) -> httpcore.AsyncNetworkStream:
        self.opened = await super().connect_tcp(*given, **named)
        return self.opened


class Connection:
    """A connection to one host. It is opened by its first request, and opened again after it was closed.

    :param url: an address of the host
    :param make: returns httpcore's connection, which uses a backend
    """

    def __init__(self, url: httpx.URL, make: Callable[[_Backend], httpcore.AsyncConnectionInterface]) -> None:
        self._root = f"{url.scheme}://{url.netloc.decode()}"
        self._host = url.netloc
        self._url = url
        self._make = make
        self._backend = _Backend()
        self._http: httpcore.AsyncConnectionInterface | None = None

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None, timeouts: Mapping[str, float]
    ) -> httpcore.Response:
        """Send one request. The response must be closed, and any failure be followed by ``aclose``.

        :param method: the HTTP method
        :param url: the whole address
        :param headers: the headers, but for those that tell of the host and the length
        :param content: the body, None for none
        :param timeouts: httpcore's timeouts, in seconds
        :raises httpx.InvalidURL: the address can't be used
        :raises UnicodeError: a header is not ASCII
        :raises RuntimeError: the address is of another host
        """
        own = [(b"Host", self._host)]
        if content is not None or method in ("POST", "PUT", "PATCH"):
            own.append((b"Content-Length", b"%d" % len(content or b"")))
        own += [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
        request = httpcore.Request(
            method, self.target(url), headers=own, content=content, extensions={"timeout": timeouts}
        )
        if self._http is None or self._http.is_closed() or self._http.has_expired():
            await self.aclose()
            self._http = self._make(self._backend)
        return await self._http.handle_async_request(request)

    def target(self, url: str) -> httpcore.URL:
        """Return an address as httpcore takes it. httpx would check each character, 2 ms for a query of 30,000.

        :param url: the whole address
        :raises httpx.InvalidURL: the address can't be used
        """
        if url.startswith(self._root) and _SOUND.fullmatch(url, len(self._root)) and "/." not in url:
            return _core_url(self._url, url[len(self._root) :].encode("ascii"))
        given = httpx.URL(url)
        return _core_url(given, given.raw_path)

    async def aclose(self) -> None:
        """Close the connection, also one that is being opened."""
        if self._http:
            await self._http.aclose()
        if self._backend.opened:
            await self._backend.opened.aclose()
        self._http = self._backend.opened = None


class Connections:
    """The connections to one host. Each exchange in flight has one of its own.

    :param connect: returns a new connection
    """

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._all: set[Connection] = set()
        self._idle: list[Connection] = []

    @contextlib.asynccontextmanager
    async def idle(self) -> AsyncIterator[Connection]:
        """Return an idle connection for one exchange, the last one that was used: it is likely open."""
        connection = self._idle.pop() if self._idle else self._connect()
        self._all.add(connection)
        try:
            yield connection
        except BaseException:
            self._all.discard(connection)
            await connection.aclose()
            raise
        self._idle.append(connection)

    async def aclose(self) -> None:
        """Close all, those in use as well: their exchanges fail."""
        while self._all:
            await self._all.pop().aclose()


def connector(url: str, context: SSLContext) -> Callable[[], Connection]:
    """Return a function that makes connections through the environment's proxy.

    :param url: an address of the host they are for
    :param context: how TLS is checked
    :raises CijInputError: the environment names a proxy that can't be used
    :raises httpx.InvalidURL: the address can't be used
    """
    address = httpx.URL(url)
    if address.scheme not in ("http", "https"):
        raise httpx.InvalidURL("neither http nor https")
    origin = _core_url(address, b"/").origin
    name, proxy = proxy_of(url)
    named: dict[str, Any] = {"ssl_context": context, "keepalive_expiry": _KEPT_IDLE}
    kind: type[httpcore.AsyncConnectionPool] = httpcore.AsyncConnectionPool
    try:
        if proxy:
            parts = urlsplit(proxy)
            if not parts.hostname or parts.port == 0:  # reading a port out of range raises
                raise ValueError
            given = httpx.Proxy(proxy)
            kind = httpcore.AsyncHTTPProxy if parts.scheme.startswith("http") else httpcore.AsyncSOCKSProxy
            named["proxy_auth"] = given.raw_auth
            named["proxy_url"] = _core_url(given.url, b"/")
        kind(**named)
    except (httpx.InvalidURL, ImportError, RuntimeError, ValueError, TypeError, OverflowError) as error:
        hint = "Give an address such as http://proxy.contoso.test:3128."
        if isinstance(error, ImportError | RuntimeError):
            hint = "A SOCKS proxy needs the package httpx[socks] (socksio)."
        raise CijInputError(f"The environment variable {name} names a proxy that can't be used.", hint=hint) from None
    # A pool knows the kind of connection that its proxy needs.
    return lambda: Connection(address, lambda backend: kind(**named, network_backend=backend).create_connection(origin))


def _core_url(url: httpx.URL, target: bytes) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=target)


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
