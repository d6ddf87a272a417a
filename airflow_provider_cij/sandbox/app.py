"""The HTTP side: routes, headers, and what happens before and after the service answers."""

from __future__ import annotations

import sys
import traceback
import uuid
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, parse_qsl

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from . import errors, page
from .annotations import refused
from .identity import TENANT, Identity, RefusedError
from .service import MAXIMUM_BODY, MAXIMUM_URL, Service
from .store import Store
from .web import Answer, Request

_ANY_METHOD = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_VERSIONS = ("v9.0", "v9.1", "v9.2")
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}

Endpoint = Callable[[HttpRequest], Awaitable[Response]]


def create_app(store: Store, identity: Identity, service: Service) -> Starlette:
    """Build the application."""
    endpoints = _Endpoints(store, identity, service)
    routes: list[tuple[str, Endpoint, list[str]]] = [
        ("/api/data/{version}/{path:path}", endpoints.web_api, _ANY_METHOD),
        ("/{tenant}/oauth2/v2.0/token", endpoints.token, ["POST"]),
        ("/{tenant}/oauth2/token", endpoints.token, ["POST"]),
        ("/{tenant}/v2.0/.well-known/openid-configuration", endpoints.discovery, ["GET"]),
        ("/{tenant}/.well-known/openid-configuration", endpoints.discovery, ["GET"]),
        ("/{tenant}/discovery/v2.0/keys", endpoints.keys, ["GET"]),
        ("/msi/token", endpoints.managed_identity, ["GET"]),
        ("/main.aspx", endpoints.main_page, ["GET"]),
    ]
    return Starlette(
        routes=[Route(path, endpoints.guarded(endpoint), methods=methods) for path, endpoint, methods in routes]
    )


class _Endpoints:
    def __init__(self, store: Store, identity: Identity, service: Service) -> None:
        self._store = store
        self._identity = identity
        self._service = service

    def guarded(self, endpoint: Endpoint) -> Endpoint:
        """Wrap an endpoint: only hosts of ours get in, and nothing but a clean answer gets out."""

        async def run(http: HttpRequest) -> Response:
            # A name that resolves to the loopback address is not enough: pages of other sites must not reach in.
            if http.headers.get("host", "").lower() not in self._identity.hosts:
                return Response("Unknown host", 400)
            request_ids = _request_ids(http)
            try:
                response = await endpoint(http)
            except errors.ODataError as refusal:
                response = _response(refused(refusal, _headers(http)))
            except RefusedError as refusal:
                response = JSONResponse(refusal.body(), refusal.status, _NO_STORE)
            except ClientDisconnect:
                response = Response(None, 400)
            except Exception:
                traceback.print_exc(file=sys.stderr)
                unexpected = errors.ODataError(500, "0x80040216", "An unexpected error occurred.")
                response = _response(refused(unexpected, _headers(http)))
            response.headers.update(request_ids)
            return response

        return run

    async def web_api(self, http: HttpRequest) -> Response:
        """Answer the Dataverse Web API."""
        base_url = _base_url(http)
        authorization = http.headers.get("authorization", "")
        if not self._identity.accepts(authorization, base_url.removeprefix("https://")):
            challenge = f"Bearer authorization_uri={base_url}/{TENANT}/oauth2/authorize, resource_id={base_url}/"
            return _response(Answer(401, None, {"WWW-Authenticate": challenge}))
        version = http.path_params["version"]
        if version not in _VERSIONS:
            raise errors.no_such_resource(version)
        query = http.scope["query_string"].decode("latin-1")
        if len(http.scope.get("raw_path", b"")) + len(query) + len(base_url) + 1 > MAXIMUM_URL:
            # Assumption: the limit is documented, the status is that of HTTP.
            raise errors.ODataError(414, "", f"The URL is longer than {MAXIMUM_URL} characters.")
        path = http.path_params["path"]
        request = Request(http.method, base_url, version, path, query, _headers(http), await _body(http))
        return _response(await run_in_threadpool(self._service.answer, request))

    async def token(self, http: HttpRequest) -> Response:
        """Answer the token endpoints."""
        form = dict(parse_qsl((await _body(http)).decode("utf-8", "replace"), keep_blank_values=True))
        endpoint = f"{_base_url(http)}{http.url.path}"
        authorization = http.headers.get("authorization", "")
        tenant = http.path_params["tenant"]
        body = await run_in_threadpool(self._identity.token, tenant, form, authorization, endpoint)
        return JSONResponse(body, headers=_NO_STORE)

    async def discovery(self, http: HttpRequest) -> Response:
        """Answer OpenID Connect discovery: the issuer is the URL it was asked under."""
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
        """Show one segment to a person."""
        query = parse_qs(http.scope["query_string"].decode("latin-1"))
        table, row_id = query.get("etn", [""])[0], query.get("id", [""])[0]
        status, body = await run_in_threadpool(page.render, self._store, table, row_id)
        policy = "default-src 'none'; style-src 'unsafe-inline'"
        return HTMLResponse(body, status, {"Content-Security-Policy": policy})


def _base_url(http: HttpRequest) -> str:
    return f"https://{http.headers['host'].lower()}"


def _headers(http: HttpRequest) -> dict[str, str]:
    """Return the headers; one that was sent in several lines is the list of them."""
    return {name: ", ".join(http.headers.getlist(name)) for name in http.headers}


async def _body(http: HttpRequest) -> bytes:
    too_large = errors.ODataError(413, "0x8004418A", f"The request is larger than {MAXIMUM_BODY} bytes.")
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
