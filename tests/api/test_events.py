"""Custom triggers: what they take, and raising them for many, each once."""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.custom_triggers.bulk import BATCH_SIZE, RaiseProgress, at_positions, raise_for_all
from airflow_provider_cij.api.custom_triggers.client import CustomTrigger, CustomTriggers, attributes_of
from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.dataverse.guids import pack_guids
from airflow_provider_cij.errors import (
    CijError,
    CijForbiddenError,
    CijInputError,
    CijNotFoundError,
    CijRefusedError,
    CijServerError,
    CijThrottledError,
    CijUnreachableError,
)
from tests.scripted import Answer

API, PERSON = "aaaaaaaa-0000-4000-8000-000000000000", "bbbbbbbb-0000-4000-8000-000000000000"
STANDARD = {
    "msdynmkt_signaltimestamp": 1,
    "msdynmkt_signalingestiontimestamp": 1,
    "msdynmkt_signaluserauthid": 10,
    "msdynmkt_profileid": 10,
    "bindingid": 10,
}
KINDS = {
    "flag": (0, ["true", True], ["maybe", 2, ""]),
    "moment": (1, ["2026-12-01T10:00:00+01:00", datetime(2026, 12, 1, 9, tzinfo=UTC)], ["soon", "2026-12-01"]),
    "decimal": (2, ["1.5", 1.5], ["much", "nan", True, ""]),
    "reference": (5, [{"@odata.type": "x", "id": 1}], ["x", {}]),
    "whole": (7, ["12", 12], ["1.5", "", "a"]),
    "choice": (9, ["534120001"], ["red"]),
    "text": (10, ["hello", 7], ["", [], {}]),
    "texts": (11, [["a", "b"]], ["a", 1]),
    "id": (12, [PERSON.upper()], ["x", ""]),
}
TRIGGER = CustomTrigger(
    "msdynmkt_order",
    "msdynmkt_order",
    534120002,
    STANDARD | {f"msdynmkt_{name}": kind for name, (kind, _, _) in KINDS.items()},
)
GOOD = {name: good[0] for name, (_, good, _) in KINDS.items()}


def test_text_is_read_as_what_the_attribute_is():
    """Templates render to text."""
    assert attributes_of(TRIGGER, GOOD) == {
        "msdynmkt_flag": True,
        "msdynmkt_moment": "2026-12-01T09:00:00Z",
        "msdynmkt_decimal": 1.5,
        "msdynmkt_reference": {"@odata.type": "x", "id": 1},
        "msdynmkt_whole": 12,
        "msdynmkt_choice": 534120001,
        "msdynmkt_text": "hello",
        "msdynmkt_texts": ["a", "b"],
        "msdynmkt_id": PERSON,
    }
    for name, (_, values, _) in KINDS.items():
        assert all(
            attributes_of(TRIGGER, GOOD | {name: value}) == attributes_of(TRIGGER, GOOD)
            for value in values
            if name != "text"
        )


@given(
    st.dictionaries(
        st.sampled_from(sorted(KINDS)), st.sampled_from(["good", "bad", "null", "prefixed", "missing"]), min_size=9
    ),
    st.booleans(),
)
def test_every_attribute_is_checked_at_once(how, unknown):
    """Missing, null, of another type, unknown: all are named in one error; and nothing else is."""
    values = {
        ("msdynmkt_" if way == "prefixed" else "") + name: {"bad": KINDS[name][2][0], "null": None}.get(way, GOOD[name])
        for name, way in how.items()
        if way != "missing"
    }
    values |= {"colour": "red"} if unknown else {}
    wrong = {name for name, way in how.items() if way in ("bad", "null", "missing")} | (
        {"colour"} if unknown else set()
    )
    if not wrong:
        assert attributes_of(TRIGGER, values) == attributes_of(TRIGGER, GOOD)
        return
    with pytest.raises(CijInputError) as refused:
        attributes_of(TRIGGER, values)
    assert {part.split()[0] for part in refused.value.message.partition(": ")[2].split("; ")} == wrong


@pytest.mark.parametrize(("kind", "value"), [(name, bad) for name, (_, _, bads) in KINDS.items() for bad in bads])
def test_a_value_of_another_type_is_refused(kind, value):
    """By the attribute's name and what it must be; the value may be somebody's, and is not shown."""
    with pytest.raises(CijInputError, match=f"{kind} must be "):
        attributes_of(TRIGGER, GOOD | {kind: value})


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"state": 534120000}, "is draft"),
        ({"state": 534120004}, "is stopped"),
        ({"state": 7}, "is in state 7"),
        ({"inputs": {}}, "can't be read"),
        ({"action": ""}, "can't be read"),
    ],
)
def test_a_trigger_that_cant_be_raised_is_refused(others, said):
    """It must be ready to use, and it must be known what it takes."""
    with pytest.raises(CijInputError, match=said):
        attributes_of(replace(TRIGGER, **others), GOOD)


def scripted_events(scripted, work, *answers: Answer):
    """Run a coroutine function on triggers of the scripted server."""
    scripted.script = list(answers)

    async def main():
        async with DataverseClient(scripted.settings()) as client:
            return await work(CustomTriggers(client))

    return asyncio.run(main())


