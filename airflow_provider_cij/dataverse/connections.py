"""Connections to one host, each for one exchange at a time, through the environment's proxy.

HTTP is h11's, the library below httpx. httpcore, between them, takes locks and timeouts for each part of an exchange,
and leaves the socket of a TLS handshake open that is cancelled.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from ssl import SSLContext

import h11
import httpx

from airflow_provider_cij.dataverse.http11 import new_http, next_event, response_to
from airflow_provider_cij.dataverse.proxies import Proxy, proxy_for
from airflow_provider_cij.dataverse.stream import Stream

# Seconds for which an idle connection is used again.
_KEPT_IDLE = 90
# The characters of a path and a query that need no encoding (RFC 3986, 3.3 and 3.4).
_SOUND = re.compile(r"/(?:[\w.~!$&'()*+,;=:@/?-]++|%[0-9A-Fa-f]{2})*+", re.ASCII)


class Connection:
    """A connection to one host, for one exchange at a time.

    :param url: an address of the host
    :param context: how TLS is checked
    :param proxy: the proxy on the way, None for none
    """

    def __init__(self, url: httpx.URL, context: SSLContext, proxy: Proxy | None) -> None:
        self._root = f"{url.scheme}://{url.netloc.decode()}"
        self._url = url
        self._context = context
        self._proxy = proxy
        self._stream = Stream()
        self._http = new_http()
        self._idle_since = 0.0

    async def open(self) -> None:
        """Connect, unless the last exchange left the connection open.

        :raises OSError: the host or the proxy does not answer, refuses, or has no valid certificate
        :raises h11.RemoteProtocolError: the proxy does not speak HTTP
        """
        if self._stream.is_idle() and time.monotonic() - self._idle_since < _KEPT_IDLE:
            return
        self._stream.close()
        self._stream = stream = Stream()
        host, port = _host_of(self._url)
        if self._proxy:
            proxy_host, proxy_port = _host_of(self._proxy.url)
            await stream.connect(proxy_host, proxy_port)
            if self._proxy.url.scheme == "https":
                await stream.start_tls(self._context, proxy_host)
            if not self._is_forwarded:
                await self._proxy.open_tunnel(stream, host, port)
        else:
            await stream.connect(host, port)
        if self._url.scheme == "https":
            await stream.start_tls(self._context, host)
        self._http = new_http()

    async def send(self, method: str, url: str, headers: Mapping[str, str], content: bytes | None) -> h11.Response:
        """Send one request on the open connection, and return the head of its response.

        :param method: the HTTP method
        :param url: the whole address
        :param headers: the headers, but for those that tell of the host and the length
        :param content: the body, None for none
        :raises httpx.InvalidURL: the address can't be used
        :raises UnicodeError: a header can't be sent
        :raises RuntimeError: the address is of another host
        :raises h11.RemoteProtocolError: the response is no HTTP
        :raises OSError: the connection broke
        """
        own = [("Host", self._url.netloc.decode())]
        if content is not None or method in ("POST", "PUT", "PATCH"):
            own.append(("Content-Length", str(len(content or b""))))
        target = self.target(url)
        if self._proxy and self._is_forwarded:
            target = self._root + target
            own += self._proxy.headers
        try:
            request = h11.Request(method=method, target=target, headers=[*own, *headers.items()])
        except h11.LocalProtocolError:  # its message quotes the header
            raise UnicodeError("a header can't be sent") from None
        response: h11.Response = await response_to(self._http, self._stream, request, content)
        return response

    async def read(self) -> bytes | None:
        """Return the next bytes of the response's body, None at its end.

        :raises h11.RemoteProtocolError: the body is not complete
        :raises OSError: the connection broke
        """
        event = await next_event(self._http, self._stream)
        return event.data if isinstance(event, h11.Data) else None

    def release(self) -> None:
        """End an exchange: keep the connection for the next one where HTTP allows that."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE and not self._http.trailing_data[0]:
            self._http.start_next_cycle()
            self._idle_since = time.monotonic()
        else:
            self.close()

    def close(self) -> None:
        """Close the connection. One that is being opened is closed once it is connected."""
        self._stream.close()

    def target(self, url: str) -> str:
        """Return the path and the query of an address. httpx would check each character, 2 ms for a query of 30,000.

        :param url: the whole address
        :raises httpx.InvalidURL: the address can't be used
        :raises RuntimeError: the address is of another host
        """
        if url.startswith(self._root) and _SOUND.fullmatch(url, len(self._root)) and "/." not in url:
            return url[len(self._root) :]
        given = httpx.URL(url)
        if (given.scheme, _host_of(given)) != (self._url.scheme, _host_of(self._url)):
            raise RuntimeError("The address is of another host.")
        return given.raw_path.decode("ascii")

    @property
    def _is_forwarded(self) -> bool:
        """Whether a proxy takes each request by itself: plain HTTP needs no tunnel."""
        return self._proxy is not None and not self._proxy.is_socks and self._url.scheme == "http"


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
            connection.close()
            raise
        self._idle.append(connection)

    def close(self) -> None:
        """Close all. Exchanges in flight fail; one whose connection is being opened fails once it is connected."""
        while self._all:
            self._all.pop().close()


def connector(url: str, context: SSLContext) -> Callable[[], Connection]:
    """Return a function that makes connections through the environment's proxy.

    :param url: an address of the host they are for
    :param context: how TLS is checked
    :raises CijInputError: the environment names a proxy that can't be used
    :raises httpx.InvalidURL: the address can't be used
    """
    address = httpx.URL(url)
    if address.scheme not in ("http", "https") or not address.raw_host:
        raise httpx.InvalidURL("neither http nor https")
    proxy = proxy_for(url)
    return lambda: Connection(address, context, proxy)


def _host_of(url: httpx.URL) -> tuple[str, int]:
    """Return an address's host and port."""
    ports = {"https": 443, "http": 80}
    return url.raw_host.decode("ascii"), url.port or ports.get(url.scheme, 1080)
