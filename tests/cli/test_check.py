from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cij_sandbox.testing import running_sandbox

from airflow_provider_cij.cli import main
from airflow_provider_cij.cli.needs import NEEDS
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.provider_info import get_provider_info
from tests.scripted import Answer

_MISSING = (
    {"fault": "missing_privilege", "table": "msdynmkt_journey", "operation": "create"},
    {"fault": "missing_privilege", "table": "msdynmkt_segmentexecution", "operation": "read"},
    {"fault": "missing_privilege", "table": "customapirequestparameter", "operation": "read"},
    {"fault": "missing_privilege", "table": "msdynmkt_purpose", "operation": "read"},
)


@pytest.fixture(scope="module")
def complete():
    """Provide a sandbox that lets the operators do all they can."""
    with running_sandbox("--contacts", "20", "--with-journey-instances", "--with-check-consent") as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def lacking():
    """Provide a sandbox without StopSegments and outbound marketing, whose user lacks privileges."""
    faults = [option for fault in _MISSING for option in ("--fault", json.dumps(fault))]
    with running_sandbox("--without-stop-segments", "--outbound-removed", "--pending-keys", *faults) as sandbox:
        yield sandbox


def _json(capsys):
    """Return the JSON that was printed. Airflow 3.1 logs before it to the stdout that pytest captures."""
    printed = capsys.readouterr().out
    return json.loads(printed[printed.index("{\n") :])


@pytest.fixture
def checked(monkeypatch, capsys):
    """Return a function that checks a sandbox; it returns exit code and findings by state and subject."""

    def run(sandbox) -> tuple[int, dict[str, dict[str, str]]]:
        monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", sandbox.airflow_conn_uri)
        with pytest.raises(SystemExit) as ended:
            main(["check", "--json"])
        shown = _json(capsys)
        assert shown["exit_code"] == ended.value.code
        found: dict[str, dict[str, str]] = {}
        for finding in shown["findings"]:
            found.setdefault(finding["state"], {})[finding["subject"]] = f"{finding['text']} > {finding['mend']}"
        return ended.value.code, found

    return run


def _classes() -> set[str]:
    modules = [
        importlib.import_module(module)
        for kind in ("operators", "sensors")
        for entry in get_provider_info()[kind]
        for module in entry["python-modules"]
    ]
    modules.append(importlib.import_module("airflow_provider_cij.assets"))
    ends = ("Operator", "Sensor", "Watcher")
    return {
        name
        for module in modules
        for name, _ in inspect.getmembers(module, inspect.isclass)
        if name.startswith("Cij") and name.endswith(ends) and name != "CijOperator"
    }


def test_every_operator_sensor_and_watcher_has_its_needs_listed():
    """Each operator, sensor and watcher of the provider has one entry in the list of needs, and no other class has."""
    assert sorted(needs.name for needs in NEEDS) == sorted(_classes())


def test_an_organisation_that_allows_all_is_all_ok(checked, complete):
    """On an organisation that lacks nothing the check ends with 0, and names who, which organisation and version."""
    code, found = checked(complete)
    assert code == 0
    assert set(found) == {"ok", "absent"}
    assert "roles: 'Basic User', 'Marketing Professional - Business'" in found["ok"]["user"]
    assert "of type Developer" in found["ok"]["organisation"]
    assert "Dataverse 9.2" in found["ok"]["version"]
    assert "new_customerno is Active" in found["ok"]["alternate keys"]
    assert "emailaddress1" in found["ok"]["e-mail column"]
    assert "recommended requests at once 5" in found["ok"]["service limits"]
    assert {needs.name for needs in NEEDS} <= set(found["ok"])
    assert list(found["absent"]) == ["alternate keys"]  # of leads


def test_the_check_only_reads(checked, complete):
    """The check sends no request but GET."""
    before = len(complete.requests())
    checked(complete)
    requests = [entry for entry in complete.requests()[before:] if entry["path"].startswith("/api/data/")]
    assert requests
    assert {entry["method"] for entry in requests} == {"GET"}


