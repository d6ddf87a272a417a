"""Raise a trigger for many people, each at most once, whatever fails.

A raised trigger can't be taken back, and the service can't be asked whether one was raised. So people are noted as in
flight before their requests are sent, and with their outcome afterwards. Those in flight when a worker died are
unclear, and are never sent again: a person has to decide. Notes hold positions in the list, not ids. An ``IdSet`` has
the same order whatever order its rows came in.
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
"""How many people are noted at once, and so the most that are unclear after a worker's sudden death."""

OnProgress = Callable[[int, int], None]
"""Called after each batch with the number of people whose outcome is known, and the number of people in all."""

_POSITIONS = ("in_flight", "left", "unclear")
# A task state store may hold what an earlier version of this provider wrote.
_EARLIER_NAMES = {"on_the_way": "in_flight"}


def _ranges(positions: list[int]) -> str:
    """Return positions as ranges such as ``0-24,30``, because a store takes 64 KB."""
    runs: list[list[int]] = []
    for position in sorted(positions):
        if runs and position == runs[-1][1] + 1:
            runs[-1][1] = position
        else:
            runs.append([position, position])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in runs)


def _positions(text: str | list[int]) -> list[int]:
    """Return the positions in what ``_ranges`` wrote, or in a list of numbers as earlier versions wrote it."""
    if isinstance(text, list):
        return [int(position) for position in text]
    runs = [run.partition("-") for run in text.split(",") if run]
    return [position for first, _, last in runs for position in range(int(first), int(last or first) + 1)]


@dataclass
class RaiseProgress:
    """The outcomes of raising a trigger for the people of a list, by their positions in it.

    :param of: identifies the list and the trigger
    :param next: the position up to which people have been in flight, except those ``left``; default 0
    :param in_flight: positions noted before their requests were sent
    :param left: positions before ``next`` for which the trigger was surely not raised
    :param unclear: positions for which it may or may not have been raised; never sent again
    :param raised: the number of people for whom it was raised
    :param refused: the number of people whom the service refused
    :param done_at: the task's ``max_tries`` when it succeeded; None before
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
        """Return the progress as plain JSON, positions as ranges."""
        return asdict(self) | {name: _ranges(getattr(self, name)) for name in _POSITIONS}

    @classmethod
    def from_dict(cls, noted: Mapping[str, Any]) -> RaiseProgress:
        """Read what ``as_dict`` of this or an earlier version returned.

        :param noted: the stored progress
        :raises CijInputError: it can't be read, so for whom the trigger was raised is not known
        """
        try:
            noted = {_EARLIER_NAMES.get(name, name): value for name, value in noted.items()}
            return cls(**{**noted, **{name: _positions(noted[name]) for name in _POSITIONS}})
        except (AttributeError, KeyError, TypeError, ValueError):
            raise CijInputError(
                "What an earlier try noted of who was raised can't be read.",
                hint="This try did not raise the trigger. Find out for which people an earlier try did, and run "
                "the DAG for the others.",
            ) from None

    def begin(self, positions: list[int]) -> None:
        """Note a batch as in flight.

        :param positions: the batch's positions; at least one
        """
        self.in_flight = positions
        self.left = [position for position in self.left if position not in positions]
        self.next = max(self.next, max(positions) + 1)

    def mark_unclear(self) -> None:
        """Note as unclear the people that an earlier try left in flight."""
        self.unclear += self.in_flight
        self.in_flight = []


def at_positions(ids: IdSet, positions: set[int]) -> Iterator[str]:
    """Return the ids at some positions of a list.

    :param ids: the list
    :param positions: the positions, from 0
    """
    return (person for position, person in _numbered(ids) if position in positions)


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
    """Raise a trigger for everybody in a list who has not been in flight yet.

    :param send: raises the trigger for one person
    :param ids: the whole list
    :param progress: the outcomes so far; kept up to date
    :param note: stores the progress where a later try finds it; called before each batch, and at the end
    :param rate_per_minute: the most requests that begin in a minute
    :param at_once: the most requests in flight
    :param clock: tells the time, and waits; default the real time
    :param on_progress: called after each batch
    :raises CijError: the service refuses to raise the trigger, temporarily or permanently; ``progress.left`` contains
        the positions for which it was not raised
    """
    progress.mark_unclear()
    left, start = set(progress.left), progress.next
    rest = ((position, person) for position, person in _numbered(ids) if position >= start or position in left)
    limiter, refusals = RateLimiter(rate_per_minute, clock or Clock()), Counter[str]()
    try:
        batch = dict(islice(rest, BATCH_SIZE))
        while batch:
            progress.begin(list(batch))
            try:
                note(progress)
            except BaseException:  # none of their requests was sent
                progress.left, progress.in_flight = progress.left + progress.in_flight, []
                raise
            following = dict(islice(rest, BATCH_SIZE))
            await RaiseBatch(send, batch, limiter, at_once).run(progress, refusals, last=not following)
            if on_progress:
                on_progress(progress.raised + progress.refused + len(progress.unclear), len(ids))
            batch = following
    finally:
        note(progress)
        for reason, count in refusals.items():
            log.warning("%s were refused: %s", f"{count:,}", reason)


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
        """Send the requests, and note the outcome of each, also when the batch is cancelled.

        :param progress: where outcomes are noted
        :param refusals: counts refusals by their reason
        :param last: True when no batch follows
        :raises CijError: the service takes no raises for now, or refused everybody so far
        """
        try:
            await for_each(self._people, self._raise, self._at_once)
        finally:
            self._write(progress, refusals)
        if self._halt:
            raise _without_ids(self._halt)
        failures = [error for error in self._ended.values() if error]
        if len(failures) < len(self._people):
            return
        if not progress.raised and not progress.unclear:
            # The first batch, and none of its people was accepted: the cause is not in the people.
            progress.refused -= len(failures)
            progress.left += list(self._people)
            raise _without_ids(failures[0])
        if not last and all(_unclear(error) for error in failures):
            raise _without_ids(failures[0])

    async def _raise(self, position: int) -> None:
        if self._halt:
            return
        await self._limiter.wait()
        if self._halt:
            return
        self._begun.add(position)
        try:
            await self._send(self._people[position])
        except CijError as error:
            if _unclear(error) or _concerns_person(error):
                self._ended[position] = error
                return
            self._begun.discard(position)
            self._halt = error
        else:
            self._ended[position] = None

    def _write(self, progress: RaiseProgress, refusals: Counter[str]) -> None:
        progress.in_flight = []
        for position in self._people:
            if position not in self._ended:
                (progress.unclear if position in self._begun else progress.left).append(position)
            elif (error := self._ended[position]) is None:
                progress.raised += 1
            elif _unclear(error):
                progress.unclear.append(position)
            else:
                progress.refused += 1
                refusals[f"HTTP {error.http_status}, code {error.code or 'none'}"] += 1


def _unclear(error: CijError) -> bool:
    return error.may_have_executed or isinstance(error, CijReplyError)


def _concerns_person(error: CijError) -> bool:
    """Return whether a refusal concerns one person, so that the next may be accepted."""
    return isinstance(error, CijRefusedError) and not isinstance(error, (CijForbiddenError, CijUnavailableError))


def _without_ids(error: CijError) -> CijError:
    """Return an error without the ids of people in the service's words."""
    return CijError.from_dict(error.as_dict() | {"message": without_people(error.message)})
