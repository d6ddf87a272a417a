"""A worker that is killed with SIGKILL anywhere in an import: the next try ends it, and no later "no" is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
from cij_sandbox.testing import running_sandbox

from airflow_provider_cij.hooks.cij import CijHook
from tests.api.consent.organisation import CONSENTS, IN, OUT, addresses, consent, consents, purpose

COUNT = 1200
SCRIPT = """
import csv, sys
from airflow_provider_cij.api.bounds import bound_of
from airflow_provider_cij.api.consent.importing import ImportSpec, import_consent
from airflow_provider_cij.api.consent.consent_to import ConsentTo
from airflow_provider_cij.api.consent.statements import Columns
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.sources import FromFile

async def work(cij):
    spec = ImportSpec(ConsentTo(sys.argv[2]), Columns("address", "value", "given_at"))
    none = bound_of("max_invalid", 0)
    rows = FromFile(sys.argv[1]).rows(cij.dataverse, spec.columns.names())
    report = await import_consent(cij.dataverse, rows, spec, max_invalid=none, max_not_found=none)
    print(report.as_dict())

CijHook().run(work)
"""


@pytest.fixture(scope="module")
def sandbox():
    """Run a sandbox that only this test makes slow."""
    with running_sandbox() as running:
        yield running


def writes(sandbox) -> int:
    """Return how many writing requests the sandbox has carried out."""
    return sum(
        one["method"] == "POST" and one["status"] is not None and "/api/data/" in one["path"]
        for one in sandbox.requests()
    )


def test_a_killed_import_is_ended_by_the_next(sandbox, monkeypatch, tmp_path):
    """Killed at several points and run again, an import leaves one row an address, each with the value that must be."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", sandbox.airflow_conn_uri)
    points = [point.lower() for point in addresses(COUNT)]
    given = datetime.now(UTC) - timedelta(hours=1)

    async def prepare(cij):
        purpose_id = await purpose(cij)
        # A third has a row: yes, or a no that is later than what the source says.
        for value, place in ((IN, 1), (OUT, 2)):
            await consents(cij, [consent(point, value, purpose_id) for point in points[place::6]])
        return purpose_id

    purpose_id = CijHook().run(prepare)
    path = tmp_path / "consent.csv"
    values = ["opted_in" if place % 6 != 1 else "opted_out" for place in range(COUNT)]
    expected = {point: OUT if place % 6 == 2 else IN for place, point in enumerate(points)}
    later = datetime.now(UTC) + timedelta(seconds=30)
    lines = [
        f"{point},{value},{(later if value == 'opted_out' else given).isoformat()}"
        for point, value in zip(points, values, strict=True)
    ]
    expected |= {point: OUT for place, point in enumerate(points) if place % 6 == 1}
    path.write_text("\n".join(["address,value,given_at", *lines]))
    command = [sys.executable, "-c", SCRIPT, str(path), purpose_id]
    sandbox.faults.add("slow", path="CreateMultiple", delay=0.1, reply_delay=0.1)
    sandbox.faults.add("slow", path="UpdateMultiple", delay=0.1, reply_delay=0.1)
    for more in (1, 3, 5):
        done = writes(sandbox)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ))
        give_up = time.monotonic() + 60
        while writes(sandbox) < done + more and process.poll() is None:
            assert time.monotonic() < give_up
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    sandbox.faults.clear()
    subprocess.run(command, check=True, capture_output=True)

    async def read(cij):
        columns = "msdynmkt_contactpointvalue,msdynmkt_value"
        where = f"_msdynmkt_purposeid_value eq {purpose_id}"
        pages = cij.dataverse.pages(f"{CONSENTS}?$select={columns}&$filter={where}")
        return [
            (row["msdynmkt_contactpointvalue"].lower(), row["msdynmkt_value"]) async for rows in pages for row in rows
        ]

    rows = CijHook().run(read)
    assert len(rows) == COUNT
    assert dict(rows) == expected
