"""Importing operators and sensors loads no heavy module, because DAG files are parsed every few seconds."""

from __future__ import annotations

import subprocess
import sys

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
