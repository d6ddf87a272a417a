"""May this be sent again, and when? One pure table; ``client.py`` carries it out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Failure(Enum):
    """What became of a request that brought no result."""

    NOT_SENT = "no connection"
    """It never left: no connection, no TLS, no free slot."""
    LOST = "no reply"
    """It may have arrived; the reply did not."""
    THROTTLED = "throttled by the service"
    """429: refused before anything was done (Dataverse docs, Service protection API limits)."""
    TOKEN_REFUSED = "token refused"  # noqa: S105  # words for the log, no secret
    """401: refused before anything was done."""
    SERVER_ERROR = "server error"
    """5xx: it may have been done."""
    REFUSED = "refused"
    """Any other answer; the same request gets it again."""


def failure_of(status: int) -> Failure:
    """Sort a failed reply by its HTTP status."""
    if status == 429:
        return Failure.THROTTLED
    if status == 401:
        return Failure.TOKEN_REFUSED
    # 501 says "not implemented": nothing was done, and nothing will be.
    return Failure.SERVER_ERROR if status >= 500 and status != 501 else Failure.REFUSED


@dataclass(frozen=True)
class Again:
    """Send it again.

    :param after: seconds to wait before
    :param fresh_token: with a new token
    """

    after: float = 0.0
    fresh_token: bool = False


@dataclass(frozen=True)
class RetryRules:
    """How patient a client is.

    :param attempts: how often one request is sent at the most; a fresh token is worth one more
    :param first_wait: seconds before the second time; doubles from there
    :param longest_wait: seconds; a service that asks for more has its error raised, for Airflow to come back later
    """

    attempts: int = 5
    first_wait: float = 1.0
    longest_wait: float = 60.0


def again(
    failure: Failure,
    *,
    attempt: int,
    repeatable: bool,
    refreshed: bool = False,
    retry_after: float | None = None,
    jitter: float = 0.0,
    rules: RetryRules | None = None,
) -> Again | None:
    """Decide.

    :param failure: what happened
    :param attempt: how often the request has been sent, this time included
    :param repeatable: True when doing it twice is as good as once: a read, a write under our own id, set members
    :param refreshed: True when a fresh token was tried already
    :param retry_after: seconds that the service asked for
    :param jitter: from 0 to 1, spreads clients that failed together
    :param rules: how patient to be
    :return: how to send it again, or None to raise
    """
    rules = rules or RetryRules()
    if failure is Failure.TOKEN_REFUSED:
        return None if refreshed else Again(fresh_token=True)
    if failure is Failure.REFUSED or attempt >= rules.attempts:
        return None
    if failure in (Failure.LOST, Failure.SERVER_ERROR) and not repeatable:
        return None
    backoff = rules.first_wait * 2 ** (attempt - 1) * (1 + jitter)
    wait = backoff if retry_after is None else retry_after + jitter
    return Again(after=wait) if wait <= rules.longest_wait + 1 else None
