"""Watch segments and journeys, so that DAGs start when one is refreshed, goes live or ends.

All watchers of a connection in one triggerer share one poll, which reads what changed, whatever their number. A
watcher stores its watermark in Airflow's asset state store (Airflow 3.3), and advances it only once Airflow has stored
its events. After a crash it resumes from there. An event may be repeated then, with the same ``execution_id``.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_provider_cij.api.changes import before
from airflow_provider_cij.api.journeys.models import SUPERSEDED
from airflow_provider_cij.api.journeys.wait import JOURNEY_NEWS
from airflow_provider_cij.api.segments.models import Execution, Segment
from airflow_provider_cij.api.segments.watch import SegmentWatch, Watermark, change_bound
from airflow_provider_cij.errors import CijError, CijNotFoundError
from airflow_provider_cij.triggers._waiting import event_of, load_session
from airflow_provider_cij.version_compat import shared_stream_producer

if TYPE_CHECKING:
    from airflow_provider_cij.api.cij import Cij
    from airflow_provider_cij.api.journeys.models import Journey

T = TypeVar("T")
M = TypeVar("M")

log = logging.getLogger(__name__)

SECONDS_BETWEEN_POLLS = 30.0
"""Seconds. A poll of segments is two requests, one of journeys one: 6 a minute. ``max_poll_seconds`` shortens it."""
_LONGEST_PAUSE = 300.0
_SPACE = 5.0
"""Seconds between two events of a watcher. Events that come before Airflow's scheduler has created the run of the first
one are all left to the following run (3.3)."""
_WATERMARK = "cij_watermark"
_EPOCH = "1970-01-01T00:00:00Z"
# A large segment is evaluated for hours; an evaluation that began earlier than this is not read after a restart.
_LONGEST_EVALUATION = timedelta(days=2)


@dataclass
class Poll:
    """The result of one poll.

    :param newest: the time of the newest change, as the service writes it; default ``""``, no row was read yet
    :param executions: evaluations that changed, by the id of their definition; default none
    :param rows: segments or journeys that changed, by their id; default none
    :param whole: False when the poll failed, so that nothing is known; default True
    :param stored: True once Airflow has stored the events of the poll; default False
    """

    newest: str = ""
    executions: Mapping[str, Sequence[Execution]] = field(default_factory=dict)
    rows: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = True
    stored: bool = False


class Feed:
    """Reads what changed in an organisation. It is kept over reconnects, so that no change between them is missed."""

    async def read(self, cij: Cij) -> Poll:
        """Read what changed since the last read.

        :param cij: an open session
        :raises CijError: the service refuses, or does not answer
        """
        raise NotImplementedError


class SegmentFeed(Feed):
    """Reads evaluations, then segments, so that a segment's row is never older than its evaluations."""

    def __init__(self) -> None:
        from airflow_provider_cij.api.changes import ChangedRows
        from airflow_provider_cij.api.segments.executions import EXECUTIONS, OF_DEFINITION
        from airflow_provider_cij.api.segments.models import EXECUTION_COLUMNS, SEGMENT_COLUMNS
        from airflow_provider_cij.api.segments.spec import SEGMENTS

        self._definition = OF_DEFINITION
        self._executions = ChangedRows(EXECUTIONS, (*EXECUTION_COLUMNS, OF_DEFINITION))
        self._segments = ChangedRows(SEGMENTS.entity_set, SEGMENT_COLUMNS)

    async def read(self, cij: Cij) -> Poll:
        """Read what changed since the last read."""
        from airflow_provider_cij.api.segments.models import Execution, Segment

        executions: dict[str, list[Execution]] = {}
        for row in await self._executions.read(cij.dataverse):
            for run in _readable(Execution.of, row):
                executions.setdefault(str(row.get(self._definition)).lower(), []).append(run)
        rows = await self._segments.read(cij.dataverse)
        segments = {segment.segment_id: segment for row in rows for segment in _readable(Segment.of, row)}
        return Poll(self._executions.newest, executions, segments)


