"""Responses with a success status whose body is an error."""

from __future__ import annotations

import json

import pytest

from airflow_provider_cij.dataverse.redact import register_tokens
from airflow_provider_cij.dataverse.responses import refusal_of
from airflow_provider_cij.errors import (
    CijConflictError,
    CijError,
    CijNotFoundError,
    CijRefusedError,
    CijServerError,
    CijThrottledError,
)
from tests.scripted import Answer
from tests.scripted_client import FakeClock, run_client

REFUSALS = [
    ({"error": {"code": "0x80040265", "message": "no"}}, CijRefusedError),
    ({"Error": "no"}, CijRefusedError),
    ({"StatusCode": 404, "ResultText": "no"}, CijRefusedError),
    ({"statusCode": "500"}, CijServerError),
    ({"StatusCode": "InternalServerError"}, CijServerError),
    ({"StatusCode": 429}, CijThrottledError),
    ({"ResultText": json.dumps({"StatusCode": 503, "Message": "no"})}, CijServerError),
    ({"Response": {"error": {"message": "no"}}}, CijRefusedError),
    ({"IsSuccess": False, "Message": "no"}, CijRefusedError),
    ({"ErrorCode": -2147220891, "ErrorMessage": "no"}, CijRefusedError),
    ({"Status": "Failed", "Message": "no"}, CijRefusedError),
    ({"Response": '{"errors":[{"code":"GroupFull","message":"no"}]}'}, CijRefusedError),
    ({"ExceptionType": "System.InvalidOperationException", "Message": "no"}, CijRefusedError),
    ({"Success": 0}, CijRefusedError),
    ({"HasErrors": True}, CijRefusedError),
    ({"odata.error": {"message": "no"}}, CijRefusedError),
    ({"Code": 503, "Message": "no"}, CijServerError),
    ({"StatusCode": "404 Not Found"}, CijRefusedError),
]
SUCCESSES = [
    {},
    {"StatusCode": 200, "ResultText": '{"members":[]}'},
    {"error": None, "Success": True},
    {"msdynmkt_IsValid": False, "msdynmkt_Errors": '[{"code":"1"}]'},
    {"StopSingleSegmentResults": [{"SegmentId": "a", "IsSuccess": False, "StatusCode": 409}]},
    {"statuscode": 723270002},
    *({"error": word, "errors": [], "ErrorCode": 0} for word in ("None", "null", "0", "Success", {}, False)),
    {"ResultText": '{"statusCode":"300 members"}'},
    {"title": "x", "status": "500 members added"},
    {"ResultText": '{"lastExecution":{"status":"Failed","statusMessage":"No column."}}'},
    {"ValidationResult": '[{"ErrorCode":"SegmentInvalid","FieldName":"query"}]'},
    {"ValidationResult": '{"ActivityValidationResults":[{"Fault":"NoMail","Result":"Error"}],"Result":"Error"}'},
]


@pytest.mark.parametrize("repeatable", [True, False])
@pytest.mark.parametrize(("body", "kind"), REFUSALS)
def test_an_error_in_a_200_body_is_raised(scripted, body, kind, repeatable):
    """An error in a 200 body is raised; an inner status of 429 or 5xx is retried only for idempotent requests."""
    with pytest.raises(kind) as caught:
        run_client(
            scripted,
            Answer(body=body),
            work=lambda client: client.action("msdynmkt_X", {}, repeatable=repeatable),
            clock=FakeClock(),
        )
    assert caught.value.inside
    passes = kind is not CijRefusedError
    assert len(scripted.requests) == (5 if repeatable and passes else 1)
    assert caught.value.may_have_executed is passes


@pytest.mark.parametrize("body", SUCCESSES)
def test_a_success_with_error_like_fields_is_a_success(body):
    """Results per segment, a validation result and a column of a row are no errors of the request."""
    assert refusal_of(body) is None


