"""Journey definitions and validation results in the form that the service uses."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.journeys.models import JourneyStatus, validation_of
from airflow_provider_cij.api.journeys.spec import JourneySpec, body_of, check_times, encoded
from airflow_provider_cij.api.journeys.wait import Journey, JourneyWait, classify
from airflow_provider_cij.dataverse.redact import words_of
from airflow_provider_cij.errors import CijInputError, CijReplyError
from tests.api.nested_list import deep

A, B, C = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "abc")
PLAIN = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.text().map("$.{}".format), PLAIN))
def test_modifications_are_json_within_json(changes):
    """Modifications are sent as JSON within JSON, and decoding them gives the original values."""
    read = json.loads(encoded(changes))
    assert list(read) == list(changes)
    assert all(isinstance(value, str) for value in read.values())
    assert {
        path: value if isinstance(changes[path], str) else json.loads(value) for path, value in read.items()
    } == changes


@given(st.lists(st.text(), max_size=3), st.text(min_size=1), st.sampled_from(["isvalid", "IsValid", "ISVALID"]))
def test_validation_errors_are_read_in_any_casing(words, code, spelling):
    """Validation errors are read in any casing, as a list or as JSON text, and are safe to log."""
    upper = [{"ErrorCode": code, "ErrorMessage": word} for word in words]
    lower = [{"errorCode": code, "errorMessage": word} for word in words]
    for errors in (upper, lower, json.dumps(upper), json.dumps(lower)):
        validation = validation_of({f"msdynmkt_{spelling}": False, "msdynmkt_errors": errors})
        assert [(issue.code, issue.message) for issue in validation.errors] == [
            (words_of(code, bool), words_of(word, bool)) for word in words
        ]


@pytest.mark.parametrize("nothing", [None, "", "null", "[]", []])
def test_an_empty_error_list_means_valid(nothing):
    """Every way of writing an empty list of errors means that the journey is valid."""
    validation = validation_of({"msdynmkt_isvalid": True, "msdynmkt_errors": nothing, "msdynmkt_journeyid": A.upper()})
    assert (validation.valid, validation.issues, validation.journey_id) == (True, (), A)


def test_an_invalid_journey_without_a_reason_is_invalid():
    """A journey reported as invalid without errors stays invalid, and the null id is read as no id."""
    nobody = "00000000-0000-0000-0000-000000000000"
    validation = validation_of({"msdynmkt_isvalid": False, "msdynmkt_errors": "null", "msdynmkt_journeyid": nobody})
    assert (validation.valid, validation.journey_id, validation.in_words()) == (
        False,
        "",
        "the service gives no reason",
    )


def test_warnings_are_separated_from_errors():
    """Entries marked as warnings, and all entries of a valid journey, are warnings."""
    entries = [{"errorCode": "a", "severity": "Warning"}, {"errorCode": "b", "ActivityName": "Mail"}]
    validation = validation_of({"msdynmkt_isvalid": False, "msdynmkt_errors": json.dumps(entries)})
    assert ([issue.code for issue in validation.warnings], validation.codes) == (["a"], {"b"})
    assert validation.errors[0].as_dict() == {"activity": "Mail", "code": "b", "message": "", "where": "Mail"}
    valid = validation_of({"msdynmkt_isvalid": True, "msdynmkt_errors": "all the same"})
    assert [(issue.message, issue.warning) for issue in valid.issues] == [("all the same", True)]


@pytest.mark.parametrize("answer", [{}, {"msdynmkt_isvalid": None}, {"msdynmkt_isvalid": "true"}])
def test_a_result_without_a_validity_flag_is_an_error(answer):
    """A validation result that says neither valid nor invalid is an unreadable response."""
    with pytest.raises(CijReplyError, match="does not say"):
        validation_of(answer)


def test_named_arguments_become_modifications():
    """Named arguments become JSONPath modifications beside the explicit ones."""
    body = body_of(
        JourneySpec(
            template_id=f"{{{A.upper()}}}",
            name="Spring",
            modifications={"$.actions['x'].parameters.count": 2},
            starts_at="2026-12-01T09:00:00+02:00",
            ends_at=datetime(2026, 12, 2, 7, tzinfo=UTC),
            publish=True,
            audience_segment_id=B.upper(),
            exclusion_segment_ids=(C, A),
            suppression_segment_ids=(C,),
            message_ids={"it's": B},
            business_unit_id=C,
        )
    )
    changes = json.loads(body.pop("msdynmkt_jsonpathmodifications"))
    assert changes == {
        "$.actions['x'].parameters.count": "2",
        "$.trigger.audience": B,
        "$.trigger.exclusionSegments": f'["{C}","{A}"]',
        "$.exitCriteria.suppressionSegments": f'["{C}"]',
        "$.actions['it\\'s'].parameters.contentId": B,
    }
    assert body == {
        "msdynmkt_journeytemplateid": A,
        "msdynmkt_journeyname": "Spring",
        "msdynmkt_journeystarttime": "2026-12-01T07:00:00Z",
        "msdynmkt_journeyendtime": "2026-12-02T07:00:00Z",
        "msdynmkt_createmode": "Publish",
        "msdynmkt_owningbusinessunitid": C,
    }


def test_the_default_creates_a_draft():
    """A spec creates a draft unless it says ``publish=True``."""
    assert body_of(JourneySpec(A, "n")) == {
        "msdynmkt_journeytemplateid": A,
        "msdynmkt_journeyname": "n",
        "msdynmkt_createmode": "Draft",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": " "}, "Give 1 to 150 characters"),
        ({"name": "n" * 151}, "Give 1 to 150 characters"),
        ({"template_id": "spring"}, "template_id is 'spring', which is no GUID"),
        ({"starts_at": "soon"}, "starts_at is 'soon'"),
        ({"starts_at": ""}, "starts_at is ''"),
        ({"ends_at": "9999-12-31T23:59:59-01:00"}, "ends_at is '9999-12-31T23:59:59-01:00', which is out of range"),
        ({"starts_at": "0001-01-01T00:00:00+01:00"}, "out of range"),
        ({"modifications": {"$.a": datetime.max.replace(tzinfo=timezone(-timedelta(hours=1)))}}, "out of range"),
        ({"modifications": {"$.a": float("nan")}}, "can't be written as JSON"),
        ({"modifications": {"$.a": deep(100_000)}}, "nested too deeply"),
        ({"business_unit_id": ""}, "business_unit_id is empty"),
        ({"business_unit_id": " "}, "business_unit_id is empty"),
        ({"audience_segment_id": ""}, "audience_segment_id is ''"),
        ({"message_ids": {5: ""}}, "the message of action 5 is ''"),
        ({"name": 5}, "The journey's name is 5"),
        ({"ends_at": "2026-12-01T09:00:00"}, "without a time zone"),
        ({"starts_at": "2026-12-02T00:00:00Z", "ends_at": "2026-12-01T00:00:00Z"}, "up to 365 days"),
        ({"starts_at": "2026-12-02T00:00:00Z", "ends_at": "2028-12-01T00:00:00Z"}, "up to 365 days"),
        ({"modifications": {"trigger.audience": A}}, "which is no JSONPath"),
        ({"modifications": {"$.trigger.audience": None}}, "can't be removed"),
        ({"modifications": {"$.a": {1, 2}}}, "modifications['$.a'] can't be written as JSON"),
        ({"modifications": {"$.trigger.audience": A}, "audience_segment_id": B}, "so does an argument of its own"),
        ({"exclusion_segment_ids": ("VIP",)}, "an exclusion segment is 'VIP'"),
        ({"message_ids": {"x": "mail"}}, "the message of action x is 'mail'"),
    ],
)
def test_an_invalid_spec_is_refused(arguments, message):
    """An invalid spec is refused before anything is sent."""
    with pytest.raises(CijInputError) as refused:
        body_of(JourneySpec(**({"template_id": A, "name": "n"} | arguments)))
    assert message in str(refused.value)


def test_times_must_lie_in_the_future():
    """Start and end times must lie in the future, in whatever time zone they are given."""
    now = datetime(2026, 12, 1, 12, tzinfo=UTC)
    check_times(JourneySpec(A, "n", starts_at=now + timedelta(seconds=1)), now)
    for moment in (now, now.astimezone(timezone(timedelta(hours=5))), "2026-12-01T13:00:00+02:00"):
        with pytest.raises(CijInputError, match="has passed"):
            check_times(JourneySpec(A, "n", ends_at=moment), now)


@given(st.sampled_from(["live", "completed", "stopped"]), st.integers(-5, 30), st.booleans())
def test_a_wait_ends_only_on_its_goal_or_an_impossible_status(until, status, publishing):
    """An unknown status keeps a wait going; only a status that rules the goal out is a failure."""
    outcome = classify(Journey(A, "n", status), JourneyWait(A, until, publishing))
    done = {"live": {2, 7, 8}, "completed": {8}, "stopped": {3, 8}}[until]
    failed = {6} if until == "stopped" else {3, 5, 6, 9}
    failed |= {JourneyStatus.DRAFT} if until == "live" and publishing else set()
    assert outcome == ("done" if status in done else "failed" if status in failed else "waiting")
