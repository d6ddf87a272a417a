"""The trigger that waits for a journey."""

from __future__ import annotations

import asyncio
import time

from airflow.sdk.serde import deserialize, serialize

from airflow_provider_cij.triggers.journeys import CijJourneyTrigger
from tests.journey_responses import ID, SEGMENT, TEMPLATE
from tests.scripted import Answer

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


def test_the_trigger_survives_airflows_database():
    """Class path and plain JSON; made again it is the same; its constructor never raises."""
    path, kwargs = CijJourneyTrigger(**ARGUMENTS).serialize()
    assert path == f"{CijJourneyTrigger.__module__}.{CijJourneyTrigger.__name__}"
    assert deserialize(serialize(kwargs)) == kwargs == ARGUMENTS
    CijJourneyTrigger()
    CijJourneyTrigger(journey_id=7, deadline=None)


def test_many_waits_ask_one_question(scripted, monkeypatch):
    """And one of them can end before the others."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    ids = [ID, TEMPLATE, SEGMENT]

    def rows(*statuses: int) -> Answer:
        pairs = zip(ids, statuses, strict=True)
        return Answer(body={"value": [{"msdynmkt_journeyid": one, "statuscode": status} for one, status in pairs]})

    scripted.script = [rows(4, 4, 4), rows(2, 2, 2)]

    async def main():
        waits = [CijJourneyTrigger(journey_id=one, poll_interval=0.2, deadline=time.time() + 20) for one in ids]
        return [event.payload for event in await asyncio.gather(*(anext(aiter(one.run())) for one in waits))]

    events = asyncio.run(main())
    assert [event["journey"] for event in events] == [{"journey_id": one, "status": "live"} for one in ids]
    assert len(scripted.asked) == 2