def catalogue(**others) -> list[Answer]:
    """Answer with a trigger's definition and its inputs."""
    found = {"msdynmkt_uniquename": "msdynmkt_order", "msdynmkt_state": 534120002, "_msdynmkt_customapiid_value": API}
    inputs = [{"uniquename": name, "type": kind} for name, kind in STANDARD.items()]
    inputs += [{"uniquename": "msdynmkt_text", "type": 10}]
    api = {"uniquename": "msdynmkt_order", "CustomAPIRequestParameters": inputs}
    return [Answer(body={"value": [found | others]}), Answer(body={"value": [api]})]


@pytest.mark.parametrize("name", ["order", "msdynmkt_order"])
def test_a_trigger_is_raised_for_a_person(scripted, name):
    """With the moments and ids that every trigger wants, and its own attributes."""

    async def work(events):
        trigger = await events.get(name)
        await events.raise_trigger(trigger, PERSON, attributes_of(trigger, {"text": "hello"}), "lead")

    scripted_events(scripted, work, *catalogue(), Answer(204))
    assert "msdynmkt_uniquename eq 'msdynmkt_order'" in unquote(scripted.asked[0].path)
    assert API in unquote(scripted.asked[1].path)
    assert scripted.asked[2].path.endswith("/msdynmkt_order")
    body = json.loads(scripted.asked[2].body)
    assert body["msdynmkt_profileid"] == body["msdynmkt_signaluserauthid"] == PERSON
    assert body["bindingid"] == f"lead/{PERSON}"
    assert body["msdynmkt_text"] == "hello"
    assert abs(datetime.fromisoformat(body["msdynmkt_signaltimestamp"]).timestamp() - datetime.now().timestamp()) < 60
    assert set(body) == {*STANDARD, "msdynmkt_text"}


@pytest.mark.parametrize(("rows", "said"), [(0, "There is no custom trigger 'order'"), (2, "There are 2")])
def test_there_must_be_one_trigger_of_a_name(scripted, rows, said):
    """None, or two, is an error."""
    row = {"msdynmkt_uniquename": "msdynmkt_order"}
    with pytest.raises(CijNotFoundError, match=said):
        scripted_events(scripted, lambda events: events.get("order"), Answer(body={"value": [row] * rows}))


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
    ids.update(pack_guids([str(uuid.UUID(int=number * 7919)) for number in range(count)])[0])
    return ids


def failed(kind: type[CijError], *, unclear: bool = False, **others) -> CijError:
    """Make an error as the client does."""
    error = kind(f"It failed for {PERSON}.", **others)
    error.may_have_executed = unclear
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
        """Run a try; give its ledger when it came to its end."""
        self.dead = False
        ledger = RaiseProgress.from_dict(self.noted) if self.noted else RaiseProgress("x")
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
    assert (ledger.left, ledger.in_flight) == ([], [])
    unclear = set(at_positions(ids, set(ledger.unclear)))
    # Whoever the service has seen and is not unclear was raised: no more, no less.
    assert len(set(world.seen) - unclear) == ledger.raised


def test_a_sudden_death_leaves_a_block_unclear_at_the_most():
    """What was settled before is known."""
    world = World(iter(["raised"] * (BATCH_SIZE + 3) + ["killed"]))
    ids = people(100)
    assert world.try_once(ids) is None
    ledger = world.try_once(ids)
    assert ledger is not None
    assert (len(ledger.unclear), ledger.raised) == (BATCH_SIZE, 100 - BATCH_SIZE)


@pytest.mark.parametrize("how", ["refused", "lost", "broken"])
def test_a_trigger_that_nobody_gets_is_given_up(how):
    """After the first block; who was surely not raised may be tried again, and no id is in the words."""
    world, ids = World(iter([how] * 200)), people(100)
    ledger = RaiseProgress("x")
    with pytest.raises(CijError) as error:
        asyncio.run(
            raise_for_all(world.send, ids, ledger, world.note, rate_per_minute=2500, at_once=4, clock=FakeTime())
        )
    assert error.value.message == "It failed for …."
    assert (ledger.refused, ledger.raised) == (0, 0)
    assert len(ledger.left if how == "refused" else ledger.unclear) == BATCH_SIZE


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

    def no(ledger: RaiseProgress) -> None:
        raise OSError("the store is down")

    world, ids = World(iter([])), people(10)
    with pytest.raises(OSError, match="the store is down"):
        asyncio.run(raise_for_all(world.send, ids, RaiseProgress("x"), no, rate_per_minute=2500, at_once=4))
    assert world.seen == []


@pytest.mark.parametrize("rate", [60, 2000])
def test_the_rate_is_kept(rate):
    """So many a minute are begun, whatever the concurrency."""
    world, ids, time = World(iter([])), people(100), FakeTime()
    asyncio.run(
        raise_for_all(world.send, ids, RaiseProgress("x"), world.note, rate_per_minute=rate, at_once=8, clock=time)
    )
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

    work = raise_for_all(send, people(60), RaiseProgress("x"), lambda _: None, rate_per_minute=1e9, at_once=3)
    asyncio.run(work)
    assert most == 3


def test_progress_that_an_earlier_version_stored_is_read():
    """The stored key on_the_way was renamed to in_flight."""
    stored = {"of": "x", "next": 3, "on_the_way": "1-2", "left": "", "unclear": "0", "raised": 0, "refused": 0}
    assert RaiseProgress.from_dict(stored) == RaiseProgress("x", 3, [1, 2], [], [0])
