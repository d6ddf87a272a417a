"""The test of a DAG of three tasks that the documentation shows, and a second run of the DAG in the same process."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def main() -> None:
    """Run pytest in a fresh folder, and print how long its parts took."""
    dag_file, test_file = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    with tempfile.TemporaryDirectory() as folder:
        twice = f"{test_file}\n\ndef test_again(cij_airflow, cij_sandbox, tmp_path):\n"
        twice += "    test_vip(cij_airflow, cij_sandbox, tmp_path)\n"
        for name, text in (("dags/vip.py", dag_file), ("tests/test_vip.py", twice)):
            path = Path(folder, name)
            path.parent.mkdir()
            path.write_text(text)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "--durations=0", "tests"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout[-3000:])
    for seconds, part, test in re.findall(r"^([\d.]+)s (\w+) +tests/test_vip.py::(\w+)", done.stdout, re.MULTILINE):
        if part != "teardown":
            print(f"{test} {part}: {seconds} s")


if __name__ == "__main__":
    main()
