"""2,000,000 members in from a CSV file and out to one, by the operators: memory against that for 20,000."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from cij_sandbox.testing import running_sandbox

FEW, MANY = 20_000, 2_000_000
GROUPS = [f"part {number}" for number in range(10)]


def main() -> None:
    """Run both, each in a process of its own, against a sandbox of its own."""
    peaks = {}
    for count in (FEW, MANY):
        with running_sandbox("--compute-seconds", "0.5") as sandbox, tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "AIRFLOW_CONN_CIJ_DEFAULT": sandbox.airflow_conn_uri}
            command = [sys.executable, "-m", "tests.bench.two_million", str(count), folder]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(done.stdout[-3000:] + done.stderr[-3000:])
            seconds, peak = done.stdout.split()[-2:]
            peaks[count] = int(peak) / 1024
            print(f"{count:>9,} members in and out: {float(seconds):.1f} s, peak {peaks[count]:.0f} MiB")
    print(f"          more than for {FEW:,}: {peaks[MANY] - peaks[FEW]:+.0f} MiB (limit 40)")


def run(count: int, folder: Path) -> None:
    """Write a file with one duplicate in a hundred, add it to ten groups, publish, export, compare."""
    os.environ["AIRFLOW_HOME"] = str(folder)
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(folder / "dags")
    chance = random.Random(1)  # noqa: S311
    source, target = folder / "in.csv", folder / "out.csv"
    with source.open("w") as file:
        file.write("contactid\n")
        for number in range(count):
            one = f"{uuid.UUID(int=chance.getrandbits(128))}\n"
            file.write(one if number % 100 else one + one.upper())

    from airflow.sdk import DAG

    from airflow_provider_cij.operators.members import CijAddSegmentMembersOperator, CijExportSegmentMembersOperator
    from airflow_provider_cij.operators.segments import CijCreateSegmentOperator, CijPublishSegmentOperator
    from airflow_provider_cij.sources import FromFile
    from tests.dags import run_dag

    with DAG("bench", schedule=None) as dag:
        create = CijCreateSegmentOperator(task_id="create", display_name="Bench", groups=GROUPS)
        segment_id = create.output["segment_id"]
        add = CijAddSegmentMembersOperator(
            task_id="add", segment_id=segment_id, group=GROUPS, members=FromFile(str(source))
        )
        publish = CijPublishSegmentOperator(task_id="publish", segment_id=segment_id, poll_interval=0.5)
        export = CijExportSegmentMembersOperator(task_id="export", segment_id=segment_id, path=str(target))
        add >> publish >> export
    started = time.perf_counter()
    ran = run_dag(dag)
    seconds = time.perf_counter() - started
    report = ran.result("add")
    assert (report["read"], report["duplicate"], report["added"]) == (count + count // 100, count // 100, count), report
    assert ran.result("export")["count"] == count
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with source.open() as before, target.open() as after:
        assert {line.lower() for line in before} == set(after)
    print(seconds, peak)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run(int(sys.argv[1]), Path(sys.argv[2]))
    else:
        main()
