"""Outbound marketing as tasks of a DAG, run by Airflow's own ``dag.test()``."""

from __future__ import annotations

import asyncio
import importlib
import json
import time
import uuid

import pytest
from airflow.sdk import DAG
from airflow.sdk.serde import deserialize, serialize

from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.api.outbound.segments import OutboundSegmentSpec
from airflow_provider_cij.dataverse.guids import pack_guids
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.operators.outbound import (
    CijOutboundCreateJourneyOperator,
    CijOutboundCreateSegmentOperator,
    CijOutboundDeleteJourneyOperator,
    CijOutboundDeleteSegmentOperator,
    CijOutboundExportSegmentMembersOperator,
    CijOutboundPublishJourneyOperator,
    CijOutboundPublishSegmentOperator,
    CijOutboundStopJourneyOperator,
    CijOutboundStopSegmentOperator,
    CijOutboundUpdateJourneyOperator,
    CijOutboundUpdateSegmentMembersOperator,
    CijOutboundUpdateSegmentOperator,
    CijOutboundValidateJourneyOperator,
    CijOutboundValidateSegmentOperator,
    Tile,
    segment_email_workflow,
)
from airflow_provider_cij.sensors.outbound import (
    CijOutboundJourneySensor,
    CijOutboundMemberOperationsSensor,
    CijOutboundSegmentSensor,
)
from airflow_provider_cij.sources import FromFile
from airflow_provider_cij.triggers import _waiting as triggers
from airflow_provider_cij.triggers.outbound import CijOutboundTrigger
from tests.api.test_outbound import ID, REMOVED, segment
from tests.dags import run_dag
from tests.scripted import Answer
from tests.test_waiting_tasks import BLIP, MODES, every_mode

QUERY = "PROFILE(contact).FILTER(ISNOTNULL(emailaddress1))"
DRAFT, LIVE, STOPPED, EXPIRED, ERROR, GOING_LIVE, STOPPING = (
    *(192350000, 192350001, 192350002, 192350004, 192350005, 192350006, 192350007),
)
UNHEARD_OF = 192350099
MADE = Answer(204)


def journey(status: int, **others) -> Answer:
    """Answer with a journey in this status."""
    row = {"@odata.etag": 'W/"7"', "msdyncrm_customerjourneyid": ID, "msdyncrm_name": "VIP", "statuscode": status}
    return Answer(body=row | others)


def state(**said) -> Answer:
    """Answer to getState."""
    return Answer(body={"SegmentState": json.dumps(said)})


