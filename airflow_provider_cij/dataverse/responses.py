"""A reply becomes a value or an exception. Pure: what came over the wire in, plain Python out."""

from __future__ import annotations

import email.utils
import html
import http
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_cij.dataverse.redact import ids_in, struck, without_person, words_of
from airflow_provider_cij.dataverse.texts import json_of, text_of
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

DUPLICATE = "0x80040333"
"""A duplicate detection rule found a row like the one that was sent."""

# The service's word for how long to wait counts up to this: beyond it, it is down.
DAY = 86_400.0
_WORDS_READ = 200_000

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
    # Duplicate detection: 412 as documented, 500 in Microsoft's own sample (api-2 10.12).
    DUPLICATE: (CijConflictError, "A duplicate detection rule of the organisation found a row like it."),
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
class Response:
    """What came back for one request.

    :param status: HTTP status
    :param headers: by lower-case name
    :param body: as received
    :param request_name: the request in words, such as ``POST msdynmkt_segments``; goes into errors
    :param ids: ids of no person that were asked about: errors may repeat them
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    request_name: str = "request"
    ids: frozenset[str] = frozenset()

    @property
    def request_id(self) -> str:
        """The server's id of this request, if it gave one."""
        return next((words_of(found, bool)[:100] for name in _REQUEST_IDS if (found := self.headers.get(name))), "")

    def retry_after(self, now: float) -> float | None:
        """Read ``Retry-After``, which is a number of seconds or a date.

        :param now: the time as epoch seconds
        :return: seconds to wait from now, at most ``DAY``; None without a readable header
        """
        text = self.headers.get("retry-after", "").strip()
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
            return min(DAY, float(text))
        try:
            return min(DAY, max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now))
        except OverflowError:
            return DAY
        except (TypeError, ValueError):
            return None

    def date(self) -> float | None:
        """Read ``Date``: the service's own time as epoch seconds, None without a readable header."""
        try:
            return email.utils.parsedate_to_datetime(self.headers.get("date", "")).timestamp()
        except (OverflowError, TypeError, ValueError):
            return None

    def words(self, text: str) -> str:
        """Return the service's words fit for an error (``redact.words_of``)."""
        return words_of(text, lambda one: one in self.ids)


def value_of(response: Response) -> dict[str, Any]:
    """Read the body of a success. An empty one (204) is an empty dict.

    :raises CijReplyError: it is no JSON object
    :raises CijError: it is an error and nothing else; its ``inside`` is True
    """
    if not response.body.strip():
        return {}
    try:
        value = json_of(response.body)
    except (ValueError, RecursionError):
        raise unreadable(response, "a body that is no JSON") from None
    if not isinstance(value, dict):
        raise unreadable(response, "JSON that is no object")
    if (
        response.status < 300
        and value.keys() == {"error"}
        and isinstance(value["error"], Mapping)
        and (found := refusal_of(value))
    ):
        raise _inside(response, found)
    return value


def rows_of(response: Response) -> tuple[list[dict[str, Any]], str]:
    """Read one page of rows.

    :return: the rows, and the link to the next page or ``""``
    :raises CijReplyError: it is no page
    """
    page = value_of(response)
    rows, link = page.get("value"), page.get("@odata.nextLink") or ""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows) or not isinstance(link, str):
        raise unreadable(response, "no list of rows")
    return rows, link


def entity_id(response: Response) -> str:
    """Read the id of a row just made out of ``OData-EntityId``; ``""`` when the reply names none.

    :raises CijReplyError: the body is not of a Web API: who knows whether there is a row
    """
    value_of(response)
    found = _ENTITY_ID.search(response.headers.get("odata-entityid", ""))
    return found[1].lower() if found else ""


def error_of(response: Response, now: float) -> CijError:
    """Make the error that a failed reply stands for.

    :param response: any reply that is no success; its body may be JSON, HTML or nothing
    :param now: the time as epoch seconds, for ``Retry-After`` given as a date
    """
    code, said = _said(response)
    return _error(response, response.status, code, said, response.retry_after(now))


def _error(response: Response, status: int, code: str, said: str, retry_after: float | None = None) -> CijError:
    kind, hint = _kind(status, code, said)
    if retry_after is not None and retry_after >= DAY:
        wait = response.words(response.headers.get("retry-after", ""))[:40]
        hint = f"The service asked to wait a day or more (Retry-After: {wait}). Come back when it is well. {hint}"
    return kind(
        f"{response.request_name} was refused: {said}" if status < 500 else f"{response.request_name} failed: {said}",
        code=code,
        http_status=status,
        request_id=response.request_id,
        hint=hint.strip(),
        retry_after=retry_after,
    )


def outputs_of(response: Response) -> dict[str, Any]:
    """Read the outputs of an action.

    :raises CijReplyError: they are no JSON object
    :raises CijError: they say that the action failed, whatever the HTTP status; its ``inside`` is True
    """
    outputs = value_of(response)
    found = refusal_of(outputs)
    if found:
        raise _inside(response, found)
    return outputs


def _inside(response: Response, found: tuple[int, str, str]) -> CijError:
    status, code, said = found
    error = _error(response, status, response.words(code)[:100], response.words(said) or "no message")
    error.inside = True
    return error


_STATUS_NAMES = {status.name.replace("_", "").lower(): status.value for status in http.HTTPStatus}
_STATUS_FIELDS = ("statuscode", "httpstatuscode", "responsecode")
# Of the Web API, of ASP.NET, and of what people write.
_ERROR_FIELDS = (
    *("error", "errors", "odata.error", "fault", "faults", "errorcode", "errormessage", "haserrors"),
    *("exception", "exceptiontype", "exceptionmessage"),
)
_NO_ERROR = ("", "0", "none", "null", "false", "{}", "[]", "success", "succeeded", "ok", "no error", "noerror")
_FAILED_WORDS = ("failed", "failure", "error", "faulted")
_SUCCESS_FIELDS = ("issuccess", "success", "succeeded", "issuccessful", "issuccessstatuscode")
_WORDS_FIELDS = ("message", "errormessage", "error_description", "detail", "resulttext", "response", "title", "reason")
# Beyond this it is a list of members, or a journey.
_LONGEST_REFUSAL = 65_536
_DEPTH = 2


