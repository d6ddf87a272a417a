from __future__ import annotations

import pytest
from cij_sandbox.testing import running_sandbox

from airflow_provider_cij.cli.assumptions import NO, Assumption, assumptions
from airflow_provider_cij.cli.own_rows import OwnRows
from airflow_provider_cij.cli.probe import DIFFERS, result_of
from airflow_provider_cij.cli.probing import Organisation
from airflow_provider_cij.dataverse.retry import RetryPolicy
from airflow_provider_cij.hooks.cij import CijHook

# One of each kind that a pattern stands for.
_EXAMPLES = (
    *("404 0x80040217", "10000", "page, pageSize", "JourneyId", "200 NoTemplate", "NoSuchPath", "11 723270005"),
    *("723270003", "200 State text", "200 Contacts {entities, moreRecords, totalRecordCount}"),
)


def _others(assumption: Assumption) -> list[str]:
    by_pattern = [word for word in _EXAMPLES if assumption.pattern and assumption.can_be_played(word)]
    by_pattern = [word for word in by_pattern if word not in assumption.alternatives]
    assert bool(by_pattern) == bool(assumption.pattern)
    return [*assumption.alternatives, *by_pattern]


_CASES = [(each, other) for each in assumptions() if each.probe != NO for other in _others(each)]


@pytest.fixture(scope="module")
def sandbox():
    """Provide a sandbox whose assumptions the tests change one by one."""
    with running_sandbox("--contacts", "5", "--compute-seconds", "0.4") as sandbox:
        yield sandbox


@pytest.mark.parametrize(("assumption", "other"), _CASES, ids=[f"{each.id}: {other}" for each, other in _CASES])
def test_the_probe_finds_out_which_alternative_is_on(sandbox, monkeypatch, tmp_path, assumption, other):
    """Of a sandbox that does otherwise, the probe observes that alternative, and takes its rows away."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", sandbox.airflow_conn_uri)

    async def find_out(cij):
        own = OwnRows(cij.dataverse, tmp_path / "rows", 20)
        try:
            return await result_of(Organisation(cij.dataverse, own, 20), assumption)
        finally:
            assert await own.remove() == 0

    sandbox.assume({assumption.id: other})
    try:
        found = CijHook().run(find_out, RetryPolicy(max_attempts=1))
    finally:
        sandbox.assume({assumption.id: None})
    assert (found["result"], found["observed"]) == (DIFFERS, other), found
    assert found["can_be_played"]
    assert list(tmp_path.iterdir()) == []
