"""Which changes of status are asked for, and how often."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.outbound.models import (
    JOURNEY,
    SEGMENT,
    OutboundSegment,
    OutboundStatus,
    check_move,
    status_name,
)
from airflow_provider_cij.api.outbound.wait import judge
from airflow_provider_cij.errors import (
    CijConflictError,
    CijInputError,
    CijServerError,
)
from tests.outbound_responses import ID, MADE, segment
from tests.scripted import Answer

GOING_LIVE, STOPPING = OutboundStatus.GOING_LIVE, OutboundStatus.STOPPING


@given(st.sampled_from((SEGMENT, JOURNEY)), st.sampled_from(OutboundStatus), st.sampled_from((GOING_LIVE, STOPPING)))
def test_only_what_the_service_allows_is_asked_of_it(kind, now, wanted):
    """The two tables of transitions, for the two statuses that are ever written."""
    allowed = {
        GOING_LIVE: {"DRAFT", "LIVE", "STOPPED", "LIVE_EDITABLE", "ERROR"},
        STOPPING: {"LIVE", "ERROR"},
    }[wanted]
    row = OutboundSegment(ID, "VIP", int(now), "*", 192350001, "S")
    if now.name in allowed:
        check_move(kind, row, wanted)
        return
    with pytest.raises(CijInputError, match=f"is {status_name(now)}: it can't become {status_name(wanted)}") as caught:
        check_move(kind, row, wanted)
    assert f"From {status_name(now)} it can become" in caught.value.hint


def test_a_status_that_nobody_knows_is_left_to_the_service():
    """And never taken for an end."""
    check_move(SEGMENT, OutboundSegment(ID, "VIP", 192350099, "*", 192350001, "S"), STOPPING)
    assert judge(192350099, "live") == judge(192350099, "stopped") == "waiting"


@given(st.sampled_from(OutboundStatus) | st.integers(192350000, 192350020), st.sampled_from(("live", "stopped")))
def test_only_these_statuses_are_an_end(status, until):
    """Live, editable is live; expired is stopped, and will never be live; error is an error."""
    done = {"live": {"LIVE", "LIVE_EDITABLE"}, "stopped": {"STOPPED", "EXPIRED"}}[until]
    failed = {"live": {"ERROR", "EXPIRED"}, "stopped": {"ERROR"}}[until]
    name = status_name(status).upper()
    assert judge(int(status), until) == ("done" if name in done else "failed" if name in failed else "waiting")


def test_a_forbidden_move_sends_nothing(say, scripted):
    """A draft can't be stopped."""
    with pytest.raises(CijInputError, match="is draft: it can't become stopping"):
        say(lambda outbound: outbound.segments.stop(ID), segment(192350000))
    assert [asked.method for asked in scripted.asked] == ["GET"]


@pytest.mark.parametrize(
    ("verb", "status"), [("publish", 192350006), ("stop", 192350007), ("stop", 192350002), ("stop", 192350004)]
)
def test_what_is_on_its_way_is_left_alone(say, verb, status):
    """A retry of the task asks for nothing a second time."""
    assert say(lambda outbound: getattr(outbound.segments, verb)(ID), segment(status)) == []


def test_a_live_journey_is_not_published_again_and_a_live_segment_is(say):
    """The one would mail people twice; the other is evaluated anew."""
    journey = Answer(body={"msdyncrm_customerjourneyid": ID, "statuscode": 192350001})
    assert say(lambda outbound: outbound.journeys.publish(ID), journey) == []
    assert len(say(lambda outbound: outbound.segments.publish(ID), segment(192350001), MADE)) == 1


def test_a_change_that_meets_the_services_own_is_tried_anew(say):
    """With what the row has become; for ever it is not."""
    met = Answer(412, {"error": {"code": "0x80060882", "message": "The version does not match."}})
    sent = say(lambda outbound: outbound.segments.publish(ID), segment(192350000), met, segment(192350002), MADE)
    assert len(sent) == 2
    assert say(lambda outbound: outbound.segments.publish(ID), segment(192350000), met, segment(192350006)) == sent[:1]
    with pytest.raises(CijConflictError):
        say(lambda outbound: outbound.segments.publish(ID), *[segment(192350000), met] * 3)


def test_a_lost_reply_publishes_once(say, scripted):
    """The second try meets the first one's change: the task's retry reads what came of it."""
    met = Answer(412, {"error": {"code": "0x80060882", "message": "The version does not match."}})
    with pytest.raises(CijServerError):
        say(lambda outbound: outbound.journeys.publish(ID), _journey(192350000), Answer(503), met)
    assert [asked.headers.get("if-match") for asked in scripted.asked] == [None, 'W/"3"', 'W/"3"']


def _journey(status: int) -> Answer:
    return Answer(body={"@odata.etag": 'W/"3"', "msdyncrm_customerjourneyid": ID, "statuscode": status})
