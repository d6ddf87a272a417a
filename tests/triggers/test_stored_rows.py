"""Trigger rows that the first version left in Airflow's database still run."""

from __future__ import annotations

import asyncio
import importlib
import json
import time

import pytest

from tests.scripted import Answer
from tests.segment_responses import ID, segment
from tests.serialized import deserialize

# Written by version 0.1.0 at its first release: class path and the serialized arguments.
ROWS = {
    "airflow_provider_cij.triggers.segments.CijSegmentTrigger": {
        "cij_conn_id": "cij_default",
        "segment_id": ID,
        "before_status": 2,
        "before_execution_id": "",
        "before_started_on": "",
        "poll_interval": 0.05,
        "until": "live",
        "since": 0.0,
        "min_members": 0,
        "group": "",
        "not_before": 0.0,
    },
    "airflow_provider_cij.triggers.journeys.CijJourneyTrigger": {
        "cij_conn_id": "cij_default",
        "journey_id": ID,
        "until": "live",
        "publishing": True,
        "poll_interval": 0.05,
        "not_before": 0.0,
    },
    "airflow_provider_cij.triggers.outbound.CijOutboundTrigger": {
        "cij_conn_id": "cij_default",
        "what": "segment",
        "row_id": ID,
        "until": "live",
        "poll_interval": 0.05,
        "not_before": 0.0,
    },
    "airflow_provider_cij.triggers.pause.CijPauseTrigger": {"until": 0.0, "since": 5.0},
}
JOURNEY = Answer(body={"msdynmkt_journeyid": ID, "msdynmkt_name": "J", "statuscode": 2})
OUTBOUND = Answer(
    body={
        "msdyncrm_segmentid": ID,
        "msdyncrm_segmentname": "S",
        "msdyncrm_segmenttype": 192350000,
        "statuscode": 192350001,
    }
)
RESPONSES = [segment(1), JOURNEY, OUTBOUND, Answer(204)]
STATUSES = ["live", "live", "live", "go_on"]


@pytest.mark.parametrize(
    ("path", "response", "status"),
    list(zip(ROWS, RESPONSES, STATUSES, strict=True)),
    ids=lambda value: str(value)[-24:],
)
def test_a_row_of_the_first_version_runs(scripted, monkeypatch, path, response, status):
    """A stored row is deserialized, its trigger is created by its class path, and it sends its event."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    monkeypatch.setattr("random.random", lambda: 0.0)
    scripted.script = [response]
    stored = json.dumps(ROWS[path] | ({} if "pause" in path else {"deadline": time.time() + 20}))
    module, name = path.rsplit(".", 1)
    trigger = getattr(importlib.import_module(module), name)(**deserialize(json.loads(stored)))

    async def first_event():
        return (await anext(aiter(trigger.run()))).payload

    assert asyncio.run(first_event())["status"] == status


def test_tasks_that_the_first_version_deferred_are_resumed():
    """The method names that the first version stored with its deferred tasks exist."""
    from airflow_provider_cij.operators.journeys import CijPublishJourneyOperator
    from airflow_provider_cij.operators.segments import CijPublishSegmentOperator
    from airflow_provider_cij.sensors.segments import CijSegmentSensor

    for kind in (CijPublishSegmentOperator, CijPublishJourneyOperator, CijSegmentSensor):
        assert callable(kind.execute_complete)
    assert callable(CijPublishSegmentOperator.go_on)
