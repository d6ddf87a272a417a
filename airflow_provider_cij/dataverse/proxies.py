"""The environment's proxies, and the way through one."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import os
import urllib.request
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import h11
import httpx

from airflow_provider_cij.dataverse.http11 import new_http, response_to
from airflow_provider_cij.dataverse.stream import Stream
from airflow_provider_cij.errors import CijInputError


class Proxy(NamedTuple):
    """A proxy on the way to a host.

    :param url: its address
    :param auth: user name and password, None for none
    """

    url: httpx.URL
    auth: tuple[bytes, bytes] | None

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers of a request to the proxy itself."""
        if not self.auth:
            return []
        return [("Proxy-Authorization", f"Basic {base64.b64encode(b':'.join(self.auth)).decode()}")]

    @property
    def is_socks(self) -> bool:
        """Whether it speaks SOCKS, not HTTP."""
        return self.url.scheme.startswith("socks")

    async def open_tunnel(self, stream: Stream, host: str, port: int) -> None:
        """Let the proxy connect to a host. From now on the stream leads there.

        :param stream: a connection to the proxy
        :param host: the host's name or address
        :param port: the host's port
        :raises OSError: the proxy refuses
        """
        await (self._by_socks if self.is_socks else self._by_http)(stream, host, port)

    async def _by_http(self, stream: Stream, host: str, port: int) -> None:
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        request = h11.Request(method="CONNECT", target=target, headers=[("Host", target), *self.headers])
        http = new_http()
        response = await response_to(http, stream, request, None)
        if not 200 <= response.status_code < 300:
            reason = response.reason.decode("ascii", "ignore")
            raise ConnectionRefusedError(f"the proxy answered {response.status_code} {reason}")
        if http.trailing_data[0]:
            raise ConnectionAbortedError("the proxy sent more than its answer")

    async def _by_socks(self, stream: Stream, host: str, port: int) -> None:
        from socksio import socks5

        socks = socks5.SOCKS5Connection()

        async def ask(question: Any) -> Any:
            socks.send(question)
            stream.write(socks.data_to_send())
            return socks.receive_data(await stream.read())

        method = socks5.SOCKS5AuthMethod.USERNAME_PASSWORD if self.auth else socks5.SOCKS5AuthMethod.NO_AUTH_REQUIRED
        reply = await ask(socks5.SOCKS5AuthMethodsRequest([method]))
        if reply.method != method:
            raise ConnectionRefusedError("the proxy does not take this way to log in")
        if self.auth and not (await ask(socks5.SOCKS5UsernamePasswordRequest(*self.auth))).success:
            raise ConnectionRefusedError("the proxy refused the user name or password")
        reply = await ask(socks5.SOCKS5CommandRequest.from_address(socks5.SOCKS5Command.CONNECT, (host, port)))
        if reply.reply_code != socks5.SOCKS5ReplyCode.SUCCEEDED:
            raise ConnectionRefusedError(f"the proxy answered {reply.reply_code.name}")


def proxy_for(url: str) -> Proxy | None:
    """Return the environment's proxy for an address, None without one.

    :param url: the address
    :raises CijInputError: the environment names a proxy that can't be used
    """
    name, proxy = proxy_of(url)
    if not proxy:
        return None
    try:
        parts = urlsplit(proxy)
        if not parts.hostname or parts.port == 0:  # reading a port out of range raises
            raise ValueError
        given = httpx.Proxy(proxy)
        if given.url.scheme.startswith("socks"):
            import socksio  # noqa: F401
    except (httpx.InvalidURL, ImportError, ValueError, TypeError, OverflowError) as error:
        hint = "Give an address such as http://proxy.contoso.test:3128."
        if isinstance(error, ImportError):
            hint = "A SOCKS proxy needs the package httpx[socks] (socksio)."
        raise CijInputError(f"The environment variable {name} names a proxy that can't be used.", hint=hint) from None
    return Proxy(given.url, given.raw_auth)


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
