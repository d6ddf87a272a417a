"""What msal sends with: one bounded exchange at a time, to the login service alone."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx

from airflow_provider_cij.dataverse.odata import same_origin
from airflow_provider_cij.dataverse.redact import remember_token
from airflow_provider_cij.dataverse.responses import Response
from airflow_provider_cij.dataverse.texts import json_of, text_of
from airflow_provider_cij.dataverse.wire import BrokenError, EncodingError, TooLargeError, exchange, open_client

_LARGEST = 2**20
# Where Microsoft's clouds log in; the discovery of one may name another.
_MICROSOFT = (
    "login.microsoftonline.com",
    "login.microsoft.com",
    "login.windows.net",
    "sts.windows.net",
    "login.microsoftonline.us",
    "login.partner.microsoftonline.cn",
    "login.chinacloudapi.cn",
)
_TIMES = ("expires_in", "expires_on", "ext_expires_in", "refresh_in")


class BusyError(Exception):
    """The login service gave nothing that can be used, and may be asked again; ``retry_after`` as it said."""

    def __init__(self, said: str, retry_after: float | None = None) -> None:
        super().__init__(said)
        self.retry_after = retry_after


@dataclass(frozen=True)
class LoginReply:
    """A reply as msal reads it."""

    status_code: int
    headers: Mapping[str, str]
    text: str

    def raise_for_status(self) -> None:
        """Raise when it is no success."""
        if self.status_code >= 400:
            raise BusyError(f"HTTP {self.status_code}")


class LoginClient:
    """Sends for msal, which is synchronous: each request runs on an event loop of its own, in the thread that asks.

    :param authority: the login address; ``""`` for a managed identity, whose endpoint the machine names
    :param context: how TLS is checked
    :param seconds: for all requests of one login together
    """

    def __init__(self, authority: str, context: SSLContext, seconds: float) -> None:
        self._authority = authority
        self._context = context
        self._seconds = seconds
        self._until: float | None = None

    @contextmanager
    def login(self) -> Iterator[None]:
        """Let all requests within, and those before it, share one time; the next login has its own."""
        try:
            yield
        finally:
            self._until = None

    def get(self, url: str, *, params: Any = None, headers: Any = None, **_: Any) -> LoginReply:
        """Send a GET; other arguments of ``requests`` are not heeded."""
        if params:
            url = f"{url}{'&' if '?' in url else '?'}{urlencode(params)}"
        return self._send("GET", url, headers or {}, None)

    def post(self, url: str, *, params: Any = None, data: Any = None, headers: Any = None, **_: Any) -> LoginReply:
        """Send a form; other arguments of ``requests`` are not heeded."""
        if params:
            url = f"{url}{'&' if '?' in url else '?'}{urlencode(params)}"
        # msal hands a signed assertion over as bytes.
        fields = {
            name: value.decode() if isinstance(value, bytes) else value
            for name, value in (data if isinstance(data, dict) else {}).items()
            if value is not None
        }
        remember_token(*(value for name, value in fields.items() if name.endswith("assertion")))
        body = urlencode(fields) if isinstance(data, dict) else data or ""
        form = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
        return self._send("POST", url, form, body.encode() if isinstance(body, str) else body)

    def close(self) -> None:
        """Do nothing: no connection is kept."""

    def _send(self, method: str, url: str, headers: Mapping[str, str], content: bytes | None) -> LoginReply:
        if self._authority and not _trusted(url, self._authority):
            raise BusyError("its discovery document names another host for tokens. The credential was not sent there")
        now = time.monotonic()
        self._until = self._until or now + self._seconds
        left = max(0.01, self._until - now)

        async def main() -> tuple[int, Mapping[str, str], bytes]:
            async with open_client(url, self._context, left, 1) as client:
                return await exchange(
                    client, method, url, content=content, headers=headers, seconds=left, largest=_LARGEST
                )

        try:
            status, got, body = asyncio.run(main())
        except BrokenError as broken:
            raise BusyError(broken.why) from None
        except TooLargeError:
            raise BusyError(f"its answer has more than {_LARGEST >> 20} MiB") from None
        except EncodingError as error:
            raise BusyError(f"it answered with {error}") from None
        except httpx.InvalidURL:
            raise BusyError("the address it names can't be asked") from None
        except UnicodeError:
            raise BusyError("what it wants can't be sent in a header") from None
        return _checked(status, got, body)


def _trusted(url: str, authority: str) -> bool:
    try:
        parts = urlsplit(url)
        microsoft = parts.scheme == "https" and parts.hostname in _MICROSOFT and parts.port in (None, 443)
        return same_origin(url, authority) or (microsoft and "@" not in parts.netloc and "\\" not in url)
    except ValueError:
        return False


def _checked(status: int, headers: Mapping[str, str], body: bytes) -> LoginReply:
    """Refuse what msal would log, misread or keep.

    :raises BusyError: the service is busy, or its answer is none
    """
    # msal would make a final refusal of a 429, and keep the answer while we come again.
    if status == 429 or status >= 500:
        raise BusyError(f"HTTP {status}", Response(status, headers).retry_after(time.time()))
    try:
        said = json_of(body)
    except (ValueError, RecursionError):
        # msal would log it, and it may begin like a token or repeat the form.
        if status < 300:
            raise BusyError("its answer can't be read") from None
        return LoginReply(status, headers, json.dumps({"error": "unreadable", "error_description": _page(status)}))
    if isinstance(said, dict) and status < 300:
        for name in _TIMES:
            if said.get(name) is not None and not _is_time(said[name]):
                raise BusyError(f"its answer can't be read ({name} is no number)")
    return LoginReply(status, headers, text_of(body) if isinstance(said, dict) else json.dumps({"error": "unreadable"}))


def _page(status: int) -> str:
    return f"HTTP {status} without a reason that can be read: a proxy may have answered"


def _is_time(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and 0 <= int(value) < 10**12
    except (TypeError, ValueError, OverflowError):
        return False
