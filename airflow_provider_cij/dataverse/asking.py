"""One request of the Web API on its way: its body in bytes, and its reply or the reason that there is none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx

from airflow_provider_cij.dataverse.responses import Response, unreadable
from airflow_provider_cij.dataverse.retry import Failure
from airflow_provider_cij.dataverse.wire import BrokenError, EncodingError, TooLargeError, exchange
from airflow_provider_cij.errors import CijError, CijInputError, CijReplyError, CijUnreachableError

# A page of 5000 rows has a few megabytes. What goes on past this would end a worker, not a task.
LARGEST_BODY = 256 * 2**20


class UnansweredError(Exception):
    """There was no reply, and ``failure`` says how far the request got."""

    def __init__(self, failure: Failure, error: CijError) -> None:
        super().__init__(failure, error)
        self.failure = failure
        self.error = error


def content_of(body: Mapping[str, Any] | None, request_name: str) -> bytes | None:
    """Write a body as JSON.

    :param body: what to send, None for nothing
    :param request_name: the request in words
    :raises CijInputError: it can't be written
    """
    if body is None:
        return None
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        why = "holds a number that is none" if isinstance(error, ValueError) else "can't be written as JSON"
        raise CijInputError(f"{request_name} was not sent: what it is to send {why}.") from None


async def exchange_request(
    http: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    content: bytes | None,
    headers: Mapping[str, str],
    seconds: float,
    request_name: str,
) -> Response:
    """Send a request and read its reply.

    :param http: of ``wire.open_client``
    :param method: HTTP method
    :param url: the whole address
    :param content: the body
    :param headers: those of this request
    :param seconds: for the whole exchange
    :param request_name: the request in words
    :raises CijReplyError: the reply is too large, or is encoded in a way that was not asked for
    :raises UnansweredError: there is no reply
    """
    try:
        status, got, read = await exchange(
            http, method, url, content=content, headers=headers, seconds=seconds, largest=LARGEST_BODY
        )
        return Response(status, got, read, request_name)
    except (httpx.InvalidURL, UnicodeError):
        raise CijReplyError(f"{request_name} was answered with a link or an etag that can't be sent.") from None
    except TooLargeError:
        said = f"{request_name} was answered with more than {LARGEST_BODY >> 20} MiB. The rest was not read."
        raise CijReplyError(said) from None
    except EncodingError as error:
        raise CijReplyError(f"{request_name} was answered with {error}. It was not read.") from None
    except BrokenError as broken:
        if broken.status is None:
            raise _unanswered(broken, request_name) from None
        response = Response(broken.status, broken.headers, b"", request_name)
        if response.status < 300:
            raise unreadable(response, f"a body that broke off: {broken.why}") from None
        return response  # a refusal stays one without its words


def _unanswered(broken: BrokenError, request_name: str) -> UnansweredError:
    if not broken.sent:
        said = f"{request_name} was not sent: {broken.why}"
        hint = "Check the host, the network and ca_bundle."
        return UnansweredError(Failure.NOT_SENT, CijUnreachableError(said, hint=hint))
    said = f"{request_name} got no reply: {broken.why}"
    return UnansweredError(Failure.LOST, CijUnreachableError(said, hint="Whether it took effect is not known."))
