"""Importing operators and sensors loads no heavy module, because DAG files are parsed every few seconds."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib import import_module

import pytest

from tests.heavy_imports import HEAVY

MODULES = (
    "airflow_provider_cij.assets",
    "airflow_provider_cij.links",
    "airflow_provider_cij.operators.consent",
    "airflow_provider_cij.operators.journeys",
    "airflow_provider_cij.operators.members",
    "airflow_provider_cij.operators.outbound",
    "airflow_provider_cij.operators.records",
    "airflow_provider_cij.operators.segments",
    "airflow_provider_cij.operators.triggers",
    "airflow_provider_cij.provider_info",
    "airflow_provider_cij.sensors.interactions",
    "airflow_provider_cij.sensors.journeys",
    "airflow_provider_cij.sensors.outbound",
    "airflow_provider_cij.sensors.segments",
    "airflow_provider_cij.sources",
)


def test_a_dag_file_imports_nothing_heavy():
    """In addition to airflow.sdk a DAG file loads none of the heavy modules."""
    script = f"""
import sys
import airflow.sdk
airflow.sdk.BaseOperator, airflow.sdk.BaseSensorOperator, airflow.sdk.BaseOperatorLink
before = set(sys.modules)
for module in {MODULES!r}:
    __import__(module)
new = set(sys.modules) - before
print([name for name in sorted(new) if name.startswith({HEAVY!r})])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


LAZY = [name for name in MODULES if "lazy(" in inspect.getsource(import_module(name))]


@pytest.mark.parametrize("name", [*LAZY, "airflow_provider_cij.api"])
def test_every_name_that_a_module_offers_is_loaded_when_it_is_used(name):
    """Each name of ``__all__`` is what a type checker reads it as, is listed by ``dir()``, and no other name is."""
    module = import_module(name)
    typed = {
        alias.name: getattr(import_module(statement.module), alias.name)
        for block in ast.parse(inspect.getsource(module)).body
        if isinstance(block, ast.If)
        for statement in block.body
        for alias in statement.names
    }
    assert {offered: getattr(module, offered) for offered in module.__all__} == typed
    assert dir(module) == sorted(module.__all__)
    assert not hasattr(module, "CijNothing")


def test_a_dag_file_loads_the_operators_that_it_names():
    """Importing modules of operators loads none of them; naming one loads that one."""
    assert len(LAZY) == 8
    script = f"""
import sys
for module in {LAZY!r}:
    __import__(module)
print([name for name in sys.modules if name.startswith("airflow_provider_cij.operators._")])
from airflow_provider_cij.operators.members import CijExportSegmentMembersOperator
print("airflow_provider_cij.operators._members_export" in sys.modules)
print("airflow_provider_cij.operators._member_list" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-3:] == ["[]", "True", "False"]
