"""Raise a custom trigger for many people, each once."""

from __future__ import annotations

import asyncio
import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.custom_triggers.bulk import BLOCK, Ledger, at_positions, raise_for_all
from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.dataverse.odata import keys_of
from airflow_provider_cij.errors import (
    CijError,
    CijForbiddenError,
    CijRefusedError,
    CijServerError,
    CijThrottledError,
    CijUnreachableError,
)
from tests.custom_trigger_responses import PERSON


class FakeTime:
    """Time that passes when it is slept."""

    def __init__(self) -> None:
        self.moment = 1000.0

    def now(self) -> float:
        return self.moment

    async def sleep(self, seconds: float) -> None:
        then = self.moment + seconds
        await asyncio.sleep(0)
        self.moment = max(self.moment, then)


def people(count: int) -> IdSet:
    """Make a list."""
    ids = IdSet()
    ids.update(keys_of([str(uuid.UUID(int=number * 7919)) for number in range(count)])[0])
    return ids


def failed(kind: type[CijError], *, unclear: bool = False, **others) -> CijError:
    """Make an error as the client does."""
    error = kind(f"It failed for {PERSON}.", **others)
    error.unclear = unclear
    return error


OUTCOMES = {
    "raised": None,
    "refused": failed(CijRefusedError, http_status=400),
    "lost": failed(CijUnreachableError, unclear=True),
    "broken": failed(CijServerError, unclear=True, http_status=502),
    "throttled": failed(CijThrottledError, http_status=429),
    "forbidden": failed(CijForbiddenError, http_status=403),
    "not sent": failed(CijUnreachableError),
    "killed": None,
    "broken off": None,
}


class _KilledError(BaseException):
    """The worker dies: nothing it does from then on happens."""


class _BrokenOffError(BaseException):
    """Airflow's timeout, or its word to end: what is on its way is cancelled, but notes are still taken."""


class World:
    """A plain model: whom the service has seen, what the store holds, and a worker that may die at any send or note."""

    def __init__(self, plan) -> None:
        self.plan = plan
        self.seen: list[str] = []
        self.noted: dict | None = None
        self.dead = False

    def note(self, ledger: Ledger) -> None:
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

    def try_once(self, ids: IdSet) -> Ledger | None:
        """Run a try; give its ledger when it came to its end."""
        self.dead = False
        ledger = Ledger.of_dict(self.noted) if self.noted else Ledger("x")
        work = raise_for_all(self.send, ids, ledger, self.note, rate_per_minute=2500, at_once=4, clock=FakeTime())
        try:
            asyncio.run(work)
        except (CijError, _KilledError, _BrokenOffError):
            return None
        return ledger


@given(st.integers(0, 120), st.lists(st.sampled_from([*["raised"] * 6, *OUTCOMES]), max_size=150))
def test_nobody_is_sent_twice_whatever_dies_when(count, plan):
    """After any number of tries everybody is raised, refused or unclear, and nobody was seen by the service twice."""
    ids = people(count)
    world = World(iter(plan))
    for _ in range(len(plan) + 2):
        ledger = world.try_once(ids)
        if ledger is not None:
            break
    assert ledger is not None
    assert len(world.seen) == len(set(world.seen))
    assert ledger.raised + ledger.refused + len(ledger.unclear) == count
    assert len(set(ledger.unclear)) == len(ledger.unclear)
    assert (ledger.left, ledger.on_the_way) == ([], [])
    unclear = set(at_positions(ids, set(ledger.unclear)))
    # Whoever the service has seen and is not unclear was raised: no more, no less.
    assert len(set(world.seen) - unclear) == ledger.raised


def test_a_sudden_death_leaves_a_block_unclear_at_the_most():
    """What was settled before is known."""
    world = World(iter(["raised"] * (BLOCK + 3) + ["killed"]))
    ids = people(100)
    assert world.try_once(ids) is None
    ledger = world.try_once(ids)
    assert ledger is not None
    assert (len(ledger.unclear), ledger.raised) == (BLOCK, 100 - BLOCK)


@pytest.mark.parametrize("how", ["refused", "lost", "broken"])
def test_a_trigger_that_nobody_gets_is_given_up(how):
    """After the first block; who was surely not raised may be tried again, and no id is in the words."""
    world, ids = World(iter([how] * 200)), people(100)
    ledger = Ledger("x")
    with pytest.raises(CijError) as error:
        asyncio.run(
            raise_for_all(world.send, ids, ledger, world.note, rate_per_minute=2500, at_once=4, clock=FakeTime())
        )
    assert error.value.message == "It failed for …."
    assert (ledger.refused, ledger.raised) == (0, 0)
    assert len(ledger.left if how == "refused" else ledger.unclear) == BLOCK


@pytest.mark.parametrize("how", ["throttled", "forbidden", "not sent"])
def test_what_is_for_nobody_leaves_everybody(how):
    """Nothing is unclear about it: a later try sends those who are left, and only them."""
    world, ids = World(iter(["raised"] * 30 + [how])), people(100)
    assert world.try_once(ids) is None
    assert world.noted is not None
    assert (world.noted["unclear"], world.noted["raised"]) == ("", len(world.seen))
    ledger = world.try_once(ids)
    assert ledger is not None
    assert (ledger.raised, len(world.seen)) == (100, 100)


def test_a_note_that_cant_be_kept_sends_nobody():
    """The mark comes before the deed."""

    def no(ledger: Ledger) -> None:
        raise OSError("the store is down")

    world, ids = World(iter([])), people(10)
    with pytest.raises(OSError, match="the store is down"):
        asyncio.run(raise_for_all(world.send, ids, Ledger("x"), no, rate_per_minute=2500, at_once=4))
    assert world.seen == []


@pytest.mark.parametrize("rate", [60, 2000])
def test_the_rate_is_kept(rate):
    """So many a minute are begun, whatever the concurrency."""
    world, ids, time = World(iter([])), people(100), FakeTime()
    asyncio.run(raise_for_all(world.send, ids, Ledger("x"), world.note, rate_per_minute=rate, at_once=8, clock=time))
    assert len(world.seen) == 100
    assert time.moment - 1000 == pytest.approx(99 * 60 / rate)


def test_no_more_are_on_the_way_than_allowed():
    """And as many as allowed."""
    now = most = 0

    async def send(person: str) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1

    work = raise_for_all(send, people(60), Ledger("x"), lambda _: None, rate_per_minute=1e9, at_once=3)
    asyncio.run(work)
    assert most == 3
