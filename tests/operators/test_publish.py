"""Publishing and refreshing a segment, against a scripted service."""

from __future__ import annotations

import pytest

from airflow_provider_cij.operators.segments import CijRefreshSegmentOperator
from tests.scripted import Answer
from tests.segment_responses import ID, LINK, NEW, NONE, NOW, OLD, SUCCEEDED, evaluation, segment


def _evaluation_of(execution: str, status: int) -> Answer:
    return evaluation(status, NOW, execution)


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("status", [1, 9, 10])
def test_refresh_waits_for_a_new_evaluation(run_publish, scripted, deferrable, status):
    """A refresh of a live, stopped or expired segment waits for a new evaluation and returns its time."""
    old, new = _evaluation_of(OLD, SUCCEEDED), evaluation(SUCCEEDED)
    new.body["value"][0]["msdynmkt_finishedon"] = "2026-11-02T03:00:07Z"
    before = [segment(1, 3), old, old] if status == 1 else [segment(status, 3), NONE]
    waited = [segment(1, 3), old, segment(5, 3), old] if status == 1 else [segment(5, 3)]
    ran = run_publish(
        *before,
        Answer(204),
        *waited,
        *([segment(6, 3), old, segment(1, 5), new, segment(1, 5)] if status == 1 else [segment(6, 3), segment(1, 5)]),
        *([] if status == 1 else [segment(1, 5), new]),
        kind=CijRefreshSegmentOperator,
        deferrable=deferrable,
    )
    assert ran.result("publish") == {
        "segment_id": ID,
        "status": "live",
        "member_count": 5,
        "evaluated_at": "2026-11-02T03:00:07Z",
    }
    assert (ran.xcoms["publish"]["name"], ran.xcoms["publish"]["change"]) == ("VIP", 2)
    assert [request.path for request in scripted.requests if request.method == "POST"] == [
        "/api/data/v9.2/msdynmkt_PublishSegmentDefinition"
    ]


@pytest.mark.parametrize("deferrable", [False, True])
def test_publish_waits_until_live(run_publish, scripted, deferrable):
    """A publish is sent once and waited for until the segment is live."""
    ran = run_publish(segment(2), NONE, Answer(204), segment(5), segment(6), segment(1), deferrable=deferrable)
    assert ran.states == {"publish": "success"}
    assert ran.result("publish") == {"segment_id": ID, "status": "live", "member_count": 3}
    assert LINK in ran.xcoms["publish"]
    posts = [request for request in scripted.requests if request.method == "POST"]
    assert [(request.path, request.body) for request in posts] == [
        ("/api/data/v9.2/msdynmkt_PublishSegmentDefinition", f'{{"SegmentId": "{ID}"}}'.encode())
    ]


@pytest.mark.parametrize("deferrable", [False, True])
def test_publishing_a_live_segment_waits_for_a_new_evaluation(run_publish, scripted, deferrable):
    """Publishing a live segment waits for the new evaluation and returns its member count."""
    old, new = _evaluation_of(OLD, 723270002), _evaluation_of(NEW, 723270001)
    done = _evaluation_of(NEW, 723270002)
    ran = run_publish(
        *[segment(1, 3), old, old, Answer(204)],
        *[segment(1, 3), old, segment(1, 3), new, segment(1, 3), done, segment(1, 5)],
        deferrable=deferrable,
    )
    assert ran.result("publish")["member_count"] == 5
    # The last reads who uses the segment, for its event.
    assert len(scripted.requests) == 12


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("later", [[], [1]])
def test_a_segment_back_in_live_waits_for_its_evaluation(run_publish, scripted, deferrable, later):
    """A segment that is back in live is waited for until its new evaluation has succeeded."""
    old = _evaluation_of(OLD, 723270002)
    still = [answer for _ in later for answer in (segment(1, 3), old)]
    ran = run_publish(
        *[segment(1, 3), old, old, Answer(204), *still, segment(5), old, segment(6), old, segment(1, 5), old],
        *[segment(1, 5), evaluation(SUCCEEDED), segment(1, 5)],
        deferrable=deferrable,
    )
    assert ran.result("publish")["member_count"] == 5


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_failed_segment_can_be_published_again(run_publish, deferrable):
    """Publishing a failed segment ignores its earlier error."""
    old = _evaluation_of(OLD, 723270003)
    answers = [segment(3), old, old, Answer(204), segment(3), old, segment(6), old, segment(1), evaluation(SUCCEEDED)]
    answers += [segment(1)]
    assert run_publish(*answers, deferrable=deferrable).states == {"publish": "success"}


def test_a_rejected_query_fails_the_task_at_once(run_publish, capfd):
    """A rejected query fails the task with the service's message and without a retry."""
    no = Answer(400, {"error": {"code": "0x80040265", "message": "Parse error at position 23."}})
    assert run_publish(segment(2), NONE, no, retries=3).states == {"publish": "failed"}
    assert "Parse error at position 23. [code 0x80040265, HTTP 400]" in capfd.readouterr().out


@pytest.mark.parametrize("deferrable", [False, True])
def test_the_connection_bounds_the_poll_interval(run_publish, scripted, monkeypatch, deferrable):
    """A task checks as often as the connection's ``max_poll_seconds`` says, though its ``poll_interval`` is an hour."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection(max_poll_seconds=0.1))
    answers = (segment(2), NONE, Answer(204), segment(5), segment(6), segment(1))
    ran = run_publish(*answers, deferrable=deferrable, poll_interval=3600)
    assert ran.states == {"publish": "success"}


def test_a_zero_poll_interval_is_refused(run_publish, scripted, capfd):
    """A ``poll_interval`` of 0 is refused before anything is sent."""
    assert run_publish(segment(2), poll_interval=0).states == {"publish": "failed"}
    assert "poll_interval is 0. Give seconds, more than 0." in capfd.readouterr().out
    assert scripted.requests == []


def test_publish_without_waiting(run_publish, scripted):
    """With ``wait=False`` publish returns the status that it read last."""
    ran = run_publish(segment(2), Answer(204), segment(5), wait=False)
    assert ran.result("publish")["status"] == "exporting"
    assert len(scripted.requests) == 3


@pytest.mark.parametrize("deferrable", [False, True])
def test_publish_times_out_with_the_last_status(run_publish, capfd, deferrable):
    """A publish that times out fails the task with the status seen last."""
    ran = run_publish(segment(2), NONE, Answer(204), segment(6), timeout=0.5, deferrable=deferrable)
    assert ran.states == {"publish": "failed"}
    assert "is computing" in capfd.readouterr().out


def test_publish_without_waiting_does_not_judge_a_stale_error(run_publish, scripted):
    """With ``wait=False``, a segment whose row still shows Error after the accepted publish is no failure."""
    ran = run_publish(segment(3), Answer(204), segment(3), wait=False)
    assert ran.result("publish")["status"] == "error"
    assert [request.method for request in scripted.requests] == ["GET", "POST", "GET"]
