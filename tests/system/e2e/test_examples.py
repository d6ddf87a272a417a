"""Every example DAG in a running Airflow, as ``make ui`` sets it up, with the parameters that it shows."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from cij_sandbox.testing import Sandbox, running_sandbox
from packaging.version import Version

from demo.examples import EXAMPLES, Examples, prepare
from demo.stack import Stack
from tests.system.e2e.running_examples import run_all


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Iterator[tuple[Stack, Examples, Sandbox]]:
    """Run Airflow with the example DAGs, and all that they need."""
    folder = tmp_path_factory.mktemp("examples")
    with running_sandbox("--contacts", "3000", "--compute-seconds", "0", "--with-journey-instances") as sandbox:
        examples = prepare(sandbox.airflow_conn_uri, folder)
        with Stack(folder / "airflow", examples.dags) as airflow:
            examples.connect(airflow, sandbox.airflow_conn_uri)
            yield airflow, examples, sandbox


@pytest.mark.skipif(
    Version(metadata.version("apache-airflow-providers-standard")) < Version("1.12"),
    reason="cij_approved_journey needs response_timeout",
)
def test_all_example_dags_run_at_once(prepared):
    """All example DAGs, started at once and without any parameter, end in success."""
    airflow, examples, _ = prepared
    assert examples.ids == sorted(path.stem for path in Path(EXAMPLES).glob("*.py"))
    assert run_all(airflow, examples) == dict.fromkeys(examples.ids, "success")


@pytest.mark.skipif(metadata.version("apache-airflow").startswith("3.1."), reason="3.1 does not read conn-fields")
def test_the_connection_form(prepared):
    """The connection form comes from provider info."""
    airflow, _, _ = prepared
    forms = airflow.rest("GET", "/ui/connections/hook_meta")
    (form,) = [form for form in forms if form["connection_type"] == "cij"]
    assert form["standard_fields"]["host"]["title"] == "Organisation URL"
    assert set(form["extra_fields"]) >= {"tenant_id", "credential", "certificate_private_key", "ca_bundle"}


def test_the_test_button(prepared):
    """The connection form's Test button calls the organisation."""
    airflow, _, sandbox = prepared
    stored = airflow.rest("GET", "connections/cij_default")
    assert stored["password"] == "***"
    tested = airflow.rest("POST", "connections/test", json={**stored, "password": sandbox.client_secret})
    assert tested["status"] is True
    assert f"Connected to {sandbox.base_url}" in tested["message"]
