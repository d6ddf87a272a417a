"""The HTTP transport that msal gets: each request bounded in time and size, and sent to the login service alone."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ssl import SSLContext
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import httpx

from airflow_provider_cij.dataverse.connections import Connections, connector
from airflow_provider_cij.dataverse.odata import same_origin
from airflow_provider_cij.dataverse.redact import register_tokens
from airflow_provider_cij.dataverse.responses import Response
from airflow_provider_cij.dataverse.texts import json_of, text_of
from airflow_provider_cij.dataverse.wire import BrokenError, EncodingError, TooLargeError, exchange
from airflow_provider_cij.errors import CijInputError

# Bytes of a response.
_LARGEST = 2**20
# Login hosts of Microsoft's clouds. The discovery document of one may name another.
_MICROSOFT = (
    "login.microsoftonline.com",
    "login.microsoft.com",
    "login.windows.net",
    "sts.windows.net",
    "login.microsoftonline.us",
    "login.partner.microsoftonline.cn",
    "login.chinacloudapi.cn",
)
# Fields of a token response that msal reads as numbers.
_TIMES = ("expires_in", "expires_on", "ext_expires_in", "refresh_in")


class BusyError(Exception):
    """The login service returned nothing usable. Another try may succeed.

    :param message: what happened
    :param retry_after: seconds that the service asked to wait, by default None
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class LoginResponse(NamedTuple):
    """A response with the attributes that msal reads."""

    status_code: int
    headers: Mapping[str, str]
    text: str

    def raise_for_status(self) -> None:
        """Raise ``BusyError`` for a status of 400 or more."""
        if self.status_code >= 400:
            raise BusyError(f"HTTP {self.status_code}")


class LoginClient:
    """An HTTP client for msal.

    msal is synchronous: the requests of a login run in its thread, on an event loop and a connection of their own.

    :param authority: the login address; ``""`` for a managed identity, whose endpoint the machine names
    :param context: how TLS is checked
    :param seconds: for all requests of one login together
    """

    def __init__(self, authority: str, context: SSLContext, seconds: float) -> None:
        self._authority = authority
        self._context = context
        self._seconds = seconds
        self._until = 0.0
        self._hosts: dict[str, Connections] = {}

    @contextmanager
    def login(self) -> Iterator[None]:
        """Run one login: the requests inside the ``with`` share its seconds and its connection."""
        self._until = time.monotonic() + self._seconds
        with asyncio.Runner() as self._loop:
            try:
                yield
            finally:
                for connections in self._hosts.values():
                    connections.close()
                self._hosts.clear()

    def get(self, url: str, *, params: Any = None, headers: Any = None, **_: Any) -> LoginResponse:
        """Send a GET. Signature of ``requests``, whose other arguments are ignored.

        :param url: the address
        :param params: query options to add, by default none
        :param headers: headers, by default none
        :raises BusyError: there is no usable response
        :raises CijInputError: the machine names an endpoint that is no address of HTTP
        """
        if params:
            url = f"{url}{'&' if '?' in url else '?'}{urlencode(params)}"
        return self._send("GET", url, headers or {}, None)

    def post(self, url: str, *, params: Any = None, data: Any = None, headers: Any = None, **_: Any) -> LoginResponse:
        """Send a form. Signature of ``requests``, whose other arguments are ignored.

        :param url: the address
        :param params: query options to add, by default none
        :param data: the form's fields as a dict, or an encoded body; by default empty
        :param headers: headers, by default none
        :raises BusyError: there is no usable response
        """
        if params:
            url = f"{url}{'&' if '?' in url else '?'}{urlencode(params)}"
        # msal passes a signed assertion as bytes.
        fields = {
            name: value.decode() if isinstance(value, bytes) else value
            for name, value in (data if isinstance(data, dict) else {}).items()
            if value is not None
        }
        register_tokens(*(value for name, value in fields.items() if name.endswith("assertion")))
        body = urlencode(fields) if isinstance(data, dict) else data or ""
        form = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
        return self._send("POST", url, form, body.encode() if isinstance(body, str) else body)

    def close(self) -> None:
        """Do nothing: no connection is kept open."""

    def _send(self, method: str, url: str, headers: Mapping[str, str], content: bytes | None) -> LoginResponse:
        if self._authority and not _trusted(url, self._authority):
            raise BusyError("its discovery document names another host for tokens. The credential was not sent there")
        left, host = max(0.01, self._until - time.monotonic()), "/".join(url.split("/")[:3])

        async def main() -> tuple[int, Mapping[str, str], bytes]:
            self._hosts[host] = self._hosts.get(host) or Connections(connector(url, self._context))
            async with self._hosts[host].idle() as connection:
                return await exchange(
                    connection, method, url, content=content, headers=headers, seconds=left, largest=_LARGEST
                )

        try:
            status, received, body = self._loop.run(main())
        except BrokenError as broken:
            raise BusyError(broken.why) from None
        except TooLargeError:
            raise BusyError(f"its answer has more than {_LARGEST >> 20} MiB") from None
        except EncodingError as error:
            raise BusyError(f"it answered with {error}") from None
        except httpx.InvalidURL:
            if not self._authority:
                raise CijInputError(
                    "The address of the managed identity endpoint can't be asked.",
                    hint="Check the environment variables that name it, such as IDENTITY_ENDPOINT.",
                ) from None
            raise BusyError("the address it names can't be asked") from None
        except UnicodeError:
            raise BusyError("what it wants can't be sent in a header") from None
        return _checked(status, received, body)


def _trusted(url: str, authority: str) -> bool:
    try:
        parts = urlsplit(url)
        microsoft = parts.scheme == "https" and parts.hostname in _MICROSOFT and parts.port in (None, 443)
        return same_origin(url, authority) or (microsoft and "@" not in parts.netloc and "\\" not in url)
    except ValueError:
        return False


def _checked(status: int, headers: Mapping[str, str], body: bytes) -> LoginResponse:
    """Return a response that msal can't log, misread or cache wrongly.

    :raises BusyError: the service is busy, or its response can't be read
    """
    # msal would take a 429 for a final refusal, and cache it.
    if status == 429 or status >= 500:
        raise BusyError(f"HTTP {status}", Response(status, headers).retry_after(time.time()))
    try:
        content = json_of(body)
    except (ValueError, RecursionError):
        # msal would log the body, which may begin like a token or repeat the form.
        if status < 300:
            raise BusyError("its answer can't be read") from None
        return LoginResponse(status, headers, json.dumps({"error": "unreadable", "error_description": _page(status)}))
    if isinstance(content, dict) and status < 300:
        for name in _TIMES:
            if content.get(name) is not None and not _is_time(content[name]):
                raise BusyError(f"its answer can't be read ({name} is no number)")
    return LoginResponse(
        status, headers, text_of(body) if isinstance(content, dict) else json.dumps({"error": "unreadable"})
    )


def _page(status: int) -> str:
    return f"HTTP {status} without a reason that can be read: a proxy may have answered"


def _is_time(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and 0 <= int(value) < 10**12
    except (TypeError, ValueError, OverflowError):
        return False
