"""What a DAG file pays for importing the operators and the sensor, over airflow.sdk alone, beside a peer."""

from __future__ import annotations

import statistics
import subprocess
import sys

ROUNDS = 5
OURS = ",".join(
    f"airflow_provider_cij.{name}" for name in ("operators.members", "operators.segments", "sensors.segments")
)
PEER = "airflow.providers.standard.operators.trigger_dagrun,airflow.providers.standard.sensors.external_task"
LIMIT_MS = 15.0

_SCRIPT = """
import sys, time
import airflow.sdk
airflow.sdk.BaseOperator, airflow.sdk.BaseSensorOperator, airflow.sdk.BaseOperatorLink
start = time.perf_counter()
for module in sys.argv[1].split(","):
    __import__(module)
print((time.perf_counter() - start) * 1000)
"""


def milliseconds(modules: str) -> float:
    """Import in a fresh interpreter, and give what it takes."""
    done = subprocess.run([sys.executable, "-c", _SCRIPT, modules], capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure both in turn, and print the medians."""
    pairs = [(milliseconds(OURS), milliseconds(PEER)) for _ in range(ROUNDS)]
    ours, peer = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"import of all operators and sensors over airflow.sdk: {ours:.1f} ms = {ours / LIMIT_MS:.2f} x the limit")
    print(f"  peer, TriggerDagRunOperator and ExternalTaskSensor: {peer:.1f} ms; ours/peer {ours / peer:.2f}")
