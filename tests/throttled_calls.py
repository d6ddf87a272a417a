"""A process that sends calls to an organisation and prints what came of them: seconds, and how many were refused."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import tempfile
import time

from airflow_provider_cij.api.concurrency import for_each
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.dataverse.settings import Settings


class _Refusals(logging.Handler):
    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += "throttled by the service" in record.getMessage()


async def main(calls: int, connection: dict[str, object]) -> None:
    """Wait for a line, send the calls, print the result."""
    refusals, logger = _Refusals(), logging.getLogger("airflow_provider_cij.dataverse.client")
    logger.addHandler(refusals)
    logger.setLevel(logging.INFO)
    settings = Settings(**connection)
    async with DataverseClient(settings) as client:
        sys.stdout.write("\n")
        sys.stdout.flush()
        sys.stdin.readline()
        started = time.monotonic()
        await for_each(range(1, calls + 1), lambda _: client.get("WhoAmI"), settings.max_concurrency)
        sys.stdout.write(json.dumps([time.monotonic() - started, refusals.count]))


def run_processes(count: int, calls: int, sandbox, **settings: object) -> tuple[float, int]:
    """Run processes that begin together; give the seconds of the slowest, and the refusals of all."""
    connection = {
        "base_url": sandbox.base_url,
        "tenant_id": sandbox.tenant,
        "client_id": sandbox.client_id,
        "client_secret": sandbox.client_secret,
        "authority": sandbox.authority,
        "ca_bundle": sandbox.ca,
        **settings,
    }
    command = [sys.executable, "-m", "tests.throttled_calls", str(calls), json.dumps(connection), tempfile.gettempdir()]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    try:
        for process in running:
            process.stdout.readline()
        for process in running:
            process.stdin.write("\n")
            process.stdin.flush()
        results = [json.loads(process.stdout.read()) for process in running]
        return max(seconds for seconds, _ in results), sum(refused for _, refused in results)
    finally:
        for process in running:
            process.kill()
            process.communicate()


if __name__ == "__main__":
    tempfile.tempdir = sys.argv[3]
    asyncio.run(main(int(sys.argv[1]), json.loads(sys.argv[2])))