@pytest.fixture
def wait(scripted, monkeypatch):
    """Run a sensor in one of its modes against these answers."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    monkeypatch.setattr(triggers, "FIRST_LOOK_AFTER", 0.1)

    def run(kind, mode: str, *answers: Answer, **arguments):
        scripted.script = list(answers)
        given = {"journey_id" if kind is CijOutboundJourneySensor else "segment_id": ID}
        with DAG(f"wait_{mode}", schedule=None) as dag:
            kind(**({"task_id": "wait", "poke_interval": 0.1, "timeout": 30} | given | MODES[mode] | arguments))
        return run_dag(dag)

    return run


@every_mode
def test_a_segment_is_waited_for(wait, scripted, mode):
    """Draft, a blip, going live, a status nobody knows; then live. The link is there in each mode."""
    answers = [segment(DRAFT), BLIP, segment(GOING_LIVE), segment(UNHEARD_OF), segment(LIVE, msdyncrm_segmentsize=3)]
    ran = wait(CijOutboundSegmentSensor, mode, *answers)
    assert ran.result("wait") == {"segment_id": ID, "status": "live", "member_count": 3}
    address = f"{scripted.url}/main.aspx?etn=msdyncrm_segment&pagetype=entityrecord&id={ID}"
    assert ran.xcoms["wait"]["_link_CijSegmentLink"] == address
    assert len(scripted.asked) == 5


@every_mode
def test_a_journey_is_waited_for(wait, scripted, mode):
    """Until it is stopped, with a link of its own."""
    ran = wait(CijOutboundJourneySensor, mode, journey(LIVE), journey(STOPPING), journey(STOPPED), until="stopped")
    assert ran.result("wait") == {"journey_id": ID, "status": "stopped"}
    address = f"{scripted.url}/main.aspx?etn=msdyncrm_customerjourney&pagetype=entityrecord&id={ID}"
    assert ran.xcoms["wait"]["_link_CijJourneyLink"] == address


@every_mode
def test_changes_of_members_are_waited_for(wait, scripted, mode):
    """Silence, a word nobody knows and work to do are no end; what was answered is in the log."""
    looks = [MADE, state(state="Odd"), state(state="Pending", pendingOperations=1), state(pendingOperations=0)]
    answers = [answer for look in looks for answer in (segment(LIVE), look)]
    ran = wait(CijOutboundMemberOperationsSensor, mode, *answers)
    assert ran.result("wait") == {"segment_id": ID, "state": "finished"}
    assert [json.loads(one.body)["msdyncrm_operation"] for one in scripted.asked if one.method == "POST"] == [
        "getState"
    ] * 4


@every_mode
def test_silence_ends_in_a_timeout_that_shows_it(wait, capfd, mode):
    """Skipped with soft_fail, failed without."""
    kind, answers = CijOutboundMemberOperationsSensor, [segment(LIVE), MADE] * 50
    assert wait(kind, mode, *answers, timeout=0.5).states == {"wait": "failed"}
    assert "are unknown: getState says {}" in capfd.readouterr().out
    assert wait(kind, mode, *answers, timeout=0.5, soft_fail=True).states == {"wait": "skipped"}


FAILURES = [
    (CijOutboundSegmentSensor, [segment(ERROR)], "live", "Outbound segment 'VIP' (%s) is error."),
    (CijOutboundSegmentSensor, [segment(EXPIRED)], "live", "is expired. From there is no way back"),
    (CijOutboundJourneySensor, [journey(ERROR, msdyncrm_validationresults="No e-mail.")], "live", "found No e-mail.."),
    (CijOutboundJourneySensor, [journey(ERROR)], "stopped", "Outbound journey 'VIP' (%s) is error."),
    (CijOutboundMemberOperationsSensor, [segment(LIVE), state(state="Failed")], None, "are failed: getState says"),
    (CijOutboundSegmentSensor, REMOVED[:1], "live", "This organisation has no outbound marketing any more"),
    (CijOutboundSegmentSensor, [segment(LIVE)], "dead", "until is 'dead'. Use 'live' or 'stopped'."),
]


@every_mode
@pytest.mark.parametrize(("kind", "answers", "until", "said"), FAILURES)
def test_a_failure_fails_the_task(wait, capfd, mode, kind, answers, until, said):
    """With soft_fail as well, in words."""
    first = [journey(DRAFT)] if kind is CijOutboundJourneySensor else [segment(DRAFT)]
    first += [MADE] if until is None else []
    arguments = {"soft_fail": True} | ({"until": until} if until else {})
    assert wait(kind, mode, *first, *answers, **arguments).states == {"wait": "failed"}
    assert (said.replace("%s", ID)) in capfd.readouterr().out


def test_an_expired_segment_is_stopped(wait):
    """It is at rest for good."""
    assert wait(CijOutboundSegmentSensor, "poke", segment(EXPIRED), until="stopped").states == {"wait": "success"}


ARGUMENTS = {"cij_conn_id": "x", "what": "journey", "row_id": ID, "until": "stopped", "poll_interval": 1.0}


def test_the_trigger_survives_airflows_database():
    """Class path and plain JSON; made again it is the same; and nothing in it raises."""
    path, kwargs = CijOutboundTrigger(**ARGUMENTS, deadline=7.0, not_before=3.0).serialize()
    assert path == f"{CijOutboundTrigger.__module__}.{CijOutboundTrigger.__name__}"
    assert deserialize(serialize(kwargs)) == kwargs == ARGUMENTS | {"deadline": 7.0, "not_before": 3.0, "early": False}
    CijOutboundTrigger(poll_interval="soon", row_id=7)


@pytest.mark.parametrize("arguments", [{"until": "wibble"}, {"cij_conn_id": "nowhere"}, {"row_id": "x"}])
def test_every_end_of_the_trigger_is_an_event(scripted, monkeypatch, arguments):
    """Also of what nobody foresaw."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    monkeypatch.setattr(triggers, "FIRST_LOOK_AFTER", 0.01)
    scripted.script = [segment(DRAFT)]

    async def event():
        given = {"row_id": ID, "poll_interval": 0.01, "deadline": time.time() + 20} | arguments
        return (await anext(aiter(CijOutboundTrigger(**given).run()))).payload

    assert asyncio.run(event())["status"] == "error"


