"""A reply becomes a value or an exception. Pure: what came over the wire in, plain Python out."""

from __future__ import annotations

import email.utils
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_cij.errors import (
    CijAuthError,
    CijConflictError,
    CijError,
    CijForbiddenError,
    CijNotFoundError,
    CijRefusedError,
    CijReplyError,
    CijServerError,
    CijThrottledError,
    CijUnavailableError,
)

# Under these names servers and gateways give the id that support asks for.
_REQUEST_IDS = ("x-ms-service-request-id", "req_id", "x-ms-request-id")
_ENTITY_ID = re.compile(r"\(([0-9a-fA-F-]{36})\)\s*$")

_THROTTLED = (CijThrottledError, "The service limits requests per user: lower max_concurrency, or use a pool.")
# Dataverse docs, "Compose HTTP requests and handle errors"; "Web service error codes".
_BY_CODE: dict[str, tuple[type[CijError], str]] = {
    "0x80072560": (
        CijForbiddenError,
        "Add the application (client id) as an application user of this environment, in the Power Platform admin "
        "center.",
    ),
    "0x80042f09": (
        CijForbiddenError,
        "The application user has no security role: give it one, such as Marketing Professional - Business.",
    ),
    "0x80040220": (
        CijForbiddenError,
        "A security role of the application user lacks the privilege named above.",
    ),
    "0x80040225": (CijForbiddenError, "The application user is disabled or in no business unit."),
    # Dataverse docs, "Service protection API limits": time, requests, requests at once.
    **dict.fromkeys(("0x80072321", "0x80072322", "0x80072326"), _THROTTLED),
}
_BY_STATUS: dict[int, tuple[type[CijError], str]] = {
    401: (CijAuthError, "The organisation does not accept the token: check host, tenant and client id."),
    403: (CijForbiddenError, "Check the security roles of the application user."),
    404: (CijNotFoundError, ""),
    412: (CijConflictError, ""),
    # A gateway waited in vain for the rest of the request.
    408: (CijServerError, ""),
    413: (CijRefusedError, "The request is too large: send less at once."),
    429: _THROTTLED,
    501: (CijUnavailableError, "The service does not implement this."),
}
# A CIJ action asks a service behind Dataverse. What that one answered is in the text of Dataverse's own 400.
_INNER_ERROR = re.compile(r"\((?:429|5\d\d)\)|time-?out|timed out", re.IGNORECASE)
_INNER_HINT = "A service behind Dataverse may be in trouble; if it stays, the request is at fault."
_UNKNOWN_SEGMENT = re.compile(r"Resource not found for the segment '([^']*)'")


@dataclass(frozen=True)
class Reply:
    """What came back for one request.

    :param status: HTTP status
    :param headers: by lower-case name
    :param body: as received
    :param asked: the request in words, such as ``POST msdynmkt_segments``; goes into errors
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    asked: str = "request"

    @property
    def request_id(self) -> str:
        """The server's id of this request, if it gave one."""
        return next((self.headers[name] for name in _REQUEST_IDS if self.headers.get(name)), "")

    def retry_after(self, now: float) -> float | None:
        """Read ``Retry-After``, which is a number of seconds or a date.

        :param now: the time as epoch seconds
        :return: seconds to wait from now, or None without a readable header
        """
        text = self.headers.get("retry-after", "").strip()
        # More digits than this are no wait but a mistake, and more than a timedelta holds.
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
            return float(text)
        try:
            return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now)
        except (ValueError, OverflowError):
            return None


def value_of(reply: Reply) -> dict[str, Any]:
    """Read the body of a success. An empty one (204) is an empty dict.

    :raises CijReplyError: it is no JSON object
    """
    if not reply.body.strip():
        return {}
    try:
        value = json.loads(reply.body)
    except (ValueError, RecursionError):
        raise unreadable(reply, "a body that is no JSON") from None
    if not isinstance(value, dict):
        raise unreadable(reply, "JSON that is no object")
    return value


def rows_of(reply: Reply) -> tuple[list[dict[str, Any]], str]:
    """Read one page of rows.

    :return: the rows, and the link to the next page or ``""``
    :raises CijReplyError: it is no page
    """
    page = value_of(reply)
    rows, link = page.get("value"), page.get("@odata.nextLink") or ""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows) or not isinstance(link, str):
        raise unreadable(reply, "no list of rows")
    return rows, link


def entity_id(reply: Reply) -> str:
    """Read the id of a row just made out of ``OData-EntityId``; ``""`` when the reply names none.

    :raises CijReplyError: the body is not of a Web API: who knows whether there is a row
    """
    value_of(reply)
    found = _ENTITY_ID.search(reply.headers.get("odata-entityid", ""))
    return found[1].lower() if found else ""


def error_of(reply: Reply, now: float) -> CijError:
    """Make the error that a failed reply stands for.

    :param reply: any reply that is no success; its body may be JSON, HTML or nothing
    :param now: the time as epoch seconds, for ``Retry-After`` given as a date
    """
    code, said = _said(reply)
    kind, hint = _kind(reply.status, code, said)
    return kind(
        f"{reply.asked} was refused: {said}" if reply.status < 500 else f"{reply.asked} failed: {said}",
        code=code,
        http_status=reply.status,
        request_id=reply.request_id,
        hint=hint,
        retry_after=reply.retry_after(now),
    )


def _said(reply: Reply) -> tuple[str, str]:
    """Give the service's code and words; gateways answer in HTML, or nothing at all."""
    try:
        error = json.loads(reply.body)["error"]
        return _clean(str(error.get("code") or "")), _clean(str(error.get("message") or "no message"))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        pass
    said = reply.body[:2000].decode("utf-8", "replace")
    title = re.search(r"<title>(.*?)</title>", said, re.IGNORECASE | re.DOTALL)
    words = " ".join((title[1] if title else re.sub(r"<[^>]*>", " ", said)).split())
    return "", words[:300] or f"HTTP {reply.status} without a body"


def _clean(text: str) -> str:
    # JSON can hold half a character ("\\ud800"), which no log file takes.
    return text.encode("utf-8", "replace").decode().strip()


def _kind(status: int, code: str, said: str) -> tuple[type[CijError], str]:
    if code.lower() in _BY_CODE:
        return _BY_CODE[code.lower()]
    unknown = _UNKNOWN_SEGMENT.search(said)
    if status == 404 and unknown:
        return CijUnavailableError, (
            f"The organisation has no {unknown[1]}: Customer Insights - Journeys is not installed in this environment, "
            "or its version is older than this operation."
        )
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status == 400 and _INNER_ERROR.search(said):
        return CijServerError, _INNER_HINT
    if status >= 500:
        return CijServerError, ""
    if status < 400:
        return CijReplyError, "Such a reply is not expected here."
    return CijRefusedError, ""


def wrong_with(error: Exception) -> str:
    """Say what is wrong with a value, of the error that reading it has led to."""
    return f"it has no {error.args[0]}" if isinstance(error, KeyError) else str(error)


def unreadable(reply: Reply, what: str) -> CijReplyError:
    """Make the error of a success that can't be read.

    :param what: it was answered with
    """
    hints = []
    if reply.body.lstrip()[:1] == b"<":
        hints.append("That is a web page: a proxy or a login page answers in the organisation's place.")
    if not reply.asked.startswith("GET "):
        hints.append("It was answered as done: look whether it took effect before you do it again.")
    error = CijReplyError(
        f"{reply.asked} was answered with {what}.",
        http_status=reply.status,
        request_id=reply.request_id,
        hint=" ".join(hints),
    )
    error.raw = reply.body.decode("utf-8", "replace")
    return error
