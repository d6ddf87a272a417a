"""Buttons in the Airflow UI that lead to Dynamics 365."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class CijSegmentLink(BaseOperatorLink):
    """Opens the segment in Dynamics 365.

    Airflow asks for the link in the worker, at the end of each of a task's parts: it is computed once, early, and kept
    on the operator, so that it is there while the task runs and asking costs nothing.
    """

    name = "Segment in Dynamics 365"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Give the address that the operator has kept, ``""`` when it failed before it had one."""
        return getattr(operator, "segment_url", "")

    def show(self, operator: Any, context: Any, url: str, name: str) -> None:
        """Make the link appear now, not only when the task ends, and let ``map_index_template`` name the segment.

        :param operator: the task
        :param context: of its run; gets ``segment_name``
        :param url: where the link leads
        :param name: the segment's display name
        """
        context["segment_name"] = name
        operator.segment_url = url
        context["ti"].xcom_push(key=self.xcom_key, value=url)


class CijOutboundJourneyLink(CijSegmentLink):
    """Opens the outbound journey in Dynamics 365; ``map_index_template`` has it as ``journey_name``."""

    name = "Journey in Dynamics 365"

    def show(self, operator: Any, context: Any, url: str, name: str) -> None:
        """Make the link appear now, likewise."""
        super().show(operator, context, url, name)
        context["journey_name"] = name
