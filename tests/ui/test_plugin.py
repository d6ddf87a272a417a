"""The plugin: light to import everywhere, and a server of static files in the API server."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest

from airflow_provider_cij.ui.plugin import CijPlugin

ROOT = Path(__file__).parents[2]
APP = CijPlugin.fastapi_apps[0]["app"]


def _get(path: str, **headers: str) -> httpx.Response:
    async def get() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(APP), base_url="http://airflow") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(get())


def test_importing_the_plugin_loads_nothing_else():
    """Every task and the DAG processor import the plugin: beside Airflow's own base it loads two modules of its own."""
    script = """
import sys
import airflow.plugins_manager
try:
    import airflow.sdk.plugins_manager
except ImportError:
    pass  # before Airflow 3.2
before = set(sys.modules)
import airflow_provider_cij.ui.plugin
print(sorted(set(sys.modules) - before - {"airflow_provider_cij"}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    # From 3.2 on Airflow itself has loaded the package, for what it says of the provider.
    assert done.stdout.splitlines()[-1] == "['airflow_provider_cij.ui', 'airflow_provider_cij.ui.plugin']"


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("http://localhost:8080", "/cij/"),
        ("https://host/data/airflow/", "/data/airflow/cij/"),
        ("/airflow", "/airflow/cij/"),
    ],
)
def test_the_addresses_of_modules_have_the_base_path(base_url, expected):
    """Modules are named by their whole path: Airflow 3.1 takes no relative one."""
    script = (
        "from airflow_provider_cij.ui.plugin import CijPlugin; print(*(a['bundle_url'] for a in CijPlugin.react_apps))"
    )
    environment = {**os.environ, "AIRFLOW__API__BASE_URL": base_url}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split()[-2:] == [f"{expected}page.js", f"{expected}run.js"]


def test_the_distribution_names_the_plugin():
    """Airflow finds the plugin by the entry point of the distribution."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["airflow.plugins"]
    assert points == {"cij": f"{CijPlugin.__module__}:{CijPlugin.__qualname__}"}


@pytest.mark.parametrize(
    ("name", "kind"), [("page.js", "javascript"), ("style.css", "text/css"), ("icon.svg", "image/svg+xml")]
)
def test_files_are_served_as_what_they_are_and_revalidated(name, kind):
    """A browser takes a module only as JavaScript, and asks each time whether a file has changed."""
    response = _get(f"/{name}")
    assert response.status_code == 200
    assert kind in response.headers["content-type"]
    assert response.headers["cache-control"] == "no-cache"
    assert _get(f"/{name}", **{"If-None-Match": response.headers["etag"]}).status_code == 304


@pytest.mark.parametrize("path", ["/", "/plugin.py", "/../plugin.py", "/%2e%2e/plugin.py", "/nothing.js"])
def test_nothing_else_is_served(path):
    """Files beside the pages' own are not served."""
    assert _get(path).status_code == 404
