"""A proxy that speaks HTTP and SOCKS 5, plain or inside TLS, and notes what it was asked for."""

from __future__ import annotations

import base64
import contextlib
import select
import socket
import socketserver
import ssl
import threading
from typing import Any

import trustme

USER, PASSWORD = "canary-user", "canary-password"


class Proxy:
    """Tunnels to any port of this machine, whatever host it is asked for.

    :param kind: ``http``, ``https`` or ``socks5``
    :param auth: whether it wants user name and password
    :param refuses: whether it refuses every host
    """

    def __init__(self, kind: str, *, auth: bool = False, refuses: bool = False) -> None:
        self.kind, self.auth, self.refuses = kind, auth, refuses
        self.asked: list[str] = []
        authority = trustme.CA()
        self.ca = authority.cert_pem.bytes().decode()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self.context)
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    proxy.serve(self.request)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        who = f"{USER}:{PASSWORD}@" if auth else ""
        self.url = f"{kind}://{who}localhost:{self._server.server_address[1]}"

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self, plain: socket.socket) -> None:
        """Serve one connection."""
        client: Any = self.context.wrap_socket(plain, server_side=True) if self.kind == "https" else plain
        with client:
            port = self._socks(client) if self.kind == "socks5" else self._http(client)
            if port:
                with socket.create_connection(("127.0.0.1", port)) as host:
                    host.sendall(self._first)
                    _pump(client, host)

    def _http(self, client: Any) -> int:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        self.asked.append(head.decode().splitlines()[0])
        wanted = f"Proxy-Authorization: Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}".encode()
        if self.auth and wanted not in head:
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return 0
        if self.refuses:
            client.sendall(b"HTTP/1.1 403 Forbidden by canary\r\nContent-Length: 0\r\n\r\n")
            return 0
        method, target, _ = self.asked[-1].split()
        if method == "CONNECT":
            self._first = b""
            client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            return int(target.rpartition(":")[2])
        self._first = head
        return int(target.split("/")[2].rpartition(":")[2])

    def _socks(self, client: Any) -> int:
        self._first = b""
        _, count = client.recv(2)
        way = b"\2" if self.auth else b"\0"
        if way not in client.recv(count):
            client.sendall(b"\5\xff")
            return 0
        client.sendall(b"\5" + way)
        if self.auth:
            given = client.recv(512)
            good = given == b"\1%c%s%c%s" % (len(USER), USER.encode(), len(PASSWORD), PASSWORD.encode())
            client.sendall(b"\1" + (b"\0" if good else b"\1"))
            if not good:
                return 0
        request = client.recv(512)
        assert request[:4] == b"\5\1\0\3"  # connect, to a name
        self.asked.append(request[5 : 5 + request[4]].decode())
        client.sendall((b"\5\2\0\1" if self.refuses else b"\5\0\0\1") + bytes(6))
        return 0 if self.refuses else int.from_bytes(request[-2:], "big")


def _pump(one: Any, other: socket.socket) -> None:
    """Copy bytes both ways until one side ends."""
    ways = {one: other, other: one}
    while True:
        waiting = [end for end in ways if isinstance(end, ssl.SSLSocket) and end.pending()]
        for end in waiting or select.select(list(ways), [], [], 30)[0]:
            if not (received := end.recv(65536)):
                return
            ways[end].sendall(received)
