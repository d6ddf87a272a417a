"""Successes by HTTP status that say no in their body."""

from __future__ import annotations

import json

import pytest

from airflow_provider_cij.dataverse.responses import refusal_of
from airflow_provider_cij.errors import (
    CijConflictError,
    CijError,
    CijNotFoundError,
    CijRefusedError,
    CijServerError,
    CijThrottledError,
)
from tests.conversation import FakeClock, converse
from tests.scripted import Answer

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
def test_a_success_that_says_no_is_an_error(scripted, body, kind, repeatable):
    """A status of 429 or 5xx within is tried again only when that is idempotent."""
    with pytest.raises(kind) as caught:
        converse(
            scripted,
            Answer(body=body),
            talk=lambda client: client.action("msdynmkt_X", {}, repeatable=repeatable),
            clock=FakeClock(),
        )
    assert caught.value.inside
    passes = kind is not CijRefusedError
    assert len(scripted.asked) == (5 if repeatable and passes else 1)
    assert caught.value.unclear is passes


@pytest.mark.parametrize("body", SUCCESSES)
def test_a_true_success_is_no_refusal(body):
    """Results per segment, a verdict on a journey and a column of a row say nothing of the call."""
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
def test_a_secret_in_parts_is_not_in_an_error(scripted, echo, encoding):
    """A token that a proxy folds, spaces out, escapes or writes in another encoding is withheld with its text."""
    with pytest.raises(CijError) as caught:
        converse(
            scripted,
            Answer(400, f"<html><body>{echo}".encode(encoding)),
            talk=lambda client: client.action("A", {}, repeatable=False),
        )
    said = "".join(letter for letter in str(caught.value) if letter.isalnum())
    assert "token1" not in said


def test_people_and_secrets_are_not_in_an_error(scripted):
    """The segment asked about stays, a member, an address, the token and the secret do not."""
    segment, member = "0f5b0c7f-395d-447b-b14c-315a601f878e", "11111111-395d-447b-b14c-315a601f878e"
    words = f"contact With Id = {member} a@contoso.test {segment} Bearer canary-token-1 canary-secret\n::error::x\x1b"
    with pytest.raises(CijError) as caught:
        converse(
            scripted,
            Answer(400, {"error": {"code": "1", "message": words}}),
            talk=lambda client: client.action("A", {"SegmentId": segment, "Ids": [member]}, repeatable=False),
        )
    said = str(caught.value)
    assert segment in said
    for secret in (member, "@", "canary", "\n", "::error::", "\x1b"):
        assert secret not in said


DUPLICATE = {"error": {"code": "0x80040333", "message": "A record that has the attribute values already exists."}}


@pytest.mark.parametrize("status", [412, 500])
def test_a_duplicate_is_known_by_its_code(scripted, status):
    """Microsoft's own sample shows it as 500: it is not sent again."""
    with pytest.raises(CijConflictError, match="duplicate detection"):
        converse(
            scripted,
            Answer(status, DUPLICATE),
            talk=lambda client: client.post("contacts", {"contactid": "x"}, repeatable=True),
        )
    assert len(scripted.asked) == 1


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
def test_deleting_what_is_being_deleted(scripted, answers, raised):
    """After an unclear try it was ours; without one somebody else's, and there is no such row."""

    def delete():
        converse(scripted, *answers, talk=lambda client: client.delete(ROW), clock=FakeClock())

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
def test_an_error_alone_is_no_success(scripted, call):
    """Whatever was asked for, a 200 with nothing but an error did not do it."""
    with pytest.raises(CijRefusedError, match="not today"):
        converse(scripted, Answer(body={"error": {"code": "0x1", "message": "not today"}}), talk=CALLS[call])
