"""What ``airflow_provider_cij.api`` exports, and what importing it loads."""

from __future__ import annotations

import subprocess
import sys

import pytest

from airflow_provider_cij import api


def test_the_documented_names_are_exported():
    """Each documented name can be imported from ``airflow_provider_cij.api``."""
    assert api.__all__ == ["Cij", "ConsentTo", "IdSet", "Journey", "MemberGroup", "Segment", "SegmentSpec"]
    assert all(getattr(api, name).__name__ == name for name in api.__all__)


def test_an_unknown_name_is_an_attribute_error():
    """A name that is not exported raises AttributeError."""
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = api.nothing


def test_api_loads_without_httpx_msal_and_airflow():
    """Every module of ``api`` can be imported where httpx, msal and Airflow are not installed."""
    script = """
import importlib, pkgutil, sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("h11", "httpx", "msal", "airflow", "pyarrow"):
            raise ImportError(name)

sys.meta_path.insert(0, Block())
import airflow_provider_cij.api as api
names = [module.name for module in pkgutil.walk_packages(api.__path__, api.__name__ + ".")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30
