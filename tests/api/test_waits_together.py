"""Waits of every kind, sharing one poll."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from airflow_provider_cij.api import IdSet, MemberGroup, SegmentSpec
from airflow_provider_cij.api.cij import Cij
from airflow_provider_cij.api.journeys.wait import JourneyWait
from airflow_provider_cij.api.outbound.segments import OutboundSegmentSpec
from airflow_provider_cij.api.outbound.wait import OutboundWait
from airflow_provider_cij.api.segments import wait as segment_wait
from airflow_provider_cij.api.segments.wait import SegmentWait, capture_baseline
from airflow_provider_cij.api.wait import wait_until
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.dataverse.guids import pack_guids
from airflow_provider_cij.errors import CijJourneyFailedError, CijSegmentFailedError
from tests.member_ids import PEOPLE
from tests.scripted import Answer

QUERY = "PROFILE(contact).FILTER(ISNOTNULL(emailaddress1))"
POLL = 0.3


class Counted:
    """A wait that counts its checks."""

    def __init__(self, wait) -> None:
        self._wait = wait
        self.checks = 0
        self.subject, self.until, self.unmet = wait.subject, wait.until, wait.unmet

    async def check(self, cij):
        self.checks += 1
        return await self._wait.check(cij)


def start(shared: Cij, waits):
    """Return tasks of waits that share their polls."""
    deadline = time.time() + 60
    return [
        asyncio.create_task(wait_until(wait, shared, poll_interval=POLL, deadline=deadline, together=True))
        for wait in waits
    ]


def ids(start_at: int, end: int) -> IdSet:
    """Return ids of people."""
    made = IdSet()
    made.update(pack_guids(PEOPLE[start_at:end])[0])
    return made


async def made_for_waits(cij, key: str) -> dict:
    """Create two segments for each kind of wait. Those whose refresh or publish is waited for are live."""
    segments = {}
    for kind in ("live", "refreshed", "published", "group"):
        groups = (MemberGroup("in"),) if kind == "group" else ()
        query = "" if groups else QUERY
        segments[kind] = [
            await cij.segments.create(SegmentSpec(f"{key}.{kind}.{number}", kind, query, groups)) for number in (1, 2)
        ]
    until_live = []
    for made in (*segments["refreshed"], *segments["published"]):
        await cij.segments.publish(made.segment_id)
        until_live.append(SegmentWait(made.segment_id))
    await asyncio.gather(*start(cij, until_live))
    return segments


async def wait_of(cij, kind: str, segment_id: str) -> Counted:
    """Return the wait of a kind."""
    if kind == "refreshed":
        return Counted(SegmentWait(segment_id, "refreshed", since=time.time() + cij.segments.service_ahead + 1))
    if kind == "published":
        baseline = await capture_baseline(cij.segments, await cij.segments.get(segment_id))
        return Counted(SegmentWait(segment_id, baseline=baseline))
    if kind == "group":
        return Counted(SegmentWait(segment_id, "members", min_members=3, group="in"))
    return Counted(SegmentWait(segment_id))


def test_waits_of_every_kind_stand_in_the_poll_until_their_end(cij_sandbox, organisation, key):
    """Waits for a status, a refresh, a publish, a group and outbound rows are checked only when these change."""

    async def checks_in(polls: int, waits: list[Counted]) -> int:
        before, checks = cij_sandbox.requests()[-1]["number"], sum(wait.checks for wait in waits)
        sent = 0
        while sent < polls:
            await asyncio.sleep(POLL)
            requests = await asyncio.to_thread(cij_sandbox.requests, before)
            sent = sum(request["path"].endswith("msdyncrm_segments") for request in requests)
        return sum(wait.checks for wait in waits) - checks

    async def main(cij):
        segments = await made_for_waits(cij, key)
        outbound = [await cij.outbound.segments.create(OutboundSegmentSpec(f"{key}.{n}", "O")) for n in (1, 2)]
        waits = [await wait_of(cij, kind, made.segment_id) for kind, both in segments.items() for made in both]
        waits += [Counted(OutboundWait("segment", made.row_id)) for made in outbound]
        tasks = start(Cij.shared(cij.dataverse, 0.1), waits)
        group = segments["group"]
        # Until a group has shown that the service keeps to the size of a page, groups are checked at each poll.
        await cij.members.add(group[0].segment_id, group[0].groups["in"], ids(0, 2))
        while await checks_in(3, waits):
            assert not any(task.done() for task in tasks)
        for made in group:
            await cij.members.add(made.segment_id, made.groups["in"], ids(0, 5))
        for made in (*segments["live"], *segments["refreshed"], *segments["published"]):
            await cij.segments.publish(made.segment_id)
        for made in outbound:
            await cij.outbound.segments.publish(made.row_id)
        checks = await asyncio.gather(*tasks)
        assert all(check.done for check in checks)
        assert [check.result["member_count"] for check in checks[6:8]] == [5, 5]
        assert [check.result["status"] for check in checks[:6]] == ["live"] * 6

    organisation(main)


@pytest.fixture
def shared_poll(scripted):
    """Return a function that runs a coroutine function on a shared poll of the scripted server."""

    def run(work):
        async def main():
            async with DataverseClient(scripted.settings()) as client:
                return await work(Cij.shared(client, 0.1))

        return asyncio.run(main())

    return run


def rows(**statuses: int) -> Answer:
    """Return a response with journeys in these statuses, by the places of their ids."""
    return Answer(
        body={
            "value": [
                {"@odata.etag": f'W/"{status}"', "msdynmkt_journeyid": PEOPLE[int(place[1:])], "statuscode": status}
                for place, status in statuses.items()
            ]
        }
    )


def test_journeys_are_checked_when_a_poll_shows_another_status(scripted, shared_poll):
    """A journey that is read as before is not checked, one that gets live ends its wait, and one that is gone fails."""
    before = rows(j1=4, j2=4, j3=4)
    scripted.script = [before, before, before, rows(j1=2, j2=4, j3=4), rows(j2=4, j3=4), rows(j2=6, j3=4)]
    waits = [Counted(JourneyWait(PEOPLE[number])) for number in (1, 2, 3)]

    async def main(shared):
        tasks = start(shared, waits)
        ends = await asyncio.gather(*tasks[:2], return_exceptions=True)
        tasks[2].cancel()
        return ends

    first, second = shared_poll(main)
    assert first.result["status"] == "live"
    assert isinstance(second, CijJourneyFailedError)
    assert [wait.checks for wait in waits] == [2, 2, 1]


def part(body: dict) -> str:
    """Return a response of a batch."""
    head = "--b\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\nHTTP/1.1 200 OK\r\n"
    return f"{head}Content-Type: application/json\r\n\r\n{json.dumps(body)}\r\n"


def batch(*bodies: dict) -> Answer:
    """Return a response to a batch."""
    content = "".join(map(part, bodies)) + "--b--\r\n"
    return Answer(200, content.encode(), {"Content-Type": "multipart/mixed; boundary=b"})


def outbound_rows(*places: int) -> Answer:
    """Return a response with static outbound segments."""
    kind = {"msdyncrm_segmenttype": 192350001, "statuscode": 192350001}
    return Answer(body={"value": [{"msdyncrm_segmentid": PEOPLE[place], **kind} for place in places]})


def test_changes_of_members_are_checked_when_their_state_is_another(scripted, shared_poll):
    """Changes of outbound members are asked for in one batch a poll, and checked when their state is another."""
    going, done = {"state": "InProgress"}, {"state": "Completed"}
    scripted.script = [outbound_rows(1, 2), *[batch(going, going)] * 4, batch(done, done)]
    waits = [Counted(OutboundWait("operations", PEOPLE[number], "finished")) for number in (1, 2)]

    async def main(shared):
        return await asyncio.gather(*start(shared, waits))

    assert all(check.done for check in shared_poll(main))
    assert [wait.checks for wait in waits] == [2, 2]
    assert [request.path.rpartition("/")[2] for request in scripted.requests[1:]] == ["$batch"] * 5


def group_answer(request, members: int) -> Answer:
    """Answer what a wait for members of a group asks of a service that ignores the size of a page."""
    if request.path.endswith("$batch"):
        asked = [json.loads(line) for line in request.body.decode().splitlines() if line.startswith("{")]
        return batch(*(page_of(members, body["PageNo"]) for body in asked))
    if request.method == "POST":
        return Answer(body=page_of(members, json.loads(request.body)["PageNo"]))
    path = request.path.partition("?")[0]
    numbers = [number for number in (1, 2) if "(" not in path or PEOPLE[number] in path or PEOPLE[number + 100] in path]
    groups = json.dumps([{"groupId": PEOPLE[9], "includeType": "Include", "name": "in"}])
    found = [
        {"msdynmkt_segmentdefinitionid": PEOPLE[number + 100], "msdynmkt_staticlistmembers": groups}
        if "segmentdefinitions" in path
        else {
            "msdynmkt_segmentid": PEOPLE[number],
            "msdynmkt_sourcesegmentuid": PEOPLE[number + 100],
            "statuscode": 2,
        }
        for number in numbers
    ]
    return Answer(body=found[0] if "(" in path else {"value": found})


def page_of(members: int, number: int) -> dict:
    """Return a page of a group whose pages have all their members."""
    return {"Response": json.dumps({"entityIds": PEOPLE[:members] if number == 1 else []})}


@pytest.mark.parametrize("at_first", [0, 1, 2])
def test_a_group_whose_pages_ignore_their_size_is_listed_at_each_poll(scripted, shared_poll, at_first, monkeypatch):
    """Where pages are not as asked for, groups are listed at each poll, and their growth ends the wait."""
    lists = 0

    def answer(request):
        nonlocal lists
        lists += "ListGroupMembers" in request.path or request.path.endswith("$batch")
        return group_answer(request, 5 if lists > 6 else at_first)

    web_api = scripted.answer
    monkeypatch.setattr(
        scripted, "answer", lambda request: answer(request) if "/api/data/" in request.path else web_api(request)
    )
    waits = [SegmentWait(PEOPLE[number], "members", min_members=4, group="in") for number in (1, 2)]

    async def main(shared):
        return await asyncio.gather(*start(shared, waits))

    assert [check.result["member_count"] for check in shared_poll(main)] == [5, 5]


def refreshing(status: int) -> Answer:
    """Return a response with two segments in this status."""
    columns = [(PEOPLE[n], PEOPLE[n + 100]) for n in (1, 2)]
    return Answer(
        body={
            "value": [
                {"msdynmkt_segmentid": row, "msdynmkt_sourcesegmentuid": of, "statuscode": status}
                for row, of in columns
            ]
        }
    )


def test_a_segment_that_is_deleted_ends_the_wait_for_its_refresh(scripted, shared_poll, monkeypatch):
    """The row of a segment whose refresh is waited for is read again once it is old, though its log stays the same."""
    monkeypatch.setattr(segment_wait, "_ROW_IS_OLD", 1.0)
    live, deleted, nothing = refreshing(1), refreshing(4), Answer(body={"value": []})
    asked = {"rows": 0, "logs": 0}

    def place(request) -> int:
        if "segmentexecutions" in request.path:
            asked["logs"] += 1
            return 2
        if request.method == "POST":
            return 3
        asked["rows"] += 1
        return 0 if asked["rows"] == 1 else 1

    scripted.place_of = place
    scripted.script = [live, deleted, nothing, Answer(body={"ResultText": "{}"})]
    waits = [Counted(SegmentWait(PEOPLE[number], "refreshed", since=time.time())) for number in (1, 2)]

    async def main(shared):
        return await asyncio.gather(*start(shared, waits), return_exceptions=True)

    assert [type(error) for error in shared_poll(main)] == [CijSegmentFailedError] * 2
    assert asked["logs"] >= 3
    assert [wait.checks for wait in waits] == [2, 2]
