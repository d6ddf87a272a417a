"""The HTTP side: routes, headers, and what precedes and follows the answer of the service."""

from __future__ import annotations

import sys
import traceback
import uuid
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from urllib.parse import parse_qs, parse_qsl

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from cij_sandbox.core import assumptions, errors
from cij_sandbox.core.clock import CLOCK
from cij_sandbox.core.web import Answer, Request
from cij_sandbox.dataverse.annotations import refused
from cij_sandbox.faults.injection import GatewayResponse, apply_fault
from cij_sandbox.faults.limits import Limits, Usage
from cij_sandbox.faults.rules import Faults
from cij_sandbox.server import html, records
from cij_sandbox.server.control import Control, RequestLog
from cij_sandbox.server.identity import TENANT, Identity
from cij_sandbox.server.mail import Mail
from cij_sandbox.server.organisation import Organisation
from cij_sandbox.server.service import MAXIMUM_BODY, MAXIMUM_URL

_ANY_METHOD = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_VERSIONS = ("v9.0", "v9.1", "v9.2")
_OWN = "/sandbox/"
_AFFINITY = "ARRAffinity"
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}

Endpoint = Callable[[HttpRequest], Awaitable[Response]]


def create_app(
    organisation: Organisation, identity: Identity, faults: Faults, limits: Limits, dop_hint: int
) -> Starlette:
    """Build the application. ``dop_hint`` is how many requests at once the organisation recommends."""
    log = RequestLog()
    usage = Usage(limits)
    endpoints = _Endpoints(organisation, identity, faults, usage, log, dop_hint)
    control = Control(faults, usage, log, organisation)
    mail = Mail(organisation.store)
    token, discovery = endpoints.faulty(endpoints.token), endpoints.faulty(endpoints.discovery)
    routes: list[tuple[str, Endpoint, list[str]]] = [
        ("/api/data/{version}/{path:path}", endpoints.web_api, _ANY_METHOD),
        ("/{tenant}/oauth2/v2.0/token", token, ["POST"]),
        ("/{tenant}/oauth2/token", token, ["POST"]),
        ("/{tenant}/v2.0/.well-known/openid-configuration", discovery, ["GET"]),
        ("/{tenant}/.well-known/openid-configuration", discovery, ["GET"]),
        ("/{tenant}/discovery/v2.0/keys", endpoints.keys, ["GET"]),
        ("/msi/token", endpoints.faulty(endpoints.managed_identity), ["GET"]),
        ("/", control.overview, ["GET"]),
        ("/main.aspx", endpoints.main_page, ["GET"]),
        (f"{_OWN}faults", control.faults, ["GET", "POST", "DELETE"]),
        (f"{_OWN}requests", control.requests, ["GET"]),
        (f"{_OWN}pace", control.pace, ["GET", "POST"]),
        (f"{_OWN}assumptions", control.assumptions, ["GET", "POST"]),
        (f"{_OWN}clock", control.clock, ["GET", "POST"]),
        (f"{_OWN}journeys", control.journeys, ["POST"]),
        (f"{_OWN}triggers", control.triggers, ["GET", "POST"]),
        (f"{_OWN}events", control.events, ["GET"]),
        (f"{_OWN}mail", mail.listed, ["GET"]),
        ("/mail", mail.page, ["GET"]),
    ]
    return Starlette(
        routes=[Route(path, endpoints.guarded(endpoint), methods=methods) for path, endpoint, methods in routes]
    )


