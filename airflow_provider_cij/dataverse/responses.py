"""Read an HTTP response into a value or an exception. Pure functions over plain values."""

from __future__ import annotations

import email.utils
import html
import http
import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from airflow_provider_cij.dataverse.clock import DAY
from airflow_provider_cij.dataverse.redact import strike_secrets, words_of
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

# Headers in which servers and gateways return the request id that Microsoft's support asks for.
_REQUEST_IDS = ("x-ms-service-request-id", "req_id", "x-ms-request-id")
_ENTITY_ID = re.compile(r"\(([0-9a-fA-F-]{36})\)\s*$")

DUPLICATE = "0x80040333"
"""The error code when a duplicate detection rule found a row like the one that was sent."""

# Characters of an error page that are searched for its message.
_PAGE_READ = 200_000

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
    # A gateway timed out waiting for the rest of the request.
    408: (CijServerError, ""),
    413: (CijRefusedError, "The request is too large: send less at once."),
    429: _THROTTLED,
    501: (CijUnavailableError, "The service does not implement this."),
}
# A CIJ action calls a service behind Dataverse. That service's error is in the text of Dataverse's own 400.
_INNER_ERROR = re.compile(r"\((?:429|5\d\d)\)|time-?out|timed out", re.IGNORECASE)
_INNER_HINT = "A backend service of Dataverse may be failing; if the error stays, the request is at fault."
# A segment with a key has quotes within: EntityDefinitions(LogicalName='new_table').
_UNKNOWN_SEGMENT = re.compile(r"Resource not found for the segment '((?:\([^()']*(?:'[^']*'[^()']*)*\)|[^'])*+)'")


class Response(NamedTuple):
    """The response to one request.

    :param status: the HTTP status
    :param headers: values by lower-case name, by default none
    :param body: the decoded body, by default empty
    :param request_name: the request in words, such as ``POST msdynmkt_segments``, for errors
    :param ids: ids in the request that are of no person, which errors may repeat; by default none
    """

    status: int
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes = b""
    request_name: str = "request"
    ids: frozenset[str] = frozenset()

    @property
    def request_id(self) -> str:
        """The server's id of this request, ``""`` when it returned none."""
        return next((words_of(found, bool)[:100] for name in _REQUEST_IDS if (found := self.headers.get(name))), "")

    def retry_after(self, now: float) -> float | None:
        """Read ``Retry-After``, a number of seconds or a date.

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
        """Return the service's own time (``Date``) as epoch seconds, None without a readable header."""
        try:
            return email.utils.parsedate_to_datetime(self.headers.get("date", "")).timestamp()
        except (OverflowError, TypeError, ValueError):
            return None

    def redacted(self, text: str) -> str:
        """Return a message of the service fit for an error (``redact.words_of``).

        :param text: the message, or any part of the response
        """
        return words_of(text, lambda found: found in self.ids)


def value_of(response: Response) -> dict[str, Any]:
    """Read the body of a success as a JSON object.

    :param response: a success
    :return: the object; an empty dict for an empty body (204)
    :raises CijReplyError: the body is no JSON object
    :raises CijError: the body is an error and nothing else; its ``inside`` is True
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

    :param response: a success
    :return: the rows, and the link to the next page or ``""``
    :raises CijReplyError: the body holds no list of rows
    """
    page = value_of(response)
    rows, link = page.get("value"), page.get("@odata.nextLink") or ""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows) or not isinstance(link, str):
        raise unreadable(response, "no list of rows")
    return rows, link


def entity_id(response: Response) -> str:
    """Read the id of a created row from the header ``OData-EntityId``.

    :param response: a success
    :return: the id in lower case, ``""`` when the response names none
    :raises CijReplyError: the body is not that of a Web API, so the row may not have been created
    """
    value_of(response)
    found = _ENTITY_ID.search(response.headers.get("odata-entityid", ""))
    return found[1].lower() if found else ""


def error_of(response: Response, now: float) -> CijError:
    """Return the error that an unsuccessful response stands for.

    :param response: any response that is no success; its body may be JSON, HTML or empty
    :param now: the time as epoch seconds, to read a ``Retry-After`` that is a date
    """
    code, message = _code_and_message(response)
    return _error(response, response.status, code, message, response.retry_after(now))


