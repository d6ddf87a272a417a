"""Publish and refresh a segment, against a service that says what the test wants."""

from __future__ import annotations

import pytest

from airflow_provider_cij.operators.segments import CijRefreshSegmentOperator
from tests.scripted import Answer
from tests.segment_responses import ID, LINK, NEW, NONE, NOW, OLD, SUCCEEDED, run_of, segment


def _run_of_segment(execution: str, status: int) -> Answer:
    return run_of(status, NOW, execution)


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("status", [1, 9, 10])
def test_a_refresh_is_a_new_evaluation(publish, scripted, deferrable, status):
    """Also of a segment that is stopped or has expired; and it says when."""
    old, new = _run_of_segment(OLD, SUCCEEDED), run_of(SUCCEEDED)
    new.body["value"][0]["msdynmkt_finishedon"] = "2026-11-02T03:00:07Z"
    asked = [segment(1, 3), old, old] if status == 1 else [segment(status, 3), NONE]
    waited = [segment(1, 3), old, segment(5, 3), old] if status == 1 else [segment(5, 3)]
    ran = publish(
        *asked,
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
    assert [asked.path for asked in scripted.asked if asked.method == "POST"] == [
        "/api/data/v9.2/msdynmkt_PublishSegmentDefinition"
    ]


@pytest.mark.parametrize("deferrable", [False, True])
def test_publish_waits_until_live(publish, scripted, deferrable):
    """The service accepts, works behind it, and the task ends when it is done."""
    ran = publish(segment(2), NONE, Answer(204), segment(5), segment(6), segment(1), deferrable=deferrable)
    assert ran.states == {"publish": "success"}
    assert ran.result("publish") == {"segment_id": ID, "status": "live", "member_count": 3}
    assert LINK in ran.xcoms["publish"]
    posts = [asked for asked in scripted.asked if asked.method == "POST"]
    assert [(asked.path, asked.body) for asked in posts] == [
        ("/api/data/v9.2/msdynmkt_PublishSegmentDefinition", f'{{"SegmentId": "{ID}"}}'.encode())
    ]


@pytest.mark.parametrize("deferrable", [False, True])
def test_publishing_a_live_segment_waits_for_a_new_evaluation(publish, scripted, deferrable):
    """The members of the old one are not what was published."""
    old, new = _run_of_segment(OLD, 723270002), _run_of_segment(NEW, 723270001)
    done = _run_of_segment(NEW, 723270002)
    ran = publish(
        *[segment(1, 3), old, old, Answer(204)],
        *[segment(1, 3), old, segment(1, 3), new, segment(1, 3), done, segment(1, 5)],
        deferrable=deferrable,
    )
    assert ran.result("publish")["member_count"] == 5
    assert len(scripted.asked) == 11


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("later", [[], [1]])
def test_a_segment_that_has_left_live_needs_its_evaluation(publish, scripted, deferrable, later):
    """Back in live is not enough: the evaluation may have failed, and the members be those of before."""
    old = _run_of_segment(OLD, 723270002)
    still = [answer for _ in later for answer in (segment(1, 3), old)]
    ran = publish(
        *[segment(1, 3), old, old, Answer(204), *still, segment(5), old, segment(6), old, segment(1, 5), old],
        *[segment(1, 5), run_of(SUCCEEDED), segment(1, 5)],
        deferrable=deferrable,
    )
    assert ran.result("publish")["member_count"] == 5


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_failed_segment_can_be_published_again(publish, deferrable):
    """The error from before is not the answer."""
    old = _run_of_segment(OLD, 723270003)
    answers = [segment(3), old, old, Answer(204), segment(3), old, segment(6), old, segment(1), run_of(SUCCEEDED)]
    answers += [segment(1)]
    assert publish(*answers, deferrable=deferrable).states == {"publish": "success"}


def test_a_rejected_query_fails_the_task_at_once(publish, capfd):
    """With the service's words, and no retry."""
    no = Answer(400, {"error": {"code": "0x80040265", "message": "Parse error at position 23."}})
    assert publish(segment(2), NONE, no, retries=3).states == {"publish": "failed"}
    assert "Parse error at position 23. [code 0x80040265, HTTP 400]" in capfd.readouterr().out


def test_publish_does_not_hammer(publish, scripted, capfd):
    """A wait without a pause is refused before anything is sent."""
    assert publish(segment(2), poll_interval=0).states == {"publish": "failed"}
    assert "poll_interval is 0. Give seconds, more than 0." in capfd.readouterr().out
    assert scripted.asked == []


def test_publish_need_not_wait(publish, scripted):
    """Then it returns what it sees."""
    ran = publish(segment(2), Answer(204), segment(5), wait_until_live=False)
    assert ran.result("publish")["status"] == "exporting"
    assert len(scripted.asked) == 3


@pytest.mark.parametrize("deferrable", [False, True])
def test_publish_does_not_wait_for_ever(publish, capfd, deferrable):
    """The error says what was last seen."""
    ran = publish(segment(2), NONE, Answer(204), segment(6), timeout=0.5, deferrable=deferrable)
    assert ran.states == {"publish": "failed"}
    assert "did not become live in the time given (last seen computing)" in capfd.readouterr().out