@pytest.fixture
def move(scripted, monkeypatch):
    """Run an operator that publishes or stops against these answers."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    monkeypatch.setattr(triggers, "FIRST_LOOK_AFTER", 0.1)

    def run(kind, *answers: Answer, connection: str = "", **arguments):
        if connection:
            monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", connection)
        scripted.script = list(answers)
        given = {"journey_id" if "Journey" in kind.__name__ else "segment_id": ID}
        with DAG("move", schedule=None) as dag:
            kind(**({"task_id": "move", "poll_interval": 0.1, "timeout": 30} | given | arguments))
        return run_dag(dag)

    return run


MOVES = [
    (CijOutboundPublishSegmentOperator, segment, DRAFT, GOING_LIVE, LIVE, "live"),
    (CijOutboundStopSegmentOperator, segment, LIVE, STOPPING, STOPPED, "stopped"),
    (CijOutboundPublishJourneyOperator, journey, STOPPED, GOING_LIVE, LIVE, "live"),
    (CijOutboundStopJourneyOperator, journey, ERROR, STOPPING, STOPPED, "stopped"),
]


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize(("kind", "of", "before", "meanwhile", "after", "word"), MOVES)
def test_publish_and_stop_wait_for_the_end(move, scripted, deferrable, kind, of, before, meanwhile, after, word):
    """The status is written once, and then read until the service is done."""
    answers = [of(before), of(before), MADE, of(meanwhile), of(meanwhile), of(after)]
    ran = move(kind, *answers, deferrable=deferrable)
    assert ran.result("move")["status"] == word
    written = [json.loads(asked.body) for asked in scripted.asked if asked.method == "PATCH"]
    assert written == [{"statuscode": meanwhile}]


@pytest.mark.parametrize(("kind", "of", "before", "meanwhile", "after", "word"), MOVES)
def test_publish_and_stop_need_not_wait(move, scripted, kind, of, before, meanwhile, after, word):
    """Then they return what they see."""
    argument = {"live": "wait_until_live", "stopped": "wait_until_stopped"}[word]
    ran = move(kind, of(before), of(before), MADE, of(meanwhile), **{argument: False})
    assert ran.result("move")["status"] == {GOING_LIVE: "going_live", STOPPING: "stopping"}[meanwhile]
    assert len(scripted.asked) == 4


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("end", [LIVE, ERROR])
def test_a_segment_going_live_already_is_published_after_that(move, scripted, deferrable, end):
    """An evaluation that began before the task asked does not count, and neither does its failure."""
    first = [segment(GOING_LIVE), segment(GOING_LIVE), segment(end)]
    answers = [*first, segment(end), segment(end), MADE, segment(GOING_LIVE), segment(LIVE)]
    if end == ERROR and not deferrable:
        answers.insert(3, segment(end))
    ran = move(CijOutboundPublishSegmentOperator, *answers, deferrable=deferrable)
    assert ran.result("move")["status"] == "live"
    assert [asked.method for asked in scripted.asked].count("PATCH") == 1


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize(("kind", "of", "before", "meanwhile", "after", "word"), MOVES)
def test_what_fails_behind_a_move_is_waited_out(move, scripted, deferrable, kind, of, before, meanwhile, after, word):
    """A failing look behind an accepted change leads to a later look, not to a second change."""
    down = Answer(503, {"error": {"code": "0x0", "message": "down"}}, {"Retry-After": "1"})
    connection = scripted.connection(max_hold_seconds=0)
    ran = move(kind, of(before), of(before), MADE, down, of(after), deferrable=deferrable, connection=connection)
    assert ran.result("move")["status"] == word
    assert [asked.method for asked in scripted.asked].count("PATCH") == 1


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_journey_that_ends_in_error_fails_the_task(move, capfd, deferrable):
    """With what its check found."""
    found = '{"ActivityValidationResults":[{"ActivityId":"01_0","Fault":"NoMail","Result":"Error"}],"Result":"Error"}'
    answers = [journey(DRAFT), journey(DRAFT), MADE, journey(GOING_LIVE)]
    answers += [journey(ERROR, msdyncrm_validationresults=found)]
    ran = move(CijOutboundPublishJourneyOperator, *answers, deferrable=deferrable, retries=0)
    assert ran.states == {"move": "failed"}
    assert "is error. Its check for errors found activity 01_0: NoMail." in capfd.readouterr().out


def test_what_cant_be_done_is_not_asked_for(move, scripted, capfd):
    """A draft can't be stopped: no retry is wasted on it, and nothing is sent."""
    assert move(CijOutboundStopSegmentOperator, segment(DRAFT), retries=3).states == {"move": "failed"}
    assert "is draft: it can't become stopping. Nothing was sent." in capfd.readouterr().out
    assert [asked.method for asked in scripted.asked] == ["GET", "GET"]


