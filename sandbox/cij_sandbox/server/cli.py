"""``cij-sandbox``: start the sandbox and print its connection."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import logging
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote, urlencode

import uvicorn
from cryptography import x509

import cij_sandbox as package
from cij_sandbox.core.assumptions import ASSUMED, described
from cij_sandbox.core.behaviours import Behaviours
from cij_sandbox.core.behaviours import add_to as add_behaviours
from cij_sandbox.core.clock import CLOCK
from cij_sandbox.core.store import Store
from cij_sandbox.dataverse.privileges import Privileges
from cij_sandbox.dataverse.tables import CLIENT_ID
from cij_sandbox.faults import limits, rules
from cij_sandbox.faults.injection import Protocol
from cij_sandbox.journeys.tables import INSTANCE
from cij_sandbox.server import certificates
from cij_sandbox.server.app import create_app
from cij_sandbox.server.identity import TENANT, Identity
from cij_sandbox.server.organisation import SCHEMA, Organisation, seed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sandbox until it gets a signal."""
    options = _parser().parse_args(arguments)
    # uvicorn stops gracefully on both and then raises the signal again: by then it has done its work.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    # It would log clients that keep connections open; the sandbox's own errors are answered and printed.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="cij-sandbox-") as folder:
        try:
            return _serve(options, Path(folder))
        except (OSError, ValueError) as problem:
            print(f"cij-sandbox: {problem}", file=sys.stderr)
            return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cij-sandbox",
        description="A local Dynamics 365 Customer Insights - Journeys organisation over the Dataverse Web API.",
        epilog=f"{package.__doc__}\nWhere the documents are silent it assumes:\n{described()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; default: any that is free")
    parser.add_argument("--contacts", type=_count, default=0, metavar="N", help="contacts to begin with")
    parser.add_argument("--leads", type=_count, default=0, metavar="N", help="leads to begin with")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="which contacts and leads; default: 1")
    parser.add_argument(
        "--compute-seconds", type=_seconds, default=2.0, metavar="S", help="time from publish to live; default: 2"
    )
    parser.add_argument(
        "--state", type=Path, metavar="FILE", help="keep everything in this file; default: forget at exit"
    )
    parser.add_argument(
        "--client-certificate", type=Path, metavar="PEM", help="certificate the application may sign with"
    )
    parser.add_argument(
        "--speed", type=_speed, default=1.0, metavar="N", help="its seconds in each real one; default: 1"
    )
    parser.add_argument(
        "--like",
        type=Path,
        metavar="FILE",
        help="play the organisation of a report of 'airflow cij probe'; what it can't play it refuses with 501",
    )
    add_behaviours(parser)
    _add_trouble(parser)
    parser.add_argument("--json", action="store_true", help="print the connection as one line of JSON")
    return parser


def _add_trouble(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fault",
        type=_faults,
        action="append",
        default=[],
        metavar="JSON",
        help="a fault rule (see below); repeatable",
    )
    parser.add_argument(
        "--fault-seed", type=int, default=1, metavar="N", help="which requests a probability selects; default: 1"
    )
    parser.add_argument(
        "--limits", action="store_true", help="enforce service protection as documented; see --limit-..."
    )
    for name, kind, unit, text in (
        ("requests", _positive, "N", "requests allowed in the window"),
        ("execution-seconds", _duration, "S", "total duration of the requests in the window"),
        ("concurrent", _positive, "N", "requests allowed at the same time"),
        ("window", _duration, "S", "length of the window; default: 300"),
    ):
        parser.add_argument(f"--limit-{name}", type=kind, metavar=unit, help=text)
    parser.add_argument(
        "--dop-hint",
        type=_positive,
        default=5,
        metavar="N",
        help="requests at once that the header x-ms-dop-hint recommends; default: 5, as of a developer environment",
    )


def _limits(options: argparse.Namespace) -> limits.Limits:
    given = {
        "requests": options.limit_requests,
        "execution_seconds": options.limit_execution_seconds,
        "concurrent": options.limit_concurrent,
        "window_seconds": options.limit_window,
    }
    chosen = limits.DOCUMENTED if options.limits else limits.Limits()
    return dataclasses.replace(chosen, **{name: value for name, value in given.items() if value is not None})


