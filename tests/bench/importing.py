"""What a DAG file pays for importing the operators and sensors of segments, over airflow.sdk, beside HttpOperator's."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

from tests.bench.table import note

ROUNDS = 5
OURS = ("airflow_provider_cij.operators.segments", "airflow_provider_cij.sensors.segments")
WITH_MEMBERS = (*OURS, "airflow_provider_cij.operators.members")
ALL = (
    *WITH_MEMBERS,
    *(f"airflow_provider_cij.operators.{room}" for room in ("consent", "journeys", "outbound", "records", "triggers")),
    *(f"airflow_provider_cij.sensors.{room}" for room in ("interactions", "journeys", "outbound")),
)
PEER = ("airflow.providers.http.operators.http", "airflow.providers.http.sensors.http")
LIMIT = 0.08

_SCRIPT = """
import sys, time
import airflow.sdk
airflow.sdk.BaseOperator, airflow.sdk.BaseSensorOperator, airflow.sdk.BaseOperatorLink
start = time.process_time()
for module in sys.argv[1:]:
    __import__(module)
print((time.process_time() - start) * 1000)
"""


def milliseconds(modules: tuple[str, ...], cache: str) -> float:
    """Import in a fresh interpreter with compiled modules, and give the CPU that it takes."""
    # An environment that writes no bytecode would measure the compiler.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", _SCRIPT, *modules]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure all in turn, and print the medians."""
    with tempfile.TemporaryDirectory() as cache:
        runs = [
            [milliseconds(modules, cache) for modules in (OURS, WITH_MEMBERS, ALL, PEER)] for _ in range(ROUNDS + 1)
        ]
    ours, with_members, all_of_them, peer = (statistics.median(column) for column in zip(*runs[1:], strict=True))
    print(f"import over airflow.sdk, CPU; HttpOperator and HttpSensor {peer:.1f} ms")
    for title, found in (("segments", ours), ("segments and members", with_members), ("all subjects", all_of_them)):
        print(f"  operators and sensors of {title}: {found:.1f} ms = {found / peer:.3f} of that (limit {LIMIT})")
        note(f"import: {title}, CPU", "HttpOperator, HttpSensor", f"{found / peer:.3f}", f"at most {LIMIT}")


if __name__ == "__main__":
    main()
