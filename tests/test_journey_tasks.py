"""Journeys as tasks of a DAG, in all their modes, against a service that says what the test wants."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import timedelta

import pytest
from airflow.sdk import DAG
from airflow.sdk.serde import deserialize, serialize

from airflow_provider_cij.api.journeys import client as journeys
from airflow_provider_cij.api.segments import shared_poll as polling
from airflow_provider_cij.operators.journeys import (
    CijCreateJourneyOperator,
    CijPublishJourneyOperator,
    CijValidateJourneyOperator,
)
from airflow_provider_cij.sensors.journeys import CijJourneySensor
from airflow_provider_cij.triggers import _waiting as triggers
from airflow_provider_cij.triggers.journeys import CijJourneyTrigger
from tests.dags import run_dag
from tests.scripted import Answer

ID, TEMPLATE, SEGMENT = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "abc")
MODES = {"poke": {}, "reschedule": {"mode": "reschedule"}, "deferrable": {"deferrable": True}}
LINK = "_link_CijJourneyLink"
NONE, LOST, BLIP = Answer(body={"value": []}), Answer(hang_up=True), Answer(200, b"<html>a gateway's page</html>")

every_mode = pytest.mark.parametrize("mode", MODES)
deferred_or_not = pytest.mark.parametrize("deferrable", [False, True])


def journey(status: int, **others) -> Answer:
    """Answer with a journey in this status."""
    return Answer(body={"msdynmkt_journeyid": ID, "msdynmkt_name": "Spring", "statuscode": status, **others})


def verdict(valid: bool, *errors: dict) -> Answer:
    """Answer as the actions do."""
    body = {"msdynmkt_journeyid": ID, "msdynmkt_isvalid": valid, "msdynmkt_errors": json.dumps(errors)}
    return Answer(body=body)


@pytest.fixture
def run(scripted, monkeypatch):
    """Run one task against these answers."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    monkeypatch.setattr(triggers, "FIRST_LOOK_AFTER", 0.1)
    monkeypatch.setattr(polling, "LINGER", 0.01)
    monkeypatch.setattr(journeys, "LOOKS", (0.0, 0.05))

    def go(kind, *answers: Answer, **arguments):
        scripted.script = list(answers)
        with DAG("journeys", schedule=None) as dag:
            kind(task_id="t", **arguments)
        return run_dag(dag)

    return go


@pytest.fixture
def wait(run):
    """Run the sensor in one of its modes."""
    given = {"journey_id": ID, "poke_interval": 0.1, "timeout": 30}
    return lambda mode, *answers, **others: run(CijJourneySensor, *answers, **(given | MODES[mode] | others))


def sent(scripted, action: str) -> list[dict]:
    """Give what was sent to an action."""
    return [json.loads(asked.body) for asked in scripted.asked if asked.path.endswith(action)]


@every_mode
def test_a_journey_becomes_live(wait, scripted, mode):
    """Draft, publishing, a status nobody knows: waiting; then live. Result and link are the same in all."""
    ran = wait(mode, journey(1), journey(4), BLIP, journey(99), journey(2))
    assert ran.result("t") == {"journey_id": ID, "status": "live"}
    assert ran.xcoms["t"][LINK] == f"{scripted.url}/main.aspx?etn=msdynmkt_journey&pagetype=entityrecord&id={ID}"
    assert {asked.method for asked in scripted.asked} == {"GET"}


@every_mode
@pytest.mark.parametrize(("until", "on_the_way", "end"), [("completed", [2, 7], 8), ("stopped", [2, 9, 5], 3)])
def test_a_journey_ends(wait, mode, until, on_the_way, end):
    """By itself, or by a stop."""
    assert wait(mode, *map(journey, [*on_the_way, end]), until=until).states == {"t": "success"}


