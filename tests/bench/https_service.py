"""An HTTPS service on a free port with a login of Entra ID's shape, which serves the routes that it is given."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trustme
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TENANT = "00000000-0000-0000-0000-000000000002"


class HttpsService:
    """A service that listens once it is made, and answers from ``run`` on.

    :param folder: where ``ca.pem``, the certificate to trust, is written
    """

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        self._certificate = str(folder / "server.pem")
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(self._certificate)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.url = f"https://localhost:{self._listener.getsockname()[1]}"

    def run(self, routes: Sequence[Route], **options: Any) -> None:
        """Serve routes, and the login on every other path, until the process is ended."""
        app = Starlette(routes=[*routes, Route("/{path:path}", self._login, methods=["GET", "POST"])])
        config = uvicorn.Config(app, log_level="error", ssl_certfile=self._certificate, **options)
        uvicorn.Server(config).run(sockets=[self._listener])

    async def _login(self, request: Request) -> Response:
        base = f"{self.url}/{TENANT}"
        if request.method == "POST":
            return JSONResponse({"access_token": "token", "expires_in": 3599, "token_type": "Bearer"})
        endpoints = {"authorization_endpoint": f"{base}/authorize", "token_endpoint": f"{base}/oauth2/v2.0/token"}
        return JSONResponse({"issuer": f"{base}/v2.0", **endpoints})
