"""What a DAG file pays for its imports of operators and sensors, over airflow.sdk, beside HttpOperator's.

Each operator is loaded when it is named: so both the modules are measured, and the classes.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.table import note

ROUNDS, LIMIT = 9, 0.08
PEER = (
    "from airflow.providers.http.operators.http import HttpOperator",
    "from airflow.providers.http.sensors.http import HttpSensor",
)
MODULES = (
    *("segments", "members", "journeys", "triggers", "records", "consent", "outbound"),
    *("segments", "journeys", "interactions", "outbound"),
)
ALL = [
    f"airflow_provider_cij.{kind}.{module}"
    for kind, modules in (("operators", MODULES[:7]), ("sensors", MODULES[7:]))
    for module in modules
]
ONE = ("from airflow_provider_cij.operators.segments import CijRefreshSegmentOperator",)
EXAMPLE = Path(__file__).parents[2] / "example_dags" / "cij_weekly_refresh.py"
WEEKLY = tuple(line for line in EXAMPLE.read_text().splitlines() if line.startswith("from airflow_provider_cij"))
CASES = {
    "all modules of operators and sensors": tuple(f"import {module}" for module in ALL),
    "one operator": ONE,
    "what the example of a weekly refresh names": WEEKLY,
}
EVERY = tuple(f"from {module} import *" for module in ALL)

_SCRIPT = """
import sys, time
import airflow.sdk
airflow.sdk.BaseOperator, airflow.sdk.BaseSensorOperator, airflow.sdk.BaseOperatorLink
start = time.process_time()
for statement in sys.argv[1:]:
    exec(statement)
print((time.process_time() - start) * 1000)
"""


def milliseconds(statements: tuple[str, ...], cache: str) -> float:
    """Import in a fresh interpreter with compiled modules, and give the CPU that it takes."""
    # An environment that writes no bytecode would measure the compiler.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", _SCRIPT, *statements]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure all in turn, and print the medians."""
    with tempfile.TemporaryDirectory() as cache:
        sides = (PEER, *CASES.values(), EVERY)
        runs = [[milliseconds(statements, cache) for statements in sides] for _ in range(ROUNDS + 1)]
    peer, *found, every = (statistics.median(column) for column in zip(*runs[1:], strict=True))
    print(f"import over airflow.sdk, CPU; HttpOperator and HttpSensor {peer:.1f} ms")
    for title, ours in zip(CASES, found, strict=True):
        print(f"  {title}: {ours:.1f} ms = {ours / peer:.3f} of that")
        note(f"import: {title}, CPU", "HttpOperator, HttpSensor", f"{ours / peer:.3f}", f"at most {LIMIT}")
    print(f"  every operator and sensor, named in one file: {every:.1f} ms = {every / peer:.3f} of that")


if __name__ == "__main__":
    main()
