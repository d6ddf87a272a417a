"""One shared poll for many waits."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from dataclasses import replace
from urllib.parse import unquote

import pytest

from airflow_provider_cij.api.segments.executions import OF_DEFINITION
from airflow_provider_cij.api.segments.models import Segment
from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.api.segments.wait import SegmentWait
from airflow_provider_cij.api.shared import SharedCij
from airflow_provider_cij.api.wait import wait_until
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.errors import CijInputError, CijNotFoundError, CijTimeoutError
from airflow_provider_cij.triggers import _session as shared
from airflow_provider_cij.triggers.segments import CijSegmentTrigger
from tests.member_ids import PEOPLE, id_set
from tests.scripted import Answer

QUERY = "PROFILE(contact).FILTER(ISNOTNULL(emailaddress1))"
REFUSED = Answer(400, {"error": {"code": "0x80060888", "message": "no such function"}})


def row(number: int, status: int = 1) -> dict:
    """Return a row of msdynmkt_segments."""
    return {
        "msdynmkt_segmentid": PEOPLE[number],
        "msdynmkt_sourcesegmentuid": PEOPLE[number + 100],
        "statuscode": status,
        "msdynmkt_membercount": number,
    }


def run_on_poll(scripted, ask):
    """Run a coroutine function on a shared poll of the scripted server."""

    async def main():
        async with DataverseClient(scripted.settings()) as client:
            return await ask(SharedCij(client, 0.02).segments)

    return asyncio.run(main())


def test_triggers_that_start_together_read_their_connection_once(scripted, monkeypatch):
    """A connection is read once a second for all triggers; one that is cancelled meanwhile takes it from no other."""
    read, whole = [], shared.aget_connection

    async def noted(cij_conn_id):
        read.append(cij_conn_id)
        return await whole(cij_conn_id)

    monkeypatch.setattr(shared, "aget_connection", noted)

    async def settings(cancelled=0):
        tasks = [asyncio.create_task(shared._settings("cij_default")) for _ in range(50)]
        await asyncio.sleep(0)
        for task in tasks[:cancelled]:
            task.cancel()
        return await asyncio.gather(*tasks[cancelled:], return_exceptions=True)

    async def main():
        missing = await settings()
        monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
        await asyncio.sleep(shared._READ_TOGETHER + 0.1)
        return missing, await settings(cancelled=1)

    missing, found = asyncio.run(main())
    assert {type(error).__name__ for error in missing} == {"AirflowNotFoundException"}
    assert {one.base_url for one in found} == {scripted.url}
    assert read == ["cij_default"] * 2
    # A task would keep its event loop alive.
    assert not any(isinstance(kept, asyncio.Task) for reads in shared._read.values() for _, kept in reads.values())


def test_a_hundred_triggers_share_one_query(scripted, monkeypatch):
    """A hundred triggers share one token, one client and one request a poll."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    scripted.script, asked, answer = [Answer()], Counter(), scripted.answer

    def live_when_asked_thrice(request):
        found, path = answer(request), unquote(request.path)
        if "msdynmkt_segments" not in path:
            return found
        asked.update({number: path.count(PEOPLE[number]) for number in range(100)})
        numbers = [number for number in range(100) if PEOPLE[number] in path]
        return Answer(body={"value": [row(number, 1 if asked[number] == 3 else 6) for number in numbers]})

    scripted.answer = live_when_asked_thrice

    async def main():
        waits = [
            CijSegmentTrigger(segment_id=PEOPLE[number], poll_interval=3, deadline=time.time() + 30)
            for number in range(100)
        ]
        events = await asyncio.gather(*(anext(aiter(trigger.run())) for trigger in waits))
        assert not any(shared._open.values())  # the last to leave has closed it
        return [event.payload["segment"]["member_count"] for event in events]

    assert asyncio.run(main()) == list(range(100))
    assert len(scripted.logins) == 1
    assert asked == dict.fromkeys(range(100), 3)
    # Three polls. On a busy machine a trigger that begins late is asked for in a window of its own.
    assert 3 <= len(scripted.requests) <= 6


def test_a_poll_is_split_at_the_url_limit(scripted):
    """A poll of 700 segments is split into two queries that fit a URL."""
    ids = [str(uuid.UUID(int=number)) for number in range(700)]
    rows = [row(0) | {"msdynmkt_segmentid": segment_id} for segment_id in ids]
    scripted.script = [Answer(body={"value": rows})]
    found = run_on_poll(scripted, lambda poll: asyncio.gather(*(poll.get(segment_id.upper()) for segment_id in ids)))
    assert [segment.segment_id for segment in found] == ids
    assert len(scripted.requests) == 2
    assert max(len(request.path) for request in scripted.requests) < 32_000