@pytest.fixture
def run(cij_sandbox, monkeypatch):
    """Run one operator against the sandbox; give its state and what it returned."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", cij_sandbox.airflow_conn_uri)
    monkeypatch.setattr(triggers, "FIRST_LOOK_AFTER", 0.1)

    def one(kind, **arguments):
        waits = {"poll_interval": 0.1} if "Publish" in kind.__name__ or "Stop" in kind.__name__ else {}
        waits |= {"poke_interval": 0.1} if "Sensor" in kind.__name__ else {}
        with DAG(f"d{uuid.uuid4().hex}", schedule=None) as dag:
            kind(**({"task_id": "t"} | waits | arguments))
        ran = run_dag(dag)
        return ran.states["t"], ran.xcoms.get("t", {}).get("return_value"), ran

    return one


def _people(where: str = "") -> list[str]:
    async def read(cij):
        path = "contacts?$select=contactid" + (f"&$filter={where}" if where else "")
        return [row["contactid"] async for page in cij.dataverse.pages(path) for row in page]

    return CijHook().run(read)


def test_the_life_of_a_segment(run, tmp_path):
    """Created, published, filled from a file, exported, renamed, stopped, deleted; members only in files."""
    key = uuid.uuid4().hex
    state, made, ran = run(CijOutboundCreateSegmentOperator, display_name="VIP", key=key)
    assert (state, made["created"], made["status"]) == ("success", True, "draft")
    segment_id = made["segment_id"]
    assert ran.xcoms["t"]["segment_id"] == segment_id
    assert run(CijOutboundCreateSegmentOperator, display_name="VIP", key=key)[1] == made | {"created": False}

    people = _people()
    file = tmp_path / "in.csv"
    file.write_text("\n".join(["contactid", *people[:700], people[0].upper(), ""]) + "\nnobody\n")
    assert run(CijOutboundPublishSegmentOperator, segment_id=segment_id, deferrable=True)[1]["status"] == "live"
    members = FromFile(str(file))
    state, report, ran = run(
        CijOutboundUpdateSegmentMembersOperator, segment_id=segment_id, members=members, max_invalid=1
    )
    assert (report["read"], report["invalid"], report["duplicate"]) == (702, 1, 1)
    assert (report["added"], report["batches"]) == (700, 1)
    remove = {"segment_id": segment_id, "operation": "remove"}
    assert run(CijOutboundUpdateSegmentMembersOperator, **remove, query=QUERY)[1] == remove
    assert run(CijOutboundMemberOperationsSensor, segment_id=segment_id)[1]["state"] == "finished"

    target = tmp_path / "out.csv"
    for how in ("query", "fetchxml"):
        state, exported, _ = run(
            CijOutboundExportSegmentMembersOperator, segment_id=segment_id, path=str(target), how=how
        )
        header, *ids = target.read_text().split()
        assert (header, exported) == ("contactid", {"count": len(ids), "path": str(target)})
        assert set(ids) == set(people[:700]) - set(_people("emailaddress1 ne null"))
    assert people[0] not in json.dumps([ran.xcoms, ran.rendered])

    state, changed, _ = run(CijOutboundUpdateSegmentOperator, segment_id=segment_id, display_name="VIPs")
    assert changed["changed"]
    assert run(CijOutboundStopSegmentOperator, segment_id=segment_id)[1]["status"] == "stopped"
    assert run(CijOutboundDeleteSegmentOperator, segment_id=segment_id)[0] == "success"
    assert run(CijOutboundDeleteSegmentOperator, segment_id=segment_id)[0] == "success"
    assert run(CijOutboundDeleteSegmentOperator, segment_id=segment_id, missing_ok=False)[0] == "failed"


def test_a_segment_begins_with_members(run, capfd):
    """From any source; rows without an id are refused before anything is made."""
    people = _people()
    arguments = {"display_name": "VIP", "key": uuid.uuid4().hex, "publish": True}
    assert run(CijOutboundCreateSegmentOperator, **arguments, members=[*people[:5], "nobody"])[0] == "failed"
    assert "hold no id, more than max_invalid=0" in capfd.readouterr().out
    state, made, ran = run(CijOutboundCreateSegmentOperator, **arguments, members=people[:5])
    assert (state, made["status"]) == ("success", "going_live")
    assert run(CijOutboundSegmentSensor, segment_id=made["segment_id"])[1]["member_count"] == 5
    assert people[0] not in json.dumps([ran.xcoms, ran.rendered])


def test_addresses_are_matched(run, tmp_path):
    """Who is not found is in the file."""

    async def read(cij):
        path = "contacts?$select=contactid,emailaddress1&$filter=emailaddress1 ne null"
        return [row async for page in cij.dataverse.pages(path) for row in page]

    rows = CijHook().run(read)
    made = run(CijOutboundCreateSegmentOperator, display_name="VIP", key=uuid.uuid4().hex, publish=True)[1]
    missing = tmp_path / "missing.csv"
    asked = {row["emailaddress1"].lower() for row in rows[:50]}
    found = {row["contactid"] for row in rows if row["emailaddress1"].lower() in asked}
    _, report, _ = run(
        CijOutboundUpdateSegmentMembersOperator,
        segment_id=made["segment_id"],
        members=[*asked, "nobody@nowhere.test"],
        match_on="emailaddress1",
        not_found_path=str(missing),
        max_not_found=1,
    )
    assert (report["added"], report["not_found"]) == (len(found), 1)
    assert missing.read_text().splitlines()[1].endswith(",nobody@nowhere.test")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "Give either members or query."),
        ({"members": [ID], "query": QUERY}, "Give either members or query."),
        ({"members": [ID], "not_found_path": "x.csv"}, "not_found_path is given without match_on"),
        ({"members": 7}, "members is a int"),
        ({"query": " "}, "The query for the members is empty"),
        ({"query": "PROFILE(contact"}, "never closed"),
        ({"members": [ID], "operation": "addByIds"}, "operation is 'addByIds'"),
    ],
)
def test_members_that_cant_be_right_are_refused(wait, scripted, capfd, arguments, said):
    """No retry is wasted on them, and nothing is changed."""
    scripted.script = [segment(LIVE)]
    with DAG("refused", schedule=None) as dag:
        CijOutboundUpdateSegmentMembersOperator(task_id="t", segment_id=ID, retries=3, **arguments)
    assert run_dag(dag).states == {"t": "failed"}
    assert said in capfd.readouterr().out
    assert all(asked.method == "GET" for asked in scripted.asked)


def test_segments_are_validated(run, capfd):
    """An error fails the task, unless it is only to be known; both ways it is in XCom."""
    state, result, _ = run(CijOutboundValidateSegmentOperator, display_name="D", query=QUERY)
    assert (state, result) == ("success", {"valid": True, "errors": [], "warnings": []})
    bad = {"display_name": "D", "query": "PROFILE(UnknownEntity)"}
    where = dict.fromkeys(("where", "field"), "msdyncrm_query")
    error = {"code": "SegmentDciValidator_SegmentInvalid", "message": "", **where}
    found = {"valid": False, "errors": [error], "warnings": []}
    state, _, ran = run(CijOutboundValidateSegmentOperator, **bad, retries=3)
    assert (state, ran.xcoms["t"]["validation"]) == ("failed", found)
    assert "is not valid: SegmentDciValidator_SegmentInvalid in msdyncrm_query." in capfd.readouterr().out
    state, result, _ = run(CijOutboundValidateSegmentOperator, **bad, fail_on="never")
    assert (state, result) == ("success", found)
    assert run(CijOutboundValidateSegmentOperator, **bad, fail_on="warning")[0] == "failed"
    assert run(CijOutboundValidateSegmentOperator, **bad, segment_type="x")[0] == "failed"


@pytest.mark.parametrize("form", ["python", "text", "file"])
def test_the_life_of_a_journey(run, tmp_path, form):
    """Its workflow as Python, as text or from a file; created, checked, changed, published, stopped, deleted."""
    key = uuid.uuid4().hex
    made = run(
        CijOutboundCreateSegmentOperator, display_name="D", segment_type="dynamic", query=QUERY, key=key, publish=True
    )[1]
    assert run(CijOutboundSegmentSensor, segment_id=made["segment_id"])[0] == "success"
    name = f"SEGMENT_CRM_ID_{made['segment_id'].replace('-', '')}"
    workflow = segment_email_workflow([Tile(made["segment_id"], "D", name)], Tile(ID, "Mail"))
    file = tmp_path / "workflow.json"
    file.write_text(json.dumps(workflow, indent=2))
    described = {
        "name": "Journey",
        "workflow": {"python": workflow, "text": json.dumps(workflow), "file": str(file)}[form],
        "starts_at": "{{ '2027-01-01T08:00' }}+01:00",
        "ends_at": "2028-01-01T08:00Z",
        "required_consent": "marketing",
        "recurring": False,
        "target": "contact",
    }
    assert run(CijOutboundValidateJourneyOperator, **described)[1]["valid"]
    state, journey, ran = run(CijOutboundCreateJourneyOperator, **described, key=key)
    assert (state, journey["created"], journey["status"]) == ("success", True, "draft")
    journey_id = journey["journey_id"]
    assert ran.xcoms["t"]["_link_CijJourneyLink"].endswith(
        f"msdyncrm_customerjourney&pagetype=entityrecord&id={journey_id}"
    )
    again = run(CijOutboundCreateJourneyOperator, **described, key=key)[1]
    assert (again["created"], again["changed"]) == (False, False)
    assert run(CijOutboundValidateJourneyOperator, journey_id=journey_id)[1]["valid"]
    assert run(CijOutboundUpdateJourneyOperator, journey_id=journey_id, name="Renamed")[1]["changed"]
    assert run(CijOutboundPublishJourneyOperator, journey_id=journey_id, deferrable=True)[1]["status"] == "live"
    assert run(CijOutboundStopJourneyOperator, journey_id=journey_id)[1]["status"] == "stopped"
    assert run(CijOutboundDeleteJourneyOperator, journey_id=journey_id, missing_ok=False)[0] == "success"


def test_journeys_are_checked_for_errors(run, capfd):
    """The document's own example of one; what else is given counts in place of what the journey has."""
    recurring = {
        "recurring": True,
        "recurrence_interval_days": 30,
        "recurrence_count": 3,
        "starts_at": "2027-02-08T11:48Z",
        "ends_at": "2027-03-08T11:48Z",
        "target": "contact",
    }
    fault = "ErrorRecurringCampaignEndDateDoesNotFitRequestedIterations"
    made = run(CijOutboundCreateSegmentOperator, display_name="S", key=uuid.uuid4().hex, publish=True)[1]
    assert run(CijOutboundSegmentSensor, segment_id=made["segment_id"])[0] == "success"
    name = f"SEGMENT_CRM_ID_{made['segment_id'].replace('-', '')}"
    workflow = segment_email_workflow([Tile(made["segment_id"], "S", name)], Tile(ID, "Mail"))
    described = {"name": "J", "workflow": workflow, "required_consent": "consent"}
    state, _, ran = run(CijOutboundValidateJourneyOperator, **described, **recurring, retries=3)
    result = ran.xcoms["t"]["validation"]
    assert (state, result["result"], result["valid"]) == ("failed", "Error", False)
    shared = {"code": fault, "message": f"journey: {fault}", "where": ""}
    assert result["errors"] == [{**shared, "activity_id": "", "fault": fault, "arguments": []}]
    assert f"The check of the outbound journey 'J' ended in Error: journey: {fault}." in capfd.readouterr().out
    key = uuid.uuid4().hex
    journey_id = run(CijOutboundCreateJourneyOperator, **described, key=key)[1]["journey_id"]
    of_journey = {"journey_id": journey_id, **recurring, "fail_on": "never"}
    state, result, _ = run(CijOutboundValidateJourneyOperator, **of_journey)
    assert (state, fault in json.dumps(result["errors"])) == ("success", True)


