"""``CijRetryPolicy``: tells Airflow (3.3 and newer) which failures to retry, and when.

.. code-block:: python

    CijPublishSegmentOperator(..., retries=5, retry_policy=CijRetryPolicy())
"""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.dataverse.clock import DAY
from airflow_provider_cij.errors import CijError, CijThrottledError
from airflow_provider_cij.version_compat import RetryDecision, RetryPolicy

if TYPE_CHECKING:
    from airflow.sdk import Context

# Seconds over which retries are spread: tasks that were throttled together must not return together.
_SPREAD = 10.0


class CijRetryPolicy(RetryPolicy):
    """Retries a throttled task when the service asked for it, and fails at once when no retry can help.

    Any other failure is retried as the task's own arguments say. A ``CijError`` is also found as the cause of another
    exception. There are never more tries than ``retries``.
    """

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Decide whether a failed task is retried. Airflow calls this in the worker.

        :param exception: the exception that ended the task
        :param try_number: the number of the try that failed, unused
        :param max_tries: the number of tries at most, unused
        :param context: the context of the run, unused
        :return: fail for a permanent error, retry after ``retry_after`` for a throttled one, otherwise the default
        """
        error = _cij_error(exception)
        if error is None:
            return RetryDecision.default()
        if error.permanent:
            return RetryDecision.fail(str(error))
        if isinstance(error, CijThrottledError) and error.retry_after is not None:
            wait = max(0.0, min(error.retry_after, DAY)) + random.random() * _SPREAD  # noqa: S311  # spreads, guards nothing
            return RetryDecision.retry(timedelta(seconds=wait), str(error))
        return RetryDecision.default()

    def serialize(self) -> dict[str, Any]:
        """Return an empty dict: the policy has no arguments."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> CijRetryPolicy:
        """Return a new policy.

        :param data: unused
        """
        return cls()


def _cij_error(exception: BaseException | None) -> CijError | None:
    seen: set[int] = set()
    while exception is not None and not isinstance(exception, CijError):
        if id(exception) in seen:
            return None
        seen.add(id(exception))
        exception = exception.__cause__ or (None if exception.__suppress_context__ else exception.__context__)
    return exception
