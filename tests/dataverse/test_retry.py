from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.dataverse.responses import Response, error_of, value_of
from airflow_provider_cij.dataverse.retry import Failure, RetryPolicy, RetryStep, failure_of, next_attempt
from airflow_provider_cij.errors import CijError, CijReplyError, CijThrottledError

HOLD = 60.0
failures = st.sampled_from(Failure)
histories = st.lists(failures, min_size=1, max_size=20)
jitters = st.floats(0, 1, exclude_max=True)
SAFE = {Failure.NO_TOKEN, Failure.NOT_SENT, Failure.THROTTLED, Failure.TOKEN_REFUSED}


@given(histories, st.booleans(), st.one_of(st.none(), st.floats(0, 1e6)), jitters)
def test_only_idempotent_requests_are_retried_after_an_unclear_attempt(history, repeatable, retry_after, jitter):
    """A request that is not idempotent is retried only when the attempt was surely not executed."""
    step = next_attempt(history, repeatable=repeatable, max_wait=HOLD, retry_after=retry_after, jitter=jitter)
    if step is not None and not repeatable:
        assert history[-1] in SAFE


@given(histories, st.booleans(), st.floats(0, 1e3), st.floats(0, 100), jitters)
def test_retry_after_is_a_lower_bound_and_never_cut(history, repeatable, retry_after, max_wait, jitter):
    """Retry-After is a lower bound of the wait; one beyond the limit is raised, not shortened."""
    step = next_attempt(history, repeatable=repeatable, max_wait=max_wait, retry_after=retry_after, jitter=jitter)
    if step is not None:
        assert retry_after <= step.after <= max_wait + 1


@given(st.lists(failures, min_size=7, max_size=30), st.booleans())
def test_attempts_are_bounded(scripted_client, repeatable):
    """A request is sent at most five times, and once more for a fresh token, however the service fails."""
    for sent in range(1, len(conversation) + 1):
        if next_attempt(conversation[:sent], repeatable=repeatable, max_wait=HOLD) is None:
            break
    assert sent <= RetryPolicy().max_attempts + 1


@pytest.mark.parametrize(
    ("failure", "repeatable", "unrepeatable"),
    [
        (Failure.NO_TOKEN, 4, 4),
        (Failure.NOT_SENT, 4, 4),
        (Failure.THROTTLED, 4, 4),
        (Failure.TOKEN_REFUSED, 1, 1),
        (Failure.LOST, 4, 0),
        (Failure.SERVER_ERROR, 4, 0),
        (Failure.INNER_ERROR, 1, 0),
        (Failure.BEHIND, 4, 0),
        (Failure.UNREADABLE, 2, 0),
        (Failure.REFUSED, 0, 0),
    ],
)
def test_retries_of_each_failure(failure, repeatable, unrepeatable):
    """The whole table of attempts, for a service that always fails in the same way."""
    for may_repeat, expected in ((True, repeatable), (False, unrepeatable)):
        history = [failure]
        while next_attempt(history, repeatable=may_repeat, max_wait=HOLD) is not None:
            history.append(failure)
        assert len(history) - 1 == expected


def test_every_failure_is_in_the_table():
    """Every kind of failure has an entry in the table."""
    assert set(Failure) == {row[0] for row in test_retries_of_each_failure.pytestmark[0].args[1]}


def test_a_fresh_token_is_fetched_at_once():
    """A fresh token is fetched without a wait and does not count as an attempt."""
    assert next_attempt([Failure.TOKEN_REFUSED], repeatable=False, max_wait=HOLD, jitter=0.5) == RetryStep(
        fresh_token=True
    )
    assert next_attempt([Failure.LOST] * 5 + [Failure.TOKEN_REFUSED], repeatable=True, max_wait=HOLD) is not None


def test_waits_grow_exponentially():
    """Without Retry-After each wait is twice the one before, and jitter only makes it longer."""
    steps = [next_attempt([Failure.LOST] * times, repeatable=True, max_wait=HOLD) for times in range(1, 5)]
    assert [step.after for step in steps] == [1, 2, 4, 8]
    assert next_attempt([Failure.LOST], repeatable=True, max_wait=HOLD, jitter=0.5).after == 1.5


def _sorted(status: int, body: bytes = b"") -> Failure:
    reply = Response(status, {}, body)
    try:
        value_of(reply)
    except CijReplyError as error:
        if status < 300:
            return failure_of(error)
    return failure_of(error_of(reply, 0))


@pytest.mark.parametrize(
    ("status", "body", "failure"),
    [
        (302, b"", Failure.REFUSED),
        (400, b'{"error":{"code":"0x80040265","message":"no"}}', Failure.REFUSED),
        (401, b"", Failure.TOKEN_REFUSED),
        (403, b"", Failure.REFUSED),
        (404, b"", Failure.REFUSED),
        (408, b"", Failure.SERVER_ERROR),
        (412, b"", Failure.REFUSED),
        (413, b"", Failure.REFUSED),
        (429, b"<html>busy</html>", Failure.THROTTLED),
        (500, b'{"error":{"code":"0x80040216","message":"An unexpected error occurred."}}', Failure.SERVER_ERROR),
        (501, b"", Failure.REFUSED),
        (502, b"<html><title>Bad gateway</title></html>", Failure.SERVER_ERROR),
        (503, b"", Failure.SERVER_ERROR),
        # The codes of the service protection, under whatever status.
        (400, b'{"error":{"code":"0x80072321","message":"time"}}', Failure.THROTTLED),
        (503, b'{"error":{"code":"0x80072322","message":"requests"}}', Failure.THROTTLED),
        (500, b'{"error":{"code":"0x80072326","message":"at once"}}', Failure.THROTTLED),
        # CIJ's own service behind Dataverse.
        (400, b'{"error":{"message":"The remote server returned an error: (400) Bad Request."}}', Failure.REFUSED),
        (400, b'{"error":{"message":"The remote server returned an error: (503)."}}', Failure.INNER_ERROR),
        (400, b'{"error":{"message":"The remote server returned an error: (429)."}}', Failure.INNER_ERROR),
        (400, b'{"error":{"message":"The operation has timed out"}}', Failure.INNER_ERROR),
        (400, b'{"error":{"message":"SQL timeout expired."}}', Failure.INNER_ERROR),
        (404, b'{"error":{"message":"timeout"}}', Failure.REFUSED),
        # Successes that can't be read: cut off or not the organisation's own; whole but wrong.
        (200, b'{"value":[{"a":1},', Failure.UNREADABLE),
        (200, b"<html>Log in to the network</html>", Failure.UNREADABLE),
        (200, b'{"ResultText":"{\\"members\\":["a, b""]}"}', Failure.REFUSED),
    ],
)
def test_responses_are_classified(status, body, failure):
    """A response is classified by its status, and by code or message only where the status is not enough."""
    assert _sorted(status, body) is failure


def test_errors_raised_before_sending_are_not_retried():
    """An error that the client raises before sending is not retried."""
    for error in (CijThrottledError("later", retry_after=5.0), CijReplyError("elsewhere"), CijError("no")):
        assert failure_of(error) is Failure.REFUSED
