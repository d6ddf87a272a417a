"""A live journey in the sandbox, with a live segment as its audience."""

from __future__ import annotations

import json
import time
import uuid

from airflow_provider_cij.api.cij import Cij
from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.api.segments.wait import SegmentWait
from airflow_provider_cij.api.wait import wait_until


async def create_live_journey(cij: Cij) -> tuple[str, str]:
    """Create a segment of all contacts and a live journey for it, and return their ids."""
    spec = SegmentSpec(uuid.uuid4().hex, "Used", "PROFILE(contact)")
    await cij.segments.create(spec)
    await cij.segments.publish(spec.segment_id)
    await wait_until(SegmentWait(spec.segment_id), cij, poll_interval=0.1, deadline=time.time() + 20)
    definition = {"name": "Used", "trigger": {"type": "OneTime", "audience": spec.segment_id}}
    row = {
        "msdynmkt_name": f"Newsletter {uuid.uuid4()}",
        "msdynmkt_journeyjson": json.dumps(definition),
        "statecode": 1,
        "statuscode": 2,
    }
    return spec.segment_id, await cij.dataverse.post("msdynmkt_journeys", row, repeatable=False)
