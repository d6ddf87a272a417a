"""200 calls of 1000 ids, 8 at once, against a service that takes 100 ms a call: time over the ideal, and memory."""

from __future__ import annotations

import asyncio
import math
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from tests.bench.table import note

IDS, CONCURRENCY, SERVICE_SECONDS = 200_000, 8, 0.1
ROUNDS = 3
GROUP = str(uuid.UUID(int=1))


def measure(how: str, ca: str, url: str, count: int) -> tuple[float, float]:
    """Run one upload in a fresh interpreter; give its seconds, and the peak of memory above the start's in MiB."""
    command = [sys.executable, "-m", "tests.bench.add_members", how, ca, url, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, mebibytes = done.stdout.split()
    return float(seconds), float(mebibytes)


def main() -> None:
    """Print the medians."""
    ideal = SERVICE_SECONDS * math.ceil(IDS / 1000 / CONCURRENCY)
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.slow_service", folder, str(SERVICE_SECONDS)],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stdout is not None
            url, ca = server.stdout.readline().strip(), str(Path(folder) / "ca.pem")
            runs = {how: [measure(how, ca, url, IDS) for _ in range(ROUNDS)] for how in ("list", "csv", "httpx")}
            _, small = measure("csv", ca, url, IDS // 10)
        finally:
            server.terminate()
            server.wait()
    milliseconds = SERVICE_SECONDS * 1000
    print(f"{IDS:,} ids, 1000 a call, {CONCURRENCY} at once, {milliseconds:.0f} ms a call: ideal {ideal:.2f} s")
    for how, title in (("httpx", "bare httpx, bodies ready"), ("list", "from a list"), ("csv", "from a CSV file")):
        seconds = statistics.median(run[0] for run in runs[how])
        mebibytes = max(run[1] for run in runs[how])
        print(f"  {title:<25} {seconds:.2f} s = {seconds / ideal:.3f} x ideal, memory +{mebibytes:.1f} MiB")
        note(f"200,000 ids {title}, 8 at once, time", "ideal", f"{seconds / ideal:.3f}", "at most 1.05")
    large = max(run[1] for run in runs["csv"])
    print(
        f"  from a CSV file of a tenth: memory +{small:.1f} MiB; ten times the list is {large / small:.2f} x the memory"
    )


def _client(ca: str, url: str) -> object:
    from airflow_provider_cij.dataverse.client import DataverseClient
    from airflow_provider_cij.dataverse.settings import Settings

    tenant = str(uuid.UUID(int=2))
    settings = Settings(url, tenant, "client", client_secret="s", authority=f"{url}/{tenant}", ca_bundle=ca)
    return DataverseClient(settings)


def run_one(how: str, ca: str, url: str, count: int) -> None:
    """Upload, and print seconds and memory."""
    from airflow_provider_cij.api.members.client import Members
    from airflow_provider_cij.api.members.id_list import read_member_ids
    from airflow_provider_cij.sources import FromFile, FromValues

    with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        if how == "csv":
            file.write("name,contactid\n")
            file.writelines(f"Somebody,{uuid.uuid4()}\n" for _ in range(count))
            file.flush()
            source: FromFile | FromValues = FromFile(file.name, "contactid")
        else:
            source = FromValues([str(uuid.uuid4()) for _ in range(count)])

        async def ours() -> tuple[float, int]:
            async with _client(ca, url) as client:
                await client.get("WhoAmI")  # log in and connect, as creating the segment did before
                before, started = _memory(), time.perf_counter()
                intake = await read_member_ids(source.chunks(client))
                calls = await Members(client).add(GROUP, GROUP, intake.ids)
                assert calls == math.ceil(count / 1000)
                return time.perf_counter() - started, _memory() - before

        async def bare() -> tuple[float, int]:
            import json
            import ssl

            import httpx

            limits = httpx.Limits(max_connections=CONCURRENCY, max_keepalive_connections=CONCURRENCY)
            context = ssl.create_default_context(cafile=ca)
            async with _client(ca, url) as reader, httpx.AsyncClient(verify=context, limits=limits) as client:
                chunks = source.chunks(reader)
                bodies = iter([json.dumps({"EntityIds": list(values)}).encode() async for _, values in chunks])
                api = reader.settings.api_url
                await client.get(f"{api}WhoAmI")
                before, started = _memory(), time.perf_counter()

                async def work() -> None:
                    for body in bodies:
                        response = await client.post(f"{api}msdynmkt_AddStaticMembers", content=body)
                        assert response.status_code == 204

                async with asyncio.TaskGroup() as tasks:
                    for _ in range(CONCURRENCY):
                        tasks.create_task(work())
                return time.perf_counter() - started, _memory() - before

        seconds, kibibytes = asyncio.run(bare() if how == "httpx" else ours())
        print(seconds, kibibytes / 1024)


def _memory() -> int:
    # The peak of this very program, in KiB: getrusage would count that of the one which started it.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    run_one(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
