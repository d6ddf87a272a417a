"""Operators on journeys, against a scripted service."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from airflow_provider_cij.operators.journeys import (
    CijCreateJourneyOperator,
    CijPublishJourneyOperator,
    CijValidateJourneyOperator,
)
from tests.journey_responses import ID, LINK, LOST, NONE, SEGMENT, TEMPLATE, journey, validation_result
from tests.scripted import Answer

deferred_or_not = pytest.mark.parametrize("deferrable", [False, True])


def sent(scripted, action: str) -> list[dict]:
    """Return the bodies that were sent to an action."""
    return [json.loads(request.body) for request in scripted.requests if request.path.endswith(action)]


@pytest.mark.parametrize("later", [True, False, None])
def test_a_superseded_version_is_not_published(run_journey_task, scripted, capfd, later):
    """Publishing a superseded or stopped version fails without a request, and the hint says what to do."""
    row = journey(3, **({} if later is None else {"msdynmkt_issupersededbylaterversion": later}))
    assert run_journey_task(CijPublishJourneyOperator, journey(3), row, journey_id=ID).states == {"t": "failed"}
    hint = "Give the id of the later version." if later else "A stop is final: create the journey anew"
    assert hint in capfd.readouterr().out
    assert {request.method for request in scripted.requests} == {"GET"}


@deferred_or_not
def test_publish_waits_until_live(run_journey_task, scripted, deferrable):
    """A publish is sent once and waited for until the journey is live."""
    given = {"journey_id": ID, "poll_interval": 0.1, "deferrable": deferrable}
    answers = [journey(1), journey(1), NONE, Answer(204), journey(1), journey(4), journey(4), journey(2)]
    ran = run_journey_task(CijPublishJourneyOperator, *answers, **given)
    assert ran.result("t") == {"journey_id": ID, "status": "live"}
    assert LINK in ran.xcoms["t"]
    assert sent(scripted, "msdynmkt_PublishJourneyV2") == [{"msdynmkt_journeyid": ID}]


@deferred_or_not
def test_a_publish_that_falls_back_to_draft_has_failed(run_journey_task, capfd, deferrable):
    """A journey that goes from publishing back to draft fails the task."""
    given = {"journey_id": ID, "poll_interval": 0.1, "deferrable": deferrable}
    words = Answer(body={"msdynmkt_errorDetails": "SegmentNotInLiveState"})
    answers = [journey(1), journey(1), NONE, Answer(204), journey(4), journey(4), journey(1), words]
    assert run_journey_task(CijPublishJourneyOperator, *answers, **given).states == {"t": "failed"}
    assert "was to become live: SegmentNotInLiveState" in capfd.readouterr().out


def test_publish_without_waiting(run_journey_task):
    """With ``wait=False`` publish returns the status that it read last."""
    answers = [journey(1), NONE, Answer(204), journey(4)]
    ran = run_journey_task(CijPublishJourneyOperator, *answers, journey_id=ID, wait=False)
    assert ran.result("t") == {"journey_id": ID, "status": "publishing"}


def test_a_lost_publish_response_publishes_once(run_journey_task, scripted):
    """After a lost publish response the retry sees the journey being published and sends no second publish."""
    given = {"journey_id": ID, "poll_interval": 0.1, "retries": 1, "retry_delay": timedelta(0)}
    first = [journey(1), journey(1), NONE, LOST, journey(1), journey(1)]
    ran = run_journey_task(CijPublishJourneyOperator, *first, journey(4), journey(4), journey(2), **given)
    assert ran.states == {"t": "success"}
    assert len(sent(scripted, "msdynmkt_PublishJourneyV2")) == 1


def test_create_renders_its_arguments(run_journey_task, scripted):
    """Arguments and modifications of a create are templates, and the journey's id is in XCom."""
    live = Answer(body={"msdynmkt_segmentid": SEGMENT, "statuscode": 1})
    ran = run_journey_task(
        CijCreateJourneyOperator,
        *[NONE, live, validation_result(True)],
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
    ("arguments", "message"),
    [
        ({"publish": "{{ 'yes' }}"}, "publish is 'yes'. Give True or False."),
        ({"exclusion_segment_ids": "{{ '" + SEGMENT + "' }}"}, "Give a list of ids."),
        ({"modifications": "$.trigger"}, "modifications is a str. Give a dict."),
    ],
)
def test_invalid_arguments_are_refused(run_journey_task, scripted, capfd, arguments, message):
    """Invalid arguments fail the task before any request, also a rendered switch that is no boolean."""
    given = {"template_id": TEMPLATE, "name": "Spring"}
    assert run_journey_task(CijCreateJourneyOperator, NONE, **given, **arguments).states == {"t": "failed"}
    assert message in capfd.readouterr().out
    assert scripted.requests == []


def test_an_invalid_journey_fails_the_task_at_once(run_journey_task, capfd):
    """An invalid journey fails the task with each code and without a retry."""
    no = validation_result(False, {"errorCode": "InvalidJsonPath", "errorMessage": "No such path."})
    ran = run_journey_task(CijCreateJourneyOperator, NONE, no, template_id=TEMPLATE, name="Spring", retries=3)
    assert ran.states == {"t": "failed"}
    assert "is not valid: InvalidJsonPath: No such path." in capfd.readouterr().out


MISTAKE = {"errorCode": "NonExistingMessage", "errorMessage": "No such mail.", "activityId": "mail-1"}
STAIN = {"errorCode": "Odd", "errorMessage": "Hm.", "severity": "Warning"}


@pytest.mark.parametrize(
    ("fail_on", "answer", "state"),
    [
        ("error", validation_result(True), "success"),
        ("error", validation_result(True, STAIN), "success"),
        ("error", validation_result(False, MISTAKE), "failed"),
        ("warning", validation_result(True, STAIN), "failed"),
        ("warning", validation_result(True), "success"),
        ("never", validation_result(False, MISTAKE, STAIN), "success"),
        ("{{ 'always' }}", validation_result(True), "failed"),
    ],
)
def test_validation_results_fail_the_task_as_requested(run_journey_task, scripted, capfd, fail_on, answer, state):
    """Validation results are logged as a table and fail the task as ``fail_on`` says."""
    found = journey(1, msdynmkt_journeyjson='{"name": "Spring"}')
    ran = run_journey_task(CijValidateJourneyOperator, found, answer, journey_id=ID, fail_on=fail_on)
    assert ran.states == {"t": state}
    out = capfd.readouterr().out
    if "always" in fail_on:
        assert scripted.requests == []
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
    """A definition given as a dict is validated as JSON."""
    ran = run_journey_task(
        CijValidateJourneyOperator, validation_result(True), journey_json={"name": "{{ dag.dag_id }}"}
    )
    assert ran.result("t") == {"valid": True, "errors": [], "warnings": []}
    assert sent(scripted, "msdynmkt_ValidateJourneyJson")[0]["msdynmkt_journeyjson"] == '{"name": "journeys"}'


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_journey_that_falls_back_from_publishing_to_draft_fails(run_journey_task, capfd, deferrable):
    """A journey that was in Publishing before the task asked, and is a draft after that, has failed to publish."""
    answers = [journey(4), journey(1), Answer(body={"msdynmkt_errordetails": "No mail."})]
    given = {"journey_id": ID, "poll_interval": 0.1, "deferrable": deferrable}
    assert run_journey_task(CijPublishJourneyOperator, *answers, **given).states == {"t": "failed"}
    assert "was to become live: No mail." in capfd.readouterr().out
