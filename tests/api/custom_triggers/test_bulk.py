"""Raise a custom trigger for many people, each once."""

from __future__ import annotations

import asyncio
import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.custom_triggers.bulk import BATCH_SIZE, RaiseProgress, at_positions, raise_for_all
from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.dataverse.guids import pack_guids
from airflow_provider_cij.errors import (
    CijError,
    CijForbiddenError,
    CijRefusedError,
    CijServerError,
    CijThrottledError,
    CijUnreachableError,
)
from tests.custom_trigger_responses import PERSON


class FakeClock:
    """A clock that advances only by sleeping."""

    def __init__(self) -> None:
        self.moment = 1000.0

    def now(self) -> float:
        return self.moment

    async def sleep(self, seconds: float) -> None:
        then = self.moment + seconds
        await asyncio.sleep(0)
        self.moment = max(self.moment, then)


def id_set_of(count: int) -> IdSet:
    """Return a set of that many ids."""
    ids = IdSet()
    ids.update(pack_guids([str(uuid.UUID(int=number * 7919)) for number in range(count)])[0])
    return ids


def client_error(kind: type[CijError], *, unclear: bool = False, **others) -> CijError:
    """Return an error as the client raises it."""
    error = kind(f"It failed for {PERSON}.", **others)
    error.may_have_executed = unclear
    return error


OUTCOMES = {
    "raised": None,
    "refused": client_error(CijRefusedError, http_status=400),
    "lost": client_error(CijUnreachableError, unclear=True),
    "broken": client_error(CijServerError, unclear=True, http_status=502),
    "throttled": client_error(CijThrottledError, http_status=429),
    "forbidden": client_error(CijForbiddenError, http_status=403),
    "not sent": client_error(CijUnreachableError),
    "killed": None,
    "broken off": None,
}


class _KilledError(BaseException):
    """The worker process is killed: nothing it does afterwards takes effect."""


class _BrokenOffError(BaseException):
    """Airflow's timeout or termination: requests in flight are cancelled, and progress can still be saved."""


class Simulation:
    """A plain model of the people the service has seen, the saved progress, and a worker that may die at any point."""

    def __init__(self, plan) -> None:
        self.plan = plan
        self.seen: list[str] = []
        self.noted: dict | None = None
        self.dead = False

    def note(self, ledger: RaiseProgress) -> None:
        if not self.dead:
            self.noted = json.loads(json.dumps(ledger.as_dict()))

    async def send(self, person: str) -> None:
        how = next(self.plan, "raised")
        if how in ("raised", "lost", "broken", "killed", "broken off"):
            self.seen.append(person)
        await asyncio.sleep(0)
        if how == "killed":
            self.dead = True
            raise _KilledError
        if self.dead:
            raise _KilledError
        if how == "broken off":
            raise _BrokenOffError
        if (error := OUTCOMES[how]) is not None:
            raise error

    def try_once(self, ids: IdSet) -> RaiseProgress | None:
        """Run one attempt and return its ledger, or None when the attempt did not finish."""
        self.dead = False
        ledger = RaiseProgress.from_dict(self.noted) if self.noted else RaiseProgress("x")
        work = raise_for_all(self.send, ids, ledger, self.note, rate_per_minute=2500, at_once=4, clock=FakeClock())
        try:
            asyncio.run(work)
        except (CijError, _KilledError, _BrokenOffError):
            return None
        return ledger


@given(st.integers(0, 120), st.lists(st.sampled_from([*["raised"] * 6, *OUTCOMES]), max_size=150))
def test_no_person_is_sent_twice_after_any_crashes(count, plan):
    """After any number of attempts each person is raised, refused or unclear, and the service saw no person twice."""
    ids = id_set_of(count)
    world = Simulation(iter(plan))
    for _ in range(len(plan) + 2):
        ledger = world.try_once(ids)
        if ledger is not None:
            break
    assert ledger is not None
    assert len(world.seen) == len(set(world.seen))
    assert ledger.raised + ledger.refused + len(ledger.unclear) == count
    assert len(set(ledger.unclear)) == len(ledger.unclear)
    assert (ledger.left, ledger.in_flight) == ([], [])
    unclear = set(at_positions(ids, set(ledger.unclear)))
    # Whoever the service has seen and is not unclear was raised: no more, no less.
    assert len(set(world.seen) - unclear) == ledger.raised


