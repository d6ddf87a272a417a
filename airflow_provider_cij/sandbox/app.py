"""The HTTP side: routes, headers, and what happens before and after the service answers."""

from __future__ import annotations

import html
import json
import sys
import traceback
import uuid
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, parse_qsl

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from . import errors, page
from .identity import TENANT, Identity, RefusedError
from .service import MAXIMUM_BODY, MAXIMUM_URL, Service
from .store import Store
from .web import JSON_TYPE, Answer, Request

_ANY_METHOD = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_VERSIONS = ("v9.0", "v9.1", "v9.2")
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}

Endpoint = Callable[[HttpRequest], Awaitable[Response]]


def create_app(store: Store, identity: Identity, service: Service) -> Starlette:
    """Build the application."""

    async def web_api(http: HttpRequest) -> Response:
        request_ids = _request_ids(http)
        try:
            answer = await _answer(http)
            return _response(answer, request_ids)
        except errors.ODataError as refusal:
            return _response(Answer(refusal.status, refusal.body(), refusal.headers), request_ids)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            body = errors.ODataError(500, "0x80040216", "An unexpected error occurred.").body()
            return _response(Answer(500, body), request_ids)

    async def _answer(http: HttpRequest) -> Answer:
        base_url = _base_url(http)
        if not identity.accepts(http.headers.get("authorization", ""), base_url.removeprefix("https://")):
            challenge = f"Bearer authorization_uri={base_url}/{TENANT}/oauth2/authorize, resource_id={base_url}/"
            return Answer(401, None, {"WWW-Authenticate": challenge})
        version = http.path_params["version"]
        if version not in _VERSIONS:
            raise errors.no_such_resource(version)
        if len(str(http.url)) > MAXIMUM_URL:
            # Assumption: the limit is documented, the status is that of HTTP.
            raise errors.ODataError(414, "", f"The URL is longer than {MAXIMUM_URL} characters.")
        request = Request(
            http.method,
            base_url,
            version,
            http.path_params["path"],
            http.scope["query_string"].decode("latin-1"),
            dict(http.headers),
            await _body(http),
        )
        return await run_in_threadpool(service.answer, request)

    async def token(http: HttpRequest) -> Response:
        form = dict(parse_qsl((await _body(http)).decode("utf-8", "replace"), keep_blank_values=True))
        endpoint = f"{_base_url(http)}{http.url.path}"
        authorization = http.headers.get("authorization", "")
        try:
            body = await run_in_threadpool(identity.token, http.path_params["tenant"], form, authorization, endpoint)
        except RefusedError as refusal:
            return JSONResponse(refusal.body(), refusal.status, _NO_STORE)
        return JSONResponse(body, headers=_NO_STORE)

    async def discovery(http: HttpRequest) -> Response:
        base_url = _base_url(http)
        try:
            identity.check_tenant(http.path_params["tenant"])
        except RefusedError as refusal:
            return JSONResponse(refusal.body(), refusal.status)
        issuer = f"{base_url}{http.url.path}".removesuffix("/.well-known/openid-configuration")
        return JSONResponse(identity.discovery(base_url, issuer))

    async def keys(_: HttpRequest) -> Response:
        return JSONResponse({"keys": []})

    async def managed_identity(http: HttpRequest) -> Response:
        status, body = identity.managed(http.query_params.get("resource", ""), http.headers.get("x-identity-header"))
        return JSONResponse(body, status, _NO_STORE)

    async def main_page(http: HttpRequest) -> Response:
        query = parse_qs(http.scope["query_string"].decode("latin-1"))
        status, body = await run_in_threadpool(page.render, store, query.get("etn", [""])[0], query.get("id", [""])[0])
        policy = "default-src 'none'; style-src 'unsafe-inline'"
        return HTMLResponse(body, status, {"Content-Security-Policy": policy})

    routes: list[tuple[str, Endpoint, list[str]]] = [
        ("/api/data/{version}/{path:path}", web_api, _ANY_METHOD),
        ("/{tenant}/oauth2/v2.0/token", token, ["POST"]),
        ("/{tenant}/oauth2/token", token, ["POST"]),
        ("/{tenant}/v2.0/.well-known/openid-configuration", discovery, ["GET"]),
        ("/{tenant}/.well-known/openid-configuration", discovery, ["GET"]),
        ("/{tenant}/discovery/v2.0/keys", keys, ["GET"]),
        ("/msi/token", managed_identity, ["GET"]),
        ("/main.aspx", main_page, ["GET"]),
    ]

    def guarded(endpoint: Endpoint) -> Endpoint:
        async def run(http: HttpRequest) -> Response:
            # A name that resolves to the loopback address is not enough: pages of other sites must not reach in.
            if http.headers.get("host", "").lower() not in identity.hosts:
                return Response(html.escape("Unknown host"), 400)
            try:
                return await endpoint(http)
            except errors.ODataError as refusal:
                return JSONResponse(refusal.body(), refusal.status)

        return run

    return Starlette(routes=[Route(path, guarded(endpoint), methods=methods) for path, endpoint, methods in routes])


def _base_url(http: HttpRequest) -> str:
    return f"https://{http.headers['host'].lower()}"


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


def _response(answer: Answer, request_ids: dict[str, str]) -> Response:
    headers = {**request_ids, "OData-Version": "4.0", "Cache-Control": "no-cache", **answer.headers}
    if answer.body is None:
        return Response(None, answer.status, headers)
    content = json.dumps(answer.body, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(content, answer.status, headers, JSON_TYPE)
