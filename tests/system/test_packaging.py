"""The wheels of both distributions, built from the checkout and installed into a fresh environment."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECTS = {"airflow_provider_cij": ROOT, "cij_sandbox": ROOT / "sandbox"}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> dict[str, Path]:
    """Build both wheels, offline, with the backend that is installed."""
    folder = tmp_path_factory.mktemp("wheels")
    for project in PROJECTS.values():
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(project)]
        subprocess.run(command, check=True, capture_output=True)
    return {package: next(folder.glob(f"{package}-*.whl")) for package in PROJECTS}


@pytest.fixture(scope="module")
def installed(wheels, tmp_path_factory):
    """Return a function that runs Python in a fresh environment with some of the wheels, and returns what it prints."""

    def run(packages: tuple[str, ...], code: str) -> str:
        folder = tmp_path_factory.mktemp("environment")
        venv.create(folder, symlinks=True)
        paths = [str(wheels[package]) for package in packages]
        target = next(folder.glob("lib/python3*/site-packages"))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target]
        subprocess.run([*command, *paths], check=True, capture_output=True)
        done = subprocess.run([folder / "bin/python", "-I", "-c", code], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    return run


def _points(group: str) -> str:
    return f"from importlib.metadata import entry_points; print([p.value for p in entry_points(group={group!r})])"


@pytest.mark.parametrize("package", PROJECTS)
def test_a_wheel_holds_its_package_and_nothing_else(wheels, package):
    """A wheel holds every file of its package: no tests, no demo, no examples."""
    names = zipfile.ZipFile(wheels[package]).namelist()
    found = {name for name in names if ".dist-info/" not in name}
    root = PROJECTS[package]
    files = (path for path in (root / package).rglob("*") if path.is_file() and path.suffix != ".pyc")
    expected = {str(path.relative_to(root)) for path in files}
    assert found == expected
    assert f"{package}/py.typed" in found


def test_the_metadata_names_what_the_provider_needs(wheels):
    """The provider has four runtime dependencies, without upper bounds, and its licence and entry point."""
    wheel = zipfile.ZipFile(wheels["airflow_provider_cij"])
    (metadata,) = [name for name in wheel.namelist() if name.endswith("METADATA")]
    lines = wheel.read(metadata).decode().splitlines()
    required = [line for line in lines if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert required == [
        "Requires-Dist: apache-airflow>=3.1",
        "Requires-Dist: h11>=0.16",
        "Requires-Dist: httpx>=0.28",
        "Requires-Dist: msal>=1.34",
    ]
    assert "Requires-Dist: cij-sandbox; extra == 'sandbox'" in lines
    assert "License-Expression: Apache-2.0" in lines
    assert "Requires-Python: >=3.11" in lines


def test_the_provider_alone_brings_no_server_and_no_pytest_plugin(installed):
    """In an environment with the provider's wheel alone there is no sandbox and no pytest plug-in."""
    only = ("airflow_provider_cij",)
    provider = "airflow_provider_cij.provider_info:get_provider_info"
    assert installed(only, _points("apache_airflow_provider")) == str([provider])
    assert installed(only, _points("airflow.plugins")) == "['airflow_provider_cij.ui.plugin:CijPlugin']"
    assert (
        installed(only, _points("pytest11") + ";" + _points("console_scripts"))
        == "[]\n['airflow_provider_cij.cli:main']"
    )
    look = "import importlib.util as u; print(u.find_spec('cij_sandbox'), u.find_spec('airflow_provider_cij.sandbox'))"
    assert installed(only, look) == "None None"


def test_the_sandbox_brings_its_command_and_its_fixture(installed):
    """In an environment with both wheels there are the command cij-sandbox and the pytest plug-in."""
    both = tuple(PROJECTS)
    assert installed(both, _points("pytest11")) == str(["cij_sandbox.testing"])
    assert "cij_sandbox.server.cli:main" in installed(both, _points("console_scripts"))


@pytest.mark.parametrize("folder", ["tests", "sandbox/tests"])
def test_no_test_module_is_longer_than_500_lines(folder):
    """No test module has more than 500 lines: past that it may have two subjects."""
    lines = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in (ROOT / folder).rglob("*.py")}
    assert {path: count for path, count in lines.items() if count > 500} == {}
