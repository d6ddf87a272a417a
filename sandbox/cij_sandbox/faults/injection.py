"""Fault injection: what a matching rule does to a request, its reply and the connection."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from cij_sandbox.core import errors
from cij_sandbox.core.web import Answer
from cij_sandbox.dataverse.tables import CLIENT_ID
from cij_sandbox.faults.limits import DOCUMENTED
from cij_sandbox.faults.rules import Fault
from cij_sandbox.journeys.definition import timed_out

_LOGIN_PAGE = (
    "<!DOCTYPE html><html><head><title>Sign in</title></head><body><form>Sign in to the network</form></body></html>"
)
_GATEWAY_PAGE = "<html><head><title>{0} {1}</title></head><body><h1>{0} {1}</h1></body></html>"
_PHRASES = {500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout"}
# On the login endpoint: error, number and message of Entra.
_LOGIN_ERRORS = {
    400: ("unauthorized_client", 700016, "The application was not found in the directory."),
    401: ("invalid_client", 7000222, "The provided client secret keys for the application are expired."),
    429: ("temporarily_unavailable", 90055, "There are too many incoming requests for the tenant."),
}
# Assumption: the status of a disabled user's refusal, and that every request gets these, WhoAmI and $batch included.
_USER_REFUSALS = {
    "no_application_user": ("0x80072560", "The user is not a member of the organization."),
    "no_role": ("0x80042F09", "The user has not been assigned any roles."),
    "disabled_user": ("0x80040225", "The specified user is either disabled or is not a member of any business unit."),
}
_OF_CLIENT = {
    "expired_secret": errors.expired_secret,
    "wrong_secret": errors.wrong_secret,
    "unknown_application": errors.unknown_application,
}
_LOGIN_DOWN = ("temporarily_unavailable", 90033, "A transient error has occurred. Please try again.")


class Protocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's HTTP, with the transport in the scope, because ASGI cannot close a connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Store the transport in the state of the application."""
        super().connection_made(transport)
        self.app_state: dict[str, Any] = {**self.app_state, "transport": transport}


class GatewayResponse(Response):
    """A reply of a gateway, without the headers of the service."""


class _HangUp(GatewayResponse):
    """A closed connection instead of a reply. The status is that of the reply that is not sent, 0 without one."""

    def __init__(self, status: int, close: str) -> None:
        super().__init__(None, status)
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport: asyncio.Transport = scope["state"]["transport"]
        if self._close == "rst":
            # With a linger time of 0 the kernel closes with RST instead of FIN.
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
        while (await receive())["type"] != "http.disconnect":
            pass


class _Cut(Response):
    """A reply whose body is shorter than its Content-Length."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        # uvicorn closes the connection of an application that begins a body and does not end it.
        await send({"type": "http.response.body", "body": _half(self.body), "more_body": True})


async def apply_fault(fault: Fault, http: HttpRequest, answer: Callable[[], Awaitable[Response]]) -> Response:
    """Return the reply of a fault, or raise its error. The 401 of the Web API is in ``server.app``."""
    if not fault.processed:
        async for _ in http.stream():
            pass
        return _HangUp(0, fault.close) if fault.fault == "reset" else _instead(fault, http)
    await asyncio.sleep(fault.delay)
    reply = await answer()
    await asyncio.sleep(fault.reply_delay)
    if fault.fault == "slow":
        return reply
    if fault.fault == "lost":
        return _HangUp(reply.status_code, fault.close)
    if fault.fault == "truncated":
        return _truncated(fault, reply)
    return _instead(fault, http)


def _instead(fault: Fault, http: HttpRequest) -> Response:
    if fault.fault in ("sql_timeout", "deadlock"):
        raise errors.sql_failure(timeout=fault.fault == "sql_timeout")
    if fault.fault == "html200":
        return GatewayResponse(_LOGIN_PAGE, 200, media_type="text/html")
    if fault.fault == "save_timeout":
        root, _, name = http.scope["path"].rpartition("/")
        context = f"https://{http.headers['host'].lower()}{root}/$metadata#Microsoft.Dynamics.CRM.{name}Response"
        headers, content = Answer(200, {"@odata.context": context, **timed_out()}).wire()
        return Response(content, 200, headers)
    _refuse_access(fault.fault, http)
    status, headers = int(fault.fault), fault.headers(time.time())
    login = not http.scope["path"].startswith("/api/data/")
    if fault.body == "html" or (fault.body is None and status > 500 and not login):
        return GatewayResponse(_GATEWAY_PAGE.format(status, _PHRASES[status]), status, headers, "text/html")
    if login:
        refusal = errors.LoginError(status, *_LOGIN_ERRORS.get(status, _LOGIN_DOWN))
        return JSONResponse(refusal.body(), status, headers)
    if status == 429:
        raise errors.ODataError(status, fault.code, DOCUMENTED.message(fault.code), headers)
    if status == 400:
        # Inferred: an action's 400 may wrap a transient error of the service behind it, named only in the message.
        raise errors.ODataError(
            status,
            "0x80040265",
            "Exception 'WebException' occured: The remote server returned an error: (503) Server Unavailable., "
            f"CorrelationId: {uuid.uuid4()}",
        )
    raise errors.ODataError(status, "0x80040216", "An unexpected error occurred.", headers)


def _refuse_access(fault: str, http: HttpRequest) -> None:
    """Raise the error of a fault that keeps the application out."""
    if fault in _USER_REFUSALS:
        raise errors.ODataError(403, *_USER_REFUSALS[fault])
    if fault in _OF_CLIENT:
        raise _OF_CLIENT[fault](CLIENT_ID)
    if fault == "unknown_tenant":
        raise errors.unknown_tenant(http.path_params["tenant"])


def _truncated(fault: Fault, reply: Response) -> Response:
    headers = dict(reply.headers)
    if fault.consistent:
        headers.pop("content-length", None)
        return Response(_half(reply.body) or b"{", 200 if reply.status_code == 204 else reply.status_code, headers)
    # A reply without a body is dropped as a whole.
    return _Cut(reply.body, reply.status_code, headers) if reply.body else _HangUp(reply.status_code, fault.close)


def _half(body: bytes | memoryview) -> bytes:
    return bytes(body[: len(body) // 2])
