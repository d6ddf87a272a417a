"""Whether a failed request may be sent again, and when. One pure table; ``client.py`` carries it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_cij.dataverse.clock import DAY
from airflow_provider_cij.errors import CijError, CijReplyError, CijServerError, CijThrottledError, CijUnreachableError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.wire import BrokenError

# More than any RetryPolicy.max_attempts: the policy alone is the limit.
_NO_LIMIT = 1000


class Failure(Enum):
    """How one attempt failed: in words, whether the service may have executed it, how often it may be repeated."""

    NO_TOKEN = ("no token", False, _NO_LIMIT)
    """The login service did not answer, or was busy. A rejected credential is no failure of this kind: it is final."""
    NOT_SENT = ("no connection", False, _NO_LIMIT)
    """No connection, or no TLS: the request was not sent."""
    THROTTLED = ("throttled by the service", False, _NO_LIMIT)
    """429: refused before anything was done (Dataverse docs, Service protection API limits)."""
    TOKEN_REFUSED = ("token refused", False, 1)
    """401: refused before anything was done. The second one is final."""
    LOST = ("no response", True, _NO_LIMIT)
    """The request was sent, and no response came back."""
    SERVER_ERROR = ("server error", True, _NO_LIMIT)
    """5xx."""
    INNER_ERROR = ("error of a backend service", True, 1)
    """400 about a 5xx or a timeout of CIJ's own service behind Dataverse: it may pass, or be the query's fault."""
    BEHIND = ("backend service busy or failing", True, _NO_LIMIT)
    """2xx whose body holds a 429 or a 5xx."""
    UNREADABLE = ("response cut off", True, 2)
    """2xx, so it was executed: but the body is cut off, which passes, or a proxy's page, which mostly stays."""
    REFUSED = ("refused", False, 0)
    """Any other response. The same request gets it again."""

    def __init__(self, description: str, may_have_executed: bool, max_repeats: int) -> None:
        self.description = description
        self.may_have_executed = may_have_executed
        self.max_repeats = max_repeats


def failure_of(error: CijError) -> Failure:
    """Classify an error of ``responses``. An error without an HTTP status is raised by this package, and final.

    :param error: what reading the response raised
    """
    if error.http_status is None:
        return Failure.REFUSED
    if error.inside:
        # Dataverse took the request; the service behind it did not, or not to its end.
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


class RetryStep(NamedTuple):
    """How to send a request again.

    :param after: seconds to wait before, by default 0
    :param fresh_token: True to fetch a new token first
    """

    after: float = 0.0
    fresh_token: bool = False


@dataclass(frozen=True)
class RetryPolicy:
    """How often a client repeats failed requests.

    :param max_attempts: how often one request is sent at most, by default 5; a fresh token allows one more
    :param initial_wait: seconds before the second attempt, by default 1; doubles with each further one
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
    """Decide whether to send a request again, and when.

    :param failures: how each attempt failed, the latest last
    :param repeatable: True when the request is idempotent: a read, a write under a client-chosen id, set members
    :param max_wait: seconds to sleep at most. A longer wait is not slept: the error is raised, for Airflow to retry
    :param retry_after: seconds that the service asked for, never cut short; None, the default, when it did not ask
    :param jitter: from 0 to 1, spreads clients that failed together; by default 0
    :param retry_policy: how often to repeat, by default ``RetryPolicy()``
    :return: how to send it again, or None to raise the error
    """
    retry_policy = retry_policy or RetryPolicy()
    failure = failures[-1]
    fresh_token = failure is Failure.TOKEN_REFUSED
    attempts = len(failures) - failures.count(Failure.TOKEN_REFUSED)
    if failure.may_have_executed and not repeatable:
        return None
    if failures.count(failure) > failure.max_repeats or (attempts >= retry_policy.max_attempts and not fresh_token):
        return None
    if retry_after is not None:
        return RetryStep(retry_after + jitter, fresh_token) if retry_after <= max_wait and retry_after < DAY else None
    backoff = 0.0 if fresh_token else retry_policy.initial_wait * 2 ** (attempts - 1)
    return RetryStep(backoff * (1 + jitter), fresh_token) if backoff <= max_wait else None


class NoResponseError(Exception):
    """There was no response.

    :param failure: how far the request got
    :param error: what to raise after retries
    """

    def __init__(self, failure: Failure, error: CijError) -> None:
        super().__init__(failure, error)
        self.failure = failure
        self.error = error


def no_response(broken: BrokenError, request_name: str) -> NoResponseError:
    """Return the error for an exchange without a complete response.

    :param broken: what happened
    :param request_name: the request, for the message
    """
    if not broken.sent:
        message = f"{request_name} was not sent: {broken.why}"
        hint = "Check the host, the network and ca_bundle."
        return NoResponseError(Failure.NOT_SENT, CijUnreachableError(message, hint=hint))
    message = f"{request_name} got no response: {broken.why}"
    return NoResponseError(Failure.LOST, CijUnreachableError(message, hint="Whether it took effect is not known."))
