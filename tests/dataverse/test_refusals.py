"""Successes by HTTP status that say no in their body."""

from __future__ import annotations

import json

import pytest

from airflow_provider_cij.dataverse.replies import refusal_of
from airflow_provider_cij.errors import CijError, CijRefusedError, CijServerError, CijThrottledError
from tests.dataverse.test_client import FakeClock, converse
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
]
SUCCESSES = [
    {},
    {"StatusCode": 200, "ResultText": '{"members":[]}'},
    {"error": None, "Success": True},
    {"msdynmkt_IsValid": False, "msdynmkt_Errors": '[{"code":"1"}]'},
    {"StopSingleSegmentResults": [{"SegmentId": "a", "IsSuccess": False, "StatusCode": 409}]},
    {"statuscode": 723270002},
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
