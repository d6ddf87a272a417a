"""CijJourneyTrigger."""

from __future__ import annotations

import asyncio
import time

from airflow_provider_cij.triggers.journeys import CijJourneyTrigger
from tests.journey_responses import ID, SEGMENT, TEMPLATE
from tests.scripted import Answer
from tests.serialized import deserialize, serialize

ARGUMENTS = {
    "cij_conn_id": "cij_default",
    "journey_id": ID,
    "until": "live",
    "publishing": True,
    "poll_interval": 0.05,
    "deadline": 1.0,
    "not_before": 0.0,
    "state": {"publishes": 1},
}


def test_the_trigger_is_serializable():
    """The trigger serializes to its class path and plain JSON, and its constructor never raises."""
    path, kwargs = CijJourneyTrigger(**ARGUMENTS).serialize()
    assert path == f"{CijJourneyTrigger.__module__}.{CijJourneyTrigger.__name__}"
    assert deserialize(serialize(kwargs)) == kwargs == ARGUMENTS
    CijJourneyTrigger()
    CijJourneyTrigger(journey_id=7, deadline=None)


def test_many_triggers_share_one_query(scripted, monkeypatch):
    """Triggers that wait at the same time share one query a poll."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    ids = [ID, TEMPLATE, SEGMENT]

    def rows(*statuses: int) -> Answer:
        pairs = zip(ids, statuses, strict=True)
        return Answer(
            body={"value": [{"msdynmkt_journeyid": journey_id, "statuscode": status} for journey_id, status in pairs]}
        )

    scripted.script = [rows(4, 4, 4), rows(2, 2, 2)]

    async def main():
        waits = [
            CijJourneyTrigger(journey_id=journey_id, poll_interval=0.2, deadline=time.time() + 20) for journey_id in ids
        ]
        return [event.payload for event in await asyncio.gather(*(anext(aiter(trigger.run())) for trigger in waits))]

    events = asyncio.run(main())
    assert [event["journey"] for event in events] == [
        {"journey_id": journey_id, "status": "live"} for journey_id in ids
    ]
    assert len(scripted.requests) == 2