@pytest.mark.parametrize(("fail_on", "state"), [("error", "success"), ("warning", "failed"), ("never", "success")])
def test_warnings_fail_only_where_they_are_to(wait, scripted, capfd, fail_on, state):
    """They are named with their tile, both ways."""
    found = {"ActivityId": "01_0_1", "Fault": "Slow", "Result": "Warning", "ErrorMessageArguments": ["x"]}
    text = json.dumps({"Result": "Warning", "ActivityValidationResults": [found]})
    scripted.script = [Answer(body={"ValidationResult": text})]
    workflow = segment_email_workflow([Tile(ID, "S")], Tile(ID, "Mail"))
    with DAG("warned", schedule=None) as dag:
        CijOutboundValidateJourneyOperator(task_id="t", name="J", workflow=workflow, fail_on=fail_on)
    ran = run_dag(dag)
    assert ran.states == {"t": state}
    shared = {"code": "Slow", "message": "activity 01_0_1 (Email 'Mail'): Slow (x)", "where": "01_0_1"}
    own = {"activity_id": "01_0_1", "fault": "Slow", "arguments": ["x"]}
    assert ran.xcoms["t"]["validation"]["warnings"] == [{**shared, **own}]
    assert "Warning: activity 01_0_1 (Email 'Mail'): Slow (x)" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("kind", "arguments", "said"),
    [
        (CijOutboundValidateJourneyOperator, {}, "Give journey_id, or at least the name"),
        (CijOutboundValidateJourneyOperator, {"name": "J", "fail_on": "x"}, "fail_on is 'x'. Use 'error', 'warning'"),
        (CijOutboundCreateJourneyOperator, {"name": "J", "workflow": "/nowhere/x.json"}, "can't be opened"),
        (CijOutboundCreateJourneyOperator, {"name": "J", "workflow": "[]"}, "0 activities of the type bpf_root"),
        (CijOutboundCreateJourneyOperator, {"name": "J", "starts_at": "2027-01-01"}, "without a time zone"),
    ],
)
def test_a_journey_that_cant_be_right_is_refused(wait, scripted, capfd, kind, arguments, said):
    """No retry is wasted on it, and nothing is sent."""
    scripted.script = [MADE]
    with DAG("refused", schedule=None) as dag:
        kind(task_id="t", retries=3, **arguments)
    assert run_dag(dag).states == {"t": "failed"}
    assert said in capfd.readouterr().out
    assert scripted.asked == []


