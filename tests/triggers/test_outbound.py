"""CijOutboundTrigger."""

from __future__ import annotations

import asyncio
import time
import uuid

import pytest

from airflow_provider_cij.triggers.outbound import CijOutboundTrigger
from tests.outbound_responses import DRAFT, GOING_LIVE, ID, LIVE, segment
from tests.scripted import Answer
from tests.serialized import deserialize, serialize

ARGUMENTS = {"cij_conn_id": "x", "what": "journey", "row_id": ID, "until": "stopped", "poll_interval": 1.0}


def test_the_trigger_is_serializable():
    """The trigger serializes to its class path and plain JSON, and its constructor never raises."""
    path, kwargs = CijOutboundTrigger(**ARGUMENTS, deadline=7.0, not_before=3.0).serialize()
    assert path == f"{CijOutboundTrigger.__module__}.{CijOutboundTrigger.__name__}"
    assert deserialize(serialize(kwargs)) == kwargs == ARGUMENTS | {"deadline": 7.0, "not_before": 3.0, "state": None}
    CijOutboundTrigger(poll_interval="soon", row_id=7)


@pytest.mark.parametrize("arguments", [{"until": "wibble"}, {"cij_conn_id": "nowhere"}, {"row_id": "x"}])
def test_unexpected_errors_become_events(scripted, monkeypatch, arguments):
    """Invalid arguments and missing connections end the trigger with an event."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    scripted.script = [segment(DRAFT)]

    async def event():
        given = {"row_id": ID, "poll_interval": 0.01, "deadline": time.time() + 20} | arguments
        return (await anext(aiter(CijOutboundTrigger(**given).run()))).payload

    assert asyncio.run(event())["status"] == "error"


def test_many_triggers_share_one_query(scripted, monkeypatch):
    """Triggers of outbound segments that wait at the same time share one query a poll."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    ids = [str(uuid.UUID(int=number)) for number in range(1, 21)]

    def rows(status: int) -> Answer:
        return Answer(body={"value": [segment(status).body | {"msdyncrm_segmentid": row_id} for row_id in ids]})

    scripted.script = [rows(GOING_LIVE), rows(LIVE)]

    async def main():
        waits = [CijOutboundTrigger(row_id=row_id, poll_interval=3, deadline=time.time() + 30) for row_id in ids]
        return [event.payload for event in await asyncio.gather(*(anext(aiter(trigger.run())) for trigger in waits))]

    assert [event["outbound"]["segment_id"] for event in asyncio.run(main())] == ids
    assert len(scripted.requests) == 2
