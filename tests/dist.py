"""Build both distributions, and check them on every cell of the matrix: ``python -m tests.dist``, or ``make dist``."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.matrix.cells import FOLDER, ROOT, Cell, Uv, cells

PROJECTS = {"airflow_provider_cij": ROOT, "cij_sandbox": ROOT / "sandbox"}
_EXAMPLE = ROOT / "docs" / "snippets" / "testing"
_VERSIONS = "import airflow_provider_cij as a, cij_sandbox as b; print(a.__version__, b.__version__)"


def build(folder: Path) -> None:
    """Build wheels and sdists, each wheel from its sdist."""
    shutil.rmtree(folder, ignore_errors=True)
    for project in PROJECTS.values():
        subprocess.run([sys.executable, "-m", "build", "--outdir", folder, project], check=True)


def check_files(folder: Path, package: str) -> str:
    """Check what is in the wheel and the sdist of a package, and return its version.

    :param folder: where they are
    :param package: the package's name
    """
    (wheel,), (sdist,) = folder.glob(f"{package}-*.whl"), folder.glob(f"{package}-*.tar.gz")
    version = wheel.name.split("-")[1]
    found = {
        name for name in zipfile.ZipFile(wheel).namelist() if not name.startswith(f"{package}-{version}.dist-info/")
    }
    root = PROJECTS[package]
    files = {str(path.relative_to(root)) for path in (root / package).rglob("*") if path.is_file()}
    expected = {name for name in files if not name.endswith(".pyc")} | {f"{package}/assumptions.toml"}
    if wrong := found ^ expected:
        raise SystemExit(f"{wheel.name} and the folder {package} differ in {', '.join(sorted(wrong))}.")
    with tarfile.open(sdist) as archive:
        kept = {name.partition("/")[2] for name in archive.getnames()}
    if missing := ({"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"} | expected) - kept:
        raise SystemExit(f"{sdist.name} lacks {', '.join(sorted(missing))}.")
    if f"## {version}" not in (root / "CHANGELOG.md").read_text():
        raise SystemExit(f"The changelog of {package} has no section for {version}.")
    return version


def check_cell(uv: Uv, cell: Cell, python: str, folder: Path, versions: list[str]) -> str:
    """Install both wheels into a fresh environment, use them as users do, and return the version of Airflow there.

    :param uv: makes the environment
    :param cell: what is installed beside the wheels
    :param python: the path of the interpreter
    :param folder: where the wheels are
    :param versions: those of both wheels, provider first
    """
    wheels = {package: next(folder.glob(f"{package}-*.whl")) for package in PROJECTS}
    projects = [f"airflow-provider-cij[sandbox] @ {wheels['airflow_provider_cij'].as_uri()}"]
    projects += [f"cij-sandbox @ {wheels['cij_sandbox'].as_uri()}", "pytest"]
    with tempfile.TemporaryDirectory(prefix="cij-dist-") as where:
        home, log = Path(where, "venv"), Path(where, "log")
        with log.open("wb") as out:
            try:
                airflow = uv.environment(cell, python, home, projects, out)["apache-airflow"]
            except subprocess.CalledProcessError:
                raise SystemExit(f"{cell.name} can't be installed:\n{log.read_text()[-2000:]}") from None
        call = _caller(cell, home, Path(where))
        if call("python", "-I", "-c", _VERSIONS).split() != versions:
            raise SystemExit(f"{cell.name}: the packages and their wheels differ in their versions.")
        if '"airflow-provider-cij"' not in call("airflow", "providers", "list", "--output", "json"):
            raise SystemExit(f"{cell.name}: airflow providers list has no airflow-provider-cij.")
        for command in ("check", "probe"):
            call("airflow-cij", command, "--help")
            if not airflow.startswith("3.1."):
                call("airflow", "cij", command, "--help")
        call("cij-sandbox", "--help")
        shutil.copytree(_EXAMPLE, Path(where, "project"))
        call("pytest", "-q", "project")
    return airflow


def _caller(cell: Cell, home: Path, where: Path) -> Callable[..., str]:
    """Return a function that runs a command of an environment, and returns what it prints."""
    environment = {"PATH": f"{home / 'bin'}:/usr/bin:/bin", "AIRFLOW_HOME": str(where / "airflow"), "HOME": str(where)}
    environment |= {name: os.environ[name] for name in ("NO_PROXY", "no_proxy") if name in os.environ}

    def call(command: str, *arguments: str) -> str:
        done = subprocess.run(
            [home / "bin" / command, *arguments],
            capture_output=True,
            text=True,
            cwd=where,
            env=environment,
            check=False,
        )
        if done.returncode:
            line = " ".join((command, *arguments))
            raise SystemExit(f"{cell.name}: {line} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    return call


def main() -> None:
    """Build and check."""
    parser = argparse.ArgumentParser(prog="python -m tests.dist", description=__doc__)
    parser.add_argument("--airflow", action="append", default=[], help="check on this one only; may be repeated")
    parser.add_argument("--python", action="append", default=[], help="check on this one only; may be repeated")
    options = parser.parse_args()
    folder = ROOT / "dist"
    build(folder)
    versions = [check_files(folder, package) for package in PROJECTS]
    FOLDER.mkdir(exist_ok=True)
    uv, tried = Uv(FOLDER), 0
    for cell in cells(options.airflow, options.python):
        python = uv.interpreter(cell.python)
        if python is None:
            print(f"{cell.name}: no interpreter", flush=True)
            continue
        print(f"{cell.name}: works with Airflow {check_cell(uv, cell, python, folder, versions)}", flush=True)
        tried += 1
    if not tried:
        raise SystemExit("There is no interpreter for any cell.")
    for path in sorted(folder.iterdir()):
        print(f"  dist/{path.name}  {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
