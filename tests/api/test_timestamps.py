"""Timestamps and numbers at the edge of their range."""

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
def test_a_datetime_outside_the_calendar_is_refused(value):
    """A datetime whose UTC value lies in year 0 or 10000 is refused by name."""
    for read in (lambda: moment(value, "starts_at"), lambda: journey_moment("starts_at", value)):
        with pytest.raises(CijInputError, match="starts_at"):
            read()
    with pytest.raises((CijInputError, OverflowError, ValueError)):
        event_moment(value)


def test_the_last_minute_of_the_calendar_is_accepted():
    """The last minute of the calendar is accepted."""
    assert moment(datetime(9999, 12, 31, 23, 59, tzinfo=UTC), "starts_at") == "9999-12-31T23:59:00.000Z"


@pytest.mark.parametrize("number", [float("inf"), float("nan"), 1e300, 10**400, -1, 0, "5", None])
def test_a_duration_out_of_range_is_refused(number):
    """A number of seconds that overflows a timedelta is refused by name."""
    with pytest.raises(CijInputError, match="timeout"):
        positive(timeout=number)


@pytest.mark.parametrize("status", [float("inf"), 1e400, "x", None, [1], {}])
def test_a_status_out_of_range_is_an_unreadable_row(status):
    """A status that int() cannot convert is an unreadable row."""
    row = {"msdynmkt_journeyid": "0f5b0c7f-395d-447b-b14c-315a601f878e", "statuscode": status}
    with pytest.raises(CijReplyError, match="can't be read"):
        Journey.of(row)
