"""May this be sent again, and when? One pure table; ``client.py`` carries it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from airflow_provider_cij.dataverse.responses import DAY
from airflow_provider_cij.errors import CijError, CijReplyError, CijServerError, CijThrottledError

_UNTIL_TIRED = 1000  # as often as RetryPolicy.max_attempts allows


class Failure(Enum):
    """What became of a request that brought no result: in words, whether it may have landed, how often to repeat it."""

    NO_TOKEN = ("no token", False, _UNTIL_TIRED)
    """The login service did not answer, or was busy. One that says no ends it: no second guess at a secret."""
    NOT_SENT = ("no connection", False, _UNTIL_TIRED)
    """It never left: no connection, no TLS."""
    THROTTLED = ("throttled by the service", False, _UNTIL_TIRED)
    """429: refused before anything was done (Dataverse docs, Service protection API limits)."""
    TOKEN_REFUSED = ("token refused", False, 1)
    """401: refused before anything was done. The second one is the answer."""
    LOST = ("no reply", True, _UNTIL_TIRED)
    """It may have arrived; the reply did not."""
    SERVER_ERROR = ("server error", True, _UNTIL_TIRED)
    """5xx: it may have been done."""
    INNER_ERROR = ("error of a service behind", True, 1)
    """400 about a 5xx or a timeout of CIJ's own service behind Dataverse: it may pass, or be the query's fault."""
    BEHIND = ("service behind busy or failing", True, _UNTIL_TIRED)
    """2xx whose body says 429 or 5xx: it may have been done."""
    UNREADABLE = ("reply broken off", True, 2)
    """2xx, so it was done: but the body is cut off, which passes, or a proxy's page, which mostly stays."""
    REFUSED = ("refused", False, 0)
    """Any other answer; the same request gets it again."""

    def __init__(self, words: str, may_have_executed: bool, repeats: int) -> None:
        self.words = words
        self.may_have_executed = may_have_executed
        self.repeats = repeats


def failure_of(error: CijError) -> Failure:
    """Sort what ``replies`` made of a reply; an error without one is our own word, and final."""
    if error.http_status is None:
        return Failure.REFUSED
    if error.inside:
        # Dataverse took the request; only the service behind it did not, or not to its end.
        passes = isinstance(error, (CijServerError, CijThrottledError))
        return Failure.BEHIND if passes else Failure.REFUSED
    if isinstance(error, CijThrottledError):
        return Failure.THROTTLED
    if isinstance(error, CijServerError):
        return Failure.INNER_ERROR if error.http_status == 400 else Failure.SERVER_ERROR
    if isinstance(error, CijReplyError) and error.http_status < 300:
        # JSON that came whole but wrong (CIJ's lists of members may) would come the same again.
        raw = error.raw.strip()
        return Failure.REFUSED if raw.startswith("{") and raw.endswith("}") else Failure.UNREADABLE
    return Failure.TOKEN_REFUSED if error.http_status == 401 else Failure.REFUSED


@dataclass(frozen=True)
class RetryStep:
    """Send it again.

    :param after: seconds to wait before
    :param fresh_token: with a new token
    """

    after: float = 0.0
    fresh_token: bool = False


@dataclass(frozen=True)
class RetryPolicy:
    """How patient a client is.

    :param max_attempts: how often one request is sent at the most; a fresh token is worth one more
    :param initial_wait: seconds before the second time; doubles from there
    """

    max_attempts: int = 5
    initial_wait: float = 1.0


def next_attempt(
    failures: Sequence[Failure],
    *,
    repeatable: bool,
    max_wait: float,
    retry_after: float | None = None,
    jitter: float = 0.0,
    retry_policy: RetryPolicy | None = None,
) -> RetryStep | None:
    """Decide.

    :param failures: what happened each time the request was tried, the last one last
    :param repeatable: True when doing it twice is as good as once: a read, a write under our own id, set members
    :param max_wait: seconds; a longer wait is not slept: the error is raised, for Airflow to come back later
    :param retry_after: seconds that the service asked for; never cut short
    :param jitter: from 0 to 1, spreads clients that failed together
    :param retry_policy: how patient to be
    :return: how to send it again, or None to raise
    """
    retry_policy = retry_policy or RetryPolicy()
    failure = failures[-1]
    fresh_token = failure is Failure.TOKEN_REFUSED
    tries = len(failures) - failures.count(Failure.TOKEN_REFUSED)
    if failure.may_have_executed and not repeatable:
        return None
    if failures.count(failure) > failure.repeats or (tries >= retry_policy.max_attempts and not fresh_token):
        return None
    if retry_after is not None:
        return RetryStep(retry_after + jitter, fresh_token) if retry_after <= max_wait and retry_after < DAY else None
    backoff = 0.0 if fresh_token else retry_policy.initial_wait * 2 ** (tries - 1)
    return RetryStep(backoff * (1 + jitter), fresh_token) if backoff <= max_wait else None
