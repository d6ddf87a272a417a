"""Requests through a real proxy: HTTP, HTTPS and SOCKS 5, with and without a password."""

from __future__ import annotations

import asyncio
import http.server
import socketserver
import ssl
import sys
import threading
from pathlib import Path

import pytest

from airflow_provider_cij.dataverse.connections import connector
from airflow_provider_cij.dataverse.wire import exchange
from airflow_provider_cij.errors import CijInputError, CijUnreachableError
from tests.dataverse.proxy import PASSWORD, Proxy
from tests.scripted import Answer
from tests.scripted_client import run_client

pytestmark = pytest.mark.usefixtures("without_proxy")


def _who(client):
    return client.get("WhoAmI")


def _trusting(scripted, proxy, tmp_path):
    """Return a bundle with both authorities: one context checks the proxy and the organisation."""
    both = tmp_path / "both.pem"
    both.write_text(proxy.ca + Path(scripted.ca).read_text())
    return str(both)


@pytest.mark.parametrize("auth", [False, True])
@pytest.mark.parametrize("kind", ["http", "https", "socks5"])
def test_requests_and_logins_go_through_the_proxy(scripted, monkeypatch, tmp_path, kind, auth):
    """The login and the requests go through the environment's proxy, with its password."""
    with Proxy(kind, auth=auth) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        ca = _trusting(scripted, proxy, tmp_path)
        large = Answer(body={"value": "x" * 3_000_000})
        assert run_client(scripted, large, work=_who, ca_bundle=ca) == large.body
    port = scripted.url.rpartition(":")[2]
    assert proxy.asked
    assert set(proxy.asked) == ({"localhost"} if kind == "socks5" else {f"CONNECT localhost:{port} HTTP/1.1"})


@pytest.mark.parametrize("kind", ["http", "https", "socks5"])
@pytest.mark.parametrize("why", ["refused", "password"])
def test_a_proxy_that_refuses_is_an_error_before_anything_is_sent(scripted, monkeypatch, tmp_path, kind, why):
    """A proxy that refuses the host or the password is a retryable error that tells so, without the password."""
    with Proxy(kind, auth=why == "password", refuses=why == "refused") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace(PASSWORD, "canary-wrong"))
        with pytest.raises(CijUnreachableError, match=r"ConnectionRefusedError: the proxy \w+ ") as caught:
            run_client(scripted, Answer(body={}), work=_who, ca_bundle=_trusting(scripted, proxy, tmp_path))
    assert not caught.value.permanent
    assert "canary-wrong" not in str(caught.value)
    assert not scripted.requests


def test_the_hosts_certificate_is_checked_inside_the_tls_of_a_proxy(scripted, monkeypatch, tmp_path):
    """A host of an unknown authority is refused inside the TLS of a trusted proxy, and the error says why."""
    ours = tmp_path / "proxy.pem"
    with Proxy("https") as proxy:
        ours.write_text(proxy.ca)
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(CijUnreachableError, match=r"gave no token: SSL\w*Error.*certificate"):
            run_client(scripted, Answer(body={}), work=_who, ca_bundle=str(ours))
    assert scripted.logins == scripted.requests == []


@pytest.mark.parametrize("auth", [False, True])
@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_plain_http_needs_no_tunnel_of_an_http_proxy(monkeypatch, kind, auth):
    """A plain request is forwarded by an HTTP proxy, with its password, and tunneled by a SOCKS proxy."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path, self.headers["Host"]))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, Proxy(kind, auth=auth) as proxy:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        root = f"http://localhost:{server.server_port}"

        async def main():
            connection = connector(root, ssl.create_default_context())()
            try:
                return await exchange(connection, "GET", f"{root}/token?a=b", headers={}, seconds=30, largest=9)
            finally:
                connection.close()

        status, _, body = asyncio.run(main())
        server.shutdown()
    assert (status, body) == (200, b"ok")
    assert seen == [(f"{root}/token?a=b" if kind == "http" else "/token?a=b", f"localhost:{server.server_port}")]
    assert len(proxy.asked) == 1


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_proxy_that_answers_junk_is_an_error(scripted, monkeypatch, scheme):
    """The address of something that speaks neither HTTP nor SOCKS is a retryable error."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.recv(4096)
            self.request.sendall(b"220 mail.contoso.test ready\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://localhost:{server.server_address[1]}")
        with pytest.raises(CijUnreachableError, match=r"gave no token: \w*ProtocolError") as caught:
            run_client(scripted, Answer(body={}), work=_who)
        server.shutdown()
    assert not caught.value.permanent


def test_a_socks_proxy_without_its_library_is_named(scripted, monkeypatch):
    """A SOCKS proxy without the library for it is refused with the package's name, and without its address."""
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", "socks5://canary.test:1080")
    with pytest.raises(CijInputError, match="ALL_PROXY") as caught:
        run_client(scripted, Answer(body={}), work=_who)
    assert "socksio" in caught.value.hint
    assert "canary" not in str(caught.value)
