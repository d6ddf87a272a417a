"""Watchers of segments and journeys, against the sandbox, by Airflow's own shared streams."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
import structlog
from airflow.sdk import DAG, Asset
from cij_sandbox.testing import running_sandbox

from airflow_provider_cij.api.journeys.models import JourneyStatus
from airflow_provider_cij.api.journeys.spec import JourneySpec
from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.assets import CijJourneyWatcher, CijSegmentWatcher
from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.triggers.watching import CijJourneyWatchTrigger, CijSegmentWatchTrigger
from tests.serialized import deserialize, serialize

shared_stream = pytest.importorskip("airflow.triggers.shared_stream")

ID = "0f5b0c7f-395d-447b-b14c-315a601f878e"


@pytest.fixture(scope="module")
def sandbox():
    """Run a sandbox whose requests only these tests send."""
    with running_sandbox("--contacts", "50", "--compute-seconds", "0.1") as running:
        yield running


@pytest.fixture(autouse=True)
def _connection(sandbox, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", f"{sandbox.airflow_conn_uri}&max_poll_seconds=0.2")


class Store:
    """An asset state store that keeps JSON, as Airflow's does."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    async def aget(self, key, default=None):
        return json.loads(self.kept[key]) if key in self.kept else default

    async def aset(self, key, value):
        self.kept[key] = json.dumps(value)


class Triggerer:
    """Runs watchers as Airflow's triggerer does: one manager of shared streams, which is told what is stored."""

    def __init__(self, *, storing: bool = True) -> None:
        self.manager = shared_stream.SharedStreamManager(log=structlog.get_logger())
        self.storing = storing
        self.events: asyncio.Queue = asyncio.Queue()
        self.tasks: list[asyncio.Task] = []

    def start(self, trigger, store) -> None:
        trigger.asset_state_store = store
        self.tasks.append(asyncio.create_task(self._run(len(self.tasks), trigger)))

    async def _run(self, number: int, trigger) -> None:
        key = trigger.shared_stream_key()
        stream = self.manager.subscribe(trigger_id=number, trigger=trigger, key=key)
        async for event in trigger.filter_shared_stream(stream):
            seq = self.manager.bind_pending_event(trigger_id=number, key=key)
            if self.storing and seq is not None:
                self.manager.confirm_persisted([seq])
            await self.events.put(event.payload)

    async def next(self, seconds: float = 20) -> dict:
        return await asyncio.wait_for(self.events.get(), seconds)

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.manager.stop_all()


@asynccontextmanager
async def _triggerer(**how) -> AsyncIterator[Triggerer]:
    one = Triggerer(**how)
    try:
        yield one
    finally:
        await one.stop()


async def _segment(publish: bool = True) -> str:
    spec = SegmentSpec(key=uuid.uuid4().hex, display_name="VIP", query="PROFILE(contact)")
    async with CijHook().session() as cij:
        await cij.segments.create(spec)
    if publish:
        await _refresh(spec.segment_id)
    return spec.segment_id


async def _refresh(segment_id: str) -> str:
    """Evaluate a segment once, and return the execution's id."""
    async with CijHook().session() as cij:
        segment = await cij.segments.get(segment_id)
        known = {run.execution_id for run in await cij.segments.newest_executions(segment, 10)}
        await cij.segments.publish(segment_id)
        while True:
            for run in await cij.segments.newest_executions(segment, 10):
                if run.execution_id not in known and run.finished_on:
                    return run.execution_id
            await asyncio.sleep(0.05)


async def _until(condition) -> None:
    """Wait until something outside this loop has happened."""
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise TimeoutError


def test_each_evaluation_is_an_event_with_its_execution():
    """Each evaluation of a segment is one event, with numbers, a link and its execution's id."""

    async def main():
        segment_id, store = await _segment(), Store()
        async with _triggerer() as watching:
            watching.start(CijSegmentWatchTrigger(on="refreshed", segment_id=segment_id), store)
            await _until(lambda: store.kept)
            for _ in range(2):
                execution_id = await _refresh(segment_id)
                event = await watching.next()
                assert event["execution_id"] == execution_id
                assert (event["name"], event["status"], event["member_count"], event["change"]) == (
                    "VIP",
                    "live",
                    50,
                    0,
                )
                assert set(event) <= {
                    *("segment_id", "name", "status", "member_count", "change", "evaluated_at", "duration", "link"),
                    *("execution_id", "cij_conn_id"),
                }
            assert watching.events.empty()

    asyncio.run(main())


