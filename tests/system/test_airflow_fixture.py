"""The fixture ``cij_airflow``, in a pytest run of its own."""

from __future__ import annotations

import os

import pytest

BROKEN = "from airflow.sdk import DAG\nimport nothing_of_this_name\n"
GOOD = """
from airflow.sdk import DAG
from airflow_provider_cij.operators.segments import CijCreateSegmentOperator
with DAG("good", schedule=None):
    CijCreateSegmentOperator(task_id="create", display_name="Good", query="PROFILE(contact)")
"""
TESTS = """
import os
import pytest
from airflow import settings
from airflow.sdk import DAG
from airflow_provider_cij.operators.segments import CijCreateSegmentOperator, CijPublishSegmentOperator

BEFORE = os.environ.get("AIRFLOW_HOME"), str(settings.engine.url)


def test_a_dag_of_the_test(cij_airflow, cij_sandbox):
    cij_sandbox.hurry()
    with DAG("of_the_test", schedule=None) as dag:
        create = CijCreateSegmentOperator(task_id="create", display_name="A", query="PROFILE(contact)")
        publish = CijPublishSegmentOperator(
            task_id="publish", segment_id=create.output["segment_id"], deferrable=True, poll_interval=3600, timeout=7200
        )
    run = cij_airflow.dag(dag).test()
    assert [task.state for task in run.get_task_instances()] == ["success", "success"]
    assert str(settings.engine.url) != BEFORE[1]


def test_a_dag_of_the_folder(cij_airflow):
    assert cij_airflow.dag("good").test().state == "success"


def test_an_unknown_dag(cij_airflow):
    with pytest.raises(LookupError, match="no DAG 'bad'.*there are: good(.|\\n)*nothing_of_this_name"):
        cij_airflow.dag("bad")


def test_afterwards():
    assert (os.environ.get("AIRFLOW_HOME"), str(settings.engine.url)) == BEFORE
"""


@pytest.fixture
def no_airflow_settings(monkeypatch):
    """Take away the settings of this test run."""
    for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
        monkeypatch.delenv(name)


def test_dags_of_the_folder_and_of_the_test_run(pytester, no_airflow_settings, monkeypatch):
    """DAGs of the folder and of the test run, an unknown one is named, and Airflow's own settings come back."""
    monkeypatch.setenv("AIRFLOW_HOME", str(pytester.path / "home"))
    for path, text in (("dags/good.py", GOOD), ("dags/bad.py", BROKEN), ("deep/down/test_dags.py", TESTS)):
        (pytester.path / path).parent.mkdir(parents=True, exist_ok=True)
        (pytester.path / path).write_text(text)
    pytester.runpytest_subprocess("deep", "-p", "no:randomly").assert_outcomes(passed=4)
