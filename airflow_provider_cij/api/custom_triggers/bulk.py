"""Raising a trigger for many people, each once, whatever dies when.

A raised trigger can't be taken back, and nobody can ask whether one was raised. So before people are sent, they are
noted as on their way; afterwards, as what became of them. Whoever was on the way when a worker died is unclear, and is
never sent again: a person has to decide. Notes hold positions in the list, not people; the list's order is its own,
whatever order its rows came in.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from typing import Any

from airflow_provider_cij.api.concurrency import for_each
from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.dataverse.clock import Clock
from airflow_provider_cij.dataverse.redact import without_people
from airflow_provider_cij.errors import (
    CijError,
    CijForbiddenError,
    CijInputError,
    CijRefusedError,
    CijReplyError,
    CijUnavailableError,
)

log = logging.getLogger(__name__)

BATCH_SIZE = 25
"""How many are noted at once, and so how many may be unclear after a worker's sudden death."""

OnProgress = Callable[[int, int], None]
"""Called after each block with how many are settled, and of how many."""


_POSITIONS = ("in_flight", "left", "unclear")
# A task state store may hold what an earlier version of this provider wrote.
_EARLIER_NAMES = {"on_the_way": "in_flight"}


def _ranges(positions: list[int]) -> str:
    """Write positions as ``0-24,30``: a store takes 64 KB."""
    runs: list[list[int]] = []
    for place in sorted(positions):
        if runs and place == runs[-1][1] + 1:
            runs[-1][1] = place
        else:
            runs.append([place, place])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in runs)


def _positions(text: str | list[int]) -> list[int]:
    """Read what ``_ranges`` has written, or a list of numbers as earlier versions wrote it."""
    if isinstance(text, list):
        return [int(place) for place in text]
    runs = [run.partition("-") for run in text.split(",") if run]
    return [place for first, _, last in runs for place in range(int(first), int(last or first) + 1)]