class JourneyFeed(Feed):
    """Reads journeys."""

    def __init__(self) -> None:
        from airflow_provider_cij.api.changes import ChangedRows
        from airflow_provider_cij.api.journeys.client import JOURNEYS
        from airflow_provider_cij.api.journeys.models import JOURNEY_COLUMNS

        self._journeys = ChangedRows(JOURNEYS, JOURNEY_COLUMNS)

    async def read(self, cij: Cij) -> Poll:
        """Read what changed since the last read."""
        from airflow_provider_cij.api.journeys.models import Journey

        rows = await self._journeys.read(cij.dataverse)
        journeys = {journey.journey_id: journey for row in rows for journey in _readable(Journey.of, row)}
        return Poll(self._journeys.newest, rows=journeys)


def _readable(read: Callable[[Mapping[str, Any]], T], row: Mapping[str, Any]) -> Iterator[T]:
    """Yield the model of a row. A row that can't be read is logged and skipped, so that the others are still read."""
    try:
        yield read(row)
    except CijError as error:
        log.warning("%s", error)


def _session(cij_conn_id: str) -> Any:
    from airflow_provider_cij.triggers._session import shared_session

    return shared_session(cij_conn_id, SECONDS_BETWEEN_POLLS)


async def polls_of(cij_conn_id: str, feed: Feed) -> AsyncGenerator[Poll]:
    """Poll without end. A poll that fails is logged, and yields one with ``whole=False``; the next one catches up.

    :param cij_conn_id: the Airflow connection
    :param feed: reads the changes
    """
    await load_session()
    failures, interval = 0, SECONDS_BETWEEN_POLLS
    while True:
        try:
            async with _session(cij_conn_id) as cij:
                interval = min(SECONDS_BETWEEN_POLLS, cij.dataverse.settings.max_poll_seconds)
                while True:
                    yield await feed.read(cij)
                    failures = 0
                    await asyncio.sleep(interval * (1 + random.random() / 10))  # noqa: S311
        except Exception as error:  # a stream that ends is opened again at once, without a pause
            failures += 1
            log.warning("Changes could not be read on connection %r, retrying: %s", cij_conn_id, error)
            pause = min(interval * failures, _LONGEST_PAUSE)
            pause = max(getattr(error, "retry_after", None) or 0.0, pause)
        # Airflow fails a watcher whose stream yields nothing for 5 minutes.
        while pause > 0:
            yield Poll(whole=False)
            await asyncio.sleep(min(pause, SECONDS_BETWEEN_POLLS))
            pause -= SECONDS_BETWEEN_POLLS


async def _stored_at_the_next(polls: AsyncIterator[Poll]) -> AsyncIterator[Poll]:
    """Mark each poll as stored when the next one comes: Airflow stores events once a second."""
    last = None
    async for poll in polls:
        if last:
            last.stored = True
        last = poll
        yield poll


