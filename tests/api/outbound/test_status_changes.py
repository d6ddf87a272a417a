"""Status changes of outbound segments and journeys: which are requested, and how often."""

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
from airflow_provider_cij.api.outbound.wait import classify
from airflow_provider_cij.errors import (
    CijConflictError,
    CijInputError,
    CijServerError,
)
from tests.outbound_responses import ID, MADE, segment
from tests.scripted import Answer

GOING_LIVE, STOPPING = OutboundStatus.GOING_LIVE, OutboundStatus.STOPPING


@given(st.sampled_from((SEGMENT, JOURNEY)), st.sampled_from(OutboundStatus), st.sampled_from((GOING_LIVE, STOPPING)))
def test_only_documented_transitions_are_allowed(kind, now, wanted):
    """Publish and stop are allowed from exactly the statuses in the two documented tables."""
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


def test_an_unknown_status_is_left_to_the_service():
    """An unknown status may be changed, and a wait never ends on it."""
    check_move(SEGMENT, OutboundSegment(ID, "VIP", 192350099, "*", 192350001, "S"), STOPPING)
    assert classify(192350099, "live") == classify(192350099, "stopped") == "waiting"


@given(st.sampled_from(OutboundStatus) | st.integers(192350000, 192350020), st.sampled_from(("live", "stopped")))
def test_final_statuses_of_a_wait(status, until):
    """A wait ends on the statuses of its goal and fails on those that rule it out."""
    done = {"live": {"LIVE", "LIVE_EDITABLE"}, "stopped": {"STOPPED", "EXPIRED"}}[until]
    failed = {"live": {"ERROR", "EXPIRED"}, "stopped": {"ERROR"}}[until]
    name = status_name(status).upper()
    assert classify(int(status), until) == ("done" if name in done else "failed" if name in failed else "waiting")


def test_a_forbidden_transition_sends_nothing(sent_by, scripted):
    """Stopping a draft is refused before anything is written."""
    with pytest.raises(CijInputError, match="is draft: it can't become stopping"):
        sent_by(lambda outbound: outbound.segments.stop(ID), segment(192350000))
    assert [request.method for request in scripted.requests] == ["GET"]


@pytest.mark.parametrize(
    ("verb", "status"), [("publish", 192350006), ("stop", 192350007), ("stop", 192350002), ("stop", 192350004)]
)
def test_a_transition_in_progress_is_not_requested_again(sent_by, verb, status):
    """A segment in transition, or there already, is not changed a second time."""
    assert sent_by(lambda outbound: getattr(outbound.segments, verb)(ID), segment(status)) == []


def test_a_live_journey_is_not_published_again_and_a_live_segment_is(sent_by):
    """A live journey is not published again, for it would mail people twice; a live segment is evaluated again."""
    journey = Answer(body={"msdyncrm_customerjourneyid": ID, "statuscode": 192350001})
    assert sent_by(lambda outbound: outbound.journeys.publish(ID), journey) == []
    assert len(sent_by(lambda outbound: outbound.segments.publish(ID), segment(192350001), MADE)) == 1


def test_a_version_conflict_is_retried(sent_by):
    """A version conflict reads the row and tries again, up to three times."""
    met = Answer(412, {"error": {"code": "0x80060882", "message": "The version does not match."}})
    sent = sent_by(lambda outbound: outbound.segments.publish(ID), segment(192350000), met, segment(192350002), MADE)
    assert len(sent) == 2
    assert (
        sent_by(lambda outbound: outbound.segments.publish(ID), segment(192350000), met, segment(192350006)) == sent[:1]
    )
    with pytest.raises(CijConflictError):
        sent_by(lambda outbound: outbound.segments.publish(ID), *[segment(192350000), met] * 3)


def test_a_lost_publish_response_publishes_once(sent_by, scripted):
    """A publish repeated after a lost response carries the same version, so the service accepts it once."""
    met = Answer(412, {"error": {"code": "0x80060882", "message": "The version does not match."}})
    with pytest.raises(CijServerError):
        sent_by(lambda outbound: outbound.journeys.publish(ID), _journey(192350000), Answer(503), met)
    assert [request.headers.get("if-match") for request in scripted.requests] == [None, 'W/"3"', 'W/"3"']


def _journey(status: int) -> Answer:
    return Answer(body={"@odata.etag": 'W/"3"', "msdyncrm_customerjourneyid": ID, "statuscode": status})
