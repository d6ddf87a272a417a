"""From the DAG file to the first request in a new process, as a worker does: CPU, beside HttpOperator's.

Both trust the public authorities, as for a service on the internet, and that of the benchmark's server.
"""

from __future__ import annotations

import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import certifi
import trustme

from tests.bench.table import note

ROUNDS, LIMIT = 7, 0.80
TENANT = "00000000-0000-0000-0000-000000000002"


def main() -> None:
    """Print the medians of interleaved runs."""
    with tempfile.TemporaryDirectory() as folder, _serving(Path(folder)) as server:
        runs = [[_cpu(how, server, folder) for how in ("ours", "peer")] for _ in range(ROUNDS + 1)]
    ours, peer = (statistics.median(column) * 1000 for column in zip(*runs[1:], strict=True))
    print(f"import, execute, first request, CPU: {ours:.0f} ms; HttpOperator {peer:.0f} ms: {ours / peer:.2f} of it")
    note("import to first request, CPU", "HttpOperator", f"{ours / peer:.2f}", f"at most {LIMIT}")


@contextmanager
def _serving(folder: Path) -> Iterator[Any]:
    """Serve a login; note the CPU that the client had used when it asked for anything else, and answer 404."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    # requests takes one file for all.
    (folder / "all.pem").write_text(Path(certifi.where()).read_text() + (folder / "ca.pem").read_text())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body = 200, {}
            if "/oauth2/" in self.path:
                body = {"access_token": "token", "expires_in": 3599, "token_type": "Bearer"}
            elif "/.well-known/" in self.path:
                login = f"{server.url}/{TENANT}"
                body = {"issuer": f"{login}/v2.0", "token_endpoint": f"{login}/oauth2/v2.0/token"}
                body["authorization_endpoint"] = f"{login}/authorize"
            else:
                if server.seen is None:  # the CPU clock of another process, on Linux
                    server.seen = time.clock_gettime((~server.client << 3) | 2)
                status = 404
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.url = f"https://localhost:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def _cpu(how: str, server: Any, folder: str) -> float:
    ca = f"{folder}/ca.pem"
    extra = {"tenant_id": TENANT, "authority": f"{server.url}/{TENANT}", "ca_bundle": ca}
    connections = {
        "CIJ_DEFAULT": {"conn_type": "cij", "host": server.url, "login": "client", "password": "s", "extra": extra},
        "HTTP_DEFAULT": {"conn_type": "http", "host": server.url},
    }
    environment = {**os.environ, "AIRFLOW_HOME": folder, "REQUESTS_CA_BUNDLE": f"{folder}/all.pem"}
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        environment.pop(name, None)
    environment |= {f"AIRFLOW_CONN_{name}": json.dumps(value) for name, value in connections.items()}
    # An environment that writes no bytecode would measure the compiler.
    environment["PYTHONPYCACHEPREFIX"] = f"{folder}/cache"
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-m", "tests.bench.starting", how, f"{folder}/before"]
    client = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    server.client, server.seen = client.pid, None
    _, errors = client.communicate()
    if server.seen is None:
        sys.exit(errors[-3000:])
    return float(server.seen - float((Path(folder) / "before").read_text()))


def run_one(how: str) -> None:
    """Note the CPU used by ``airflow.sdk``, parse as a worker does, and execute."""
    import airflow.sdk
    from airflow.sdk import DAG

    # What every DAG file loads.
    _ = airflow.sdk.BaseOperator, airflow.sdk.BaseSensorOperator, airflow.sdk.BaseOperatorLink
    Path(sys.argv[2]).write_text(str(time.process_time()))
    with DAG("start", schedule=None):
        if how == "peer":
            from airflow.providers.http.operators.http import HttpOperator

            task: Any = HttpOperator(task_id="task", endpoint="data", method="GET")
        else:
            from airflow_provider_cij.operators.segments import CijRefreshSegmentOperator

            task = CijRefreshSegmentOperator(task_id="task", segment_id=TENANT)
    try:
        task.execute({})
    except Exception as error:  # the 404
        print(type(error).__name__, file=sys.stderr)


if __name__ == "__main__":
    run_one(sys.argv[1]) if len(sys.argv) > 1 else main()