def _serve(options: argparse.Namespace, folder: Path) -> int:
    behaviours = Behaviours.of(options)
    if options.like:
        _play(options.like)
    ASSUMED.choose(behaviours.choices())
    store = Store(options.state or folder / "state.sqlite", SCHEMA)
    CLOCK.start(float(store.setting("time") or 0), options.speed)  # before anything is written
    ca_file = Path(f"{options.state}.ca.pem").resolve() if options.state else folder / "ca.pem"
    ca_file.write_text(certificates.authority(store)[0])
    certificate_file, key_file = certificates.issue(store, folder)
    seed(store, options.contacts, options.leads, options.seed)
    secret = store.setting("client_secret") or store.keep("client_secret", secrets.token_urlsafe(30))
    signing_key = store.setting("paging_key") or store.keep("paging_key", secrets.token_hex(32))
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Headers and body are two writes: without this each answer waits 40 ms for the client's delayed ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(("127.0.0.1", options.port))
        port = listener.getsockname()[1]
        hosts = frozenset(f"{name}:{port}" for name in ("localhost", "127.0.0.1"))
        identity = Identity(secret, hosts, _certificate(options.client_certificate))
        faults = rules.Faults(options.fault_seed, frozenset(table.logical_name for table in SCHEMA.tables))
        faults.add(rule for given in options.fault for rule in given)

        def is_missing(table: str, operation: str) -> bool:
            # The marketing roles do not list this table ("Security roles and privileges").
            hidden = table == INSTANCE.logical_name and not behaviours.with_journey_instances
            return hidden or faults.is_missing(table, operation)

        organisation = Organisation(
            store, options.compute_seconds, behaviours, signing_key.encode(), Privileges(is_missing)
        )
        app = create_app(organisation, identity, faults, _limits(options), options.dop_hint)
        config = uvicorn.Config(
            app,
            http=Protocol,
            ssl_certfile=str(certificate_file),
            ssl_keyfile=str(key_file),
            ssl_ciphers="DEFAULT",  # what older releases choose leaves none to a client with TLS 1.2
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            date_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
        )
        connection = _connection(port, secret, ca_file)
        organisation.start()
        try:
            asyncio.run(_Announcing(config, _text(connection, options)).serve([listener]))
        finally:
            organisation.stop()
    return 0


def _play(path: Path) -> None:
    """Play the organisation of a report, and print what can't be played."""
    try:
        lacking = ASSUMED.play(json.loads(path.read_text()))
    except ValueError as problem:
        raise ValueError(f"{path} can't be played: {problem}") from None
    for difference in lacking:
        print(f"cij-sandbox: not played, and refused with 501: {difference}", file=sys.stderr)


class _Announcing(uvicorn.Server):
    """Prints the connection as soon as the server accepts requests."""

    def __init__(self, config: uvicorn.Config, text: str) -> None:
        super().__init__(config)
        self._text = text

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(self._text, flush=True)


def _connection(port: int, secret: str, ca_file: Path) -> dict[str, str]:
    base_url = f"https://localhost:{port}"
    authority = f"{base_url}/{TENANT}"
    extra = urlencode({"tenant_id": TENANT, "authority": authority, "ca_bundle": str(ca_file)})
    return {
        "base_url": base_url,
        "authority": authority,
        "tenant": TENANT,
        "client_id": CLIENT_ID,
        "client_secret": secret,
        "ca": str(ca_file),
        "airflow_conn_uri": f"cij://{CLIENT_ID}:{quote(secret, safe='')}@localhost:{port}/?{extra}",
    }


def _text(connection: dict[str, str], options: argparse.Namespace) -> str:
    if options.json:
        return json.dumps(connection)
    kept = f"kept in {options.state}" if options.state else "forgotten at exit"
    return "\n".join(
        [
            f"Customer Insights - Journeys sandbox at {connection['base_url']} (data {kept})",
            *(
                f"  {name:<14} {connection[name]}"
                for name in ("authority", "tenant", "client_id", "client_secret", "ca")
            ),
            f"\nFor Airflow:\n  export AIRFLOW_CONN_CIJ_DEFAULT='{connection['airflow_conn_uri']}'",
            "\nStop it with Ctrl-C.",
        ]
    )


def _certificate(path: Path | None) -> x509.Certificate | None:
    return x509.load_pem_x509_certificate(path.read_bytes()) if path else None


def _faults(text: str) -> list[rules.Fault]:
    try:
        return rules.read(json.loads(text))
    except (ValueError, RecursionError) as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def _number(read: Callable[[str], float], least: float, most: float, *, above: bool = False) -> Callable[[str], float]:
    """Return a parser of numbers from ``least``, or ``above`` it, to ``most``."""

    def number(text: str) -> float:
        found = read(text)
        if not least <= found <= most or (above and found == least):
            start = f"above {least:,}" if above else f"from {least:,}"
            raise argparse.ArgumentTypeError(f"a number {start} to {most:,} is expected")
        return found

    return number


_count, _positive = _number(int, 0, 5_000_000), _number(int, 1, 5_000_000)
_seconds, _duration = _number(float, 0, 86_400), _number(float, 0, 86_400, above=True)
_speed = _number(float, 0, 100_000, above=True)
