"""The test of a DAG of three tasks that the documentation shows, and a second run of the DAG in the same process."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SHOWN = Path(__file__).parents[2] / "docs" / "snippets" / "testing"


def main() -> None:
    """Run pytest in a fresh folder, and print how long its parts took."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(SHOWN, folder, dirs_exist_ok=True)
        with Path(folder, "tests", "test_vip.py").open("a") as test_file:
            test_file.write("\n\ndef test_again(cij_airflow, cij_sandbox, tmp_path):\n")
            test_file.write("    test_vip(cij_airflow, cij_sandbox, tmp_path)\n")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "--durations=0", "tests"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout[-3000:])
    for seconds, part, test in re.findall(r"^([\d.]+)s (\w+) +tests/test_vip.py::(\w+)", done.stdout, re.MULTILINE):
        if part != "teardown":
            print(f"{test} {part}: {seconds} s")


if __name__ == "__main__":
    main()