class _Endpoints:
    def __init__(
        self,
        organisation: Organisation,
        identity: Identity,
        faults: Faults,
        usage: Usage,
        log: RequestLog,
        dop_hint: int,
    ) -> None:
        self._organisation = organisation
        self._identity = identity
        self._faults = faults
        self._usage = usage
        self._log = log
        self._dop_hint = dop_hint

    def guarded(self, endpoint: Endpoint) -> Endpoint:
        """Wrap an endpoint: check the host, log the request, turn errors into answers."""

        async def run(http: HttpRequest) -> Response:
            # A name that resolves to the loopback address is not enough: pages of other sites must not reach in.
            if http.headers.get("host", "").lower() not in self._identity.hosts:
                return Response("Unknown host", 400)
            if http.scope["path"] == "/" or http.scope["path"].startswith(_OWN):
                return await _answered(endpoint, http)
            request_ids = _request_ids(http)
            entry = self._log.begin(http.method, http.scope["path"], http.headers.get("x-ms-client-request-id"))
            http.state.entry = entry
            response = await _answered(endpoint, http)
            # The service has one clock: what it writes into rows is the time that its responses tell.
            response.headers["Date"] = formatdate(CLOCK.now(), usegmt=True)
            if not isinstance(response, GatewayResponse):
                response.headers.update(request_ids)
            entry.status = response.status_code or None
            return response

        return run

    def faulty(self, endpoint: Endpoint) -> Endpoint:
        """Wrap an endpoint: inject the fault of the first matching rule."""

        async def run(http: HttpRequest) -> Response:
            fault = self._faults.match(http.method, http.scope["path"])
            if fault is None:
                return await endpoint(http)
            http.state.entry.fault = fault.fault
            if fault.fault == "401" and endpoint == self._dataverse:
                if fault.invalidate:
                    self._identity.revoke(http.headers["authorization"])
                return _unauthorized(http)
            return await apply_fault(fault, http, lambda: _answered(endpoint, http))

        return run

    async def web_api(self, http: HttpRequest) -> Response:
        """Answer the Web API, after authentication and service protection."""
        host = http.headers["host"].lower()
        if not self._identity.accepts(http.headers.get("authorization", ""), host):
            return _unauthorized(http)
        with self._usage.admitted():
            response = await _answered(self.faulty(self._dataverse), http)
        if not isinstance(response, GatewayResponse):
            response.headers.update({**self._usage.headers(), "x-ms-dop-hint": str(self._dop_hint)})
            if _AFFINITY not in http.cookies:
                # "Server affinity": whoever sends it back stays on one web server of the farm, which has its limits.
                response.set_cookie(_AFFINITY, uuid.uuid4().hex, path="/", secure=True, httponly=True)
        return response

    async def _dataverse(self, http: HttpRequest) -> Response:
        base_url = _base_url(http)
        version = http.path_params["version"]
        if version not in _VERSIONS:
            raise errors.no_such_resource(version)
        query = http.scope["query_string"].decode("latin-1")
        if len(http.scope.get("raw_path", b"")) + len(query) + len(base_url) + 1 > MAXIMUM_URL:
            # The limit is documented, the status is not.
            refusal = assumptions.status_and_code("platform.long-url")
            raise errors.ODataError(*refusal, f"The URL is longer than {MAXIMUM_URL:,} characters.")
        path = http.path_params["path"]
        request = Request(http.method, base_url, version, path, query, _headers(http), await _body(http))
        return _response(await run_in_threadpool(self._organisation.service.answer, request))

    async def token(self, http: HttpRequest) -> Response:
        """Answer the token endpoints."""
        form = dict(parse_qsl((await _body(http)).decode("utf-8", "replace"), keep_blank_values=True))
        endpoint = f"{_base_url(http)}{http.url.path}"
        authorization = http.headers.get("authorization", "")
        tenant = http.path_params["tenant"]
        body = await run_in_threadpool(self._identity.token, tenant, form, authorization, endpoint)
        return JSONResponse(body, headers=_NO_STORE)

    async def discovery(self, http: HttpRequest) -> Response:
        """Answer OpenID Connect discovery. The issuer is the URL of the request."""
        self._identity.check_tenant(http.path_params["tenant"])
        base_url = _base_url(http)
        issuer = f"{base_url}{http.url.path}".removesuffix("/.well-known/openid-configuration")
        return JSONResponse(self._identity.discovery(base_url, issuer))

    async def keys(self, _: HttpRequest) -> Response:
        """Answer the signing keys: none, because the tokens are opaque."""
        return JSONResponse({"keys": []})

    async def managed_identity(self, http: HttpRequest) -> Response:
        """Answer the managed identity endpoint of an App Service."""
        header = http.headers.get("x-identity-header")
        status, body = self._identity.managed(http.query_params.get("resource", ""), header)
        return JSONResponse(body, status, _NO_STORE)

    async def main_page(self, http: HttpRequest) -> Response:
        """Answer the page of a row, of the rows of a table, or of the members of a segment."""
        query = parse_qs(http.scope["query_string"].decode("latin-1"))
        first = {name: found[0] for name, found in query.items()}
        status, body = await run_in_threadpool(records.render, self._organisation.store, first)
        return HTMLResponse(body, status, html.HEADERS)


async def _answered(endpoint: Endpoint, http: HttpRequest) -> Response:
    """Return the response of an endpoint, also for an error that it raises."""
    try:
        return await endpoint(http)
    except errors.ODataError as refusal:
        return _response(refused(refusal, _headers(http)))
    except errors.LoginError as refusal:
        return JSONResponse(refusal.body(), refusal.status, _NO_STORE)
    except ClientDisconnect:
        return Response(None, 400)
    except Exception:
        traceback.print_exc(file=sys.stderr)
        unexpected = errors.ODataError(500, "0x80040216", "An unexpected error occurred.")
        return _response(refused(unexpected, _headers(http)))


def _unauthorized(http: HttpRequest) -> Response:
    base_url = _base_url(http)
    challenge = f"Bearer authorization_uri={base_url}/{TENANT}/oauth2/authorize, resource_id={base_url}/"
    return _response(Answer(401, None, {"WWW-Authenticate": challenge}))


def _base_url(http: HttpRequest) -> str:
    return f"https://{http.headers['host'].lower()}"


def _headers(http: HttpRequest) -> dict[str, str]:
    """Return the headers; a repeated one is joined with commas."""
    return {name: ", ".join(http.headers.getlist(name)) for name in http.headers}


async def _body(http: HttpRequest) -> bytes:
    too_large = errors.ODataError(413, "0x8004418A", f"The request is larger than {MAXIMUM_BODY:,} bytes.")
    declared = http.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > MAXIMUM_BODY:
        raise too_large
    parts, size = [], 0
    async for part in http.stream():
        size += len(part)
        if size > MAXIMUM_BODY:
            raise too_large
        parts.append(part)
    return b"".join(parts)


def _request_ids(http: HttpRequest) -> dict[str, str]:
    service_id = str(uuid.uuid4())
    ids = {"x-ms-service-request-id": service_id, "REQ_ID": service_id}
    client_id = http.headers.get("x-ms-client-request-id")
    return {**ids, "x-ms-client-request-id": client_id} if client_id else ids


def _response(answer: Answer) -> Response:
    headers, content = answer.wire()
    return Response(content, answer.status, {"Cache-Control": "no-cache", **headers})