@dataclass
class RaiseProgress:
    """What became of the people of a list, by their positions in it.

    :param of: the list and the trigger, in a word
    :param next: those before it have been on their way, except those ``left``
    :param in_flight: noted before they were sent
    :param left: surely not raised, though before ``next``
    :param unclear: raised or not; never sent again
    :param raised: how many were
    :param refused: how many the service refused
    :param done_at: the most tries that the task had when everybody was settled and the task ended well; None before
    """

    of: str
    next: int = 0
    in_flight: list[int] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    unclear: list[int] = field(default_factory=list)
    raised: int = 0
    refused: int = 0
    done_at: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON of it, positions as ranges."""
        return asdict(self) | {name: _ranges(getattr(self, name)) for name in _POSITIONS}

    @classmethod
    def from_dict(cls, noted: Mapping[str, Any]) -> RaiseProgress:
        """Read what ``as_dict`` has written.

        :raises CijInputError: it can't be read; who was raised is not known then
        """
        try:
            noted = {_EARLIER_NAMES.get(name, name): value for name, value in noted.items()}
            return cls(**{**noted, **{name: _positions(noted[name]) for name in _POSITIONS}})
        except (AttributeError, KeyError, TypeError, ValueError):
            raise CijInputError(
                "What an earlier try noted of who was raised can't be read.",
                hint="Nobody was raised now. Run the DAG anew for those who were not raised.",
            ) from None

    def begin(self, places: list[int]) -> None:
        """Put some on their way."""
        self.in_flight = places
        self.left = [place for place in self.left if place not in places]
        self.next = max(self.next, max(places) + 1)

    def mark_unclear(self) -> None:
        """Give up on those that an earlier try left on their way."""
        self.unclear += self.in_flight
        self.in_flight = []


def at_positions(ids: IdSet, positions: set[int]) -> Iterator[str]:
    """Give the people at some positions of a list."""
    return (one for place, one in _numbered(ids) if place in positions)


def _numbered(ids: IdSet) -> Iterator[tuple[int, str]]:
    return enumerate(chain.from_iterable(ids.batches(1000)))


async def raise_for_all(
    send: Callable[[str], Awaitable[None]],
    ids: IdSet,
    progress: RaiseProgress,
    note: Callable[[RaiseProgress], None],
    *,
    rate_per_minute: float,
    at_once: int,
    clock: Clock | None = None,
    on_progress: OnProgress | None = None,
) -> None:
    """Send everybody who has not been on the way yet.

    :param send: raises the trigger for one
    :param ids: the whole list
    :param progress: what is known of it; kept up to date
    :param note: keeps the progress where a later try finds it; called before each block, and at the end
    :param rate_per_minute: how many are begun a minute
    :param at_once: how many are on their way together
    :param clock: where time comes from
    :param on_progress: is told of each block
    :raises CijError: nobody can be raised for now, or nobody at all; who was not is ``left``
    """
    progress.mark_unclear()
    left, start = set(progress.left), progress.next
    rest = ((place, one) for place, one in _numbered(ids) if place >= start or place in left)
    limiter, refusals = RateLimiter(rate_per_minute, clock or Clock()), Counter[str]()
    try:
        block = dict(islice(rest, BATCH_SIZE))
        while block:
            progress.begin(list(block))
            try:
                note(progress)
            except BaseException:  # nobody of them was sent
                progress.left, progress.in_flight = progress.left + progress.in_flight, []
                raise
            following = dict(islice(rest, BATCH_SIZE))
            await RaiseBatch(send, block, limiter, at_once).run(progress, refusals, last=not following)
            if on_progress:
                on_progress(progress.raised + progress.refused + len(progress.unclear), len(ids))
            block = following
    finally:
        note(progress)
        for words, count in refusals.items():
            log.warning("%d were refused: %s", count, words)


class RateLimiter:
    """Spaces requests evenly over time.

    :param per_minute: the most requests that may begin in a minute
    :param clock: tells the time, and waits
    """

    def __init__(self, per_minute: float, clock: Clock) -> None:
        self._clock, self._gap = clock, 60 / per_minute
        self._free_at = 0.0

    async def wait(self) -> None:
        """Wait until the next request may begin."""
        at = max(self._free_at, self._clock.now())
        self._free_at = at + self._gap
        await self._clock.sleep(at - self._clock.now())


class RaiseBatch:
    """Raises a trigger for the people of one batch, who are in flight together.

    :param send: raises the trigger for one person
    :param people: the ids of the batch, by their positions in the list
    :param limiter: spaces the requests
    :param at_once: the most requests in flight
    """

    def __init__(
        self, send: Callable[[str], Awaitable[None]], people: dict[int, str], limiter: RateLimiter, at_once: int
    ):
        self._send, self._people, self._limiter, self._at_once = send, people, limiter, at_once
        self._begun: set[int] = set()
        self._ended: dict[int, CijError | None] = {}
        self._halt: CijError | None = None

    async def run(self, progress: RaiseProgress, refusals: Counter[str], *, last: bool) -> None:
        """Send them, and write down what became of each, also when it is broken off."""
        try:
            await for_each(self._people, self._one, self._at_once)
        finally:
            self._write(progress, refusals)
        if self._halt:
            raise _without_ids(self._halt)
        failures = [error for error in self._ended.values() if error]
        if len(failures) < len(self._people):
            return
        if not progress.raised and not progress.unclear:
            # The first of all, and not one of them: it is not for who they are.
            progress.refused -= len(failures)
            progress.left += list(self._people)
            raise _without_ids(failures[0])
        if not last and all(_unclear(error) for error in failures):
            raise _without_ids(failures[0])

    async def _one(self, place: int) -> None:
        if self._halt:
            return
        await self._limiter.wait()
        if self._halt:
            return
        self._begun.add(place)
        try:
            await self._send(self._people[place])
        except CijError as error:
            if _unclear(error) or _of_one(error):
                self._ended[place] = error
                return
            self._begun.discard(place)
            self._halt = error
        else:
            self._ended[place] = None

    def _write(self, progress: RaiseProgress, refusals: Counter[str]) -> None:
        progress.in_flight = []
        for place in self._people:
            if place not in self._ended:
                (progress.unclear if place in self._begun else progress.left).append(place)
            elif (error := self._ended[place]) is None:
                progress.raised += 1
            elif _unclear(error):
                progress.unclear.append(place)
            else:
                progress.refused += 1
                refusals[f"HTTP {error.http_status}, code {error.code or 'none'}"] += 1


def _unclear(error: CijError) -> bool:
    return error.may_have_executed or isinstance(error, CijReplyError)


def _of_one(error: CijError) -> bool:
    """Tell whether a refusal is for one person: the next may fare better."""
    return isinstance(error, CijRefusedError) and not isinstance(error, (CijForbiddenError, CijUnavailableError))


def _without_ids(error: CijError) -> CijError:
    """Take people out of the service's words."""
    return CijError.from_dict(error.as_dict() | {"message": without_people(error.message)})
