"""What a checkpoint of an upsert counts for: the same values in the same columns of the same organisation."""

from __future__ import annotations

import pytest
from cij_sandbox.testing import running_sandbox

from airflow_provider_cij.api.records.checkpoint import UpsertCheckpoint
from airflow_provider_cij.hooks.cij import CijHook

ROWS = [{"no": f"C{n}", "text": "0001"} for n in range(5)]
COLUMNS = {"no": "new_customerno", "text": "telephone1"}


@pytest.fixture
def again():
    """Return the options of a try whose checkpoint is kept for later tries."""
    kept = {}

    def checkpoint(job):
        return UpsertCheckpoint.load(kept.get(job), lambda progress: kept.__setitem__(job, progress))

    return {"key": "new_customerno", "checkpoint": checkpoint}


def test_the_same_list_goes_on_and_another_column_starts_over(upsert, contents, again):
    """A list whose mapping was changed since the earlier try is written to the other column too."""
    assert upsert("contact", ROWS, columns=COLUMNS, **again)[0] == {"read": 5, "created": 5}
    assert upsert("contact", ROWS, columns=COLUMNS, **again)[0] == {"read": 5, "created": 5, "resumed_from": 5}
    other = COLUMNS | {"text": "mobilephone"}
    assert upsert("contact", ROWS, columns=other, **again)[0] == {"read": 5, "updated": 5}
    assert [row["mobilephone"] for row in contents.rows("contacts?$select=mobilephone")] == ["0001"] * 5


def test_sending_unchanged_rows_as_well_starts_over(upsert, again):
    """A try that also sends unchanged rows does not skip those that an earlier try left alone."""
    assert upsert("contact", ROWS, columns=COLUMNS, **again)[0] == {"read": 5, "created": 5}
    counts = upsert("contact", ROWS, columns=COLUMNS, skip_unchanged=False, **again)[0]
    assert counts == {"read": 5, "updated": 5}


def test_another_organisation_starts_over(upsert, again, monkeypatch):
    """A list that was written to one organisation is written to the next one whole."""
    assert upsert("contact", ROWS, columns=COLUMNS, **again)[0] == {"read": 5, "created": 5}
    with running_sandbox() as other:
        monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", other.airflow_conn_uri)
        report = CijHook().run(lambda cij: cij.records.upsert("contact", ROWS, columns=COLUMNS, **again))
    assert (report.created, report.resumed_from) == (5, 0)
