"""Refresh a segment, ask a person, and only then create and publish the journey that mails it.

The question stands under "Required Actions" in the Airflow UI: with the segment, the number of its members, how that
has changed, and a link to the segment in Dynamics 365. Nobody answers within two days: nothing is sent.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG

from airflow_provider_cij.operators.journeys import CijCreateJourneyOperator
from airflow_provider_cij.operators.segments import CijRefreshSegmentOperator
from airflow_provider_cij.sensors.journeys import CijJourneySensor

QUESTION = """
{% set segment = ti.xcom_pull('refresh_segment') %}
{% set name = ti.xcom_pull('refresh_segment', key='name') %}
{% set change = ti.xcom_pull('refresh_segment', key='change') %}
{% set link = ti.xcom_pull('refresh_segment', key='_link_CijSegmentLink') %}
| | |
|---|---|
| Segment | [{{ name }}]({{ link }}) |
| Members | {{ '{:,}'.format(segment.member_count) }} |
| Change | {{ 'the first evaluation' if change is none else '{:+,}'.format(change) }} |
| Evaluated at | {{ segment.evaluated_at }} |
| Journey | Newsletter {{ run_id }} |
"""

NOBODY = "00000000-0000-0000-0000-000000000000"

with DAG(
    dag_id="cij_approved_journey",
    schedule=None,
    params={"segment_id": NOBODY, "template_id": NOBODY},
    doc_md=__doc__,
    tags=["cij", "example"],
):
    refresh = CijRefreshSegmentOperator(
        task_id="refresh_segment", segment_id="{{ params.segment_id }}", deferrable=True, poll_interval=5
    )
    approve = ApprovalOperator(
        task_id="approve",
        subject="Send the newsletter to {{ ti.xcom_pull('refresh_segment')['member_count'] }} people?",
        body=QUESTION,
        defaults="Reject",
        # It came with apache-airflow-providers-standard 1.12.
        response_timeout=timedelta(days=2),
    )
    create = CijCreateJourneyOperator(
        task_id="create_journey",
        template_id="{{ params.template_id }}",
        # Names are unique: with the run in it, a retry finds its own.
        name="Newsletter {{ run_id }}",
        audience_segment_id="{{ params.segment_id }}",
        # The e-mails are those of the template; message_ids={"action's id": "e-mail's id"} puts others in.
        # Later than the last possible answer.
        starts_at="{{ dag_run.run_after + macros.timedelta(days=3) }}",
        publish=True,  # real mail to real people
    )
    live = CijJourneySensor(
        task_id="wait_until_live", journey_id=create.output["journey_id"], deferrable=True, poke_interval=5
    )

    refresh >> approve >> create >> live
