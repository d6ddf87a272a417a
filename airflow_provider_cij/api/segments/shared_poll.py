"""One poll for many waits: what they ask at about the same time becomes one question.

The service allows a user 1,200 requests a minute: polled one by one, 200 segments every 10 s are too many.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Generic, TypeVar

from airflow_provider_cij.api.journeys.client import Journeys
from airflow_provider_cij.api.journeys.models import Journey
from airflow_provider_cij.api.members.client import Members
from airflow_provider_cij.api.segments.client import Segments
from airflow_provider_cij.api.segments.models import UNFINISHED, Execution, Segment
from airflow_provider_cij.dataverse.guids import normalize_guid
from airflow_provider_cij.errors import CijRefusedError

# How long the first to ask waits for others, in seconds. Who asked together sleeps together, and asks together again.
LINGER = 1.0
# In a URL of 32,768 characters there is room for 700.
_ROWS_A_QUESTION = 500
_EXECUTIONS_A_QUESTION = 100

K = TypeVar("K")
V = TypeVar("V")


class SharedPoll:
    """Looks at segments for all who wait for them, on one open client.

    :param segments: over that client
    :param journeys: over that client
    """

    def __init__(self, segments: Segments, journeys: Journeys) -> None:
        self._segments = segments
        self.journeys = JourneyPoll(journeys)
        self._rows = _Together(self._many, _ROWS_A_QUESTION)
        self._executions = _Together(self._many_executions, _EXECUTIONS_A_QUESTION)

    @property
    def service_ahead(self) -> float:
        """Seconds by which the service's clock is ahead of ours."""
        return self._segments.service_ahead

    async def get(self, segment_id: str) -> Segment:
        """Read a segment, with those that others ask for now."""
        found = await self._rows.ask(normalize_guid(segment_id, "segment_id"))
        # Alone, or nothing found: it may be a definition's id.
        return found or await self._segments.get(segment_id)

    async def executions_since(self, segment: Segment, since: str) -> list[Execution]:
        """Read the evaluations of a segment since a moment, with those that others ask for now."""
        asked = (segment.definition_id, since)
        found = await self._executions.ask(asked) if since else None
        return await self._segments.executions_since(segment, since) if found is None else found

    async def newest_executions(self, segment: Segment, most: int) -> list[Execution]:
        """Read the newest evaluations of a segment."""
        return await self._segments.newest_executions(segment, most)

    async def last_words(self, segment_id: str) -> str:
        """Ask why the last evaluation ended as it did."""
        return await self._segments.last_words(segment_id)

    async def _many(self, segment_ids: list[str]) -> dict[str, Segment]:
        return await self._segments.get_many(segment_ids)

    async def _many_executions(self, asked: list[tuple[str, str]]) -> dict[tuple[str, str], list[Execution]]:
        found = await self._segments.executions(asked)
        return {
            (definition_id, since): [
                run
                for of, run in found
                if of == definition_id and (run.started_on >= since or run.status in UNFINISHED)
            ]
            for definition_id, since in asked
        }


class JourneyPoll:
    """Looks at journeys for all who wait for them, on one open client.

    :param journeys: over that client
    """

    def __init__(self, journeys: Journeys) -> None:
        self._journeys = journeys
        self._rows = _Together(journeys.get_many, _ROWS_A_QUESTION)

    async def get(self, journey_id: str) -> Journey:
        """Read a journey, with those that others ask for now."""
        return await self._rows.ask(normalize_guid(journey_id, "journey_id")) or await self._journeys.get(journey_id)

    async def last_words(self, journey_id: str) -> str:
        """Ask why its last publish failed."""
        return await self._journeys.last_words(journey_id)


class GroupLooks:
    """Looks at a static group as if it were the segment: its members are counted.

    :param segments: where the segment is read
    :param members: where the group is listed
    :param group: the group's name or id
    :param at_least: count no further
    """

    def __init__(self, segments: Segments, members: Members, group: str, at_least: int) -> None:
        self._segments = segments
        self._members = members
        self._group = group
        self._at_least = at_least

    @property
    def service_ahead(self) -> float:
        """Seconds by which the service's clock is ahead of ours."""
        return self._segments.service_ahead

    async def get(self, segment_id: str) -> Segment:
        """Read the segment, and count the group."""
        segment = await self._segments.get(segment_id)
        group = await self._segments.group(segment, self._group)
        count = await self._members.count(segment.segment_id, group.group_id, self._at_least)
        return replace(segment, member_count=count)

    async def executions_since(self, segment: Segment, since: str) -> list[Execution]:
        """Read the evaluations of the segment since a moment."""
        return await self._segments.executions_since(segment, since)

    async def newest_executions(self, segment: Segment, most: int) -> list[Execution]:
        """Read the newest evaluations of the segment."""
        return await self._segments.newest_executions(segment, most)

    async def last_words(self, segment_id: str) -> str:
        """Ask why the last evaluation ended as it did."""
        return await self._segments.last_words(segment_id)


class _Together(Generic[K, V]):
    """Gathers keys for a moment, and asks for all of them at once.

    :param many: answers for many keys
    :param most: how many at once
    """

    def __init__(self, many: Callable[[list[K]], Awaitable[dict[K, V]]], most: int) -> None:
        self._many = many
        self._most = most
        self._gathering: tuple[dict[K, None], asyncio.Task[dict[K, V]]] | None = None

    async def ask(self, key: K) -> V | None:
        """Give what is known of a key; None when nothing is, or when nobody else asked."""
        if self._gathering is None:
            keys: dict[K, None] = {}
            self._gathering = keys, asyncio.create_task(self._answer(keys))
        keys, answer = self._gathering
        keys[key] = None
        # One who is cancelled must not take the answer from the others.
        return (await asyncio.shield(answer)).get(key)

    async def _answer(self, keys: dict[K, None]) -> dict[K, V]:
        await asyncio.sleep(LINGER)
        self._gathering = None
        wanted = list(keys)
        if len(wanted) == 1:
            return {}
        parts = [wanted[start : start + self._most] for start in range(0, len(wanted), self._most)]
        try:
            answers = await asyncio.gather(*(self._many(part) for part in parts))
        except CijRefusedError:
            return {}  # each asks for itself then, and learns what is wrong with its own
        return {key: value for answer in answers for key, value in answer.items()}
