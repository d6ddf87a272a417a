"""``CijRetryPolicy``: tells Airflow (3.3 and newer) which failures are worth another try, and when.

.. code-block:: python

    CijPublishSegmentOperator(..., retries=5, retry_policy=CijRetryPolicy())
"""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.errors import CijError, CijThrottledError
from airflow_provider_cij.version_compat import RetryDecision, RetryPolicy

if TYPE_CHECKING:
    from airflow.sdk import Context

# Seconds: tasks that were throttled together must not come back together.
_SPREAD = 10.0
_LONGEST = 24 * 3600.0


class CijRetryPolicy(RetryPolicy):
    """Come back when a throttling service said, fail at once when no retry can help, else as the task says.

    A ``CijError`` is found behind whatever exception it led to. It never gives more tries than ``retries``.
    """

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Decide; Airflow asks in the worker, with the exception that ended the task."""
        error = _cij_error(exception)
        if error is None:
            return RetryDecision.default()
        if error.permanent:
            return RetryDecision.fail(str(error))
        if isinstance(error, CijThrottledError) and error.retry_after is not None:
            wait = max(0.0, min(error.retry_after, _LONGEST)) + random.random() * _SPREAD  # noqa: S311  # spreads, guards nothing
            return RetryDecision.retry(timedelta(seconds=wait), str(error))
        return RetryDecision.default()

    def serialize(self) -> dict[str, Any]:
        """Give what ``deserialize`` needs: nothing."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> CijRetryPolicy:
        """Make it again."""
        return cls()


def _cij_error(exception: BaseException | None) -> CijError | None:
    seen: set[int] = set()
    while exception is not None and not isinstance(exception, CijError):
        if id(exception) in seen:
            return None
        seen.add(id(exception))
        exception = exception.__cause__ or (None if exception.__suppress_context__ else exception.__context__)
    return exception
