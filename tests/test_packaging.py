from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """Build the wheel, offline, with the backend that is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    """No tests, no demo, no examples: every module of the package and its typing marker."""
    found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    package = ROOT / "airflow_provider_cij"
    expected = {str(path.relative_to(ROOT)) for path in package.rglob("*") if path.suffix in (".py", ".typed")}
    assert found == expected
    assert "airflow_provider_cij/py.typed" in found


def test_the_metadata_names_what_it_needs(wheel):
    """Four runtime dependencies, without upper bounds; licence, entry points and command."""
    (metadata,) = [name for name in wheel.namelist() if name.endswith("METADATA")]
    lines = wheel.read(metadata).decode().splitlines()
    required = [line for line in lines if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert required == [
        "Requires-Dist: apache-airflow>=3.1",
        "Requires-Dist: h11>=0.16",
        "Requires-Dist: httpx>=0.27",
        "Requires-Dist: msal>=1.34",
    ]
    assert "License-Expression: Apache-2.0" in lines
    assert "Requires-Python: >=3.11" in lines
    (points,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    text = wheel.read(points).decode()
    for line in (
        "provider_info = airflow_provider_cij.provider_info:get_provider_info",
        "cij-sandbox = airflow_provider_cij.sandbox.cli:main",
    ):
        assert line in text


def test_no_file_has_grown_past_reading():
    """500 lines are the limit of the house: past it a file has two reasons to change."""
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / "airflow_provider_cij").rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 500
    }
    assert long == {}