@every_mode
@pytest.mark.parametrize(("soft_fail", "until", "status"), [(False, "live", 3), (True, "completed", 6)])
def test_a_journey_that_cant_become_it_fails_the_task(wait, capfd, mode, soft_fail, until, status):
    """With the service's words; it never skips it."""
    words = Answer(body={"msdynmkt_errorDetails": "The segment is gone."})
    ran = wait(mode, journey(4), journey(status), words, until=until, soft_fail=soft_fail)
    assert ran.states == {"t": "failed"}
    assert f"and was to become {until}: The segment is gone." in capfd.readouterr().out


@every_mode
@pytest.mark.parametrize("column", ["msdynmkt_issupersededbylaterversion", "msdynmkt_IsSupersededByLaterVersion"])
def test_a_superseded_version_is_no_stopped_journey(wait, capfd, mode, column):
    """The error says that a later version runs; an organisation without the column gives the plain words."""
    row = {column: True, "msdynmkt_errorDetails": "Old."}
    assert wait(mode, journey(2), journey(5), Answer(body=row), until="completed").states == {"t": "failed"}
    said = capfd.readouterr().out
    assert "is draining, and was to become completed: it is superseded by a later version" in said
    assert "Wait for the id of the later version." in said
    row[column] = False
    assert wait(mode, journey(2), journey(5), Answer(body=row), until="completed").states == {"t": "failed"}
    assert "was to become completed: Old." in capfd.readouterr().out


@pytest.mark.parametrize("later", [True, False, None])
def test_a_superseded_version_is_not_published(run, scripted, capfd, later):
    """Nothing is sent, and the hint names what to do."""
    row = journey(3, **({} if later is None else {"msdynmkt_issupersededbylaterversion": later}))
    assert run(CijPublishJourneyOperator, journey(3), journey(3), row, journey_id=ID).states == {"t": "failed"}
    hint = "Give the id of the later version." if later else "A stop is final: create the journey anew"
    assert hint in capfd.readouterr().out
    assert {asked.method for asked in scripted.asked} == {"GET"}


@pytest.mark.parametrize(("later", "warned"), [(True, True), (False, False)])
def test_a_superseded_version_that_stopped_is_warned_of(wait, heard, later, warned):
    """The version runs no more; the journey may."""
    row = journey(3, msdynmkt_issupersededbylaterversion=later)
    assert wait("poke", journey(2), journey(3), row, until="stopped").states == {"t": "success"}
    assert ("superseded by a later version" in heard.text) is warned


@every_mode
@pytest.mark.parametrize(("soft_fail", "state"), [(False, "failed"), (True, "skipped")])
def test_a_timeout_fails_or_skips(wait, mode, soft_fail, state):
    """As Airflow's users expect it of each sensor."""
    assert wait(mode, journey(4), timeout=0.5, soft_fail=soft_fail).states == {"t": state}


@every_mode
@pytest.mark.parametrize(
    ("arguments", "said"), [({"until": "dead"}, "until is 'dead'"), ({"poke_interval": 0}, "is 0")]
)
def test_what_is_waited_for_is_checked(wait, scripted, capfd, mode, arguments, said):
    """Before anything is sent."""
    assert wait(mode, journey(2), **arguments).states == {"t": "failed"}
    assert said in capfd.readouterr().out
    assert scripted.asked == []


@deferred_or_not
def test_publish_waits_until_live(run, scripted, deferrable):
    """The service accepts, works behind it, and the task ends when it is done."""
    given = {"journey_id": ID, "poll_interval": 0.1, "deferrable": deferrable}
    answers = [journey(1), journey(1), NONE, Answer(204), journey(1), journey(4), journey(4), journey(2)]
    ran = run(CijPublishJourneyOperator, *answers, **given)
    assert ran.result("t") == {"journey_id": ID, "status": "live"}
    assert LINK in ran.xcoms["t"]
    assert sent(scripted, "msdynmkt_PublishJourneyV2") == [{"msdynmkt_journeyid": ID}]


