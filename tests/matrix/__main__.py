"""Run the tests on every Airflow and Python that the provider supports: ``python -m tests.matrix``, or ``make matrix``.

Each cell has an environment of its own, which uv makes from the registry that pip is configured with.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

from tests.matrix.cells import FOLDER, ROOT, Cell, Uv, cells

_PROJECTS = ["--editable", str(ROOT / "sandbox"), "--editable", f"{ROOT}[dev]"]
_WARNINGS = ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning")
_SECONDS = 3600
_HEAD = ("cell", "Airflow", "Python", "passed", "failed", "skipped", "seconds")


@dataclass(frozen=True)
class Line:
    """A line of the table.

    :param cell: the cell's name
    :param airflow: the version of Airflow that was installed; ``""`` when there is none
    :param python: the version of Python
    :param counts: how many tests passed, failed and were skipped; none when they did not run to their end
    :param seconds: how long the cell took, with its installation
    :param note: why there are no counts
    """

    cell: str
    airflow: str = ""
    python: str = ""
    counts: tuple[int, int, int] | None = None
    seconds: float = 0
    note: str = ""

    @property
    def good(self) -> bool:
        """Whether a test passed, and none failed."""
        return self.counts is not None and self.counts[0] > 0 and not self.counts[1]

    def fields(self) -> tuple[str, ...]:
        """Return the fields of the line as texts."""
        counts = [f"{count:,}" for count in self.counts] if self.counts else [self.note, "", ""]
        return (self.cell, self.airflow, self.python, *counts, f"{self.seconds:,.0f}" if self.seconds else "")


class Runner:
    """Makes the environments and runs the tests in them.

    :param folder: where environments and results are
    :param arguments: more arguments for pytest
    """

    def __init__(self, folder: Path, arguments: list[str]) -> None:
        self._folder = folder
        self._arguments = arguments
        self._uv = Uv(folder)

    def run(self, cell: Cell) -> Line:
        """Run the tests on one cell."""
        home, started = self._folder / cell.name, time.monotonic()
        log = self._folder / f"{cell.name}.log"
        python = self._uv.interpreter(cell.python)
        if python is None:
            return Line(cell.name, note="no interpreter")
        with log.open("wb") as out:
            try:
                found = self._uv.environment(cell, python, home, _PROJECTS, out)
            except subprocess.CalledProcessError:
                return Line(cell.name, note=f"not installed, see {log}")
            counts, note = self._test(cell, home, out)
        version = [home / "bin" / "python", "-c", "import platform; print(platform.python_version())"]
        running = subprocess.run(version, capture_output=True, text=True, check=True).stdout.strip()
        return Line(cell.name, found["apache-airflow"], running, counts, time.monotonic() - started, note)

    def _test(self, cell: Cell, home: Path, out: IO[bytes]) -> tuple[tuple[int, int, int] | None, str]:
        """Run pytest; return its counts, or why there are none."""
        result = home / "result.xml"
        result.unlink(missing_ok=True)
        command = [home / "bin" / "python", "-m", "pytest", "--dist", "loadfile", "--no-loadscope-reorder"]
        command += ["-q", "--numprocesses", "auto", f"--junit-xml={result}"]
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
            return None, "not done in time"
        return (_counts(result), "") if result.exists() else (None, "no result")


def _counts(result: Path) -> tuple[int, int, int]:
    """Return how many tests of a JUnit file passed, failed and were skipped."""
    (suite,) = ElementTree.parse(result).getroot().iter("testsuite")  # noqa: S314 - written by pytest
    total, failed, errors, skipped = (int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped"))
    return total - failed - errors - skipped, failed + errors, skipped


def table(lines: Iterable[Line]) -> str:
    """Return the lines as a table in Markdown."""
    rows = [_HEAD, tuple("---" for _ in _HEAD), *(line.fields() for line in lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        f"| {' | '.join(field.ljust(width) for field, width in zip(row, widths, strict=True))} |" for row in rows
    )


def main() -> int:
    """Run the cells one after another, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument("--airflow", action="append", default=[], help="only this one; may be repeated")
    parser.add_argument("--python", action="append", default=[], help="only this one; may be repeated")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where environments are made")
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
    lines = []
    for cell in chosen:
        lines.append(runner.run(cell))
        print("  ".join(filter(None, lines[-1].fields())), flush=True)
    print(f"\n{table(lines)}\n\nLogs are in {folder}.")
    ran = [line for line in lines if line.note != "no interpreter"]
    return 0 if ran and all(line.good for line in ran) else 1


if __name__ == "__main__":
    sys.exit(main())