def _error(response: Response, status: int, code: str, message: str, retry_after: float | None = None) -> CijError:
    kind, hint = _class_and_hint(status, code, message)
    if retry_after is not None and retry_after >= DAY:
        wait = response.redacted(response.headers.get("retry-after", ""))[:40]
        hint = f"The service asked to wait a day or more (Retry-After: {wait}). Run the task again later. {hint}"
    return kind(
        f"{response.request_name} was refused: {message}"
        if status < 500
        else f"{response.request_name} failed: {message}",
        code=code,
        http_status=status,
        request_id=response.request_id,
        hint=hint.strip(),
        retry_after=retry_after,
    )


def outputs_of(response: Response) -> dict[str, Any]:
    """Read the outputs of an action.

    :param response: a success
    :return: the outputs; an empty dict for an empty body (204)
    :raises CijReplyError: the outputs are no JSON object
    :raises CijError: the outputs hold an error, whatever the HTTP status; its ``inside`` is True
    """
    outputs = value_of(response)
    found = refusal_of(outputs)
    if found:
        raise _inside(response, found)
    return outputs


def _inside(response: Response, found: tuple[int, str, str]) -> CijError:
    status, code, message = found
    error = _error(response, status, response.redacted(code)[:100], response.redacted(message) or "no message")
    error.inside = True
    return error


_STATUS_NAMES = {status.name.replace("_", "").lower(): status.value for status in http.HTTPStatus}
_STATUS_FIELDS = ("statuscode", "httpstatuscode", "responsecode")
# Names of the Web API, of ASP.NET, and of hand-written services.
_ERROR_FIELDS = (
    *("error", "errors", "odata.error", "fault", "faults", "errorcode", "errormessage", "haserrors"),
    *("exception", "exceptiontype", "exceptionmessage"),
)
_NO_ERROR = ("", "0", "none", "null", "false", "{}", "[]", "success", "succeeded", "ok", "no error", "noerror")
_FAILED_STATUSES = ("failed", "failure", "error", "faulted")
_SUCCESS_FIELDS = ("issuccess", "success", "succeeded", "issuccessful", "issuccessstatuscode")
_MESSAGE_FIELDS = (
    "message",
    "errormessage",
    "error_description",
    "detail",
    "resulttext",
    "response",
    "title",
    "reason",
)
_PROBLEM_FIELDS = {"title", "detail", "message"}  # of problem details (RFC 9457)
_TELLING_FIELDS = {"status", *_ERROR_FIELDS, *_STATUS_FIELDS, *_SUCCESS_FIELDS, *_PROBLEM_FIELDS}
# Characters. A longer text is a list of members, or a journey.
_LONGEST_REFUSAL = 65_536
_DEPTH = 2


def refusal_of(outputs: Mapping[str, Any], depth: int = _DEPTH) -> tuple[int, str, str] | None:
    """Find an error in the outputs that an action returned with 200.

    :param outputs: the action's outputs, or an object within them
    :param depth: levels of objects, and of JSON in strings, to search; by default 2
    :return: the HTTP status that the error stands for (400 where it names none), its code and its message; None for a
        success
    """
    fields = {name.removeprefix("@").replace("_", "").lower(): value for name, value in outputs.items()}
    found = None if _TELLING_FIELDS.isdisjoint(fields) else _refusal_in(fields, top=depth == _DEPTH)
    if found or not depth:
        return found
    for value in fields.values():
        within = _object(value)
        if within is not None and (found := refusal_of(within, depth - 1)):
            return found
    return None


def _refusal_in(fields: Mapping[str, Any], *, top: bool) -> tuple[int, str, str] | None:
    """Find an error in the fields of one object. Their names are in lower case.

    :param fields: the object's fields
    :param top: True when they are an action's outputs, whose status is that of the action
    """
    error = next((fields[name] for name in _ERROR_FIELDS if _is_error(fields.get(name))), None)
    if error is None and top and str(fields.get("status")).lower() in _FAILED_STATUSES:
        error = fields["status"]
    status = next((code for name in _STATUS_FIELDS if (code := _status(fields.get(name)))), 0)
    if not _PROBLEM_FIELDS.isdisjoint(fields):
        status = status or _status(fields.get("status")) or _status(fields.get("code"))
    failed = any(str(fields.get(name)).lower() in ("false", "0", "no") for name in _SUCCESS_FIELDS)
    return _refused(fields, error, status) if error or status or failed else None