@deferred_or_not
def test_a_publish_that_falls_back_to_draft_has_failed(run, capfd, deferrable):
    """It was seen on its way."""
    given = {"journey_id": ID, "poll_interval": 0.1, "deferrable": deferrable}
    words = Answer(body={"msdynmkt_errorDetails": "SegmentNotInLiveState"})
    answers = [journey(1), journey(1), NONE, Answer(204), journey(4), journey(4), journey(1), words]
    assert run(CijPublishJourneyOperator, *answers, **given).states == {"t": "failed"}
    assert "was to become live: SegmentNotInLiveState" in capfd.readouterr().out


def test_publish_need_not_wait(run):
    """Then it returns what it sees."""
    answers = [journey(1), journey(1), NONE, Answer(204), journey(4)]
    ran = run(CijPublishJourneyOperator, *answers, journey_id=ID, wait_until_live=False)
    assert ran.result("t") == {"journey_id": ID, "status": "publishing"}


def test_a_lost_reply_is_no_second_publish(run, scripted):
    """Neither in this try nor in the next, which looks and sees it on its way."""
    given = {"journey_id": ID, "poll_interval": 0.1, "retries": 1, "retry_delay": timedelta(0)}
    first = [journey(1), journey(1), NONE, LOST, journey(1), journey(1)]
    ran = run(CijPublishJourneyOperator, *first, journey(4), journey(4), journey(2), **given)
    assert ran.states == {"t": "success"}
    assert len(sent(scripted, "msdynmkt_PublishJourneyV2")) == 1


def test_a_journey_is_created_by_templates(run, scripted):
    """Named arguments and modifications are rendered; the next task gets the id."""
    live = Answer(body={"msdynmkt_segmentid": SEGMENT, "statuscode": 1})
    ran = run(
        CijCreateJourneyOperator,
        *[NONE, live, verdict(True)],
        template_id="{{ '" + TEMPLATE + "' }}",
        name="Spring {{ dag.dag_id }}",
        modifications={"$.actions['x'].parameters.count": "{{ 1 + 1 }}"},
        starts_at="{{ '2099-01-01T00:00:00Z' }}",
        audience_segment_id="{{ '" + SEGMENT + "' }}",
    )
    assert ran.result("t") == {"journey_id": ID, "valid": True, "errors": []}
    assert ran.xcoms["t"]["journey_id"] == ID
    assert LINK in ran.xcoms["t"]
    (body,) = sent(scripted, "msdynmkt_CreateJourneyFromTemplate")
    assert (body["msdynmkt_journeyname"], body["msdynmkt_createmode"]) == ("Spring journeys", "Draft")
    assert body["msdynmkt_journeystarttime"] == "2099-01-01T00:00:00Z"
    assert json.loads(body["msdynmkt_jsonpathmodifications"]) == {
        "$.actions['x'].parameters.count": "2",
        "$.trigger.audience": SEGMENT,
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"publish": "{{ 'yes' }}"}, "publish is 'yes'. Give True or False."),
        ({"exclusion_segment_ids": SEGMENT}, "Give a list of ids."),
        ({"modifications": "$.trigger"}, "modifications is a str. Give a dict."),
    ],
)
def test_arguments_are_checked(run, scripted, capfd, arguments, said):
    """Before anything is sent: a text that renders to "False" sends no mail."""
    given = {"template_id": TEMPLATE, "name": "Spring"}
    assert run(CijCreateJourneyOperator, NONE, **given, **arguments).states == {"t": "failed"}
    assert said in capfd.readouterr().out
    assert scripted.asked == []


def test_an_invalid_journey_fails_the_task_at_once(run, capfd):
    """With each code, and no retry."""
    no = verdict(False, {"errorCode": "InvalidJsonPath", "errorMessage": "No such path."})
    ran = run(CijCreateJourneyOperator, NONE, no, template_id=TEMPLATE, name="Spring", retries=3)
    assert ran.states == {"t": "failed"}
    assert "is not valid: InvalidJsonPath: No such path." in capfd.readouterr().out


MISTAKE = {"errorCode": "NonExistingMessage", "errorMessage": "No such mail.", "activityId": "mail-1"}
STAIN = {"errorCode": "Odd", "errorMessage": "Hm.", "severity": "Warning"}