@pytest.mark.parametrize(
    "echo",
    [
        "<p>Bearer canary-<wbr>token-1</p>",
        "canary\r\n -token\t-1",
        "c&#97;nary-token-1",
        "c\u200banary-token-1",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_an_encoded_token_is_withheld_from_errors(scripted, echo, encoding):
    """A token that a proxy folds, spaces out, escapes or encodes is withheld with its text."""
    with pytest.raises(CijError) as caught:
        run_client(
            scripted,
            Answer(400, f"<html><body>{echo}".encode(encoding)),
            work=lambda client: client.action("A", {}, repeatable=False),
        )
    message = "".join(letter for letter in str(caught.value) if letter.isalnum())
    assert "token1" not in message


def test_errors_hold_no_people_and_no_secrets(scripted):
    """An error keeps the requested segment's id and withholds members, addresses, token and secret."""
    segment, member = "0f5b0c7f-395d-447b-b14c-315a601f878e", "11111111-395d-447b-b14c-315a601f878e"
    words = f"contact With Id = {member} a@contoso.test {segment} Bearer canary-token-1 canary-secret\n::error::x\x1b"
    with pytest.raises(CijError) as caught:
        run_client(
            scripted,
            Answer(400, {"error": {"code": "1", "message": words}}),
            work=lambda client: client.action("A", {"SegmentId": segment, "Ids": [member]}, repeatable=False),
        )
    message = str(caught.value)
    assert segment in message
    for secret in (member, "@", "canary", "\n", "::error::", "\x1b"):
        assert secret not in message


DUPLICATE = {"error": {"code": "0x80040333", "message": "A record that has the attribute values already exists."}}


@pytest.mark.parametrize("status", [412, 500])
def test_a_duplicate_is_recognised_by_its_code(scripted, status):
    """A duplicate error sent with status 500, as in Microsoft's sample, is not retried."""
    with pytest.raises(CijConflictError, match="duplicate detection"):
        run_client(
            scripted,
            Answer(status, DUPLICATE),
            work=lambda client: client.post("contacts", {"contactid": "x"}, repeatable=True),
        )
    assert len(scripted.requests) == 1


BUSY = Answer(503)
GONE = Answer(404, {"error": {"code": "0x80040217", "message": "Does Not Exist"}})
CLASH = Answer(412, {"error": {"code": "0x80060882", "message": "The version does not match"}})
ROW = "contacts(0f5b0c7f-395d-447b-b14c-315a601f878e)"


@pytest.mark.parametrize(
    ("answers", "raised"),
    [
        ([BUSY, GONE], None),
        ([BUSY, CLASH, GONE], None),
        ([BUSY, CLASH, Answer(body={})], CijConflictError),
        ([GONE], CijNotFoundError),
        ([CLASH, GONE], CijNotFoundError),
        ([CLASH, Answer(body={})], CijConflictError),
        ([CLASH, Answer(403)], CijConflictError),
    ],
)
def test_a_delete_of_a_row_being_deleted(scripted, answers, raised):
    """A delete that meets another one is a success after an unclear attempt, and otherwise a missing row."""

    def delete():
        run_client(scripted, *answers, work=lambda client: client.delete(ROW), clock=FakeClock())

    if raised is None:
        delete()
    else:
        with pytest.raises(CijError) as caught:
            delete()
        assert type(caught.value) is raised


CALLS = {
    "get": lambda client: client.get("WhoAmI"),
    "rows": lambda client: client.rows("contacts?$top=1"),
    "post": lambda client: client.post("contacts", {}, repeatable=False),
    "patch": lambda client: client.patch(ROW, {}),
    "delete": lambda client: client.delete(ROW),
    "action": lambda client: client.action("A", {}, repeatable=False, refusals=False),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_body_with_only_an_error_is_no_success(scripted, call):
    """A 200 whose body holds nothing but an error is an error for every request."""
    with pytest.raises(CijRefusedError, match="not today"):
        run_client(scripted, Answer(body={"error": {"code": "0x1", "message": "not today"}}), work=CALLS[call])


def test_a_secret_inside_another_does_not_uncover_the_rest(scripted):
    """A folded token is withheld even when a shorter secret of the process stands in it."""
    register_tokens("canary")
    with pytest.raises(CijError) as caught:
        run_client(
            scripted,
            Answer(400, b"<html><body>canary\r\n -token\t-1"),
            work=lambda client: client.action("A", {}, repeatable=False),
        )
    assert "token" not in str(caught.value)
