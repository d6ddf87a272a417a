"""Waits of every kind, sharing one poll."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from airflow_provider_cij.api import IdSet, MemberGroup, SegmentSpec
from airflow_provider_cij.api.journeys.wait import JourneyWait
from airflow_provider_cij.api.outbound.segments import OutboundSegmentSpec
from airflow_provider_cij.api.outbound.wait import OutboundWait
from airflow_provider_cij.api.segments.wait import SegmentWait, capture_baseline
from airflow_provider_cij.api.shared import SharedCij
from airflow_provider_cij.api.wait import PHASE, wait_until
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


def start(shared: SharedCij, waits):
    """Return tasks of waits that share their polls."""
    # Two waits that begin before and after one of their common moments would not read together at first.
    time.sleep(POLL - (time.monotonic() - PHASE) % POLL + POLL / 10)
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
        tasks = start(SharedCij(cij.dataverse, 0.1), waits)
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
                return await work(SharedCij(client, 0.1))

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


def asked_in(request) -> list[dict]:
    """Return the actions of a batch."""
    return [json.loads(line) for line in request.body.decode().splitlines() if line.startswith("{")]


def group_answer(request, page) -> Answer:
    """Answer what a wait for members of a group asks, with pages of ``page``."""
    if request.path.endswith("$batch"):
        return batch(*map(page, asked_in(request)))
    if request.method == "POST":
        return Answer(body=page(json.loads(request.body)))
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


@pytest.fixture
def groups(scripted, monkeypatch):
    """Return a function that lets the scripted server answer with the pages of groups that it is given."""
    web_api = scripted.answer

    def answer_with(page) -> None:
        def answer(request) -> Answer:
            found = web_api(request) if "/api/data/" not in request.path else group_answer(request, page)
            scripted.requests += [request] if "/api/data/" in request.path else []
            return found

        monkeypatch.setattr(scripted, "answer", answer)

    return answer_with


def page_of(members: list[str]) -> dict:
    """Return a page of a group."""
    return {"Response": json.dumps({"entityIds": members})}


@pytest.mark.parametrize("at_first", [0, 1, 2])
def test_a_group_whose_pages_ignore_their_size_is_listed_at_each_poll(groups, shared_poll, at_first):
    """Where pages are not as asked for, groups are listed at each poll, and their growth ends the wait."""
    asked = 0

    def page(body: dict) -> dict:
        nonlocal asked
        asked += 1
        members = PEOPLE[: 5 if asked > 12 else at_first]
        return page_of(members if body["PageNo"] == 1 else [])

    groups(page)
    waits = [SegmentWait(PEOPLE[number], "members", min_members=4, group="in") for number in (1, 2)]

    async def main(shared):
        return await asyncio.gather(*start(shared, waits))

    assert [check.result["member_count"] for check in shared_poll(main)] == [5, 5]


def test_groups_are_asked_for_one_page_each_once_one_has_two_members(scripted, groups, shared_poll):
    """Once one group has shown that the service keeps to the size of a page, each group costs one action a poll."""
    sizes = {PEOPLE[1]: 1, PEOPLE[2]: 1}
    batches = []

    def page(body: dict) -> dict:
        batches.append(len(scripted.requests))
        if len(set(batches)) > 1:
            sizes[PEOPLE[1]] = 2
        first = (body["PageNo"] - 1) * body["PageSize"]
        if len(set(batches)) > 5:
            sizes.update({PEOPLE[1]: 4, PEOPLE[2]: 4})
        return page_of(PEOPLE[10 : 10 + sizes[body["SegmentId"]]][first : first + body["PageSize"]])

    groups(page)
    waits = [SegmentWait(PEOPLE[number], "members", min_members=4, group="in") for number in (1, 2)]

    async def main(shared):
        return await asyncio.gather(*start(shared, waits))

    assert [check.result["member_count"] for check in shared_poll(main)] == [4, 4]
    actions = [len(asked_in(request)) for request in scripted.requests if request.path.endswith("$batch")]
    assert actions[0] == 2 * 3
    assert actions[3:] == [2] * len(actions[3:])


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


def test_a_segment_that_is_deleted_ends_the_wait_for_its_refresh(scripted, shared_poll):
    """The row of a segment whose refresh is waited for is read again once it is old, though its log stays the same."""
    live, deleted, nothing = refreshing(1), refreshing(4), Answer(body={"value": []})
    logs: list[str] = []

    def place(request) -> int:
        if "segmentexecutions" in request.path:
            if not logs:
                for wait in refreshes:
                    wait.memory.read_at -= 59
            logs.append(request.path)
            return 2
        if request.method == "POST":
            return 3
        return 0 if len(logs) < 3 else 1

    scripted.place_of = place
    scripted.script = [live, deleted, nothing, Answer(body={"ResultText": "{}"})]
    refreshes = [SegmentWait(PEOPLE[number], "refreshed", since=time.time()) for number in (1, 2)]

    async def main(shared):
        return await asyncio.gather(*start(shared, refreshes), return_exceptions=True)

    assert [type(error) for error in shared_poll(main)] == [CijSegmentFailedError] * 2


def test_the_row_that_decides_on_a_refresh_is_read_after_the_log(scripted, shared_poll):
    """A row that was polled beside the log does not end the wait for a refresh: the row is read after the log."""
    ended = {
        "msdynmkt_segmentexecutionid": PEOPLE[5],
        "statuscode": 723270002,
        "msdynmkt_startedon": "2026-11-20T00:00:00Z",
    }
    log = [ended | {"_msdynmkt_segmentdefinitionid_value": PEOPLE[number + 100]} for number in (1, 2)]
    computing, live, broken = refreshing(6), refreshing(1), refreshing(3)
    read = iter([0, 0, 0, 1])  # at first, after the log, polled, and polled as live

    def place(request) -> int:
        if "segmentexecutions" in request.path:
            return 3
        return 4 if request.method == "POST" else next(read, 2)

    scripted.place_of = place
    scripted.script = [computing, live, broken, Answer(body={"value": log}), Answer(body={"ResultText": "{}"})]
    waits = [SegmentWait(PEOPLE[number], "refreshed", since=1_790_000_000.0) for number in (1, 2)]

    async def main(shared):
        return await asyncio.gather(*start(shared, waits), return_exceptions=True)

    assert [type(error) for error in shared_poll(main)] == [CijSegmentFailedError] * 2
