"""Every row of upserts of random lists, compared with plain Python, on a sandbox with and without faults."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from airflow_provider_cij.api.bounds import bound_of

from .model import COLUMNS, lists, options, upserted

# Each example is some requests: what fails is not made smaller.
PHASES = (Phase.explicit, Phase.generate)
SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
ANY = bound_of("max_invalid", None)
FAULTS = [
    {"fault": "lost", "path": "Multiple$"},
    {"fault": "500", "path": "Multiple$"},
    {"fault": "503", "path": "Multiple$", "processed": True},
    {"fault": "sql_timeout", "path": "Multiple$"},
    {"fault": "deadlock", "path": "Multiple$"},
    {"fault": "429", "path": "Multiple$", "retry_after": 0},
    {"fault": "lost", "path": "batch$"},
    {"fault": "503", "path": "/contacts$"},
]


def state(contents):
    """Return the contacts by their keys in lower case."""
    rows = contents.rows(f"contacts?$select={','.join(COLUMNS)}")
    found = {row["new_customerno"].lower(): {name: row[name] for name in COLUMNS} for row in rows}
    assert len(found) == len(rows)
    return found


def check(upsert, contents, first, second, chosen, faults=()):
    """Upsert two lists one after the other, under faults, and compare all rows and counts with the model."""
    for given_rows, how in ((first, {**chosen, "mode": "upsert"}), (second, chosen)):
        expected, counts = upserted(state(contents), given_rows, **how)
        contents.faults(*faults)
        found = upsert("contact", given_rows, key="new_customerno", max_invalid=ANY, max_failed=ANY, **how)[0]
        contents.faults()
        assert (found, state(contents)) == (counts, expected)


@pytest.mark.parametrize("mode", ["upsert", "create_only"])
@pytest.mark.usefixtures("short_sleeps")
def test_rows_of_a_batch_whose_response_was_lost_count_as_created(upsert, contents, mode):
    """Rows that are created one by one, by a batch that is sent twice, are counted as created."""
    rules = {"fault": "500", "path": "Multiple$", "count": 1}, {"fault": "lost", "path": "batch$", "count": 1}
    contents.faults(*rules)
    rows = [{"new_customerno": str(n), "lastname": "x"} for n in range(50)]
    assert upsert("contact", rows, key="new_customerno", mode=mode)[0] == {"read": 50, "created": 50}


@settings(max_examples=60, suppress_health_check=SLOW, phases=PHASES)
@given(first=lists, second=lists, chosen=options)
def test_every_row_is_as_in_plain_python(upsert, contents, first, second, chosen):
    """Two upserts of random lists leave the rows, and report the counts, that a model in plain Python does."""
    contents.delete_all("contacts", "contactid")
    check(upsert, contents, first, second, chosen)


@pytest.mark.usefixtures("short_sleeps")
@settings(max_examples=40, suppress_health_check=SLOW, phases=PHASES)
@given(
    first=lists,
    second=lists,
    chosen=options,
    faults=st.lists(st.tuples(st.sampled_from(FAULTS), st.integers(0, 3), st.integers(1, 2)), max_size=2),
)
def test_faults_change_neither_rows_nor_counts(upsert, contents, first, second, chosen, faults):
    """Lost responses, server errors, deadlocks and timeouts change neither the rows at the end nor the counts."""
    contents.faults()
    contents.delete_all("contacts", "contactid")
    rules = [{**fault, "after": after, "count": count} for fault, after, count in faults]
    check(upsert, contents, first, second, chosen, rules)
