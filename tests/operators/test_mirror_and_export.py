"""Mirrors and exports against a service whose lists lag, are incomplete, or are changed by another writer."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from airflow.sdk import DAG

from airflow_provider_cij.operators.members import (
    CijAddSegmentMembersOperator,
    CijExportSegmentMembersOperator,
    CijMirrorSegmentMembersOperator,
    CijRemoveSegmentMembersOperator,
)
from airflow_provider_cij.sources import FromFile
from tests.dags import run_dag
from tests.scripted import Answer, RecordedRequest, ScriptedServer

SEGMENT, DEFINITION, GROUP = (str(uuid.UUID(int=number)) for number in (1, 2, 3))
PEOPLE = [str(uuid.UUID(int=number * 7919)) for number in range(1, 40)]


class _Service(ScriptedServer):
    """A service with one segment and one group, whose members are a set."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.group = set(PEOPLE[:10])
        self.members = PEOPLE[:10]
        self.count: int | None = 10
        self.evaluation = 1
        self.after_write: Callable[[], None] = lambda: None
        self.while_listing: Callable[[], None] = lambda: None
        self.listing: Callable[[int], list[str]] | None = None
        self.writes = self.looks = 0

    def answer(self, request: RecordedRequest) -> Answer:
        path, body = request.path, json.loads(request.body or b"{}") if request.body[:1] == b"{" else {}
        if "msdynmkt_segmentexecutions" in path:
            if not self.evaluation:
                return Answer(403, {"error": {"code": "0x80040220", "message": "no privilege"}})
            row = {"msdynmkt_segmentexecutionid": str(uuid.UUID(int=self.evaluation)), "statuscode": 723270002}
            return Answer(body={"value": [row]})
        if "msdynmkt_ListGroupMembers" in path:
            self.looks += body["PageNo"] == 1
            everybody = self.listing(self.looks) if self.listing else sorted(self.group)
            ids = everybody[(body["PageNo"] - 1) * 5000 : body["PageNo"] * 5000]
            return Answer(body={"Response": json.dumps({"entityIds": ids})})
        if "msdynmkt_MembersList" in path:
            self.looks += 1
            self.while_listing()
            message = {"hasNextPage": False, "members": self.members}
            return Answer(body={"StatusCode": 200, "ResultText": json.dumps(message)})
        if "StaticMembers" in path:
            change = self.group.update if "AddStatic" in path else self.group.difference_update
            change(body["EntityIds"])
            self.writes += 1
            self.after_write()
            return Answer(204)
        if "msdynmkt_segments(" in path or "msdynmkt_segmentdefinitions" in path:
            return Answer(body=self._row())
        return super().answer(request)

    def _row(self) -> dict[str, object]:
        group = {"groupId": GROUP, "includeType": "Include", "name": "in", "inputType": "manualSelect"}
        return {
            "msdynmkt_segmentid": SEGMENT,
            "msdynmkt_sourcesegmentuid": DEFINITION,
            "msdynmkt_segmentdefinitionid": DEFINITION,
            "msdynmkt_displayname": "Test",
            "msdynmkt_baseentitylogicalname": "contact",
            "statuscode": 2,
            "msdynmkt_membercount": self.count,
            "msdynmkt_staticlistmembers": json.dumps([group]),
        }


@pytest.fixture
def service(tmp_path, monkeypatch):
    """Run the service; looks follow one another at once."""
    with _Service(tmp_path) as server:
        monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", server.connection())
        yield server


def run(kind, **arguments):
    """Run an operator and return its state and the non-zero counts of its report."""
    with DAG("lists", schedule=None) as dag:
        kind(task_id="t", segment_id=SEGMENT, **arguments).relist_waits = (0.0, 0.0, 0.0)
    ran = run_dag(dag)
    report = ran.result("t") if ran.states["t"] == "success" else {}
    return ran.states["t"], {name: count for name, count in report.items() if count}


def mirror(**arguments):
    """Mirror a list of which half is new."""
    given = {"group": "in", "members": PEOPLE[5:15], "max_removals": "50%"}
    return run(CijMirrorSegmentMembersOperator, **(given | arguments))


def test_a_concurrent_addition_is_removed(service):
    """A member whom another writer adds during the mirror is removed in a second round."""
    service.after_write = lambda: service.group.add(PEOPLE[30]) if service.writes == 2 else None
    state, report = mirror()
    assert (state, report["removed"], report["added"]) == ("success", 6, 5)
    assert service.group == set(PEOPLE[5:15])


@pytest.mark.parametrize("swap", [False, True], ids=["one more", "one for another"])
def test_a_persistent_concurrent_writer_fails_the_task(service, capfd, swap):
    """A group that keeps changing fails the task, also when its size stays the same."""

    def meddle() -> None:
        service.group.add(PEOPLE[30])
        if swap:
            service.group.discard(PEOPLE[6])

    service.after_write = meddle
    assert mirror()[0] == "failed"
    assert "Another writer changes this group" in capfd.readouterr().out
    assert service.writes <= 3 * 2


def test_a_lagging_list_sends_nothing_twice(service):
    """A list that shows the changes late leads to no second request."""
    older = sorted(service.group)
    service.listing = lambda look: older if look <= 3 else sorted(service.group)
    assert mirror()[0] == "success"
    assert service.writes == 2


def test_verify_false_lists_once(service):
    """With ``verify=False`` the group is listed once."""
    service.after_write = lambda: service.group.add(PEOPLE[30])
    assert mirror(verify="{{ False }}")[0] == "success"
    assert service.looks == 1