@pytest.mark.parametrize("storing", [True, False])
def test_an_evaluation_while_no_triggerer_runs_is_an_event_afterwards(storing):
    """What Airflow had not stored before a crash, and what happened while it was away, is reported afterwards."""

    async def main():
        segment_id, store = await _segment(), Store()
        async with _triggerer(storing=storing) as watching:
            watching.start(CijSegmentWatchTrigger(on="refreshed", segment_id=segment_id), store)
            await _until(lambda: store.kept)
            first = await _refresh(segment_id)
            assert (await watching.next())["execution_id"] == first
            if storing:
                await _until(lambda: first in store.kept["cij_watermark"])
        missed = await _refresh(segment_id)
        async with _triggerer() as watching:
            watching.start(CijSegmentWatchTrigger(on="refreshed", segment_id=segment_id), store)
            expected = {missed} if storing else {first, missed}
            assert {(await watching.next())["execution_id"] for _ in expected} == expected

    asyncio.run(main())


def test_states_of_a_segment_that_is_not_there_yet():
    """A watcher of a segment that does not exist yet reports when it goes live and when it is stopped."""

    async def main():
        spec, stores = (
            SegmentSpec(key=uuid.uuid4().hex, display_name="New", query="PROFILE(contact)"),
            [Store(), Store()],
        )
        async with _triggerer() as watching:
            for on, store in zip(("live", "stopped"), stores, strict=True):
                watching.start(CijSegmentWatchTrigger(on=on, segment_id=spec.segment_id), store)
            await _until(lambda: all(store.kept for store in stores))
            async with CijHook().session() as cij:
                await cij.segments.create(spec)
                execution_id = await _refresh(spec.segment_id)
                event = await watching.next()
                assert (event["status"], event["execution_id"]) == ("live", execution_id)
                await cij.segments.stop([spec.segment_id])
                event = await watching.next()
                assert (event["status"], event["execution_id"]) == ("stopped", execution_id)

    asyncio.run(main())


async def _journey() -> str:
    """Make the draft of a journey whose audience is a live segment; return its id."""
    audience = await _segment()
    async with CijHook().session() as cij:
        templates = await cij.dataverse.rows(
            "msdynmkt_journeytemplates?$filter=msdynmkt_name eq 'One e-mail to a segment'"
        )
        spec = JourneySpec(templates[0]["msdynmkt_journeytemplateid"], uuid.uuid4().hex, audience_segment_id=audience)
        return (await cij.journeys.create(spec, datetime.now(UTC))).journey_id


async def _become(journey_id: str, status: int) -> None:
    """Wait until a journey has a status."""
    async with CijHook().session() as cij:
        for _ in range(400):
            if (await cij.journeys.get(journey_id)).status == status:
                return
            await asyncio.sleep(0.05)
    raise TimeoutError


def test_each_news_of_a_journey_is_an_event_with_its_execution(sandbox):
    """A journey that goes live and is stopped is an event for each, with a link and what tells a repeat apart."""

    async def main():
        journey_id, stores = await _journey(), [Store(), Store()]
        async with _triggerer() as watching:
            for on, store in zip(("live", "stopped"), stores, strict=True):
                watching.start(CijJourneyWatchTrigger(on=on, journey_id=journey_id), store)
            await _until(lambda: all(store.kept for store in stores))
            async with CijHook().session() as cij:
                await cij.journeys.publish(journey_id)
                live = await watching.next()
                stop = {"statecode": 2, "statuscode": 3}
                await cij.dataverse.patch(f"msdynmkt_journeys({journey_id})", stop)
                stopped = await watching.next()
        assert [event["status"] for event in (live, stopped)] == ["live", "stopped"]
        for event in (live, stopped):
            assert event["journey_id"] == journey_id
            assert event["execution_id"].startswith(f"{event['status']} 20")
            assert event["link"].startswith(sandbox.base_url)

    asyncio.run(main())


