"""The list of assumptions, the choice of alternatives, and ``--like``."""

import json
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path

import pytest
from cij_sandbox.core.assumptions import ASSUMED
from cij_sandbox.testing import running_sandbox

from ..organisation import Organisation, running_organisation

GROUP = "aaaaaaaa-0000-4000-8000-000000000006"


def _report(path: Path, **observed: str) -> str:
    found = [
        {"id": name.replace("__", "."), "result": "differs", "observed": value} for name, value in observed.items()
    ]
    found = [{**entry, "id": entry["id"].replace("_", "-")} for entry in found]
    path.write_text(json.dumps({"format": 1, "assumptions": [*found, {"id": "segments.type", "result": "holds"}]}))
    return str(path)


def _status(organisation: Organisation, action: str, body: dict) -> tuple[int, str]:
    reply = organisation.web.post(action, json=body)
    error = reply.json().get("error", {}) if reply.content else {}
    return reply.status_code, error.get("code", "")


def test_the_packed_list_is_that_of_the_repository():
    """The list in the package is the one at the root of the repository."""
    root = Path(__file__).parents[3] / "assumptions.toml"
    listed = tomllib.loads(root.read_text())["assumption"]
    assert list(ASSUMED.entries.values()) == listed


def test_a_report_is_played(tmp_path):
    """What a report observed is what the sandbox does."""
    path = _report(
        tmp_path / "report.json", segments__unknown_segment="404 0x80040217", segments__stop_action="missing"
    )
    with running_organisation("--like", path) as organisation:
        assert _status(organisation, "msdynmkt_MembersList", {"SegmentId": str(uuid.uuid4())}) == (404, "0x80040217")
        assert _status(organisation, "msdynmkt_StopSegments", {"SegmentIdList": []}) == (404, "0x80060888")
        shown = organisation.plain.get("/sandbox/assumptions").json()["assumptions"]
        changed = {entry["id"]: entry["value"] for entry in shown if entry["value"] == "missing"}
        assert changed["segments.stop-action"] == "missing"


def test_what_cant_be_played_is_refused_and_nothing_else(tmp_path):
    """An observation that is in no alternative is printed, and refused with 501 where it would show, and only there."""
    odd = {"segments__add_twice": "listed 2 times", "segments__members_paging": "a, b, c", "no__such": "x"}
    path = _report(tmp_path / "report.json", **odd)
    with running_organisation("--contacts", "1", "--like", path) as organisation:
        segment, _ = organisation.segment(groups=((GROUP, "Include"),))
        body = {"SegmentId": segment, "GroupId": GROUP, "EntityIds": [str(uuid.uuid4())]}
        reply = organisation.web.post("msdynmkt_AddStaticMembers", json=body)
        assert reply.status_code == 501
        assert "what was observed of 'segments.add-twice': listed 2 times" in reply.text
        assert _status(organisation, "msdynmkt_MembersList", {"SegmentId": segment, "b": 1})[0] == 501
        assert organisation.publish(segment) == 1
    command = [sys.executable, "-m", "cij_sandbox", "--like", path, "--client-certificate", str(tmp_path / "none")]
    complaints = subprocess.run(command, capture_output=True, text=True, timeout=60).stderr
    for name in ("segments.add-twice: listed 2 times", "segments.members-paging: a, b, c", "no.such: x"):
        assert f"not played, and refused with 501: {name}" in complaints


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"assumptions": 1}', '{"assumptions": [1]}'])
def test_what_is_no_report_stops_the_start(tmp_path, text):
    """A file that is no report is an error at the start."""
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(RuntimeError, match=r"report\.json can't be played"), running_sandbox("--like", str(path)):
        pass


def test_alternatives_are_chosen_while_it_runs(moving):
    """POST chooses alternatives and null the default; what is not in the list is refused, and changes nothing."""
    body = {"SegmentId": str(uuid.uuid4())}
    for value, answer in (("404 0x80040217", (404, "0x80040217")), (None, (400, "0x80040265"))):
        moving.sandbox.assume({"segments.unknown-segment": value})
        assert _status(moving, "msdynmkt_MembersList", body) == answer
    for choice in ({"segments.unknown-segment": "perhaps"}, {"segments.none": "empty"}, ["x"]):
        with pytest.raises(ValueError, match=r"is no alternative|A choice is a JSON object"):
            moving.sandbox.assume(choice)
    assert _status(moving, "msdynmkt_MembersList", body) == (400, "0x80040265")


def test_the_help_lists_the_assumptions():
    """``--help`` lists each assumption with its id."""
    command = [sys.executable, "-m", "cij_sandbox", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert all(f"- {name}: " in text for name in ASSUMED.entries)


def test_a_mode_that_no_document_names_can_be_a_draft(moving):
    """A createmode that is neither Draft nor Publish is refused, or makes a draft, as is chosen."""
    template = moving.get("msdynmkt_journeytemplates?$top=1")["value"][0]["msdynmkt_journeytemplateid"]
    name = f"a journey {uuid.uuid4()}"
    body = {"msdynmkt_journeytemplateid": template, "msdynmkt_journeyname": name, "msdynmkt_createmode": "Maybe"}
    assert _status(moving, "msdynmkt_CreateJourneyFromTemplate", body) == (400, "0x80040265")
    moving.sandbox.assume({"journeys.unknown-mode": "a draft"})
    try:
        assert _status(moving, "msdynmkt_CreateJourneyFromTemplate", body)[0] == 200
    finally:
        moving.sandbox.assume({"journeys.unknown-mode": None})
    (journey,) = moving.get(f"msdynmkt_journeys?$filter=msdynmkt_name eq '{name}'")["value"] or [{"statuscode": 1}]
    assert journey["statuscode"] == 1
