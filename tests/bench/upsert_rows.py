"""100,000 new contacts, 100 a request, 8 at once: requests, time and CPU, beside Microsoft's SDK; memory to 1,000,000.

The SDK (``PowerPlatform-Dataverse-Client``) is installed into a folder of its own. From 8 threads it looks the same
rows up, as many keys a query as a URL holds, and upserts those that are missing. It does not check their values.
"""

from __future__ import annotations

import asyncio
import csv
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.bench.add_members import _memory
from tests.bench.table import note

ROWS, FEW, MANY = 100_000, 10_000, 1_000_000
BATCH, CONCURRENCY, SERVICE_SECONDS = 100, 8, 0.1
# Keys of 9 characters in a URL of 32,768, where a quote is three of them.
LOOKUP = 32_000 // (9 + 2 * 3 + 1)
ROUNDS = 3
COLUMNS = ("new_customerno", "firstname", "lastname", "emailaddress1", "address1_city", "jobtitle")
SDK = "PowerPlatform-Dataverse-Client==1.1.0"


def main() -> None:
    """Print the medians."""
    # Rows are looked up before they are written.
    requests = ROWS / BATCH + ROWS / LOOKUP
    ideal = SERVICE_SECONDS * math.ceil(requests / CONCURRENCY)
    with tempfile.TemporaryDirectory() as folder:
        peers = _installed(Path(folder) / "peers")
        with _Service(folder, SERVICE_SECONDS) as service:
            runs = {how: [service.measure(how, ROWS, peers) for _ in range(ROUNDS)] for how in ("ours", *peers)}
        print(
            f"{ROWS:,} new rows, {BATCH} a request, {CONCURRENCY} at once, {SERVICE_SECONDS * 1000:.0f} ms a request:"
        )
        seconds, cpu, _, sent = (statistics.median(column) for column in zip(*runs["ours"], strict=True))
        print(f"  requests {sent:,.0f} = {sent / requests:.3f} x ideal (write {BATCH}, look {LOOKUP} up)")
        print(f"  time {seconds:.2f} s = {seconds / ideal:.3f} x ideal ({ideal:.2f} s; limit 1.1)")
        note("100,000 rows upserted, requests", "ideal", f"{sent / requests:.3f}", "1")
        note("100,000 rows upserted, 8 at once, time", "ideal", f"{seconds / ideal:.3f}", "at most 1.1")
        print(f"  CPU {cpu / ROWS * 1e6:.1f} us a row")
        if peers:
            theirs = statistics.median(run[1] for run in runs["sdk"])
            print(
                f"  Microsoft's SDK: CPU {theirs / ROWS * 1e6:.1f} us a row; ours / its {cpu / theirs:.2f} (limit 0.5)"
            )
            note("100,000 rows upserted, CPU", "Microsoft's SDK", f"{cpu / theirs:.2f}", "at most 0.5")
        else:
            print("  Microsoft's SDK could not be installed")
        with _Service(folder, 0) as service:
            few, many = (service.measure("ours", count, {})[2] for count in (FEW, MANY))
        print(f"  memory for {FEW:,} rows +{few:.0f} MiB, for {MANY:,} +{many:.0f} MiB (limit: 40 MiB more)")


