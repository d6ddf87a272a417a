"""An HTTPS server that sends the responses of a test, for behaviour that the sandbox does not have.

It uses real sockets and TLS, and has a login endpoint that msal accepts. It knows nothing of segments.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme

from airflow_provider_cij.dataverse.settings import Settings

TENANT = "11111111-2222-3333-4444-555555555555"


@dataclass(frozen=True)
class Answer:
    """One response: a dict is sent as JSON; ``hang_up`` closes the connection instead.

    :param raw: returns the bytes to write in place of status, headers and body, in pieces
    :param pause: seconds to wait after each piece
    """

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    hang_up: bool = False
    raw: Callable[[], Iterable[bytes]] | None = None
    pause: float = 0.0


@dataclass(frozen=True)
class RecordedRequest:
    """One request as the server received it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def token(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")


class ScriptedServer:
    """Answers Web API requests with the responses of ``script``, in order; the last one is repeated.

    :param folder: folder for the certificate of its authority
    :param names: host names in its certificate, "localhost" by default
    :param certificate: further arguments of the certificate, for trustme
    """

    def __init__(self, folder: Path, *names: str, **certificate: Any) -> None:
        authority = trustme.CA()
        self.ca = str(folder / "ca.pem")
        authority.cert_pem.write_to_path(self.ca)
        self.script: list[Answer] = []
        self.requests: list[RecordedRequest] = []
        self.logins: list[str] = []
        self.login_answers: list[Answer] = []
        self.token_host = ""
        self.place_of: Callable[[RecordedRequest], int] | None = None
        """The place of a request's answer in ``script``, for requests that come in any order; by default the next."""
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*(names or ("localhost",)), **certificate).configure_cert(context)
        # The handshake in the handler's thread: one that fails must not stop the others.
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://localhost:{self._http.server_port}"

    def __enter__(self) -> ScriptedServer:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def settings(self, **others: Any) -> Settings:
        """Return settings that make this server the organisation."""
        given: dict[str, Any] = {
            "base_url": self.url,
            "tenant_id": TENANT,
            "client_id": "client",
            "client_secret": "canary-secret",
            "authority": f"{self.url}/{TENANT}",
            "ca_bundle": self.ca,
        }
        return Settings(**(given | others))

    def connection(self, **extra: Any) -> str:
        """Return this server as an Airflow connection in JSON, with ``extra`` added to its extra."""
        settings = self.settings()
        return json.dumps(
            {
                "conn_type": "cij",
                "host": settings.base_url,
                "login": settings.client_id,
                "password": settings.client_secret,
                "extra": {name: getattr(settings, name) for name in ("tenant_id", "authority", "ca_bundle")} | extra,
            }
        )

    def answer(self, request: RecordedRequest) -> Answer:
        """Return the next response."""
        with self._lock:
            if "/.well-known/" in request.path:
                login = f"{self.url}/{TENANT}"
                return Answer(
                    body={
                        "issuer": f"{login}/v2.0",
                        "authorization_endpoint": f"{login}/oauth2/v2.0/authorize",
                        "token_endpoint": f"{self.token_host or self.url}/{TENANT}/oauth2/v2.0/token",
                    }
                )
            if request.path.endswith("/oauth2/v2.0/token"):
                self.logins.append(request.body.decode())
                if self.login_answers:
                    return self.login_answers.pop(0)
                token = f"canary-token-{len(self.logins)}"
                return Answer(body={"access_token": token, "expires_in": 3599, "token_type": "Bearer"})
            self.requests.append(request)
            if self.place_of:
                return self.script[min(self.place_of(request), len(self.script) - 1)]
            return self.script.pop(0) if len(self.script) > 1 else self.script[0]


def _handler(server: ScriptedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are written apart: 40 ms each

        def _reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = server.answer(RecordedRequest(self.command, self.path, headers, body))
            if answer.hang_up or answer.raw:
                self.close_connection = True
                with contextlib.suppress(OSError):  # the client has closed the connection
                    for piece in answer.raw() if answer.raw else ():
                        self.wfile.write(piece)
                        time.sleep(answer.pause)
                return
            sent = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response_only(answer.status)
            for name, value in {"Date": self.date_time_string(), **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(0 if answer.body is None else len(sent)))
            self.end_headers()
            if answer.body is not None:
                self.wfile.write(sent)

        do_GET = do_POST = do_PATCH = do_DELETE = _reply  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    return Handler
