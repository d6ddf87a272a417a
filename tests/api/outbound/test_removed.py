"""Organisations that no longer have outbound marketing."""

from __future__ import annotations

import pytest

from airflow_provider_cij.api.outbound.journeys import OutboundJourneySpec
from airflow_provider_cij.api.outbound.models import (
    OutboundSegment,
)
from airflow_provider_cij.errors import (
    CijForbiddenError,
    CijOutboundRemovedError,
    CijUnavailableError,
)
from tests.api.outbound.documents import OF_SPECS
from tests.outbound_responses import ID, REMOVED
from tests.scripted import Answer


@pytest.mark.parametrize("answer", REMOVED)
@pytest.mark.parametrize(
    "work",
    [
        lambda outbound: outbound.segments.get(ID),
        lambda outbound: outbound.segments.find(),
        lambda outbound: outbound.segments.create(OF_SPECS["create static"]),
        lambda outbound: outbound.segments.update(ID, description="d"),
        lambda outbound: outbound.segments.validate(OF_SPECS["create dynamic"]),
        lambda outbound: outbound.segments.publish(ID),
        lambda outbound: outbound.segments.delete(ID),
        lambda outbound: outbound.members.state(ID),
        lambda outbound: anext(outbound.members.of_segment(OutboundSegment(ID, "x", 1, "*", 1, "S"))),
        lambda outbound: anext(outbound.members.of_segment(OutboundSegment(ID, "x", 1, "*", 1, "S"), "fetchxml")),
        lambda outbound: outbound.journeys.create("k", OutboundJourneySpec(name="n")),
        lambda outbound: outbound.journeys.columns(ID),
        lambda outbound: outbound.journeys.validate(ID, {}),
        lambda outbound: outbound.journeys.stop(ID),
    ],
)
def test_every_method_reports_the_removal(sent_by, answer, work):
    """Every method raises CijOutboundRemovedError with the service's message and the replacement to use."""
    with pytest.raises(
        CijOutboundRemovedError, match=r"has no outbound marketing any more.*CijCreateSegment"
    ) as caught:
        sent_by(work, answer)
    assert isinstance(caught.value, CijUnavailableError)
    assert answer.body["error"]["message"] in str(caught.value)
    assert ("lacks the privilege" in str(caught.value)) == (answer.status == 403)


def test_other_refusals_are_not_taken_for_a_removal(sent_by):
    """An unknown application user, or a 501, is not reported as a removal."""
    nobody = Answer(403, {"error": {"code": "0x80072560", "message": "The user is not a member."}})
    with pytest.raises(CijForbiddenError):
        sent_by(lambda outbound: outbound.segments.get(ID), nobody)
    with pytest.raises(CijUnavailableError) as caught:
        sent_by(lambda outbound: outbound.segments.get(ID), Answer(501, {"error": {"code": "", "message": "no"}}))
    assert not isinstance(caught.value, CijOutboundRemovedError)