def _is_error(value: Any) -> bool:
    """Return whether a value is an error, and not one of the texts that mean none."""
    if isinstance(value, str):
        return value.strip().strip(".").lower() not in _NO_ERROR
    return bool(value)


def _refused(fields: Mapping[str, Any], error: Any, status: int) -> tuple[int, str, str]:
    inner = error if isinstance(error, Mapping) else _object(error) or {}
    about = {str(name).replace("_", "").lower(): value for name, value in inner.items()}
    status = status or next((found for name in (*_STATUS_FIELDS, "status") if (found := _status(about.get(name)))), 0)
    codes = (about.get("code"), fields.get("code"), fields.get("errorcode"))
    code = next((str(value) for value in codes if value), "")
    messages = [str(about[name.replace("_", "")]) for name in _MESSAGE_FIELDS if about.get(name.replace("_", ""))]
    messages += [error] if isinstance(error, str) and not inner else []
    messages += [str(fields[name.replace("_", "")]) for name in _MESSAGE_FIELDS if fields.get(name.replace("_", ""))]
    return status or _status(code) or 400, code or (str(status) if status else ""), messages[0] if messages else ""


def _status(value: Any) -> int:
    """Return an HTTP status of 300 or more, given as a number, a text or .NET's name of it; 0 for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return 0
    text = re.sub(r"[\s_]", "", str(value)).lower()
    found = re.fullmatch(r"([3-5][0-9]{2})(?:\.0|[-:]?([a-z]+))?", text)
    named = found and found[2] and _STATUS_NAMES.get(found[2]) != int(found[1])
    status = int(found[1]) if found and not named else _STATUS_NAMES.get(text, 0)
    return status if status >= 300 else 0


def _object(value: Any) -> Mapping[str, Any] | None:
    """Return a value that is an object, or a string that holds one as JSON; None for any other."""
    if isinstance(value, str) and len(value) <= _LONGEST_REFUSAL and value.lstrip()[:1] == "{":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, Mapping) else None


def _code_and_message(response: Response) -> tuple[str, str]:
    """Return the error code and the message of a response. Gateways answer in HTML, or with an empty body."""
    try:
        error = json_of(response.body)["error"]
        code, message = str(error.get("code") or ""), str(error.get("message") or "no message")
        return response.redacted(code)[:100], response.redacted(message)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        pass
    try:
        message = text_of(response.body)[:_PAGE_READ]
    except ValueError:
        message = response.body[:_PAGE_READ].decode("utf-8", "replace")
    message = strike_secrets(html.unescape(message))  # before tags become blanks, which could split a secret
    title = re.search(r"<title>([^<]*)", message, re.IGNORECASE)
    words = " ".join(response.redacted(title[1] if title else re.sub(r"<[^<>]*>", " ", message)).split())
    return "", words[:300] or f"HTTP {response.status} without a body"


def _class_and_hint(status: int, code: str, message: str) -> tuple[type[CijError], str]:
    if code.lower() in _BY_CODE:
        return _BY_CODE[code.lower()]
    unknown = _UNKNOWN_SEGMENT.search(message)
    if status == 404 and unknown:
        return CijUnavailableError, (
            f"The organisation has no {unknown[1]}: Customer Insights - Journeys is not installed in this environment, "
            "or its version is older than this operation."
        )
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status == 400 and _INNER_ERROR.search(message):
        return CijServerError, _INNER_HINT
    if status >= 500:
        return CijServerError, ""
    if status < 400:
        return CijReplyError, "Such a response is not expected here."
    return CijRefusedError, ""


def unreadable(response: Response, what: str) -> CijReplyError:
    """Return the error for a success that can't be read.

    :param response: the response
    :param what: what it was answered with, such as ``a body that is no JSON``
    :return: the error, with the body as its ``raw``
    """
    hints = []
    if response.body.lstrip()[:1] == b"<":
        hints.append("That is a web page: a proxy or a login page answers in the organisation's place.")
    if not response.request_name.startswith("GET "):
        hints.append("Its status is a success: check whether it took effect before you send it again.")
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
