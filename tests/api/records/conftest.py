from __future__ import annotations

import uuid

import pytest
from cij_sandbox.testing import running_sandbox

from airflow_provider_cij.hooks.cij import CijHook

from .organisation import Contents


@pytest.fixture(scope="module")
def sandbox():
    """Run a sandbox of the module's own, in which the same row at once ends in a deadlock."""
    with running_sandbox("--deadlocks", "--dop-hint", "8") as running:
        yield running


@pytest.fixture(scope="module")
def contents(sandbox):
    """Return what reads the sandbox with plain requests."""
    found = Contents(sandbox)
    yield found
    found.close()


@pytest.fixture
def run(sandbox, monkeypatch):
    """Return a function that runs coroutine functions on the sandbox."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", sandbox.airflow_conn_uri)
    return CijHook().run


@pytest.fixture
def upsert(run, contents):
    """Return a function that upserts rows, and returns the counts, the rejected rows and the ids.

    Everything that is in the tables of people afterwards is deleted.
    """

    def work(table, rows, **options):
        rejected, ids = [], []

        async def call(cij):
            return await cij.records.upsert(table, rows, on_rejected=rejected.extend, on_ids=ids.extend, **options)

        report = run(call)
        counts = {name: count for name, count in report.as_dict().items() if count and name != "requests"}
        return counts, rejected, ids

    yield work
    contents.faults()
    contents.delete_all("contacts", "contactid")
    contents.delete_all("leads", "leadid")


@pytest.fixture
def number():
    """Return a customer number that no other test uses."""
    return uuid.uuid4().hex[:12]
