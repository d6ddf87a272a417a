from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.dataverse.retry import Again, Failure, RetryRules, again, failure_of

failures = st.sampled_from(Failure)
waits = st.one_of(st.none(), st.floats(0, 1e6))
jitters = st.floats(0, 1, exclude_max=True)


@given(failures, st.integers(1, 20), st.booleans(), st.booleans(), waits, jitters)
def test_what_may_have_landed_is_only_repeated_when_that_does_no_harm(
    failure, attempt, repeatable, refreshed, retry_after, jitter
):
    """A request that can't be repeated is sent again only when the first was surely not carried out."""
    step = again(
        failure, attempt=attempt, repeatable=repeatable, refreshed=refreshed, retry_after=retry_after, jitter=jitter
    )
    if step is not None and not repeatable:
        assert failure in (Failure.NOT_SENT, Failure.THROTTLED, Failure.TOKEN_REFUSED)


@given(failures, st.integers(1, 20), st.booleans(), st.floats(0, 1e6), jitters)
def test_never_earlier_than_told(failure, attempt, repeatable, retry_after, jitter):
    """Retry-After is a lower bound; one that is too long for a worker is raised, not cut."""
    step = again(failure, attempt=attempt, repeatable=repeatable, retry_after=retry_after, jitter=jitter)
    if step is not None and not step.fresh_token:
        assert step.after >= retry_after
        assert step.after <= RetryRules().longest_wait + 1


@given(st.lists(failures, min_size=7, max_size=30), st.booleans())
def test_it_always_ends(conversation, repeatable):
    """However the service fails, one request is sent five times at the most, and once for a fresh token."""
    refreshed = False
    for attempt, failure in enumerate(conversation, start=1):
        step = again(failure, attempt=attempt, repeatable=repeatable, refreshed=refreshed)
        if step is None:
            break
        refreshed = refreshed or step.fresh_token
    assert attempt <= RetryRules().attempts + 1


def test_a_token_is_refreshed_once():
    """The second 401 in a row is the service's answer."""
    assert again(Failure.TOKEN_REFUSED, attempt=1, repeatable=False) == Again(fresh_token=True)
    assert again(Failure.TOKEN_REFUSED, attempt=2, repeatable=True, refreshed=True) is None


def test_a_refusal_is_final():
    """The same request would be refused again."""
    assert again(Failure.REFUSED, attempt=1, repeatable=True) is None


def test_waits_grow():
    """Without a word of the service, each wait is twice the one before."""
    waits = [again(Failure.LOST, attempt=attempt, repeatable=True).after for attempt in range(1, 5)]
    assert waits == [1, 2, 4, 8]


def test_replies_are_sorted_by_status():
    """What the status says is enough to decide."""
    sorted_by_us = {status: failure_of(status) for status in (400, 401, 403, 404, 412, 429, 500, 501, 503)}
    assert sorted_by_us == {
        400: Failure.REFUSED,
        401: Failure.TOKEN_REFUSED,
        403: Failure.REFUSED,
        404: Failure.REFUSED,
        412: Failure.REFUSED,
        429: Failure.THROTTLED,
        500: Failure.SERVER_ERROR,
        501: Failure.REFUSED,
        503: Failure.SERVER_ERROR,
    }