def test_a_killed_worker_leaves_at_most_one_block_unclear():
    """A killed worker leaves at most the block in flight unclear; what was saved before is known."""
    world = Simulation(iter(["raised"] * (BATCH_SIZE + 3) + ["killed"]))
    ids = id_set_of(100)
    assert world.try_once(ids) is None
    ledger = world.try_once(ids)
    assert ledger is not None
    assert (len(ledger.unclear), ledger.raised) == (BATCH_SIZE, 100 - BATCH_SIZE)


@pytest.mark.parametrize("how", ["refused", "lost", "broken"])
def test_a_first_block_without_success_ends_the_run(how):
    """A run whose first block has no success ends there, and its error shows no id."""
    world, ids = Simulation(iter([how] * 200)), id_set_of(100)
    ledger = RaiseProgress("x")
    with pytest.raises(CijError) as error:
        asyncio.run(
            raise_for_all(world.send, ids, ledger, world.note, rate_per_minute=2500, at_once=4, clock=FakeClock())
        )
    assert error.value.message == "It failed for …."
    assert (ledger.refused, ledger.raised) == (0, 0)
    assert len(ledger.left if how == "refused" else ledger.unclear) == BATCH_SIZE


@pytest.mark.parametrize("how", ["throttled", "forbidden", "not sent"])
def test_throttling_and_outages_leave_people_for_the_next_attempt(how):
    """An error that concerns no single person leaves the rest to the next attempt, and no one unclear."""
    world, ids = Simulation(iter(["raised"] * 30 + [how])), id_set_of(100)
    assert world.try_once(ids) is None
    assert world.noted is not None
    assert (world.noted["unclear"], world.noted["raised"]) == ("", len(world.seen))
    ledger = world.try_once(ids)
    assert ledger is not None
    assert (ledger.raised, len(world.seen)) == (100, 100)


def test_nothing_is_sent_when_progress_cannot_be_saved():
    """Progress is saved before a block is sent, so a store that is down means no request at all."""

    def no(ledger: RaiseProgress) -> None:
        raise OSError("the store is down")

    world, ids = Simulation(iter([])), id_set_of(10)
    with pytest.raises(OSError, match="the store is down"):
        asyncio.run(raise_for_all(world.send, ids, RaiseProgress("x"), no, rate_per_minute=2500, at_once=4))
    assert world.seen == []


@pytest.mark.parametrize("rate", [60, 2000])
def test_the_rate_limit_is_kept(rate):
    """Requests start at the given rate per minute whatever the concurrency."""
    world, ids, time = Simulation(iter([])), id_set_of(100), FakeClock()
    asyncio.run(
        raise_for_all(world.send, ids, RaiseProgress("x"), world.note, rate_per_minute=rate, at_once=8, clock=time)
    )
    assert len(world.seen) == 100
    assert time.moment - 1000 == pytest.approx(99 * 60 / rate)


def test_concurrency_reaches_its_limit_and_not_more():
    """As many requests as the limit allows are in flight at the same time, and not more."""
    now = most = 0

    async def send(person: str) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1

    work = raise_for_all(send, id_set_of(60), RaiseProgress("x"), lambda _: None, rate_per_minute=1e9, at_once=3)
    asyncio.run(work)
    assert most == 3


def test_progress_that_an_earlier_version_stored_is_read():
    """Progress that was stored under the former key ``on_the_way`` is read."""
    stored = {"of": "x", "next": 3, "on_the_way": "1-2", "left": "", "unclear": "0", "raised": 0, "refused": 0}
    assert RaiseProgress.from_dict(stored) == RaiseProgress("x", 3, [1, 2], [], [0])
