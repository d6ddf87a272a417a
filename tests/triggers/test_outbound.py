"""CijOutboundTrigger."""

from __future__ import annotations

import asyncio
import time

import pytest
from airflow.sdk.serde import deserialize, serialize

from airflow_provider_cij.triggers.outbound import CijOutboundTrigger
from tests.outbound_responses import DRAFT, ID, segment

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
