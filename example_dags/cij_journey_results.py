"""What came of a journey: who is in which state, and how many messages were sent, delivered, opened and clicked.

States come from the organisation. Interactions are in Microsoft Fabric only: link Dataverse to a Lakehouse, and store
its SQL endpoint as a connection (``fabric``), or that of a copy in any database. They are at most three hours behind,
so a sensor waits until they are fresh. The service may record an interaction twice with one ``IdempotencyId``; a
delivery counts 1, and -1 when the message bounces later.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, BaseHook, task

from airflow_provider_cij.operators.journeys import CijExportJourneyParticipantsOperator
from airflow_provider_cij.sensors.interactions import CijInteractionsSensor

COUNTS = {
    "sent": ("EmailSent", 'count(DISTINCT "IdempotencyId")'),
    "delivered": ("EmailDelivered", 'sum("DeliveredCount")'),
    "opened": ("EmailOpened", 'count(DISTINCT "ProfileId")'),
    "clicked": ("EmailClicked", 'count(DISTINCT "ProfileId")'),
}

with DAG(
    dag_id="cij_journey_results",
    schedule=None,
    params={"journey_id": "00000000-0000-0000-0000-000000000000", "sql_conn_id": "fabric"},
    doc_md=__doc__,
    tags=["cij", "example"],
):
    fresh = CijInteractionsSensor(
        task_id="wait_until_fresh",
        sql_conn_id="{{ params.sql_conn_id }}",
        fresher_than=timedelta(hours=4),
        mode="reschedule",
        poke_interval=600,
        timeout=6 * 3600,
    )

    @task
    def interactions(**context: Any) -> dict[str, int]:
        """Return how many messages were sent and delivered, and how many people opened one and clicked in it."""
        hook = BaseHook.get_connection(context["params"]["sql_conn_id"]).get_hook()
        counts = {}
        for what, (table, count) in COUNTS.items():
            once = "IdempotencyId", "ProfileId", *(["DeliveredCount"] if what == "delivered" else [])
            columns = ", ".join(f'"{column}"' for column in once)
            sql = (
                f'SELECT {count} FROM (SELECT DISTINCT {columns} FROM "{table}" '  # noqa: S608 - names of this file
                f'WHERE "CustomerJourneyId" = {hook.placeholder}) AS once'
            )
            (found,) = hook.get_first(sql, parameters=[context["params"]["journey_id"]])
            counts[what] = int(found or 0)
        return counts

    participants = CijExportJourneyParticipantsOperator(task_id="participants", journey_id="{{ params.journey_id }}")

    fresh >> interactions()
