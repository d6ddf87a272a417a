"""Publish and stop outbound segments and journeys."""

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
def move(scripted, monkeypatch):
    """Run an operator that publishes or stops against these answers."""
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
    connection = scripted.connection(max_throttle_wait_seconds=0)
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
