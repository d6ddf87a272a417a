"""Run the tests on every Airflow and Python that the provider supports: ``python -m tests.matrix``, or ``make matrix``.

Each cell has an environment of its own, which uv makes from the registry that pip is configured with.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
CELLS = Path(__file__).with_name("cells.toml")
_OPTIONAL = ("parquet", "sql")
_WARNINGS = ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning")
_SECONDS = 3600


@dataclass(frozen=True)
class Cell:
    """One Airflow on one Python.

    :param airflow: the Airflow's name in ``cells.toml``
    :param python: the Python's version, such as ``3.12``
    :param requirements: what is installed beside the provider, as pip's requirements
    :param until: the day up to which releases are installed; ``""`` for the newest of all
    """

    airflow: str
    python: str
    requirements: tuple[str, ...]
    until: str

    @property
    def name(self) -> str:
        """The cell's name, which is that of its folder."""
        return f"{self.airflow}-py{self.python}"


def lowest() -> tuple[str, ...]:
    """Return the lowest version of each direct dependency that users get."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = [*project["dependencies"]]
    for extra in _OPTIONAL:
        bounds += project["optional-dependencies"][extra]
    return tuple(bound.replace(">=", "==") for bound in bounds)


def cells(airflows: list[str], pythons: list[str]) -> Iterator[Cell]:
    """Yield the cells of the table.

    :param airflows: their names; empty for all
    :param pythons: their versions; empty for all
    """
    table = tomllib.loads(CELLS.read_text())
    for line in table["airflow"]:
        if airflows and line["name"] not in airflows:
            continue
        requirement = line["requirement"]
        wanted = lowest() if requirement == "lowest" else (f"apache-airflow{requirement}",)
        for python in line.get("pythons", table["pythons"]):
            if not pythons or python in pythons:
                yield Cell(line["name"], python, (*wanted, *line.get("also", ())), line.get("until", ""))


class Runner:
    """Makes the environments and runs the tests in them.

    :param folder: where environments and results are
    :param arguments: more arguments for pytest
    """

    def __init__(self, folder: Path, arguments: list[str]) -> None:
        self._folder = folder
        self._arguments = arguments
        self._uv = folder / "uv" / "bin" / "uv"

    def prepare(self) -> None:
        """Install uv into an environment of its own."""
        if not self._uv.exists():
            subprocess.run([sys.executable, "-m", "venv", self._folder / "uv"], check=True)
            pip = [self._folder / "uv" / "bin" / "python", "-m", "pip", "install", "--quiet"]
            subprocess.run([*pip, "--disable-pip-version-check", "uv"], check=True)

    def run(self, cell: Cell) -> str:
        """Run the tests on one cell, and return the line of the table."""
        home, started = self._folder / cell.name, time.monotonic()
        log = home.with_suffix(home.suffix + ".log")
        python = self._interpreter(cell.python)
        if python is None:
            return f"{cell.name:<14} no such interpreter here"
        with log.open("wb") as out:
            versions = self._install(cell, python, home, out)
            if versions is None:
                return f"{cell.name:<14} can't be installed; see {log}"
            report = self._test(cell, home, out)
        return f"{cell.name:<14} {versions:<34} {report} {time.monotonic() - started:6.0f} s"

    def _interpreter(self, version: str) -> str | None:
        found = subprocess.run(
            [self._uv, "python", "find", "--system", "--no-python-downloads", "--no-project", version],
            capture_output=True,
            text=True,
            check=False,
        )
        candidates = [found.stdout.strip()] if found.returncode == 0 else []
        candidates += [str(path) for path in Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
        return candidates[0] if candidates else None

    def _install(self, cell: Cell, python: str, home: Path, out: IO[bytes]) -> str | None:
        """Make the environment; return the versions that matter, or None when it can't be made."""
        pip = [self._uv, "pip", "install", "--python", home / "bin" / "python"]
        dated = ["--exclude-newer", cell.until] if cell.until else []
        project = ["--editable", ROOT / "sandbox", "--editable", f"{ROOT}[dev]"]
        for command in (
            [self._uv, "venv", "--allow-existing", "--python", python, home],
            [*pip, *dated, *project, *cell.requirements],
        ):
            if subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, check=False).returncode:
                return None
        listed = [self._uv, "pip", "freeze", "--python", home / "bin" / "python"]
        text = subprocess.run(listed, capture_output=True, text=True, check=True).stdout
        (home / "requirements.txt").write_text(text)
        found = dict(re.findall(r"^(apache-airflow|httpx|msal)==(\S+)$", text, re.MULTILINE))
        return ", ".join(f"{name.removeprefix('apache-')} {version}" for name, version in found.items())

    def _test(self, cell: Cell, home: Path, out: IO[bytes]) -> str:
        """Run pytest; return its counts."""
        result = home / "result.xml"
        result.unlink(missing_ok=True)
        command = [home / "bin" / "python", "-m", "pytest", "--dist", "loadfile", "--no-loadscope-reorder"]
        command += ["-q", f"--junit-xml={result}", *([] if self._arguments else ["--numprocesses", "auto"])]
        if cell.until:
            for name in _WARNINGS:
                command += ["-W", f"default::{name}"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{ROOT / 'sandbox'}"
        try:
            subprocess.run(
                [*command, *self._arguments],
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=environment,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return "not done in time"
        return _counts(result)


def _counts(result: Path) -> str:
    """Return the counts of a JUnit file as one text."""
    if not result.exists():
        return "no result"
    (suite,) = ElementTree.parse(result).getroot().iter("testsuite")  # noqa: S314 - written by pytest
    total, failed, errors, skipped = (int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped"))
    return f"{total - failed - errors - skipped:5} passed {failed + errors:4} failed {skipped:4} skipped"


def main() -> int:
    """Run the cells one after another, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument("--airflow", action="append", default=[], help="only this one; may be repeated")
    parser.add_argument("--python", action="append", default=[], help="only this one; may be repeated")
    parser.add_argument("--folder", type=Path, default=ROOT / ".matrix", help="where environments are made")
    parser.add_argument("--list", action="store_true", help="print the cells, and run nothing")
    parser.add_argument(
        "--json", action="store_true", help="with --list: as JSON, for a CI that runs them side by side"
    )
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --; default the whole suite")
    options = parser.parse_args()
    chosen = list(cells(options.airflow, options.python))
    if options.list:
        plain = [{"airflow": cell.airflow, "python": cell.python} for cell in chosen]
        print(json.dumps(plain) if options.json else "\n".join(cell.name for cell in chosen))
        return 0
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    runner = Runner(folder, options.pytest)
    runner.prepare()
    lines = []
    for cell in chosen:
        lines.append(runner.run(cell))
        print(lines[-1], flush=True)
    ran = [line for line in lines if "no such interpreter" not in line]
    return 0 if ran and all(re.search(r" [1-9]\d* passed +0 failed", line) for line in ran) else 1


if __name__ == "__main__":
    sys.exit(main())
