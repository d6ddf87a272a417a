"""A service that takes its time and does nothing: what is left of an upload's time is the client's."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import trustme
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

_CONTACT = {"LogicalName": "contact", "EntitySetName": "contacts", "PrimaryIdAttribute": "contactid"}
_KEY = {"LogicalName": "key", "KeyAttributes": ["new_customerno"], "EntityKeyIndexStatus": "Active"}
_TEXTS = ("new_customerno", "firstname", "lastname", "emailaddress1", "address1_city", "jobtitle")
_ATTRIBUTES = "EntityDefinitions(LogicalName='contact')/Attributes"
METADATA = {
    "EntityDefinitions": {"value": [_CONTACT]},
    "EntityDefinitions(LogicalName='contact')": {**_CONTACT, "Keys": [_KEY]},
    _ATTRIBUTES: {"value": [{"LogicalName": name, "AttributeType": "String"} for name in _TEXTS]},
    f"{_ATTRIBUTES}/Microsoft.Dynamics.CRM.StringAttributeMetadata": {
        "value": [{"LogicalName": name, "MaxLength": 100} for name in _TEXTS]
    },
}
"""The definition of a table with texts and an alternate key: what the clients ask for before they upsert."""


def main(folder: Path, seconds: float) -> None:
    """Serve on a free port; print the address."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate = authority.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"https://localhost:{listener.getsockname()[1]}"

    async def discovery(request: Request) -> Response:
        login = f"{url}/{request.path_params['tenant']}"
        endpoints = {"authorization_endpoint": f"{login}/authorize", "token_endpoint": f"{login}/oauth2/v2.0/token"}
        return JSONResponse({"issuer": f"{login}/v2.0", **endpoints})

    async def token(_: Request) -> Response:
        return JSONResponse({"access_token": "token", "expires_in": 3599, "token_type": "Bearer"})

    async def who(_: Request) -> Response:
        return JSONResponse({})

    async def add(request: Request) -> Response:
        await request.body()
        await asyncio.sleep(seconds)
        return Response(status_code=204)

    async def metadata(request: Request) -> Response:
        return JSONResponse(METADATA.get(request.url.path.removeprefix("/api/data/v9.2/"), {"value": []}))

    async def nobody(_: Request) -> Response:
        await asyncio.sleep(seconds)
        return JSONResponse({"value": []})

    routes = [
        Route("/{tenant}/v2.0/.well-known/openid-configuration", discovery),
        Route("/{tenant}/oauth2/v2.0/token", token, methods=["POST"]),
        Route("/api/data/v9.2/WhoAmI", who),
        Route("/api/data/v9.2/msdynmkt_AddStaticMembers", add, methods=["POST"]),
        Route("/api/data/v9.2/contacts", nobody),
        Route("/api/data/v9.2/contacts/Microsoft.Dynamics.CRM.UpsertMultiple", add, methods=["POST"]),
        Route("/api/data/v9.2/{path:path}", metadata),
    ]
    config = uvicorn.Config(Starlette(routes=routes), log_level="error", ssl_certfile=str(folder / "server.pem"))
    print(url, flush=True)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
