from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from airflow_provider_cij.cli.assumptions import Assumption

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("folder", "package"), [(ROOT, "airflow_provider_cij"), (ROOT / "sandbox", "cij_sandbox")])
def test_both_distributions_have_the_list(tmp_path, folder, package):
    """The wheels and sdists of provider and sandbox have the list at the root of the repository, as a file."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path), "-t", "wheel", "-t", "sdist"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    listed = (ROOT / "assumptions.toml").read_bytes()
    (wheel,) = tmp_path.glob("*.whl")
    assert zipfile.ZipFile(wheel).read(f"{package}/assumptions.toml") == listed
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        (name,) = (name for name in archive.getnames() if name.endswith(f"/{package}/assumptions.toml"))
        found = archive.extractfile(name)  # follows a link inside the archive
        assert found is not None
        assert found.read() == listed


@pytest.mark.parametrize(
    ("observed", "playable"),
    [("204", True), ("200", True), ("404 0x80040217", True), ("503", True), ("404 x", False), ("201", False)],
)
def test_what_can_be_played_is_listed_or_fits_the_pattern(observed, playable):
    """The default, the alternatives and what fits the pattern as a whole can be played, nothing else."""
    assumption = Assumption("a.b", "It is so.", "read", "204", ("200",), r"[45]\d\d( 0x[0-9a-f]{8})?")
    assert assumption.can_be_played(observed) is playable
