from __future__ import annotations

import json
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij import errors
from airflow_provider_cij.dataverse.responses import Response, entity_id, error_of, rows_of, value_of
from airflow_provider_cij.errors import CijError, CijReplyError

NOW = 1_790_000_000.0


def _failed(status: int, code: str, message: str, **headers: str) -> Response:
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    return Response(status, headers, body, "POST msdynmkt_segments")


@pytest.mark.parametrize(
    ("status", "code", "message", "kind", "hint"),
    [
        (400, "0x80040265", "It is bad.", "CijRefusedError", ""),
        (401, "", "no", "CijAuthError", "check host, tenant and client id"),
        (403, "0x80072560", "The user is not a member of the organization.", "CijForbiddenError", "application user"),
        (403, "0x80042F09", "The user has not been assigned any roles.", "CijForbiddenError", "no security role"),
        (403, "0x80040220", "is missing prvReadmsdynmkt_segment", "CijForbiddenError", "lacks the privilege"),
        (403, "0x80048306", "denied", "CijForbiddenError", "security roles"),
        (404, "0x80040217", "Does Not Exist", "CijNotFoundError", ""),
        (
            404,
            "0x80060888",
            "Resource not found for the segment 'msdynmkt_segments'.",
            "CijUnavailableError",
            "no msdynmkt_segments: Customer Insights - Journeys is not installed",
        ),
        (
            404,
            "0x80060888",
            "Resource not found for the segment 'EntityDefinitions(LogicalName='new_table')'. It's gone.",
            "CijUnavailableError",
            "no EntityDefinitions(LogicalName='new_table'): Customer",
        ),
        (404, "", "Resource not found for the segment 'new(' in it's path.", "CijUnavailableError", "no new(:"),
        (408, "", "the request took too long", "CijServerError", ""),
        (412, "0x80040237", "exists", "CijConflictError", ""),
        (413, "0x8004418A", "payload too large", "CijRefusedError", "send less at once"),
        (400, "0x80040265", "returned an error: (503) Server Unavailable.", "CijServerError", "A backend service"),
        (429, "0x80072322", "Number of requests exceeded", "CijThrottledError", "max_concurrency"),
        (500, "0x80040216", "An unexpected error occurred.", "CijServerError", ""),
        (501, "", "not implemented", "CijUnavailableError", "does not implement"),
        (302, "", "moved", "CijReplyError", ""),
    ],
)
def test_each_refusal_maps_to_its_error(status, code, message, kind, hint):
    """The error has the service's message and code, the status, the request id and a hint."""
    error = error_of(_failed(status, code, message, **{"x-ms-service-request-id": "req-1"}), NOW)
    assert type(error).__name__ == kind
    assert (error.code, error.http_status, error.request_id) == (code, status, "req-1")
    assert message in str(error)
    assert "POST msdynmkt_segments" in str(error)
    assert hint in error.hint


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "HTTP 503 without a body"),
        (b"<html><head><title>Service\nUnavailable</title></head><body>x</body></html>", "Service Unavailable"),
        (b"<p>Bad <b>gateway</b></p>", "Bad gateway"),
        (b'{"error": "just a word"}', "just a word"),
        (b'{"error": {}}', "no message"),
        (b"\xff\xfe", "HTTP 503"),
    ],
)
def test_an_error_without_json_is_read(body, expected):
    """An error response of HTML, or with no body, is read as far as possible."""
    error = error_of(Response(503, {}, body), NOW)
    assert isinstance(error, errors.CijServerError)
    assert expected in str(error) or body == b"\xff\xfe"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("17", 17.0),
        ("0.5", 0.5),
        (formatdate(NOW + 30, usegmt=True), 30.0),
        (formatdate(NOW - 30, usegmt=True), 0.0),
        ("soon", None),
        ("", None),
        ("-5", None),
        ("9" * 40, 86_400.0),
        ("\u0661", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header, seconds):
    """Both forms of Retry-After in RFC 9110 are read; anything else is ignored."""
    assert Response(429, {"retry-after": header}).retry_after(NOW) == seconds


