"""Links from tasks in the Airflow UI to their records in Dynamics 365."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class _RecordLink(BaseOperatorLink):
    """Opens a record in Dynamics 365.

    Airflow calls ``get_link`` in the worker, at the end of each part of a task. So the link is computed once, early,
    and kept on the operator: it is shown while the task still runs.
    """

    name = ""
    what = ""
    table = ""
    outbound_table = ""

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address that ``show`` kept on the operator.

        :param operator: the task
        :param ti_key: the task instance, unused
        :return: the address, ``""`` when the task failed before it had one
        """
        return getattr(operator, f"{self.what}_url", "")

    def show(self, operator: Any, context: Any, url: str, name: str) -> None:
        """Show the link now, before the task ends, and make the record's name known to ``map_index_template``.

        :param operator: the task
        :param context: the context of its run, to which ``segment_name`` or ``journey_name`` is added
        :param url: the record's address in Dynamics 365
        :param name: the record's name
        """
        context[f"{self.what}_name"] = name
        setattr(operator, f"{self.what}_url", url)
        context["ti"].xcom_push(key=self.xcom_key, value=url)


class CijSegmentLink(_RecordLink):
    """Opens the segment in Dynamics 365."""

    name = "Segment in Dynamics 365"
    what = "segment"
    table = "msdynmkt_segment"
    outbound_table = "msdyncrm_segment"


class CijJourneyLink(_RecordLink):
    """Opens the journey in Dynamics 365."""

    name = "Journey in Dynamics 365"
    what = "journey"
    table = "msdynmkt_journey"
    outbound_table = "msdyncrm_customerjourney"
