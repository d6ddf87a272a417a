"""Build both distributions, and check them in fresh environments: ``python -m tests.dist``, or ``make dist``."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECTS = {"airflow_provider_cij": ROOT, "cij_sandbox": ROOT / "sandbox"}
_TRY = {
    "airflow_provider_cij": (
        "import airflow_provider_cij as it; from airflow.providers_manager import ProvidersManager;"
        "assert it.__name__.replace('_', '-') in ProvidersManager().providers; print(it.__version__)"
    ),
    # The fixture is for those who have pytest; the command is for all.
    "cij_sandbox": (
        "import subprocess, cij_sandbox as it; subprocess.run(['cij-sandbox', '--help'], check=True, stdout=-3);"
        "print(it.__version__)"
    ),
}


def build(folder: Path) -> None:
    """Build wheels and sdists, each wheel from its sdist."""
    shutil.rmtree(folder, ignore_errors=True)
    for project in PROJECTS.values():
        subprocess.run([sys.executable, "-m", "build", "--outdir", folder, project], check=True)


def check(folder: Path, package: str) -> str:
    """Check the wheel and the sdist of a package, and return its version.

    :param folder: where they are
    :param package: the package's name
    """
    (wheel,), (sdist,) = folder.glob(f"{package}-*.whl"), folder.glob(f"{package}-*.tar.gz")
    version = wheel.name.split("-")[1]
    names = zipfile.ZipFile(wheel).namelist()
    if not all(name.startswith((f"{package}/", f"{package}-{version}.dist-info/")) for name in names):
        raise SystemExit(f"{wheel.name} holds more than {package}.")
    with tarfile.open(sdist) as archive:
        kept = {name.partition("/")[2] for name in archive.getnames()}
    if missing := {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"} - kept:
        raise SystemExit(f"{sdist.name} lacks {', '.join(sorted(missing))}.")
    with tempfile.TemporaryDirectory(prefix="cij-dist-") as where:
        home = Path(where) / "venv"
        venv.create(home, with_pip=True)
        pip = [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--find-links", folder, wheel], check=True)
        command = [home / "bin" / "python", "-I", "-W", "ignore", "-c", _TRY[package]]
        environment = {"PATH": f"{home / 'bin'}:/usr/bin:/bin", "AIRFLOW_HOME": where, "HOME": where}
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=where, env=environment)
    if done.returncode:
        raise SystemExit(f"{package} does not run where its wheel is installed: {done.stderr[-2000:]}")
    if done.stdout.split()[-1] != version:
        raise SystemExit(f"{package} says that it is {done.stdout.split()[-1]}, its wheel {version}.")
    if f"## {version}" not in (PROJECTS[package] / "CHANGELOG.md").read_text():
        raise SystemExit(f"The changelog of {package} has no section for {version}.")
    return version


def main() -> None:
    """Build and check."""
    folder = ROOT / "dist"
    build(folder)
    for package in PROJECTS:
        print(f"{package} {check(folder, package)}: wheel and sdist are good")
    for path in sorted(folder.iterdir()):
        print(f"  dist/{path.name}  {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
