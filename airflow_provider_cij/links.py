"""Buttons in the Airflow UI that lead to Dynamics 365."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class _RecordLink(BaseOperatorLink):
    """Opens a record in Dynamics 365.

    Airflow asks for the link in the worker, at the end of each of a task's parts: it is computed once, early, and kept
    on the operator, so that it is there while the task runs and asking costs nothing.
    """

    name = ""
    what = ""

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Give the address that the operator has kept, ``""`` when it failed before it had one."""
        return getattr(operator, f"{self.what}_url", "")

    def show(self, operator: Any, context: Any, url: str, name: str) -> None:
        """Make the link appear now, not only when the task ends, and let ``map_index_template`` name the record.

        :param operator: the task
        :param context: of its run; gets ``segment_name`` or ``journey_name``
        :param url: where the link leads
        :param name: the record's name
        """
        context[f"{self.what}_name"] = name
        setattr(operator, f"{self.what}_url", url)
        context["ti"].xcom_push(key=self.xcom_key, value=url)


class CijSegmentLink(_RecordLink):
    """Opens the segment in Dynamics 365."""

    name = "Segment in Dynamics 365"
    what = "segment"


class CijJourneyLink(_RecordLink):
    """Opens the journey in Dynamics 365."""

    name = "Journey in Dynamics 365"
    what = "journey"
