"""Journeys as tasks of a DAG, in all their modes, against a service that says what the test wants."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from airflow_provider_cij.operators.journeys import (
    CijCreateJourneyOperator,
    CijPublishJourneyOperator,
    CijValidateJourneyOperator,
)
from tests.journey_responses import ID, LINK, LOST, NONE, SEGMENT, TEMPLATE, journey, verdict
from tests.scripted import Answer

deferred_or_not = pytest.mark.parametrize("deferrable", [False, True])


def sent(scripted, action: str) -> list[dict]:
    """Give what was sent to an action."""
    return [json.loads(asked.body) for asked in scripted.asked if asked.path.endswith(action)]


@pytest.mark.parametrize("later", [True, False, None])
def test_a_superseded_version_is_not_published(run_journey_task, scripted, capfd, later):
    """Nothing is sent, and the hint names what to do."""
    row = journey(3, **({} if later is None else {"msdynmkt_issupersededbylaterversion": later}))
    assert run_journey_task(CijPublishJourneyOperator, journey(3), journey(3), row, journey_id=ID).states == {
        "t": "failed"
    }
    hint = "Give the id of the later version." if later else "A stop is final: create the journey anew"
    assert hint in capfd.readouterr().out
    assert {asked.method for asked in scripted.asked} == {"GET"}


@deferred_or_not
def test_publish_waits_until_live(run_journey_task, scripted, deferrable):
    """The service accepts, works behind it, and the task ends when it is done."""
    given = {"journey_id": ID, "poll_interval": 0.1, "deferrable": deferrable}
    answers = [journey(1), journey(1), NONE, Answer(204), journey(1), journey(4), journey(4), journey(2)]
    ran = run_journey_task(CijPublishJourneyOperator, *answers, **given)
    assert ran.result("t") == {"journey_id": ID, "status": "live"}
    assert LINK in ran.xcoms["t"]
    assert sent(scripted, "msdynmkt_PublishJourneyV2") == [{"msdynmkt_journeyid": ID}]


@deferred_or_not
def test_a_publish_that_falls_back_to_draft_has_failed(run_journey_task, capfd, deferrable):
    """It was seen on its way."""
    given = {"journey_id": ID, "poll_interval": 0.1, "deferrable": deferrable}
    words = Answer(body={"msdynmkt_errorDetails": "SegmentNotInLiveState"})
    answers = [journey(1), journey(1), NONE, Answer(204), journey(4), journey(4), journey(1), words]
    assert run_journey_task(CijPublishJourneyOperator, *answers, **given).states == {"t": "failed"}
    assert "was to become live: SegmentNotInLiveState" in capfd.readouterr().out


def test_publish_need_not_wait(run_journey_task):
    """Then it returns what it sees."""
    answers = [journey(1), journey(1), NONE, Answer(204), journey(4)]
    ran = run_journey_task(CijPublishJourneyOperator, *answers, journey_id=ID, wait_until_live=False)
    assert ran.result("t") == {"journey_id": ID, "status": "publishing"}


def test_a_lost_reply_is_no_second_publish(run_journey_task, scripted):
    """Neither in this try nor in the next, which looks and sees it on its way."""
    given = {"journey_id": ID, "poll_interval": 0.1, "retries": 1, "retry_delay": timedelta(0)}
    first = [journey(1), journey(1), NONE, LOST, journey(1), journey(1)]
    ran = run_journey_task(CijPublishJourneyOperator, *first, journey(4), journey(4), journey(2), **given)
    assert ran.states == {"t": "success"}
    assert len(sent(scripted, "msdynmkt_PublishJourneyV2")) == 1


def test_a_journey_is_created_by_templates(run_journey_task, scripted):
    """Named arguments and modifications are rendered; the next task gets the id."""
    live = Answer(body={"msdynmkt_segmentid": SEGMENT, "statuscode": 1})
    ran = run_journey_task(
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
def test_arguments_are_checked(run_journey_task, scripted, capfd, arguments, said):
    """Before anything is sent: a text that renders to "False" sends no mail."""
    given = {"template_id": TEMPLATE, "name": "Spring"}
    assert run_journey_task(CijCreateJourneyOperator, NONE, **given, **arguments).states == {"t": "failed"}
    assert said in capfd.readouterr().out
    assert scripted.asked == []


def test_an_invalid_journey_fails_the_task_at_once(run_journey_task, capfd):
    """With each code, and no retry."""
    no = verdict(False, {"errorCode": "InvalidJsonPath", "errorMessage": "No such path."})
    ran = run_journey_task(CijCreateJourneyOperator, NONE, no, template_id=TEMPLATE, name="Spring", retries=3)
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
def test_a_journey_is_validated(run_journey_task, scripted, capfd, fail_on, answer, state):
    """What is found is shown as a table, and fails the task as told."""
    found = Answer(body={"msdynmkt_journeyjson": '{"name": "Spring"}'})
    ran = run_journey_task(CijValidateJourneyOperator, journey(1), found, answer, journey_id=ID, fail_on=fail_on)
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


def test_a_definition_is_validated_without_a_journey(run_journey_task, scripted):
    """A dict becomes JSON."""
    ran = run_journey_task(CijValidateJourneyOperator, verdict(True), journey_json={"name": "{{ dag.dag_id }}"})
    assert ran.result("t") == {"valid": True, "errors": [], "warnings": []}
    assert sent(scripted, "msdynmkt_ValidateJourneyJson")[0]["msdynmkt_journeyjson"] == '{"name": "journeys"}'
