"""Moments and numbers that no calendar and no clock has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from airflow_provider_cij._arguments import positive
from airflow_provider_cij.api.custom_triggers.client import _moment as event_moment
from airflow_provider_cij.api.journeys.models import Journey
from airflow_provider_cij.api.journeys.spec import _moment as journey_moment
from airflow_provider_cij.api.outbound.journeys import moment
from airflow_provider_cij.errors import CijInputError, CijReplyError

EARLY = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))
LATE = datetime(9999, 12, 31, 23, 59, tzinfo=timezone(timedelta(hours=-12)))


@pytest.mark.parametrize("value", [EARLY, LATE, EARLY.isoformat(), LATE.isoformat()])
def test_a_moment_outside_the_calendar_is_named(value):
    """In UTC it would be in year 0 or 10000."""
    for read in (lambda: moment(value, "starts_at"), lambda: journey_moment("starts_at", value)):
        with pytest.raises(CijInputError, match="starts_at"):
            read()
    with pytest.raises((CijInputError, OverflowError, ValueError)):
        event_moment(value)


def test_a_moment_at_its_edge_is_taken():
    """The last minute of the calendar is one."""
    assert moment(datetime(9999, 12, 31, 23, 59, tzinfo=UTC), "starts_at") == "9999-12-31T23:59:00.000Z"


@pytest.mark.parametrize("number", [float("inf"), float("nan"), 1e300, 10**400, -1, 0, "5", None])
def test_a_time_that_no_clock_has_is_named(number):
    """A timedelta of it would overflow."""
    with pytest.raises(CijInputError, match="timeout"):
        positive(timeout=number)


@pytest.mark.parametrize("status", [float("inf"), 1e400, "x", None, [1], {}])
def test_a_status_out_of_range_is_an_unreadable_row(status):
    """Whatever int() raises of it."""
    row = {"msdynmkt_journeyid": "0f5b0c7f-395d-447b-b14c-315a601f878e", "statuscode": status}
    with pytest.raises(CijReplyError, match="can't be read"):
        Journey.of(row)