@dataclass(eq=False)
class WatchTrigger(BaseEventTrigger, Generic[M]):
    """Watches one segment or journey.

    :param cij_conn_id: the Airflow connection
    :param on: the change that is an event, such as ``refreshed``
    """

    feed: ClassVar[type[Feed]]

    cij_conn_id: str = "cij_default"
    on: str = ""

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # False at the start and after a failure: missed changes are then read for this watcher alone.
        self._caught_up = False
        self._quiet_until = 0.0
        self._watermark: M | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments for Airflow's database: plain JSON without secrets."""
        kind = type(self)
        arguments = {argument.name: getattr(self, argument.name) for argument in fields(self)}
        return f"{kind.__module__}.{kind.__qualname__}", arguments

    def shared_stream_key(self) -> Hashable | None:
        """Return the key of the shared poll: the kind of trigger and the connection; None where Airflow shares none."""
        if shared_stream_producer() is None:
            return None
        return "airflow_provider_cij", type(self).__name__, self.cij_conn_id

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> Any:
        """Return the producer of the shared poll. Airflow calls its ``advance`` once it has stored a poll's events."""
        feed, cij_conn_id = cls.feed, str(kwargs["cij_conn_id"])

        class Producer(shared_stream_producer()):  # type: ignore[misc]
            async def open_stream(self) -> AsyncIterator[tuple[Poll, Poll]]:
                async with aclosing(polls_of(cij_conn_id, feed())) as polls:
                    async for poll in polls:
                        yield poll, poll

            async def advance(self, batch: Sequence[Any]) -> None:
                # Airflow ends a watcher whose events it could not store, so those of all running ones are stored.
                for item in batch:
                    item.broker_payload.stored = True

        return Producer()

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch with an own poll, on an Airflow that does not share one."""
        async with aclosing(polls_of(self.cij_conn_id, self.feed())) as polls:
            async for event in self.filter_shared_stream(_stored_at_the_next(polls)):
                yield event

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Poll]) -> AsyncIterator[TriggerEvent]:
        """Yield the events of this watcher, and store its watermark once Airflow has stored them."""
        unstored: deque[tuple[Poll, M]] = deque()
        async for poll in shared_stream:
            await self._keep(unstored)
            if not poll.whole:
                continue
            if asyncio.get_running_loop().time() < self._quiet_until:
                self._caught_up = False
                continue
            try:
                if self._watermark is None:
                    self._watermark = await self._kept()
                watermark, news = await self._next_event(poll)
            except Exception as error:  # Airflow would restart an ended stream at once, without a pause
                log.warning("%s could not be checked, retrying: %s", self.subject, error)
                self._caught_up = False
                continue
            # There may be more events after this one.
            self._caught_up = not news
            if news:
                news = {**news, "cij_conn_id": self.cij_conn_id}
                yield event_of({name: value for name, value in news.items() if value not in (None, "")})
                self._quiet_until = asyncio.get_running_loop().time() + _SPACE
            if watermark != self._watermark:
                unstored.append((poll, watermark))
            self._watermark = watermark

    @property
    def subject(self) -> str:
        """The watched segment or journey, for the log."""
        raise NotImplementedError

    async def _next_event(self, poll: Poll) -> tuple[M, dict[str, Any] | None]:
        """Return the watermark after the next event, and the event: None when the poll holds none. Raise CijError."""
        raise NotImplementedError

    def _read_watermark(self, stored: Mapping[str, Any]) -> M:
        raise NotImplementedError

    def _write_watermark(self, watermark: M) -> dict[str, Any]:
        raise NotImplementedError

    async def _kept(self) -> M | None:
        """Return the stored watermark, None for a new watcher."""
        store = getattr(self, "asset_state_store", None)  # Airflow 3.3
        try:
            stored = await store.aget(_WATERMARK) if store is not None else None
        except ValueError:
            log.warning(
                "%s is watched for several assets, so its watermark is not stored: give each asset its own watcher",
                self.subject,
            )
            self.asset_state_store = None
            return None
        return self._read_watermark(stored) if isinstance(stored, dict) else None

    async def _keep(self, unstored: deque[tuple[Poll, M]]) -> None:
        store = getattr(self, "asset_state_store", None)
        while len(unstored) > 1 and unstored[1][0].stored:
            unstored.popleft()
        if not unstored or not unstored[0][0].stored:
            return
        try:
            if store is not None:
                await store.aset(_WATERMARK, self._write_watermark(unstored[0][1]))
        except Exception as error:
            log.warning("The watermark of %s could not be stored, retrying: %s", self.subject, error)
        else:
            unstored.popleft()


@dataclass(eq=False)
class CijSegmentWatchTrigger(WatchTrigger[Watermark]):
    """Watch a segment. An event holds ids and numbers of the segment and of its evaluation.

    An event is ``{"segment_id", "name", "status", "member_count", "change", "evaluated_at", "duration", "link",
    "execution_id", "cij_conn_id"}``. Keys whose value is unknown are missing.

    :param segment_id: the segment
    :param at_least_change: for ``members_changed``: the smallest change of the member count that is an event, a number
        of members or a share such as ``"10%"``; default None, any change
    """

    feed = SegmentFeed

    segment_id: str = ""
    at_least_change: int | float | str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._segment: Segment | None = None

    @property
    def subject(self) -> str:
        """The watched segment or journey, for the log."""
        return f"Segment {self.segment_id}"

    def _read_watermark(self, stored: Mapping[str, Any]) -> Watermark:
        return Watermark.of(stored)

    def _write_watermark(self, watermark: Watermark) -> dict[str, Any]:
        return watermark.as_dict()

    async def _next_event(self, poll: Poll) -> tuple[Watermark, dict[str, Any] | None]:
        watch = SegmentWatch(self.on, change_bound(self.on, self.at_least_change))
        watermark, runs = self._watermark, list[Execution]()
        if not self._caught_up:
            async with _session(self.cij_conn_id) as cij:
                with suppress(CijNotFoundError):
                    self._segment = await cij.segments.get(self.segment_id)
                if watermark is not None and self._segment and not watch.of_state:
                    since = before(watermark.ended, _LONGEST_EVALUATION) if watermark.ended else _EPOCH
                    runs += await cij.segments.executions_since(self._segment, since)
        self._segment = segment = poll.rows.get(self._id, self._segment)
        if segment and not watch.of_state:
            runs += poll.executions.get(segment.definition_id, ())
        if watermark is None:
            # What ended before the watcher began is no event. A segment that does not exist yet has no state.
            known = tuple(run.execution_id for run in runs if "" < run.finished_on <= poll.newest)
            count, status = (segment.member_count, segment.status) if segment else (None, 0)
            return Watermark(poll.newest, known, count, status), None
        watermark, news = watch.evaluations(watermark, runs, segment)
        became = False
        if segment:
            watermark, became = watch.state(watermark, segment)
        if news or became:
            async with _session(self.cij_conn_id) as cij:
                if became and segment:
                    news = await self._state(cij, segment)
                news = {**(news or {}), "segment_id": self._id, "link": cij.segment_url(self._id)}
                news["name"] = segment.display_name if segment else ""
        return watermark, news

    @property
    def _id(self) -> str:
        # segment_id may be the id of a definition.
        return self._segment.segment_id if self._segment else self.segment_id

    async def _state(self, cij: Cij, segment: Segment) -> dict[str, Any]:
        last: dict[str, Any] = {}
        for run in await cij.segments.newest_executions(segment, 1):
            last = {"evaluated_at": run.finished_on, "execution_id": run.execution_id}
        return {**segment.summary(), **last}


@dataclass(eq=False)
class CijJourneyWatchTrigger(WatchTrigger[int]):
    """Watch a journey.

    An event is ``{"journey_id", "name", "status", "link", "execution_id", "cij_conn_id"}``. A journey has no
    executions: its ``execution_id`` is its status and the time of its change, which identifies repeated events. A
    journey that a later version has replaced does not count as stopped.

    :param journey_id: the journey
    """

    feed = JourneyFeed

    journey_id: str = ""

    @property
    def subject(self) -> str:
        """The watched segment or journey, for the log."""
        return f"Journey {self.journey_id}"

    def _read_watermark(self, stored: Mapping[str, Any]) -> int:
        return int(stored["status"])

    def _write_watermark(self, watermark: int) -> dict[str, Any]:
        return {"status": watermark}

    async def _next_event(self, poll: Poll) -> tuple[int, dict[str, Any] | None]:
        journey: Journey | None = poll.rows.get(self.journey_id)
        last = self._watermark
        if not self._caught_up and journey is None:
            async with _session(self.cij_conn_id) as cij:
                with suppress(CijNotFoundError):
                    journey = await cij.journeys.get(self.journey_id)
        if journey is None:
            return last or 0, None
        wanted = JOURNEY_NEWS[self.on]
        if last is None or last == journey.status or journey.status not in wanted or last in wanted:
            return journey.status, None
        async with _session(self.cij_conn_id) as cij:
            if self.on == "stopped" and await cij.journeys.is_superseded(journey.journey_id):
                log.warning(
                    "Journey %r (%s) did not stop: %s. Watch that one", journey.name, self.journey_id, SUPERSEDED
                )
                return journey.status, None
            link = cij.journey_url(journey.journey_id)
        execution_id = f"{journey.status_name} {journey.modified_on}"
        facts = {"name": journey.name, "link": link, "execution_id": execution_id}
        return journey.status, {**journey.summary(), **facts}
