"""Validate a journey that exists, publish it, and wait until it has ended."""

from airflow.sdk import DAG

# [start imports]
from airflow_provider_cij.operators.journeys import CijPublishJourneyOperator, CijValidateJourneyOperator
from airflow_provider_cij.sensors.journeys import CijJourneySensor

# [end imports]

with DAG("journey_steps", schedule=None, params={"journey_id": "name:Welcome"}):
    # [start validate]
    validate = CijValidateJourneyOperator(task_id="validate", journey_id="{{ params.journey_id }}")
    # [end validate]
    # [start publish]
    publish = CijPublishJourneyOperator(
        task_id="publish",
        journey_id="{{ params.journey_id }}",
        deferrable=True,
    )
    # [end publish]
    # [start wait]
    ended = CijJourneySensor(
        task_id="wait_until_completed",
        journey_id="{{ params.journey_id }}",
        until="completed",
        deferrable=True,
        poke_interval=600,
        timeout=30 * 24 * 3600,
    )
    # [end wait]

    validate >> publish >> ended
