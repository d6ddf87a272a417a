"""The tables of versions and dependencies, against the Airflow that runs here and the project files."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from airflow_provider_cij.version_compat import TAKES_RETRY_POLICY, shared_stream_producer

ROOT = Path(__file__).parents[2]
RUNNING = ".".join(metadata.version("apache-airflow-core").split(".")[:2])


def _rows(page: str) -> list[list[str]]:
    """Return the cells of all rows of a page's tables."""
    lines = (ROOT / "docs" / page).read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def _source(package: str, path: str) -> str:
    spec = importlib.util.find_spec(package)
    assert spec
    return (Path(str(spec.origin)).parent / path).read_text()


HAS: dict[str, Callable[[], bool]] = {
    "fields of the connection form": lambda: "conn-fields" in _source("airflow", "providers_manager.py"),
    "`airflow cij`": lambda: '"cli"' in _source("airflow", "provider_info.schema.json"),
    "retry policies": lambda: TAKES_RETRY_POLICY,
    "task state store": lambda: "NEVER_EXPIRE" in _source("airflow.sdk", "execution_time/context.py"),
    "asset state store": lambda: "asset_state_store" in _source("airflow.sdk", "definitions/context.py"),
    "filters of asset events by name": lambda: (
        "name_prefix_pattern: QueryAssetNamePrefix"
        in _source("airflow", "api_fastapi/core_api/routes/public/assets.py").partition("def get_asset_events(")[2]
    ),
    "shared poll of watchers": lambda: shared_stream_producer() is not None,
}


@pytest.mark.parametrize("feature", HAS)
def test_the_table_says_what_this_airflow_has(feature):
    """Each line of the version table is true of the Airflow that runs the tests."""
    head, *rows = _rows("versions.md")
    (row,) = [row for row in rows if row[0] == feature]
    assert row[head.index(RUNNING)] == ("yes" if HAS[feature]() else "no")


def test_the_table_has_no_other_features():
    """Every line of the version table is checked."""
    assert {row[0] for row in _rows("versions.md")[2:]} == set(HAS)


def test_the_dependencies_are_those_of_the_projects():
    """The table of dependencies has each direct dependency with its lower bound."""
    listed = {(row[0].strip("`"), row[1].strip("`"), row[2]) for row in _rows("dependencies.md")[2:]}
    expected = set()
    for folder in (ROOT, ROOT / "sandbox"):
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        extras = {"": project["dependencies"]}
        extras |= {f"[{name}]": project.get("optional-dependencies", {}).get(name, []) for name in ("parquet", "sql")}
        for extra, requirements in extras.items():
            for requirement in requirements:
                name, bound = re.fullmatch(r"([a-z0-9-]+)>=([0-9.]+)", requirement).groups()
                expected.add((f"{project['name']}{extra}", name, bound))
    assert listed == expected
