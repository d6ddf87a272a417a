"""The cells of the matrix: an Airflow on a Python, and an environment for each, which uv makes."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".matrix"
CELLS = Path(__file__).with_name("cells.toml")


@dataclass(frozen=True)
class Cell:
    """One Airflow on one Python.

    :param airflow: the Airflow's name in ``cells.toml``
    :param python: the Python's version, such as ``3.12``
    :param requirements: what is installed beside the distributions, as pip's requirements
    :param until: the day up to which releases are installed; ``""`` for the newest of all
    :param lowest: whether direct dependencies are installed in their lowest versions
    """

    airflow: str
    python: str
    requirements: tuple[str, ...]
    until: str
    lowest: bool

    @property
    def name(self) -> str:
        """The cell's name, which is that of its folder."""
        return f"{self.airflow}-py{self.python}"


def cells(airflows: list[str], pythons: list[str]) -> Iterator[Cell]:
    """Yield the cells of the table.

    :param airflows: their names; empty for all
    :param pythons: their versions; empty for all
    """
    table = tomllib.loads(CELLS.read_text())
    for line in table["airflow"]:
        if airflows and line["name"] not in airflows:
            continue
        for python in line.get("pythons", table["pythons"]):
            if not pythons or python in pythons:
                wanted = tuple(line["requirements"])
                yield Cell(line["name"], python, wanted, line.get("until", ""), line.get("lowest", False))


class Uv:
    """Makes environments.

    :param folder: where uv is installed, and the interpreters that it brings
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._uv = folder / "uv" / "bin" / "uv"
        if not self._uv.exists():
            subprocess.run([sys.executable, "-m", "venv", folder / "uv"], check=True)
            pip = [folder / "uv" / "bin" / "python", "-m", "pip", "install", "--quiet"]
            subprocess.run([*pip, "--disable-pip-version-check", "uv"], check=True)

    def interpreter(self, version: str) -> str | None:
        """Return the path of a Python of this machine, or of one that uv downloads; None when neither is to be had.

        :param version: such as ``3.12``
        """
        find = [self._uv, "python", "find", "--system", "--no-python-downloads", "--no-project", version]
        found = subprocess.run(find, capture_output=True, text=True, check=False)
        if not found.returncode:
            return found.stdout.strip()
        brought = self._folder / "pythons"
        for attempt in range(2):
            here = [
                *Path.home().glob(f".pyenv/versions/{version}.*/bin/python"),
                *brought.glob(f"*-{version}.*/bin/python"),
            ]
            if here:
                return str(here[0])
            if not attempt:
                install = [self._uv, "python", "install", "--no-bin", "--install-dir", brought, version]
                subprocess.run(install, capture_output=True, check=False)
        return None

    def environment(self, cell: Cell, python: str, home: Path, projects: list[str], out: IO[bytes]) -> dict[str, str]:
        """Create the environment of a cell, and return the version of each distribution in it.

        :param cell: the cell
        :param python: the path of its interpreter
        :param home: the environment's folder
        :param projects: the distributions to install, as arguments of ``pip install``
        :param out: takes what uv prints
        :raises subprocess.CalledProcessError: it can't be made
        """
        here = ("--python", str(home / "bin" / "python"))
        dated = ("--exclude-newer", cell.until) if cell.until else ()
        wanted = "\n".join(cell.requirements)
        self._call(out, "venv", "--quiet", "--seed", "--allow-existing", "--python", python, str(home))
        if cell.lowest:
            wanted = f"-e {ROOT / 'sandbox'}\n-e {ROOT}[parquet,sql]\n{wanted}"
            how = (*here, *dated, "--resolution", "lowest-direct", "--no-header", "--no-annotate")
            pinned = self._call(out, "pip", "compile", "--quiet", *how, "-", stdin=wanted)
            wanted = "\n".join(line for line in pinned.splitlines() if not line.startswith("-e"))
        (home / "wanted.txt").write_text(wanted)
        self._call(out, "pip", "install", *here, *dated, *projects, "--requirements", str(home / "wanted.txt"))
        listed = self._call(out, "pip", "freeze", *here)
        (home / "requirements.txt").write_text(listed)
        return dict(re.findall(r"^(\S+)==(\S+)$", listed, re.MULTILINE))

    def _call(self, out: IO[bytes], *arguments: str, stdin: str = "") -> str:
        command = [self._uv, *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=out, check=True, text=True, input=stdin)
        return done.stdout