def _installed(folder: Path) -> dict[str, str]:
    """Install the SDK; return where it is, nothing when that fails."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--target", str(folder), SDK]
    done = subprocess.run(command, capture_output=True, check=False)
    return {} if done.returncode else {"sdk": str(folder)}


class _Service:
    """The slow service, while it runs."""

    def __init__(self, folder: str, seconds: float) -> None:
        self._folder = folder
        self._seconds = seconds

    def __enter__(self) -> _Service:
        command = [sys.executable, "-m", "tests.bench.slow_service", self._folder, str(self._seconds)]
        self._server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._server.stdout is not None
        self._url = self._server.stdout.readline().strip()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.terminate()
        self._server.communicate()

    def measure(self, how: str, count: int, peers: dict[str, str]) -> tuple[float, ...]:
        """Run one upsert in a fresh interpreter: seconds, CPU seconds, MiB above the start, requests."""
        paths = [os.environ.get("PYTHONPATH", ""), peers.get(how, "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        ca = str(Path(self._folder) / "ca.pem")
        command = [sys.executable, "-m", "tests.bench.upsert_rows", how, ca, self._url, str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            sys.exit(done.stderr[-3000:])
        return tuple(map(float, done.stdout.split()[-4:]))


def run_one(how: str, ca: str, url: str, count: int) -> None:
    """Upsert, and print what it cost."""
    with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for n in range(count):
            writer.writerow((f"C{n:08d}", "Ada", f"Lovelace {n}", f"ada.{n}@contoso.com", "København", "Analyst"))
        file.flush()
        work = _ours(ca, url) if how == "ours" else _sdk(ca, url)
        began, cpu, before = time.monotonic(), time.process_time(), _memory()
        requests = work(file.name)
        print(time.monotonic() - began, time.process_time() - cpu, (_memory() - before) / 1024, requests)


def _parts(rows: list[Any], size: int) -> list[list[Any]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _ours(ca: str, url: str) -> Any:
    from airflow_provider_cij.api.records.client import Records
    from airflow_provider_cij.dataverse.client import DataverseClient
    from airflow_provider_cij.dataverse.settings import Settings
    from airflow_provider_cij.sources import FromFile

    tenant = str(uuid.UUID(int=2))
    settings = Settings(url, tenant, "client", client_secret="s", authority=f"{url}/{tenant}", ca_bundle=ca)

    async def upsert(path: str) -> int:
        async with DataverseClient(settings) as client:
            send, sent = client._exchange, 0

            async def counted(*arguments: Any) -> Any:
                nonlocal sent
                sent += "EntityDefinitions" not in arguments[1]
                return await send(*arguments)

            client._exchange = counted  # type: ignore[method-assign]
            rows = FromFile(path).rows(client)
            await Records(client).upsert("contact", rows, key="new_customerno", batch_size=BATCH)
            return sent

    return lambda path: asyncio.run(upsert(path))


def _sdk(ca: str, url: str) -> Any:
    os.environ["REQUESTS_CA_BUNDLE"] = ca
    from azure.core.credentials import AccessToken  # type: ignore[import-not-found]
    from PowerPlatform.Dataverse.client import DataverseClient  # type: ignore[import-not-found]
    from PowerPlatform.Dataverse.models.upsert import UpsertItem  # type: ignore[import-not-found]

    class Credential:
        def get_token(self, *_: Any, **__: Any) -> Any:
            return AccessToken("token", int(time.time()) + 3600)

    client = DataverseClient(url, Credential())

    def look_up(part: list[dict[str, str]]) -> list[dict[str, str]]:
        listed = ",".join(f'"{row["new_customerno"]}"' for row in part)
        where = f"Microsoft.Dynamics.CRM.In(PropertyName='new_customerno',PropertyValues=[{listed}])"
        found = {row["new_customerno"] for row in client.records.list("contact", select=list(COLUMNS), filter=where)}
        return [row for row in part if row["new_customerno"] not in found]

    def send(part: list[dict[str, str]]) -> None:
        items = [UpsertItem(alternate_key={"new_customerno": row.pop("new_customerno")}, record=row) for row in part]
        client.records.upsert("contact", items)

    def upsert(path: str) -> int:
        with Path(path).open(newline="") as file, ThreadPoolExecutor(CONCURRENCY) as threads:
            rows = list(csv.DictReader(file))
            asked = list(threads.map(look_up, _parts(rows, LOOKUP)))
            missing = [row for part in asked for row in part]
            return len(asked) + len(list(threads.map(send, _parts(missing, BATCH))))

    return upsert


if __name__ == "__main__":
    run_one(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
