"""Every example DAG in a running Airflow, as ``make ui`` sets it up, with the parameters that it shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cij_sandbox.testing import running_sandbox

from demo.examples import EXAMPLES, Examples, prepare
from demo.stack import Stack
from tests.system.e2e.running_examples import run_all


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Iterator[tuple[Stack, Examples]]:
    """Run Airflow with the example DAGs, and all that they need."""
    folder = tmp_path_factory.mktemp("examples")
    with running_sandbox("--contacts", "3000", "--compute-seconds", "0", "--with-journey-instances") as sandbox:
        examples = prepare(sandbox.airflow_conn_uri, folder)
        with Stack(folder / "airflow", examples.dags) as airflow:
            examples.connect(airflow, sandbox.airflow_conn_uri)
            yield airflow, examples


def test_all_example_dags_run_at_once(prepared):
    """All example DAGs, started at once and without any parameter, end in success."""
    airflow, examples = prepared
    assert examples.ids == sorted(path.stem for path in Path(EXAMPLES).glob("*.py"))
    assert run_all(airflow, examples) == dict.fromkeys(examples.ids, "success")
