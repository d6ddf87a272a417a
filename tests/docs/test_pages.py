"""The pages hold no code that is not run, name what exists, and agree with the package."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from airflow.sdk import Connection
from cij_sandbox.testing import running_sandbox

from airflow_provider_cij import errors
from airflow_provider_cij.cli import get_parser
from airflow_provider_cij.dataverse.settings import CREDENTIALS
from airflow_provider_cij.hooks.cij import settings_of
from airflow_provider_cij.operators._emitting import _FACTS
from airflow_provider_cij.provider_info import get_provider_info
from tests.docs.pages import ROOT, SNIPPETS, blocks, commands, pages

TESTED = (SNIPPETS, ROOT / "example_dags")
DIRECTIVES = (
    "toctree",
    "include",
    "eval-rst",
    "cij-reference",
    "cij-summary",
    "cij-errors",
    "cij-error-codes",
    "cij-assumptions",
)


def test_each_block_of_code_is_of_a_tested_file():
    """A page has no code but parts of tested files, and commands; README repeats such parts word by word."""
    copies = [path.read_text() for folder in TESTED for path in folder.rglob("*.py")]
    for page in pages():
        for info, text in blocks(page):
            if included := re.fullmatch(r"\{literalinclude\} (\S+)", info):
                path = (page.parent / included[1]).resolve()
                assert path.is_file(), (page, path)
                assert any(folder in path.parents for folder in TESTED), (page, path)
            elif info == "python":
                assert any(text in copy for copy in copies), (page, text)
            else:
                directive = re.match(r"\{([\w-]+)\}", info)
                assert info == "console" or (directive and directive[1] in DIRECTIVES), (page, info)


def test_each_snippet_is_on_a_page():
    """Each file of snippets is shown somewhere."""
    shown = "".join(page.read_text() for page in pages())
    files = [path for path in SNIPPETS.rglob("*.*") if path.suffix in (".py", ".json")]
    assert [path.name for path in files if path.name not in shown] == []


@pytest.mark.parametrize("command", sorted({command for _, command in commands()}))
def test_a_command_exists(command, tmp_path, monkeypatch):
    """Each command that readers are told to type exists, with its options, targets and extras."""
    monkeypatch.chdir(tmp_path)
    name, _, rest = command.partition(" ")
    if name == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extras = re.findall(r"airflow-provider-cij\[([\w,]+)\]", rest)
        assert set(",".join(extras).split(",")) - {""} <= project["optional-dependencies"].keys()
    elif name == "make":
        assert re.search(rf"^{rest}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif name == "airflow":
        from airflow.cli import cli_parser
        from airflow.providers_manager import ProvidersManager

        parts = [part.strip('"') for part in re.findall(r'"[^"]*"|\S+', rest)]
        if parts[0] == "cij":
            get_parser().parse_args(parts[1:])
        if parts[0] != "cij" or hasattr(ProvidersManager, "cli_command_functions"):  # Airflow 3.1 has airflow-cij alone
            cli_parser.get_parser().parse_args(parts)
    elif name == "cij-sandbox":
        with running_sandbox(*rest.split()):
            pass
    else:
        assert name in ("pytest", "openssl", "cat", "mkdir", "export"), command


@pytest.mark.skipif(
    tuple(map(int, metadata.version("msal").split(".")[:2])) < (1, 35), reason="A certificate in PEM needs msal 1.35"
)
def test_the_certificate_of_the_page_is_one_that_is_taken(tmp_path):
    """The commands of the connection page make a PEM file that holds the key and the certificate."""
    made = [command for _, command in commands() if command.startswith(("openssl", "cat airflow"))]
    for command in made:
        subprocess.run(["bash", "-ec", command], cwd=tmp_path, check=True, capture_output=True)
    from airflow_provider_cij.dataverse.auth import _client_credential

    plain = json.loads((SNIPPETS / "connections" / "certificate.json").read_text())
    plain["extra"]["certificate_path"] = str(tmp_path / "airflow.pem")
    credential = _client_credential(settings_of(Connection.from_json(json.dumps(plain))))
    assert "BEGIN CERTIFICATE" in credential["public_certificate"]


@pytest.mark.parametrize("path", sorted((SNIPPETS / "connections").glob("*.json")), ids=lambda path: path.stem)
def test_a_connection_of_the_page_is_complete(path, monkeypatch):
    """Each JSON of the connection page is a connection with the credential that its name says."""
    for name in ("TENANT_ID", "CLIENT_ID", "FEDERATED_TOKEN_FILE"):
        monkeypatch.setenv(f"AZURE_{name}", "of-the-pod")
    settings = settings_of(Connection.from_json(path.read_text()))
    assert settings.base_url == "https://contoso.crm4.dynamics.com"
    assert path.stem.startswith(settings.credential)


def test_each_credential_has_a_connection():
    """The connection page shows a connection for each kind of credential."""
    shown = {settings.stem for settings in (SNIPPETS / "connections").glob("*.json")}
    assert shown >= set(CREDENTIALS)


def test_the_connection_table_matches_the_form():
    """The table of the connection page lists every form field and every kind of credential."""
    page = (ROOT / "docs" / "connection.md").read_text()
    table = page[page.index("| Organisation URL") : page.index("Airflow 3.1 shows")]
    (connection,) = get_provider_info()["connection-types"]
    named = set(re.findall(r"`(\w+)`", " ".join(row.split("|")[1] for row in table.splitlines() if row)))
    assert named == set(connection["conn-fields"])
    assert all(f"`{kind}`" in table for kind in CREDENTIALS)
    assert set(connection["conn-fields"]["credential"]["schema"]["enum"]) == set(CREDENTIALS)


def test_the_reference_has_every_module():
    """The reference documents every module with operators, sensors and triggers that Airflow is told of."""
    reference = "".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))
    shown = set(re.findall(r"\{cij-reference\} (\S+)", reference))
    info = get_provider_info()
    told = {name for kind in ("operators", "sensors", "triggers") for name in info[kind][0]["python-modules"]}
    assert told <= shown


def test_each_error_says_what_to_do():
    """The docstring of each error class says what to do."""
    silent = [name for name in errors.__all__ if "What to do:" not in getattr(errors, name).__doc__]
    assert silent == []


def test_the_example_of_a_test_runs(pytester, monkeypatch):
    """The DAG and the test of the testing page, in two files as printed, pass without any set-up."""
    for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
        monkeypatch.delenv(name)
    for path in (SNIPPETS / "testing").rglob("*.py"):
        copy = Path(pytester.path, path.relative_to(SNIPPETS / "testing"))
        copy.parent.mkdir()
        copy.write_text(path.read_text())
    pytester.runpytest_subprocess("tests").assert_outcomes(passed=1)


def test_the_fault_of_the_page_is_one():
    """The sandbox takes the fault that its page shows."""
    with running_sandbox("--fault", (SNIPPETS / "fault.json").read_text()) as sandbox:
        assert sandbox.faults.struck() == [0]


def test_readme_names_every_operator_and_sensor():
    """README's table names every operator, sensor and watcher; those of outbound marketing together."""
    readme = (ROOT / "README.md").read_text()
    modules = [*get_provider_info()["operators"], *get_provider_info()["sensors"]]
    names = {
        name
        for module in (name for one in modules for name in one["python-modules"])
        for name in dir(importlib.import_module(module))
        if re.fullmatch(r"Cij\w+(Operator|Sensor)", name) and name not in ("CijOperator",)
    }
    assert [name for name in sorted(names) if name not in readme and not name.startswith("CijOutbound")] == []


def test_links_of_files_lead_somewhere():
    """Relative links of pages that are read as files lead to files that exist."""
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "sandbox" / "README.md"):
        links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_page_of_assets_names_every_key_of_an_event():
    """The page of assets names each key that an event of a task may have."""
    page = (ROOT / "docs" / "assets.md").read_text()
    assert [key for key in _FACTS if f"`{key}`" not in page] == []