def refusal_of(outputs: Mapping[str, Any], depth: int = _DEPTH) -> tuple[int, str, str] | None:
    """Find a refusal in what an action answered with 200.

    :param outputs: its outputs, or an object within them
    :param depth: how many levels of objects, and of JSON in strings, to look into
    :return: the HTTP status that it stands for (400 where it names none), its code and its words; None for a success
    """
    fields = {name.removeprefix("@").replace("_", "").lower(): value for name, value in outputs.items()}
    error = next((fields[name] for name in _ERROR_FIELDS if _is_error(fields.get(name))), None)
    if error is None and depth == _DEPTH and str(fields.get("status")).lower() in _FAILED_WORDS:
        error = fields["status"]
    status = next((said for name in _STATUS_FIELDS if (said := _status(fields.get(name)))), 0)
    if fields.keys() & {"title", "detail", "message"}:  # problem details (RFC 9457)
        status = status or _status(fields.get("status")) or _status(fields.get("code"))
    failed = any(str(fields.get(name)).lower() in ("false", "0", "no") for name in _SUCCESS_FIELDS)
    if error or status or failed:
        return _refused(fields, error, status)
    if not depth:
        return None
    for value in fields.values():
        within = _object(value)
        if within is not None and (found := refusal_of(within, depth - 1)):
            return found
    return None


def _is_error(value: Any) -> bool:
    """Return whether a value is an error, and no empty word for none."""
    if isinstance(value, str):
        return value.strip().strip(".").lower() not in _NO_ERROR
    return bool(value)


def _refused(fields: Mapping[str, Any], error: Any, status: int) -> tuple[int, str, str]:
    inner = error if isinstance(error, Mapping) else _object(error) or {}
    about = {str(name).replace("_", "").lower(): value for name, value in inner.items()}
    status = status or next((found for name in (*_STATUS_FIELDS, "status") if (found := _status(about.get(name)))), 0)
    code = next((str(one) for one in (about.get("code"), fields.get("code"), fields.get("errorcode")) if one), "")
    said = [str(about[name.replace("_", "")]) for name in _WORDS_FIELDS if about.get(name.replace("_", ""))]
    said += [error] if isinstance(error, str) and not inner else []
    said += [str(fields[name.replace("_", "")]) for name in _WORDS_FIELDS if fields.get(name.replace("_", ""))]
    return status or _status(code) or 400, code or (str(status) if status else ""), said[0] if said else ""


def _status(value: Any) -> int:
    """Read an HTTP status of 300 and more, as a number, a text or .NET's name of it; 0 for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return 0
    text = re.sub(r"[\s_]", "", str(value)).lower()
    found = re.fullmatch(r"([3-5][0-9]{2})(?:\.0|[-:]?([a-z]+))?", text)
    named = found and found[2] and _STATUS_NAMES.get(found[2]) != int(found[1])
    status = int(found[1]) if found and not named else _STATUS_NAMES.get(text, 0)
    return status if status >= 300 else 0


def _object(value: Any) -> Mapping[str, Any] | None:
    """Return an object, or the one that a string holds as JSON."""
    if isinstance(value, str) and len(value) <= _LONGEST_REFUSAL and value.lstrip()[:1] == "{":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, Mapping) else None


def _said(response: Response) -> tuple[str, str]:
    """Give the service's code and words; gateways answer in HTML, or nothing at all."""
    try:
        error = json_of(response.body)["error"]
        return response.words(str(error.get("code") or ""))[:100], response.words(
            str(error.get("message") or "no message")
        )
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        pass
    try:
        said = text_of(response.body)[:_WORDS_READ]
    except ValueError:
        said = response.body[:_WORDS_READ].decode("utf-8", "replace")
    said = struck(html.unescape(said))  # before tags become blanks: they could part a secret
    title = re.search(r"<title>([^<]*)", said, re.IGNORECASE)
    words = " ".join(response.words(title[1] if title else re.sub(r"<[^<>]*>", " ", said)).split())
    return "", words[:300] or f"HTTP {response.status} without a body"


def ids_in_request(path: str, body: Mapping[str, Any] | None) -> frozenset[str]:
    """Return the ids in a request that are of no person: errors may repeat them.

    :param path: its path
    :param body: what it sends
    """
    own = [without_person(path.partition("?")[0])]
    for name, value in (body or {}).items():
        if _NO_PERSON.search(name):
            own += [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]
    return ids_in(" ".join(own))


_NO_PERSON = re.compile(r"segment|journey|definition|group|template|purpose|topic|requestid", re.IGNORECASE)


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


def unreadable(response: Response, what: str) -> CijReplyError:
    """Make the error of a success that can't be read.

    :param what: it was answered with
    """
    hints = []
    if response.body.lstrip()[:1] == b"<":
        hints.append("That is a web page: a proxy or a login page answers in the organisation's place.")
    if not response.request_name.startswith("GET "):
        hints.append("It was answered as done: look whether it took effect before you do it again.")
    error = CijReplyError(
        f"{response.request_name} was answered with {what}.",
        http_status=response.status,
        request_id=response.request_id,
        hint=" ".join(hints),
    )
    try:
        error.raw = text_of(response.body)
    except ValueError:
        error.raw = response.body.decode("utf-8", "replace")
    return error
