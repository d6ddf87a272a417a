"""Values out of range give a CijError that names the argument or the row."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij._arguments import positive
from airflow_provider_cij.api.column_values import MAX_INT, json_text, whole_number
from airflow_provider_cij.api.custom_triggers.client import CustomTrigger, attributes_of
from airflow_provider_cij.api.journeys.client import _moment as created_at
from airflow_provider_cij.api.journeys.models import Journey, validation_of
from airflow_provider_cij.api.outbound.journeys import OutboundJourneySpec, journey_row
from airflow_provider_cij.api.outbound.journeys import validation_of as outbound_validation_of
from airflow_provider_cij.api.outbound.models import JOURNEY, OutboundJourney, OutboundSegment
from airflow_provider_cij.api.outbound.segments import validation_of as segment_validation_of
from airflow_provider_cij.api.segments.models import Execution, Segment
from airflow_provider_cij.api.timestamps import format_utc, parse_utc
from airflow_provider_cij.errors import CijError, CijInputError, CijReplyError
from tests.api.nested_list import deep

ID = "0f5b0c7f-395d-447b-b14c-315a601f878e"
zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
edges = st.sampled_from([datetime.min, datetime.max]) | st.datetimes()  # made aware below
odd = st.one_of(
    st.floats(), st.integers(), st.text(), st.none(), st.booleans(), st.lists(st.integers(), max_size=2), st.binary()
)


def attempt(work, *arguments):
    """Return the result and an empty text, or None and the message of a CijError; any other error is raised."""
    try:
        return work(*arguments), ""
    except CijError as error:
        return None, str(error)


DEEP_TEXT = "[" * 200_000 + "]" * 200_000


@given(edges, zones)
def test_a_datetime_lies_in_the_years_1_to_9999_or_is_refused(naive, zone):
    """A datetime that its time zone moves out of the calendar is refused."""
    value = naive.replace(tzinfo=zone)
    for given_as in (value, value.isoformat()):
        moment, said = attempt(parse_utc, "starts_at", given_as)
        if said:
            assert said.startswith("starts_at is ")
            assert "out of range" in said
            assert naive.year in (1, 9999)
        else:
            assert moment == value
            assert datetime.fromisoformat(format_utc(moment)) == moment.replace(microsecond=0)
            assert len(format_utc(moment)) == len("2026-12-01T09:00:00Z")


@given(odd)
def test_a_value_that_is_no_datetime_is_refused_by_name(value):
    """Any value but text and datetimes is refused by the argument's name."""
    found, said = attempt(parse_utc, "ends_at", value)
    assert found or said.startswith("ends_at is ")


@given(odd | st.just(10**5000))
def test_a_whole_number_fits_or_is_refused_by_name(value):
    """A whole number in range is accepted; True, 1.0 and anything else are refused by the argument's name."""
    found, said = attempt(whole_number, "count", value)
    if said:
        assert said.startswith("count is ")
        assert len(said) < 200
    else:
        assert type(found) is int
        assert 0 <= found <= MAX_INT


@pytest.mark.parametrize("value", [deep(100_000), float("inf"), {"a": float("nan")}, {1, 2}, {(1, 2): 3}])
def test_a_value_that_is_no_json_is_refused_by_name(value):
    """A value that JSON cannot hold, or that is nested too deeply, is refused by the argument's name."""
    with pytest.raises(CijInputError, match="journey_json can't be written as JSON"):
        json_text("journey_json", value)


@given(st.sampled_from([float("inf"), float("-inf"), float("nan"), [], {}, "x", 10**400, "9" * 5000]))
def test_a_row_with_a_number_out_of_range_is_unreadable(number):
    """A number out of range in any row of any table is an unreadable response."""
    rows = [
        (Journey, {"msdynmkt_journeyid": ID, "statuscode": 1}, ["statuscode"]),
        (Segment, {"msdynmkt_segmentid": ID, "statuscode": 1}, ["statuscode", "msdynmkt_membercount"]),
        (Execution, {}, ["statuscode", "msdynmkt_membershipcount"]),
        (
            OutboundSegment,
            {"msdyncrm_segmentid": ID, "statuscode": 1, "msdyncrm_segmenttype": 1},
            ["statuscode", "msdyncrm_segmenttype", "msdyncrm_segmentsize", "msdyncrm_scope"],
        ),
        (OutboundJourney, {"msdyncrm_customerjourneyid": ID, "statuscode": 1}, ["statuscode"]),
    ]
    for kind, row, columns in rows:
        for column in columns:
            found, message = attempt(kind.of, row | {column: number})
            assert found or "can't be read" in message


