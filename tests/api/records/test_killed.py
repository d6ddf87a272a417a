"""A process that is killed while it upserts, again and again, until a try comes to its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from airflow_provider_cij.api.records.checkpoint import UpsertCheckpoint

ROWS = 6000
_WORKER = """
import json, sys
from pathlib import Path
from airflow_provider_cij.api.records import client
from airflow_provider_cij.api.records.checkpoint import UpsertCheckpoint
from airflow_provider_cij.hooks.cij import CijHook

table, key, count, notes, result = sys.argv[1:]
client.WINDOW = 500
rows = ({key: f"K{n:05d}" if key == "new_customerno" else f"k{n}@contoso.com", "lastname": f"New {n}"}
        for n in range(int(count)))

def note(progress):
    Path(notes + ".new").write_text(json.dumps(progress))
    Path(notes + ".new").replace(notes)

def checkpoint(job):
    kept = json.loads(Path(notes).read_text()) if Path(notes).exists() else None
    return UpsertCheckpoint.load(kept, note)

mode = "create_only" if table == "lead" else "upsert"
report = CijHook().run(lambda cij: cij.records.upsert(table, rows, key=key, mode=mode, checkpoint=checkpoint))
Path(result).write_text(json.dumps(report.as_dict()))
"""


@pytest.mark.parametrize(
    ("table", "key"),
    [("contact", "new_customerno"), pytest.param("lead", "emailaddress1", marks=pytest.mark.soak)],
)
def test_a_killed_upsert_is_finished_without_a_second_row_and_counts_truly(
    sandbox, contents, run, tmp_path, table, key
):
    """However often the process is killed, each row is there once in the end, and counted as what it became."""
    notes, result = tmp_path / "notes", tmp_path / "result"
    there = {f"K{n:05d}" if key == "new_customerno" else f"k{n}@contoso.com" for n in range(0, ROWS, 3)}
    run(lambda cij: cij.records.upsert(table, [{key: value, "lastname": "Old"} for value in sorted(there)], key=key))
    command = [sys.executable, "-c", _WORKER, table, key, str(ROWS), str(notes), str(result)]
    kills = 0
    while not result.exists():
        noted = notes.stat().st_mtime_ns if notes.exists() else 0
        worker = subprocess.Popen(command, env=os.environ)
        # Killed a moment after it has noted something, while writes are in flight.
        while worker.poll() is None and (not notes.exists() or notes.stat().st_mtime_ns == noted):
            time.sleep(0.005)
        time.sleep(0.02 * (kills % 4))
        if worker.poll() is None and kills < 4:
            worker.send_signal(signal.SIGKILL)
            kills += 1
        assert worker.wait() in (0, -signal.SIGKILL)
    assert kills >= 3
    report = json.loads(result.read_text())
    new, old = ROWS - len(there), len(there)
    counted = {name: report[name] for name in ("created", "updated", "existing", "unchanged", "failed")}
    others = {"updated": old, "existing": 0} if table == "contact" else {"updated": 0, "existing": old}
    assert counted == {"created": new, **others, "unchanged": 0, "failed": 0}
    rows = contents.rows(f"{table}s?$select={key},lastname")
    assert len({row[key] for row in rows}) == len(rows) == ROWS
    assert sum(row["lastname"] == "Old" for row in rows) == (0 if table == "contact" else old)
    assert UpsertCheckpoint.load(json.loads(notes.read_text()), lambda _: None).counts["created"] == new
    contents.delete_all(f"{table}s", f"{table}id")
