from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import time

import pytest
from cij_sandbox.testing import running_sandbox

from airflow_provider_cij.cli import main
from airflow_provider_cij.cli.assumptions import NO, assumptions
from airflow_provider_cij.cli.own_rows import KEYS, PREFIX
from airflow_provider_cij.cli.probe import DIFFERS, HOLDS, NOT_TRIED
from airflow_provider_cij.cli.probes import PROBES
from airflow_provider_cij.hooks.cij import CijHook
from tests.scripted import Answer

# Alternatives that don't hide each other.
_OTHERWISE = {
    "segments.remove-answer": "200 ResultText, StatusCode",
    "segments.add-twice": "409 0x80040237",
    "segments.add-unknown-group": "404 0x80040217",
    "segments.list-unknown-group": "empty",
    "segments.list-order": "as added",
    "segments.unknown-segment": "404 0x80040217",
    "segments.error-text": "plain",
    "segments.members-paging": "page, pageSize",
    "segments.members-before-run": "static members",
    "segments.stop-unknown": "404 0x80040217",
    "segments.stop-dependents": "objects Id, Name",
    "segments.stopped-status": "9 723270001",
    "segments.query-length": "10000",
    "segments.expired-status": "11",
    "segments.publish-bad-query": "fails later",
    "segments.error-definition": "723270006",
    "segments.patch-live": "405 0x80040227",
    "segments.delete-live": "405 0x80040227",
    "journeys.errors": "errorCode, errorMessage",
    "journeys.publish-input": "JourneyId",
    "journeys.no-errors": "null",
    "journeys.draft-with-errors": "not created",
    "journeys.path-finds-nothing": "ignored",
    "segments.add-when-live": "at once",
    "segments.republish-status": "stays Active",
    "segments.delete-segment": "definition goes",
    "segments.patch-status": "403",
    "segments.create-live": "400 0x80048408",
    "platform.fetchxml-of-another-set": "404",
    "outbound.pages": "accepted",
    "platform.upsert-without-id": "400 0x80040203",
    "consent.same-address": "412 0x80040237",
    "platform.top-and-page-size": "odata.maxpagesize",
    "platform.not-equal": "not matched",
    "platform.long-url": "404",
    "outbound.get-state": "200 SegmentState text",
    "outbound.bad-transition": "400 0x80040203",
}


@pytest.fixture
def probed(monkeypatch, tmp_path):
    """Return a function that probes a sandbox; it returns the exit code and the report."""

    def run(sandbox, *options: str) -> tuple[int, dict]:
        monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", sandbox.airflow_conn_uri)
        path = tmp_path / "report.json"
        with pytest.raises(SystemExit) as ended:
            main(["probe", "cij_default", "--report", str(path), "--patience", "30", *options])
        return ended.value.code, json.loads(path.read_text()) if path.exists() else {}

    return run


@pytest.fixture(scope="module")
def sandbox():
    """Provide a sandbox that does all as it assumes."""
    with running_sandbox("--contacts", "5", "--compute-seconds", "0.4") as sandbox:
        yield sandbox


def _observed(report: dict) -> dict[str, str]:
    return {entry["id"]: entry["observed"] for entry in report["assumptions"] if entry["observed"]}