TYPES = [*range(13), 99]


@given(st.sampled_from(TYPES), odd | edges | st.builds(lambda naive, zone: naive.replace(tzinfo=zone), edges, zones))
def test_trigger_attributes_fit_their_type(kind, value):
    """Trigger attributes that are accepted are JSON within their type's range; others are refused by name."""
    trigger = CustomTrigger("t", "a", 534120002, {"msdynmkt_profileid": 10, "msdynmkt_x": kind})
    found, message = attempt(attributes_of, trigger, {"x": value})
    if message:
        assert "x must be" in message or "x is" in message
        return
    (sent,) = found.values()
    json.dumps(sent, allow_nan=False)
    if kind in (7, 9):
        assert -(2**31) <= sent < 2**31


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (1, datetime.max.replace(tzinfo=timezone(-timedelta(hours=1)))),
        (1, "0001-01-01T00:00:00+14:00"),
        (2, 10**400),
        (2, 1e29),
        (6, "inf"),
        (7, 2**31),
        (7, "9" * 5000),
        (8, float("nan")),
        (9, -(2**31) - 1),
        (10, float("inf")),
        (3, {"@odata.type": "x", "a": float("inf")}),
        (3, {"@odata.type": "x", "a": deep(100_000)}),
        (99, float("nan")),
    ],
)
def test_an_attribute_out_of_range_is_refused_before_anything_is_sent(kind, value):
    """An attribute out of its type's range is refused by name."""
    trigger = CustomTrigger("t", "a", 534120002, {"msdynmkt_profileid": 10, "msdynmkt_x": kind})
    with pytest.raises(CijInputError, match=r"The attributes of 't': x (must be|is of)"):
        attributes_of(trigger, {"x": value})


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("starts_at", "9999-12-31T23:59:59-01:00"),
        ("ends_at", datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))),
        ("time_zone", 2**31),
        ("recurrence_count", -1),
        ("recurrence_interval_days", "3"),
        ("recurrence_interval_days", 2**40),
        ("required_consent", ["marketing"]),
        ("target", {}),
    ],
)
def test_an_outbound_journey_out_of_range_is_refused_by_name(argument, value):
    """A number out of range in an outbound journey is refused by the argument's name."""
    with pytest.raises(CijInputError, match=rf"^{argument} is "):
        journey_row(OutboundJourneySpec(name="n", **{argument: value}))


@pytest.mark.parametrize("number", [0, -1, float("nan"), float("inf"), 1e300, 10**400, -(10**400), "5", None])
def test_seconds_out_of_range_are_refused_by_name(number):
    """A duration longer than Airflow can store is refused by the argument's name."""
    with pytest.raises(CijInputError, match=r"^timeout is "):
        positive(timeout=number)


def test_json_nested_too_deeply_is_a_cij_error():
    """JSON text nested too deeply gives a CijError in every response that holds such text."""
    for read in (outbound_validation_of, segment_validation_of):
        with pytest.raises(CijReplyError, match="can't be read"):
            read({"ValidationResult": DEEP_TEXT})
    (issue,) = validation_of({"msdynmkt_isvalid": False, "msdynmkt_errors": DEEP_TEXT}).issues
    assert issue.message == "It is nested too deeply to be read."
    assert validation_of({"msdynmkt_isvalid": False, "msdynmkt_errors": [deep(100_000)]}).issues
    assert not JOURNEY.table.column("msdyncrm_workflowdefinition").same("[]", DEEP_TEXT)
    for value in (deep(100_000), DEEP_TEXT):
        with pytest.raises(CijError):
            journey_row(OutboundJourneySpec(name="n", workflow=value))
    with pytest.raises(CijInputError, match="designer_state"):
        journey_row(OutboundJourneySpec(name="n", designer_state={"a": deep(100_000)}))


def test_the_first_datetime_of_the_calendar_is_accepted():
    """A row created at the first moment of the calendar is older than any DAG run."""
    assert created_at("0001-01-01T00:00:00") <= datetime(2026, 1, 1, tzinfo=UTC).timestamp()
