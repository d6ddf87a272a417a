"""Stopping segments, and what prevents it."""

from __future__ import annotations

import asyncio
import json
import time
import uuid

import pytest
from cij_sandbox.testing import running_sandbox

from airflow_provider_cij.api.segments.client import Segments
from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.api.segments.stop import stop_results_of
from airflow_provider_cij.api.segments.wait import SegmentWait, capture_baseline
from airflow_provider_cij.api.wait import wait_until
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.errors import CijInUseError, CijRefusedError, CijReplyError, CijUnavailableError
from airflow_provider_cij.hooks.cij import CijHook
from tests.scripted import Answer

QUERY = "PROFILE(contact).FILTER(ISNOTNULL(emailaddress1))"


async def _live(cij, key: str) -> str:
    spec = SegmentSpec(key, "O'Brien's", QUERY)
    await cij.segments.create(spec)
    await cij.segments.publish(spec.segment_id)
    await _until(cij, spec.segment_id, "live")
    return spec.segment_id


async def _until(cij, segment_id: str, until, before=None):
    wait = SegmentWait(segment_id, until, baseline=before)
    await wait_until(wait, cij, poll_interval=0.1, deadline=time.time() + 20)
    return await cij.segments.get(segment_id)


async def _journey(cij, segment_id: str) -> str:
    row = {
        "msdynmkt_name": f"Spring {uuid.uuid4()}",
        "statecode": 1,
        "statuscode": 2,
        "msdynmkt_journeyjson": json.dumps({"trigger": {"audience": segment_id}}),
    }
    return await cij.dataverse.post("msdynmkt_journeys", row, repeatable=False)


def test_a_segment_stops_and_can_be_published_again(organisation, key):
    """A stopped segment can be published again; stopping it twice, or stopping a draft, is no error."""

    async def main(cij):
        segment_id = await _live(cij, key)
        assert await cij.segments.stop([segment_id]) == [segment_id]
        assert await cij.segments.stop([segment_id.upper()]) == [segment_id]
        assert (await _until(cij, segment_id, "stopped")).status_name == "stopped"
        assert await cij.segments.stop([segment_id]) == [segment_id]
        segment = await cij.segments.get(segment_id)
        before = await capture_baseline(cij.segments, segment)
        await cij.segments.publish(segment_id)
        assert (await _until(cij, segment_id, "live", before)).status_name == "live"
        draft = SegmentSpec(f"{key}.draft", "Draft", QUERY)
        await cij.segments.create(draft)
        assert await cij.segments.stop([draft.definition_id]) == [draft.segment_id]

    organisation(main)


def test_a_segment_in_use_names_what_uses_it(organisation, key):
    """A segment in use is reported with its dependents, and the other segments of the list are stopped."""

    async def main(cij):
        used, free = await _live(cij, f"{key}.used"), await _live(cij, f"{key}.free")
        journey = await _journey(cij, used)
        with pytest.raises(CijInUseError) as caught:
            await cij.segments.stop([used, free])
        message = str(caught.value)
        assert f"1 of 2 segments were not stopped. \"O'Brien's\" ({used}) is used by journeys 'Spring" in message
        assert journey in message
        assert f"Stopped: {free}. Stop the journeys that use the others first." in message
        assert (await cij.segments.get(used)).status_name == "live"
        assert (await _until(cij, free, "stopped")).status_name == "stopped"
        with pytest.raises(CijInUseError, match="is used by 1 live journeys"):
            await cij.segments.delete(used)
        # What was live is not deleted, and uses nothing any more when it is stopped.
        await cij.dataverse.patch(f"msdynmkt_journeys({journey})", {"statecode": 2, "statuscode": 3})
        with pytest.raises(CijRefusedError, match="has been live"):
            await cij.dataverse.delete(f"msdynmkt_journeys({journey})")

    organisation(main)


def test_a_missing_stop_action_names_the_required_release(monkeypatch):
    """On an organisation without the action the error names the release of April 2026."""
    with running_sandbox("--contacts", "10", "--compute-seconds", "0.1", "--without-stop-segments") as sandbox:
        monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", sandbox.airflow_conn_uri)

        async def main(cij):
            with pytest.raises(CijUnavailableError, match=r"no msdynmkt_StopSegments.* release of April 2026"):
                await cij.segments.stop([await _live(cij, "old")])

        CijHook().run(main)


def test_a_repeated_stop_after_a_lost_response_is_a_success(scripted):
    """A repeated request that finds the segment stopped already counts as the success of the first."""

    def segment(status: int) -> Answer:
        return Answer(body={"msdynmkt_segmentid": segment_id, "statuscode": status, "msdynmkt_displayname": "x"})

    segment_id = str(uuid.uuid4())
    result = {"SegmentId": segment_id, "WasStopped": False, "Message": "not live"}
    refused = Answer(body={"summary": "", "stopSingleSegmentResults": [result]})
    scripted.script = [segment(1), refused, segment(8)]

    async def main():
        async with DataverseClient(scripted.settings()) as client:
            return await Segments(client).stop([segment_id])

    assert asyncio.run(main()) == [segment_id]


@pytest.mark.parametrize(
    "answer",
    [
        {"stopSingleSegmentResults": "soon"},
        {"stopSingleSegmentResults": [{"WasStopped": True}]},
        {"stopSingleSegmentResults": ["x"]},
        {"stopSingleSegmentResults": 3},
    ],
)
def test_an_unreadable_stop_response_is_an_error(answer):
    """A stop response of any other shape is an error."""
    with pytest.raises(CijReplyError, match="can't be read"):
        stop_results_of(answer)


def test_a_stop_response_without_a_segment_is_an_error(scripted):
    """A stop response that leaves out a requested segment is an error."""
    segment_id = str(uuid.uuid4())
    live = Answer(body={"msdynmkt_segmentid": segment_id, "statuscode": 1, "msdynmkt_displayname": "x"})
    for silence in (Answer(204), Answer(body={"stopSingleSegmentResults": "[]"})):
        scripted.script = [live, silence, live]

        async def main():
            async with DataverseClient(scripted.settings()) as client:
                await Segments(client).stop([segment_id])

        with pytest.raises(CijInUseError, match="the service says nothing about it"):
            asyncio.run(main())