def test_a_single_wait_reads_its_row(scripted):
    """A single wait reads its row directly."""
    scripted.script = [Answer(body=row(3))]
    assert run_on_poll(scripted, lambda poll: poll.get(PEOPLE[3])).segment_id == PEOPLE[3]
    assert f"msdynmkt_segments({PEOPLE[3]})" in scripted.requests[0].path


def test_a_refused_query_falls_back_to_single_reads(scripted):
    """Where the shared query is refused each wait reads its own row, and a missing row fails only its own wait."""
    gone = Answer(404, {"error": {"code": "0x80040217", "message": "Does Not Exist"}})
    scripted.script = [REFUSED, Answer(body=row(1)), gone, Answer(body={"value": []})]

    async def ask(poll):
        return await asyncio.gather(poll.get(PEOPLE[1]), poll.get(PEOPLE[2]), return_exceptions=True)

    result, other = sorted(run_on_poll(scripted, ask), key=lambda answer: isinstance(answer, Exception))
    assert isinstance(result, Segment)
    assert isinstance(other, CijNotFoundError)


def test_a_cancelled_wait_does_not_cancel_the_others(scripted):
    """Cancelling the wait that sends the shared query does not affect the others."""
    scripted.script = [Answer(body={"value": [row(1), row(2)]})]

    async def ask(poll):
        first, second = (asyncio.create_task(poll.get(PEOPLE[number])) for number in (1, 2))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert run_on_poll(scripted, ask).segment_id == PEOPLE[2]


@pytest.mark.parametrize("others", [0, 200])
def test_evaluations_of_many_segments_come_with_one_query(organisation, key, others):
    """Evaluations read by the shared poll, of each segment or the newest of all, equal those that each reads alone."""
    specs = [SegmentSpec(f"{key}.{number}", "Test", QUERY) for number in range(5)]

    async def main(cij):
        for spec in specs:
            await cij.segments.create(spec)
        for spec in [*specs, *specs[:2]]:
            await cij.segments.publish(spec.segment_id)
            await wait_until(SegmentWait(spec.segment_id), cij, poll_interval=0.1, deadline=time.time() + 20)
        segments = [await cij.segments.get(spec.segment_id) for spec in specs]
        since = "2020-01-01T00:00:00Z"
        alone = [await cij.segments.executions_since(segment, since) for segment in segments]
        poll = SharedCij(cij.dataverse, 0.02).segments
        asked = segments + [replace(segments[0], definition_id=PEOPLE[number]) for number in range(others)]
        together = await asyncio.gather(*(poll.executions_since(segment, since) for segment in asked))
        together, unknown = together[: len(segments)], together[len(segments) :]
        assert (together, unknown) == (alone, [[]] * others)
        assert [len(runs) for runs in together] == [2, 2, 1, 1, 1]
        assert [runs[0].member_count for runs in together] == [segment.member_count for segment in segments]
        later = "2099-01-01T00:00:00Z"
        assert await asyncio.gather(*(poll.executions_since(segment, later) for segment in segments)) == [[]] * 5

    organisation(main)


def test_five_thousand_refreshes_are_one_query(scripted):
    """The evaluations of 5,000 segments since about the same time come with one query, older ones with another."""
    ids = [str(uuid.UUID(int=number)) for number in range(5_000)]
    row_of = {"msdynmkt_segmentexecutionid": PEOPLE[1], "statuscode": 1, "msdynmkt_startedon": "2026-11-20T00:00:00Z"}
    scripted.script = [Answer(body={"value": [row_of | {OF_DEFINITION: ids[7]}]})]
    segments = [Segment(PEOPLE[0], definition_id, "", "contact", 1, None) for definition_id in ids]
    since = ["2026-11-01T00:00:00Z" if number == 9 else "2026-11-19T12:00:00Z" for number in range(5_000)]
    found = run_on_poll(
        scripted,
        lambda poll: asyncio.gather(*map(poll.executions_since, segments, since)),
    )
    assert [number for number, runs in enumerate(found) if runs] == [7]
    assert len(scripted.requests) == 2


def test_a_wait_for_group_members_counts_the_group(organisation, key):
    """A wait for members of a group counts the group, also in a segment that was never evaluated."""
    from airflow_provider_cij.api.segments.models import MemberGroup

    spec = SegmentSpec(key, "Test", groups=(MemberGroup("in"),))

    async def main(cij):
        made = await cij.segments.create(spec)
        await cij.members.add(spec.segment_id, made.groups["in"], id_set(PEOPLE[:30]))

        async def has(at_least: int, group: str = "in"):
            wait = SegmentWait(spec.segment_id, "members", min_members=at_least, group=group)
            return await wait_until(wait, cij, poll_interval=0.1, deadline=time.time() + 0.3)

        assert (await has(30)).result["member_count"] == 30
        with pytest.raises(CijTimeoutError, match=r"did not get enough members .* 30 members of 31"):
            await has(31)
        with pytest.raises(CijInputError, match="has no group 'nobody'"):
            await has(1, "nobody")

    organisation(main)