@given(st.binary(max_size=300), st.integers(100, 599))
def test_any_body_is_a_value_or_a_cij_error(body, status):
    """Any body gives a value or a CijError."""
    reply = Response(status, {}, body)
    assert isinstance(error_of(reply, NOW), CijError)
    for read in (value_of, rows_of):
        try:
            read(reply)
        except CijError:
            pass


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(["error", "value", "code", "message", "@odata.nextLink"]), inner, max_size=4
            ),
        ),
    )
)
def test_any_json_is_a_value_or_a_cij_error(value):
    """JSON of any shape gives a value or a CijError."""
    test_any_body_is_a_value_or_a_cij_error.hypothesis.inner_test(json.dumps(value).encode(), 400)


@given(st.text(max_size=40), st.sampled_from(["retry-after", "odata-entityid", "x-ms-service-request-id"]))
def test_any_header_gives_a_finite_wait(text, name):
    """Unreadable headers are ignored, and a wait is always a finite number."""
    reply = Response(503, {name: text})
    assert isinstance(error_of(reply, NOW), CijError)
    assert 0 <= (reply.retry_after(NOW) or 0) < 1e10
    assert entity_id(Response(204, {name: text})) == ""


@given(
    st.integers(-10_000, 10_000),
    st.integers(-10_000, 10_000),
    st.integers(0, 40),
    st.sampled_from(["GMT", "-0000", "", "+9999"]),
)
def test_any_date_gives_a_finite_wait(year, hour, day, zone):
    """A Retry-After with an impossible date gives a finite wait or none."""
    text = f"Tue, {day} Nov {year} {hour}:00:00 {zone}"
    assert (Response(503, {"retry-after": text}).retry_after(NOW) or 0) >= 0


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b'{"error":' * 100_000])
def test_deeply_nested_json_is_an_error(body):
    """JSON nested deeper than Python can parse is an unreadable response."""
    with pytest.raises(CijReplyError, match="no JSON"):
        value_of(Response(200, {}, body))
    assert isinstance(error_of(Response(400, {}, body), NOW), CijError)


def test_lone_surrogates_are_replaced():
    """A lone surrogate from JSON is replaced, because no log file can hold it."""
    error = error_of(_failed(400, "0x\ud800", "broken \udfff word"), NOW)
    str(error).encode()


def test_an_empty_success_is_an_empty_dict():
    """A success without a body, 204 or 200, is an empty dict."""
    assert value_of(Response(204)) == {}


def test_an_unreadable_success_keeps_the_body_out_of_the_message():
    """The body of an unreadable success may hold people's data and is kept out of the message."""
    with pytest.raises(CijReplyError) as caught:
        value_of(Response(200, {}, b'{"members": canary}', "POST msdynmkt_MembersList"))
    assert "canary" not in str(caught.value)
    assert "canary" not in json.dumps(caught.value.as_dict())
    assert "canary" in caught.value.raw


def test_the_id_of_a_new_row_is_read_from_its_header():
    """The id of a new row is read from OData-EntityId."""
    url = "https://contoso.crm.dynamics.com/api/data/v9.0/msdynmkt_segments(0F5B0C7F-395D-447B-B14C-315A601F878E)"
    assert entity_id(Response(204, {"odata-entityid": url})) == "0f5b0c7f-395d-447b-b14c-315a601f878e"
    assert entity_id(Response(204)) == ""


def test_an_error_is_unchanged_after_json():
    """An error encoded as JSON and decoded is the same error."""
    error = error_of(_failed(403, "0x80040220", "no", req_id="r"), NOW)
    error.may_have_executed = True
    again = CijError.from_dict(json.loads(json.dumps(error.as_dict())))
    assert (type(again), str(again), again.permanent) == (type(error), str(error), True)
    assert again.may_have_executed
    assert type(CijError.from_dict({"type": "Unheard", "message": "m"})) is CijError


def test_every_error_is_exported():
    """Every error class is in the module's ``__all__``."""
    defined = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, CijError)}
    assert defined == set(errors.__all__)
