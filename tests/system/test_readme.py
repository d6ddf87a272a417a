"""The examples of the README are run."""

from __future__ import annotations

import os
import re
from pathlib import Path

from airflow_provider_cij.dataverse.settings import CREDENTIALS
from airflow_provider_cij.provider_info import get_provider_info

README = (Path(__file__).parents[2] / "README.md").read_text()
DAG_FILE, TEST_FILE = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_dag_of_the_readme_parses():
    """The README's DAG parses without a network, a connection or a file."""
    module: dict = {}
    exec(DAG_FILE, module)  # noqa: S102
    dag = module["create"].dag
    assert dag.task_ids == ["create", "add", "publish"]
    assert dag.get_task("publish").upstream_task_ids == {"create", "add"}


def test_the_connection_table_matches_the_form():
    """The README's table lists every form field and every kind of credential."""
    table = README[README.index("| Organisation URL") : README.index("Airflow 3.1 shows")]
    (connection,) = get_provider_info()["connection-types"]
    named = set(re.findall(r"`(\w+)`", " ".join(row.split("|")[1] for row in table.splitlines() if row)))
    assert named == set(connection["conn-fields"])
    assert all(f"`{kind}`" in table for kind in CREDENTIALS)
    assert set(connection["conn-fields"]["credential"]["schema"]["enum"]) == set(CREDENTIALS)


def test_the_example_of_a_test_runs(pytester, monkeypatch):
    """The README's DAG and the README's test of it, in two files as printed, pass without any set-up."""
    for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
        monkeypatch.delenv(name)
    for path, text in (("dags/vip.py", DAG_FILE), ("tests/test_vip.py", TEST_FILE)):
        (pytester.path / path).parent.mkdir()
        (pytester.path / path).write_text(text)
    pytester.runpytest_subprocess("tests").assert_outcomes(passed=1)