def _own_rows(monkeypatch, sandbox) -> dict[str, int]:
    """Return the numbers of rows with the probe's prefix."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_ROWS", sandbox.airflow_conn_uri)
    names = {"contacts": "lastname", "msdynmkt_segments": "msdynmkt_displayname"}
    names |= {"msdynmkt_contactpointconsent4s": "msdynmkt_contactpointvalue"}
    names |= {"msdyncrm_segments": "msdyncrm_segmentname"}

    async def count(cij):
        found = {}
        for entity_set in KEYS:
            where = f"startswith({names.get(entity_set, 'msdynmkt_name')},'{PREFIX}')"
            found[entity_set] = len(await cij.dataverse.rows(f"{entity_set}?$filter={where}"))
        return found

    return CijHook("cij_rows").run(count)


def test_each_assumption_that_is_probed_has_a_probe():
    """Each assumption that is found out has one function, and ids are unique."""
    ids = [each.id for each in assumptions()]
    assert sorted(PROBES) == sorted(each.id for each in assumptions() if each.probe != NO)
    assert len(set(ids)) == len(ids)
    for each in assumptions():
        assert bool(each.why) == (each.probe == NO), each.id
        assert each.probe == NO or each.can_be_played(each.default), each.id


def test_the_sandbox_holds_what_it_assumes(probed, sandbox, monkeypatch):
    """On a sandbox without switches all that can be found out holds; rows are taken away, no journey is published.

    The report has no id, no host, no address and none of the organisation's names.
    """
    before = len(sandbox.requests())
    code, report = probed(sandbox, "--write", "--yes")
    results = {entry["id"]: entry["result"] for entry in report["assumptions"]}
    expected = {each.id: NOT_TRIED if each.probe == NO else HOLDS for each in assumptions()}
    assert results == expected
    assert code == 0
    assert set(_own_rows(monkeypatch, sandbox).values()) == {0}
    sent = [entry["path"] for entry in sandbox.requests()[before:] if entry["method"] == "POST"]
    assert not [path for path in sent if "PublishJourney" in path]
    assert report["organisation_type"] == "Developer"
    assert len(report["publish_seconds"]) >= 3
    forbidden = r"[0-9a-f]{8}-[0-9a-f]{4}|://|@|localhost|cij-probe-\w|CIJ sandbox"
    assert not re.search(forbidden, json.dumps(report))


def test_without_leave_to_write_nothing_is_written(probed, sandbox, monkeypatch):
    """Without --write only what reads is called, and the rest says that it needs --write."""
    before = len(sandbox.requests())
    code, report = probed(sandbox)
    sent = {(entry["method"], entry["path"].rpartition("/")[2]) for entry in sandbox.requests()[before:]}
    reading = {"token", "msdynmkt_MembersList", "msdyncrm_FetchContactsByQuery"}
    reading |= {"msdynmkt_CreateJourneyJsonFromTemplate", "msdynmkt_ValidateJourneyJson"}
    # Called without inputs, which carries out nothing, because it is not in the list of actions.
    reading.add("msdynmkt_checkconsent")
    assert {name for method, name in sent if method != "GET"} <= reading
    assert code == 0
    by_why = {entry["id"] for entry in report["assumptions"] if entry["why"] == "it needs --write"}
    assert by_why == {each.id for each in assumptions() if each.probe == "write"}
    assert not [entry for entry in report["assumptions"] if entry["result"] == DIFFERS]


def test_a_sandbox_like_the_report_answers_as_the_organisation_did(probed, sandbox, tmp_path):
    """A sandbox that is started like the report of another organisation has the same observations."""
    with running_sandbox("--contacts", "5", "--compute-seconds", "0.4") as other:
        other.assume(_OTHERWISE)
        _, report = probed(other, "--write", "--yes")
    differing = {entry["id"]: entry["observed"] for entry in report["assumptions"] if entry["result"] == DIFFERS}
    assert differing == _OTHERWISE
    path = tmp_path / "like.json"
    path.write_text(json.dumps(report))
    with running_sandbox("--contacts", "5", "--compute-seconds", "0.4", "--like", str(path)) as like:
        _, again = probed(like, "--write", "--yes")
    assert _observed(again) == _observed(report)


def test_rows_of_a_killed_probe_are_taken_away_by_the_next(probed, monkeypatch, tmp_path):
    """The rows of a probe that was killed are found and deleted by the next run, by their prefix too."""
    with running_sandbox("--contacts", "5", "--compute-seconds", "0.4") as sandbox:
        monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", sandbox.airflow_conn_uri)
        path = tmp_path / "killed.json"
        command = "from airflow_provider_cij.cli import main; main()"
        arguments = ["probe", "cij_default", "--report", str(path), "--write", "--yes"]
        process = subprocess.Popen([sys.executable, "-c", command, *arguments], stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 60
            while not any("PublishSegment" in entry["path"] for entry in sandbox.requests()):
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.02)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        left = _own_rows(monkeypatch, sandbox)
        assert left["contacts"]
        assert left["msdynmkt_segments"]
        assert (tmp_path / "killed.json.rows").exists()
        code, _ = probed(sandbox, "--write", "--yes")  # which has another record
        assert code == 0
        assert set(_own_rows(monkeypatch, sandbox).values()) == {0}


@pytest.mark.parametrize("kind", ["Customer", 0, "Default", "Somewhat"])
def test_production_is_refused(scripted, monkeypatch, capsys, tmp_path, kind):
    """In an organisation that is production, or may be, nothing is written, whatever is given."""
    me = Answer(body={"UserId": "user-1"})
    detail = Answer(body={"Detail": {"OrganizationType": kind}})
    scripted.script = [me, detail]
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    options = ("--write", "--yes", "--despite-live-journeys")
    with pytest.raises(SystemExit) as ended:
        main(["probe", "cij_default", "--report", str(tmp_path / "report.json"), *options])
    assert ended.value.code == 2
    assert "is a production organisation" in capsys.readouterr().out
    assert {request.method for request in scripted.requests} == {"GET"}


def test_live_journeys_are_refused_unless_told(probed, monkeypatch, capsys):
    """An organisation with a live journey is written to only when told, and after a yes."""
    with running_sandbox("--contacts", "5") as sandbox:
        monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", sandbox.airflow_conn_uri)
        row = {"msdynmkt_name": "n", "msdynmkt_journeyjson": "{}", "statecode": 1, "statuscode": 2}
        CijHook().run(lambda cij: cij.dataverse.request("POST", "msdynmkt_journeys", row, repeatable=False))
        assert probed(sandbox, "--write", "--yes") == (2, {})
        assert "has live journeys" in capsys.readouterr().out
        for answer in ("no\n", ""):
            monkeypatch.setattr("sys.stdin", io.StringIO(answer))
            assert probed(sandbox, "--write", "--despite-live-journeys") == (2, {})
            assert "of type Developer, and delete them? [yes/no]" in capsys.readouterr().err
        assert set(_own_rows(monkeypatch, sandbox).values()) == {0}


def test_an_organisation_that_tells_little_is_tried_out(probed):
    """Where lists can't be read and contacts can't be made, the probe finds out by trying, and changes no contact."""
    hidden = [("contact", "create"), ("contact", "write"), ("customapi", "read"), ("organization", "read")]
    rules = [{"fault": "missing_privilege", "table": table, "operation": verb} for table, verb in hidden]
    faults = [option for rule in rules for option in ("--fault", json.dumps(rule))]
    otherwise = {"segments.members-paging": "PageNo, PageSize", "segments.stop-action": "missing"}
    with running_sandbox("--contacts", "8", "--compute-seconds", "0.4", *faults) as sandbox:
        sandbox.assume(otherwise)
        code, report = probed(sandbox, "--write", "--yes")
    found = {entry["id"]: entry for entry in report["assumptions"]}
    assert {name: found[name]["observed"] for name in otherwise} == otherwise
    assert found["segments.add-twice"]["result"] == HOLDS
    assert found["segments.stop-draft"]["why"] == "the organisation has no msdynmkt_StopSegments"
    assert found["platform.duplicates"]["result"] == NOT_TRIED
    assert code == 0


def test_a_report_that_cant_be_written_is_refused_first(probed, sandbox, tmp_path, capsys):
    """A report in a folder that does not exist is refused before anything is asked."""
    before = len(sandbox.requests())
    with pytest.raises(SystemExit) as ended:
        main(["probe", "cij_default", "--report", str(tmp_path / "none" / "report.json")])
    assert ended.value.code == 2
    assert "There is no folder" in capsys.readouterr().out
    assert len(sandbox.requests()) == before


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"<html>a page</html>"),
        Answer(200, {"value": [1, {"a@b": "0b7a2f6e-51c3-4d28-8e9a-3f1c0d5b7a10"}]}),
        Answer(404, {"error": {"code": "", "message": "Not here"}}),
        Answer(400, {"error": {"code": "0x80040265", "message": "canary@contoso.test"}}),
        Answer(503, b"busy"),
    ],
)
def test_an_organisation_of_unknown_ways_gives_a_report(scripted, monkeypatch, tmp_path, answer, short_sleeps):
    """Whatever a service answers, each assumption has a result, and the report holds nothing of the answers."""
    scripted.script = [Answer(body={"UserId": "user-1"}), answer]
    scripted.place_of = lambda request: 0 if "WhoAmI" in request.path else 1
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    path = tmp_path / "report.json"
    options = ("--write", "--yes", "--despite-live-journeys", "--patience", "0")
    with pytest.raises(SystemExit):
        main(["probe", "cij_default", "--report", str(path), *options])
    report = json.loads(path.read_text())
    assert [entry["id"] for entry in report["assumptions"]] == [each.id for each in assumptions()]
    assert {entry["result"] for entry in report["assumptions"]} <= {HOLDS, DIFFERS, NOT_TRIED}
    assert not re.search(r"canary|@|0b7a2f6e", path.read_text())
