"""Operators that publish and stop outbound segments and journeys, against a scripted service."""

from __future__ import annotations

import json

import pytest
from airflow.sdk import DAG

from airflow_provider_cij.operators.outbound import (
    CijOutboundPublishJourneyOperator,
    CijOutboundPublishSegmentOperator,
    CijOutboundStopJourneyOperator,
    CijOutboundStopSegmentOperator,
)
from tests.dags import run_dag
from tests.outbound_responses import DRAFT, ERROR, GOING_LIVE, ID, LIVE, MADE, STOPPED, STOPPING, journey, segment
from tests.scripted import Answer


@pytest.fixture
def run_operator(scripted, monkeypatch):
    """Return a function that runs an operator that publishes or stops, against these responses."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())

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
def test_publish_and_stop_wait_for_the_final_status(
    run_operator, scripted, deferrable, kind, of, before, meanwhile, after, word
):
    """The status is written once and then read until it is final, in the worker or in the triggerer."""
    answers = [of(before), MADE, of(meanwhile), of(meanwhile), of(after)]
    ran = run_operator(kind, *answers, deferrable=deferrable)
    assert ran.result("move")["status"] == word
    written = [json.loads(request.body) for request in scripted.requests if request.method == "PATCH"]
    assert written == [{"statuscode": meanwhile}]


@pytest.mark.parametrize(("kind", "of", "before", "meanwhile", "after", "word"), MOVES)
def test_publish_and_stop_without_waiting(run_operator, scripted, kind, of, before, meanwhile, after, word):
    """Without waiting, publish and stop return the status that they read last."""
    ran = run_operator(kind, of(before), MADE, of(meanwhile), wait=False)
    assert ran.result("move")["status"] == {GOING_LIVE: "going_live", STOPPING: "stopping"}[meanwhile]
    assert len(scripted.requests) == 3


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("end", [LIVE, ERROR])
def test_a_segment_going_live_is_published_again_afterwards(run_operator, scripted, deferrable, end):
    """An evaluation that began before the task counts neither as success nor as failure of its publish."""
    first = [segment(GOING_LIVE), segment(GOING_LIVE), segment(end)]
    answers = [*first, segment(end), MADE, segment(GOING_LIVE), segment(LIVE)]
    ran = run_operator(CijOutboundPublishSegmentOperator, *answers, deferrable=deferrable)
    assert ran.result("move")["status"] == "live"
    assert [request.method for request in scripted.requests].count("PATCH") == 1


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize(("kind", "of", "before", "meanwhile", "after", "word"), MOVES)
def test_a_failed_poll_does_not_repeat_the_change(
    run_operator, scripted, deferrable, kind, of, before, meanwhile, after, word
):
    """A poll that fails after an accepted change leads to a later poll, not to a second change."""
    down = Answer(503, {"error": {"code": "0x0", "message": "down"}}, {"Retry-After": "1"})
    connection = scripted.connection(max_throttle_wait_seconds=0)
    ran = run_operator(kind, of(before), MADE, down, of(after), deferrable=deferrable, connection=connection)
    assert ran.result("move")["status"] == word
    assert [request.method for request in scripted.requests].count("PATCH") == 1


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_journey_that_ends_in_error_fails_the_task(run_operator, capfd, deferrable):
    """A journey that ends in error fails the task with the results of its check."""
    found = '{"ActivityValidationResults":[{"ActivityId":"01_0","Fault":"NoMail","Result":"Error"}],"Result":"Error"}'
    answers = [journey(DRAFT), MADE, journey(GOING_LIVE)]
    answers += [journey(ERROR, msdyncrm_validationresults=found)]
    ran = run_operator(CijOutboundPublishJourneyOperator, *answers, deferrable=deferrable, retries=0)
    assert ran.states == {"move": "failed"}
    assert "is error. Its check for errors found activity 01_0: NoMail." in capfd.readouterr().out


def test_stopping_a_draft_fails_without_a_request(run_operator, scripted, capfd):
    """Stopping a draft fails without a retry and without a write."""
    assert run_operator(CijOutboundStopSegmentOperator, segment(DRAFT), retries=3).states == {"move": "failed"}
    assert "is draft: it can't become stopping. Nothing was sent." in capfd.readouterr().out
    assert [request.method for request in scripted.requests] == ["GET"]
