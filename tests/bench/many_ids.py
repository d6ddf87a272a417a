"""Ids as sets: 2,000,000 beside 200,000, and beside Python's own set; and 200,000 rows out of every source."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROWS = 200_000


def measure(how: str, count: int, folder: str) -> tuple[float, float]:
    """Run one in a fresh interpreter; give its seconds, and the peak of memory above the start's in MiB."""
    command = [sys.executable, "-m", "tests.bench.many_ids", how, str(count), folder]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, kibibytes = done.stdout.splitlines()[-1].split()
    return float(seconds), float(kibibytes) / 1024


def main() -> None:
    """Print what each takes."""
    print("distinct ids, counted and given in batches of 1000")
    with tempfile.TemporaryDirectory() as folder:
        for how, count in (("IdSet", ROWS), ("IdSet", 10 * ROWS), ("set", 10 * ROWS)):
            seconds, mebibytes = measure(how, count, folder)
            print(f"  {how:<8} {count:>9,}  {seconds:.2f} s, memory +{mebibytes:.1f} MiB")
        print(f"rows out of a source into a set, {ROWS:,} and ten times as many")
        for how in ("csv", "jsonl", "parquet", "sql"):
            few, many = (measure(how, count, folder) for count in (ROWS, 10 * ROWS))
            print(f"  {how:<8} {few[0]:.2f} s, +{few[1]:.1f} MiB; {many[0]:.2f} s, +{many[1]:.1f} MiB")


def run_one(how: str, count: int, folder: str) -> None:
    """Measure, and print seconds and memory."""
    from airflow_provider_cij.api.members.id_list import read_member_ids
    from airflow_provider_cij.api.members.id_set import IdSet
    from airflow_provider_cij.dataverse.guids import unpack_guids

    if how in ("IdSet", "set"):
        before, started = _memory(), time.perf_counter()
        ids, plain = IdSet(), set[str]()
        for _ in range(count // 1000):
            keys = os.urandom(16_000)
            if how == "set":
                plain.update(unpack_guids(keys))
            else:
                ids.update(keys)
        assert len(plain) + len(ids) == len(plain) + sum(map(len, ids.batches(1000))) == count
        print(time.perf_counter() - started, _memory() - before)
        return

    # Written by another process: its peak of memory would be ours.
    script = "import sys; from tests.bench.many_ids import write; write(sys.argv[1], int(sys.argv[2]), sys.argv[3])"
    for rows in (1000, count):  # first a few: what is imported on the way is no news
        subprocess.run([sys.executable, "-c", script, how, str(rows), folder], check=True)
        source, before, started = _source(how, folder), _memory(), time.perf_counter()
        assert len(asyncio.run(read_member_ids(source.chunks(None))).ids) == rows
    print(time.perf_counter() - started, _memory() - before)


def write(how: str, count: int, folder: str) -> None:
    """Write a file of ids and names."""
    from airflow_provider_cij.dataverse.guids import unpack_guids
    from airflow_provider_cij.files import writing

    pages = ([(one, "Somebody") for one in unpack_guids(os.urandom(16_000))] for _ in range(count // 1000))
    path = Path(folder) / f"members.{how}"
    path.unlink(missing_ok=True)
    if how in ("csv", "parquet"):
        with writing(str(path), ["contactid", "name"]) as writer:
            for page in pages:
                writer.write(page)
    elif how == "jsonl":
        with path.open("w") as file:
            file.writelines(json.dumps({"contactid": row[0], "name": row[1]}) + "\n" for page in pages for row in page)
    else:
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE people (contactid TEXT, name TEXT)")
        connection.executemany("INSERT INTO people VALUES (?, ?)", (row for page in pages for row in page))
        connection.commit()
        connection.close()


def _source(how: str, folder: str):
    from airflow_provider_cij.sources import FromFile, FromSql

    path = str(Path(folder) / f"members.{how}")
    if how != "sql":
        return FromFile(path)
    os.environ["AIRFLOW_CONN_BENCH"] = json.dumps({"conn_type": "sqlite", "host": path})
    return FromSql("SELECT contactid, name FROM people", "bench")


def _memory() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    run_one(sys.argv[1], int(sys.argv[2]), sys.argv[3])