def test_an_organisation_without_it_fails_the_task_at_once(wait, scripted, capfd):
    """In words that say what to use instead; no retry brings it back."""
    scripted.script = REMOVED[1:]
    with DAG("gone", schedule=None) as dag:
        CijOutboundCreateSegmentOperator(task_id="t", display_name="D", retries=3)
    assert run_dag(dag).states == {"t": "failed"}
    assert "Use real-time segments and journeys instead: CijCreateSegmentOperator" in capfd.readouterr().out


def test_the_example_moves_a_segment(run, tmp_path):
    """Every member arrives, and a second run changes nothing."""
    people = _people()
    ids = IdSet()
    ids.update(pack_guids(people[:900])[0])

    async def fill(cij):
        made = await cij.outbound.segments.create(OutboundSegmentSpec(uuid.uuid4().hex, "Old"), publish=True)
        await cij.outbound.members.update(await cij.outbound.segments.get(made.row_id), "add", ids)
        return made.row_id

    dag = importlib.import_module("example_dags.cij_move_outbound_segment").create.dag
    for task in dag.tasks:
        for name in ("poke_interval", "poll_interval"):
            if hasattr(task, name):
                setattr(task, name, 0.1)
    target = tmp_path / "members.csv"
    conf = {"outbound_segment_id": CijHook().run(fill), "members_file": str(target), "display_name": "New"}
    for unchanged in (0, 900):
        ran = run_dag(dag, conf)
        assert set(ran.states.values()) == {"success"}
        assert set(target.read_text().split()[1:]) == set(people[:900])
        assert ran.result("publish")["member_count"] == 900
        assert ran.result("mirror_members")["unchanged"] == unchanged