def test_what_is_missing_is_named_with_how_to_mend_it(checked, lacking, monkeypatch):
    """A missing action, privilege, key index or input is named at each operator that needs it, and the code is 1."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", lacking.airflow_conn_uri)
    key = {"SchemaName": "new_LeadKey", "KeyAttributes": ["new_customerno"]}
    path = "EntityDefinitions(LogicalName='lead')/Keys"
    CijHook().run(lambda cij: cij.dataverse.request("POST", path, key, repeatable=False))
    code, found = checked(lacking)
    missing = found["missing"]
    assert code == 1
    assert "action msdynmkt_StopSegments > Update Customer Insights" in missing["CijStopSegmentsOperator"]
    assert "prvCreatemsdynmkt_journey > In the Power Platform" in missing["CijCreateJourneyOperator"]
    for name in ("CijSegmentSensor", "CijPublishSegmentOperator", "CijPurgeSegmentExecutionsOperator"):
        assert "prvReadmsdynmkt_segmentexecution" in missing[name]
    assert "prvReadCustomAPIRequestParameter" in missing["trigger inputs"]
    assert "is Pending > Wait for its index" in missing["alternate keys"]
    assert "prvReadmsdynmkt_purpose" in missing["consent settings"]
    assert "prvReadmsdynmkt_purpose" in missing["CijImportConsentOperator"]
    assert "CijJourneySensor" in found["ok"]
    assert "CijOutboundCreateSegmentOperator" in found["absent"]


def test_lines_show_state_subject_and_how_to_mend(monkeypatch, capsys, lacking):
    """Without --json each finding is a line, what is missing is followed by how to mend it, and counts come last."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_ELSEWHERE", lacking.airflow_conn_uri)
    with pytest.raises(SystemExit) as ended:
        main(["check", "cij_elsewhere"])
    lines = capsys.readouterr().out.splitlines()
    assert ended.value.code == 1
    at = next(number for number, line in enumerate(lines) if "CijStopSegmentsOperator" in line)
    assert lines[at].startswith("missing  CijStopSegmentsOperator")
    assert lines[at + 1].strip().startswith("> Update Customer Insights - Journeys")
    assert lines[-1].startswith(f"{sum(line.startswith('ok ') for line in lines)} ok, ")


def test_a_connection_that_fails_is_explained(monkeypatch, capsys):
    """A user without roles, and a connection that does not exist, end with 2 and what to do."""
    with running_sandbox("--fault", '{"fault": "no_role"}') as sandbox:
        monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", sandbox.airflow_conn_uri)
        for conn_id, words in (("cij_default", "has no security role: give it one"), ("cij_none", "Add one of type")):
            with pytest.raises(SystemExit) as ended:
                main(["check", conn_id])
            assert ended.value.code == 2
            assert words in capsys.readouterr().out


def test_a_service_without_lists_leaves_unknown_what_reads_do_not_tell(scripted, monkeypatch, capsys):
    """A service that lists neither privileges nor actions leaves open what only a write would tell."""

    def place(request) -> int:
        if "WhoAmI" in request.path:
            return 0
        return 1 if "?" in request.path and "RetrieveCurrent" not in request.path else 2

    refusal = Answer(405, {"error": {"code": "", "message": "The requested resource does not support GET."}})
    scripted.script = [Answer(body={"UserId": "0" * 8 + "-0000-0000-0000-" + "0" * 12}), Answer(body={"value": []})]
    scripted.script.append(refusal)
    scripted.place_of = place
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    with pytest.raises(SystemExit):
        main(["check", "--json"])
    found = {entry["subject"]: entry for entry in _json(capsys)["findings"]}
    assert found["CijCreateSegmentOperator"]["state"] == "unknown"
    assert "create msdynmkt_segment" in found["CijCreateSegmentOperator"]["text"]
    assert found["CijExportSegmentMembersOperator"]["state"] == "ok"
    assert found["privileges"]["state"] == "unknown"


def test_airflow_takes_the_command(complete, monkeypatch, tmp_path):
    """``airflow cij check`` prints nothing but JSON, on an Airflow that takes commands from providers."""
    from airflow.providers_manager import ProvidersManager

    if not hasattr(ProvidersManager, "cli_command_functions"):
        pytest.skip("Airflow 3.2 brought commands of providers")
    # A secret that is too short to be masked is a warning in the log.
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", f"{complete.airflow_conn_uri}&private_key_passphrase=abc")
    command = [str(Path(sys.executable).with_name("airflow")), "cij", "check", "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    # Airflow logs there what Python 3.14 warns of while it starts.
    lines = ended.stdout.splitlines(keepends=True)
    result = "".join(line for line in lines if "FileType is deprecated" not in line)
    assert json.loads(result)["exit_code"] == 0