def test_removed_path_holds_all_removed_members(service, tmp_path):
    """The removed ids of every round are in ``removed_path`` before they are removed."""
    path = tmp_path / "removed.csv"
    seen: list[str] = []

    def after() -> None:
        seen.append(path.read_text())
        if service.writes == 2:
            service.group.add(PEOPLE[30])

    service.after_write = after
    assert mirror(removed_path=str(path))[0] == "success"
    assert set(seen[0].split()) == {"contactid", *PEOPLE[:5]}
    assert set(path.read_text().split()) == {"contactid", *PEOPLE[:5], PEOPLE[30]}
    assert run(CijAddSegmentMembersOperator, group="in", members=FromFile(str(path)))[0] == "success"
    assert service.group >= set(PEOPLE[:10])


def test_a_dry_run_writes_nothing(service, tmp_path):
    """A dry run changes no members, writes no file and lists once."""
    state, report = mirror(dry_run=True, removed_path=str(tmp_path / "removed.csv"))
    assert (state, report["removed"], service.writes, service.looks) == ("success", 5, 0, 1)
    assert not (tmp_path / "removed.csv").exists()


def export(path: Path, **arguments):
    """Export over an existing file."""
    path.write_text("older")
    return run(CijExportSegmentMembersOperator, path=str(path), **arguments)


@pytest.mark.parametrize(
    ("members", "count", "max_missing", "wanted"),
    [
        (10, 10, 0, "success"),
        (9, 10, 0, "failed"),
        (9, 10, "10%", "success"),
        (0, 10, 0, "failed"),
        (0, 10, None, "success"),
        (0, None, 0, "failed"),
        (5, None, 0, "success"),
    ],
)
def test_an_incomplete_export_fails_and_keeps_the_old_file(service, tmp_path, members, count, max_missing, wanted):
    """An export shorter than the member count fails the task and keeps the old file."""
    service.members, service.count = PEOPLE[:members], count
    path = tmp_path / "out.csv"
    assert export(path, max_missing=max_missing)[0] == wanted
    assert path.read_text().split() == (["older"] if wanted == "failed" else ["contactid", *PEOPLE[:members]])
    assert service.looks == (4 if wanted == "failed" else 1)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ca.pem", "out.csv"]


def test_a_lagging_list_is_read_again(service, tmp_path):
    """A list that is still incomplete is read again into a new file."""
    service.members = []
    service.while_listing = lambda: service.members.extend(PEOPLE[: 5 * (service.looks - 1)][len(service.members) :])
    assert export(tmp_path / "out.csv")[1]["count"] == 10
    assert service.looks == 3


def test_an_export_needs_no_access_to_evaluations(service, tmp_path):
    """An application user who may not read evaluations can export."""
    service.evaluation = 0
    assert run(CijExportSegmentMembersOperator, path=str(tmp_path / "members.csv"))[0] == "success"


def test_a_list_of_another_evaluation_is_read_again(service, tmp_path):
    """A list is read again when an evaluation ended meanwhile, so count and list belong together."""

    def evaluate() -> None:
        if service.looks == 1:
            service.evaluation, service.count, service.members = 2, 12, PEOPLE[:12]

    service.while_listing = evaluate
    assert export(tmp_path / "out.csv")[1]["count"] == 12
    assert service.looks == 2


@pytest.mark.parametrize(
    ("kind", "on_empty", "state"),
    [
        (CijAddSegmentMembersOperator, "fail", "failed"),
        (CijMirrorSegmentMembersOperator, "fail", "failed"),
        (CijRemoveSegmentMembersOperator, "skip", "skipped"),
        (CijMirrorSegmentMembersOperator, "ok", "success"),
    ],
)
def test_an_empty_list_fails_skips_or_succeeds(service, tmp_path, kind, on_empty, state):
    """An empty list fails the task, skips it or succeeds, as ``on_empty`` says."""
    service.group = set()
    path = tmp_path / "members.csv"
    path.write_text("contactid\n")
    assert run(kind, group="in", members=FromFile(str(path)), on_empty=on_empty)[0] == state
    assert service.writes == 0


@pytest.mark.parametrize(("allowed", "state"), [({}, "failed"), ({"max_not_found": "67%"}, "success")])
def test_more_unmatched_values_than_allowed(service, tmp_path, allowed, state):
    """More unmatched values than ``max_not_found`` send nothing, and their file is written all the same."""
    service.script = [Answer(body={"value": [{"contactid": PEOPLE[20], "emailaddress1": "a@x"}]})]
    path = tmp_path / "nobody.csv"
    arguments = {"members": ["a@x", "b@x", "c@x"], "match_on": "emailaddress1", "not_found_path": str(path)}
    assert run(CijAddSegmentMembersOperator, group="in", **arguments, **allowed)[0] == state
    assert path.read_text().split() == ["line,emailaddress1", "2,b@x", "3,c@x"]
    assert (PEOPLE[20] in service.group) is (state == "success")


def test_an_endless_list_is_an_error(service, tmp_path, capfd):
    """A list with more members than a group can hold fails the task."""
    everybody = [str(uuid.UUID(int=number)) for number in range(1, 205_002)]
    service.listing = lambda _: everybody
    assert export(tmp_path / "out.csv", group="in")[0] == "failed"
    assert "lists more members of the group than there can be" in capfd.readouterr().out
    assert (tmp_path / "out.csv").read_text() == "older"