@pytest.mark.parametrize(
    ("fail_on", "answer", "state"),
    [
        ("error", verdict(True), "success"),
        ("error", verdict(True, STAIN), "success"),
        ("error", verdict(False, MISTAKE), "failed"),
        ("warning", verdict(True, STAIN), "failed"),
        ("warning", verdict(True), "success"),
        ("never", verdict(False, MISTAKE, STAIN), "success"),
        ("always", verdict(True), "failed"),
    ],
)
def test_a_journey_is_validated(run, scripted, capfd, fail_on, answer, state):
    """What is found is shown as a table, and fails the task as told."""
    found = Answer(body={"msdynmkt_journeyjson": '{"name": "Spring"}'})
    ran = run(CijValidateJourneyOperator, journey(1), found, answer, journey_id=ID, fail_on=fail_on)
    assert ran.states == {"t": state}
    out = capfd.readouterr().out
    if fail_on == "always":
        assert scripted.asked == []
        return
    (body,) = sent(scripted, "msdynmkt_ValidateJourneyJson")
    assert (body["msdynmkt_journeyjson"], body["msdynmkt_shouldvalidatecontract"]) == ('{"name": "Spring"}', True)
    if MISTAKE["errorCode"] in str(answer.body):
        assert "activity  code                message" in out
        assert "mail-1    NonExistingMessage  No such mail." in out
    if fail_on == "never":
        assert ran.result("t") == {
            "valid": False,
            "errors": [
                {"activity": "mail-1", "code": "NonExistingMessage", "message": "No such mail.", "where": "mail-1"}
            ],
            "warnings": [{"activity": "", "code": "Odd", "message": "Hm.", "where": ""}],
        }


def test_a_definition_is_validated_without_a_journey(run, scripted):
    """A dict becomes JSON."""
    ran = run(CijValidateJourneyOperator, verdict(True), journey_json={"name": "{{ dag.dag_id }}"})
    assert ran.result("t") == {"valid": True, "errors": [], "warnings": []}
    assert sent(scripted, "msdynmkt_ValidateJourneyJson")[0]["msdynmkt_journeyjson"] == '{"name": "journeys"}'


ARGUMENTS = {
    "cij_conn_id": "cij_default",
    "journey_id": ID,
    "until": "live",
    "publishing": True,
    "poll_interval": 0.05,
    "deadline": 1.0,
    "not_before": 0.0,
}


def test_the_trigger_survives_airflows_database():
    """Class path and plain JSON; made again it is the same; its constructor never raises."""
    path, kwargs = CijJourneyTrigger(**ARGUMENTS).serialize()
    assert path == f"{CijJourneyTrigger.__module__}.{CijJourneyTrigger.__name__}"
    assert deserialize(serialize(kwargs)) == kwargs == ARGUMENTS
    CijJourneyTrigger()
    CijJourneyTrigger(journey_id=7, deadline=None)


def test_many_waits_ask_one_question(scripted, monkeypatch):
    """And one of them can end before the others."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    monkeypatch.setattr(triggers, "FIRST_LOOK_AFTER", 0.05)
    monkeypatch.setattr(polling, "LINGER", 0.1)
    ids = [ID, TEMPLATE, SEGMENT]

    def rows(*statuses: int) -> Answer:
        pairs = zip(ids, statuses, strict=True)
        return Answer(body={"value": [{"msdynmkt_journeyid": one, "statuscode": status} for one, status in pairs]})

    scripted.script = [rows(4, 4, 4), rows(2, 2, 2)]

    async def main():
        waits = [CijJourneyTrigger(journey_id=one, poll_interval=0.2, deadline=time.time() + 20) for one in ids]
        return [event.payload for event in await asyncio.gather(*(anext(aiter(one.run())) for one in waits))]

    events = asyncio.run(main())
    assert [event["journey"] for event in events] == [{"journey_id": one, "status": "live"} for one in ids]
    assert len(scripted.asked) == 2
