"""Delete old rows of the log of evaluations, behind ``operators.segments``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_cij._arguments import number
from airflow_provider_cij._base import CijOperator, log_group
from airflow_provider_cij.errors import CijInputError

if TYPE_CHECKING:
    from airflow.sdk import Context

LEAST_DAYS = 90
"""Journeys read this log to see that a segment was evaluated: the documents advise to keep three months of it."""


def _days(name: str, value: object) -> int:
    found = number(name, value)
    if isinstance(found, bool) or not isinstance(found, int) or not LEAST_DAYS <= found <= 36_500:
        hint = f"Give whole days, from {LEAST_DAYS} on: journeys read the log of the last three months."
        raise CijInputError(f"{name} is {str(value)[:40]!r}.", hint=hint)
    return found


class CijPurgeSegmentExecutionsOperator(CijOperator):
    """Delete evaluations of segments from the log that ended long ago. Idempotent.

    The service adds a row to the log with each evaluation of each segment, up to every 30 minutes, and deletes none.
    Those under way, and segments and their members, are not touched. The last evaluation of each segment is kept.

    Source: known issues of real-time marketing analytics, "segment execution rows".

    :param older_than_days: days since the evaluation ended, by the service's clock: 90 (default) or more
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: ``{"deleted", "kept", "ended_before"}``: ``kept`` counts old evaluations that are the last of their segment
    :raises AirflowFailException: fewer than 90 days are given, or the application user may not delete them
    """

    readers: ClassVar = {"older_than_days": _days}

    def __init__(self, *, older_than_days: int = LEAST_DAYS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.older_than_days = older_than_days

    def _execute(self, context: Context) -> dict[str, Any]:
        """Delete them."""
        from airflow_provider_cij.api.segments.purging import purge_executions

        with log_group(self.log, f"Delete evaluations that ended more than {self.older_than_days:,} days ago"):
            purged = self.call(lambda cij: purge_executions(cij.dataverse, self.older_than_days))
        deleted, kept = f"{purged['deleted']:,}", f"{purged['kept']:,}"
        self.log.info("Deleted %s evaluations that ended before %s, kept %s", deleted, purged["ended_before"], kept)
        return purged