def test_a_later_version_of_a_journey_is_no_stop(sandbox, caplog):
    """A journey that ends because a later version took its place is a warning, not a stop."""

    async def main():
        journey_id, store = await _journey(), Store()
        async with CijHook().session() as cij, _triggerer() as watching:
            await cij.journeys.publish(journey_id)
            await _become(journey_id, JourneyStatus.LIVE)
            watching.start(CijJourneyWatchTrigger(on="stopped", journey_id=journey_id), store)
            await _until(lambda: store.kept)
            await cij.journeys.publish(later := sandbox.edit_journey(journey_id))
            await _become(later, JourneyStatus.LIVE)
            name = (await cij.journeys.get(later)).name
            assert await cij.journeys.id_of_name(name) == later
            sandbox.advance(2 * 86_400)
            await _until(lambda: "did not stop" in caplog.text)
            assert watching.events.empty()

    asyncio.run(main())


def test_an_outage_loses_nothing(sandbox):
    """What was evaluated while the service refused to answer is reported once it answers again."""

    async def main():
        segment_id, store = await _segment(), Store()
        async with _triggerer() as watching:
            watching.start(CijSegmentWatchTrigger(on="refreshed", segment_id=segment_id), store)
            await _until(lambda: store.kept)
            sandbox.faults.add("400", path="msdynmkt_segmentexecutions", count=3)
            await _until(lambda: sandbox.faults.struck() == [3])
            execution_id = await _refresh(segment_id)
            assert (await watching.next())["execution_id"] == execution_id

    try:
        asyncio.run(main())
    finally:
        sandbox.faults.clear()


def test_many_watchers_share_one_poll(sandbox):
    """A hundred watchers send as many requests a poll as one: two for segments."""

    async def main():
        segment_ids = [await _segment(publish=False) for _ in range(5)]
        await _refresh(segment_ids[1])  # a log of evaluations that is empty is asked twice
        stores = [Store() for _ in range(100)]
        async with _triggerer() as watching:
            for number, store in enumerate(stores):
                watching.start(CijSegmentWatchTrigger(on="refreshed", segment_id=segment_ids[number % 5]), store)
            await _until(lambda: all(store.kept for store in stores))
            first = sandbox.requests()[-1]["number"]
            await asyncio.sleep(2)
            asked = [request["path"].rpartition("/")[2] for request in sandbox.requests(first)]
            assert 4 <= asked.count("msdynmkt_segments") <= 10
            assert abs(asked.count("msdynmkt_segments") - asked.count("msdynmkt_segmentexecutions")) <= 1
            assert set(asked) <= {"msdynmkt_segments", "msdynmkt_segmentexecutions", "token"}
            execution_id = await _refresh(segment_ids[0])
            assert {(await watching.next())["execution_id"] for _ in range(20)} == {execution_id}

    asyncio.run(main())


def test_the_triggers_are_serializable():
    """A watcher's trigger serializes to plain JSON, from which an equal one is made, whatever its arguments."""
    for trigger in (
        CijSegmentWatchTrigger(on="members_changed", segment_id=ID, at_least_change="10%"),
        CijJourneyWatchTrigger(on="live", journey_id=ID),
        CijSegmentWatchTrigger(),
    ):
        path, kwargs = trigger.serialize()
        assert path == f"{type(trigger).__module__}.{type(trigger).__name__}"
        assert deserialize(serialize(kwargs)) == kwargs
        assert type(trigger)(**kwargs).serialize() == (path, kwargs)


def test_a_watcher_belongs_to_an_asset_of_a_dag():
    """A watcher on an asset goes into a DAG's schedule; its name tells it from others."""
    watcher = CijSegmentWatcher("my_dag.create", on="members_changed", at_least_change="10%")
    asset = Asset("vip_refreshed", watchers=[watcher, CijJourneyWatcher(ID)])
    with DAG("watching", schedule=[asset]):
        pass
    assert [one.name for one in asset.watchers] == [
        f"cij_members_changed_{watcher.trigger.segment_id}",
        f"cij_live_{ID}",
    ]


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (CijSegmentWatcher, {"segment": ID, "on": "gone"}),
        (CijSegmentWatcher, {"segment": ID, "at_least_change": 5}),
        (CijSegmentWatcher, {"segment": "{{ params.x }}"}),
        (CijJourneyWatcher, {"journey_id": ID, "on": "refreshed"}),
        (CijJourneyWatcher, {"journey_id": "Newsletter"}),
    ],
)
def test_wrong_use_is_refused_while_the_dag_file_is_parsed(kind, arguments):
    """A watcher whose arguments can't be right is refused while the DAG file is parsed."""
    with pytest.raises(CijInputError):
        kind(**arguments)
