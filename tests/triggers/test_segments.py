"""CijSegmentTrigger."""

from __future__ import annotations

import asyncio
import time

import pytest

from airflow_provider_cij.api.segments.wait import PublishBaseline
from airflow_provider_cij.errors import CijError, CijForbiddenError, CijSegmentFailedError, CijTimeoutError
from airflow_provider_cij.triggers._waiting import check_of_event
from airflow_provider_cij.triggers.segments import CijSegmentTrigger
from tests.scripted import Answer
from tests.segment_responses import BLIP, ID, NO_WORDS, NONE, segment
from tests.serialized import deserialize, serialize

ARGUMENTS = {
    "cij_conn_id": "cij_default",
    "segment_id": ID,
    "before_status": 1,
    "before_execution_id": "old",
    "before_started_on": "2026-11-02T03:00:00Z",
    "poll_interval": 0.05,
    "deadline": 1.0,
    "until": "live",
    "since": 0.0,
    "min_members": 0,
    "group": "",
    "not_before": 0.0,
    "before_execution_ids": ["older"],
    "under_way": True,
    "max_members": 7,
    "max_change": "20%",
    "count_before": 5,
    "first": False,
    "by_our_clock": False,
    "state": {"publishes": 2},
}


def test_the_trigger_is_serializable():
    """The trigger serializes to its class path and plain JSON, from which an equal one is made."""
    path, kwargs = CijSegmentTrigger(**ARGUMENTS).serialize()
    assert path == f"{CijSegmentTrigger.__module__}.{CijSegmentTrigger.__name__}"
    assert deserialize(serialize(kwargs)) == kwargs == ARGUMENTS
    assert CijSegmentTrigger(**kwargs).serialize() == (path, kwargs)


def test_arguments_of_an_older_version_are_accepted():
    """Arguments that an older version stored in Airflow's database are accepted."""
    old = ("cij_conn_id", "segment_id", "before_status", "before_execution_id", "poll_interval", "deadline")
    trigger = CijSegmentTrigger(**{name: ARGUMENTS[name] for name in old})
    assert (trigger.until, trigger.min_members) == ("live", 0)
    assert trigger.wait().baseline == PublishBaseline(1, ("old",))


@pytest.mark.parametrize("arguments", [{}, {"poll_interval": "soon", "deadline": None, "segment_id": 7}])
def test_the_constructor_never_raises(arguments):
    """The constructor accepts any arguments, for an error would end all triggers of the triggerer."""
    CijSegmentTrigger(**arguments)


def _event(**arguments) -> dict:
    async def first():
        return (await anext(aiter(CijSegmentTrigger(**arguments).run()))).payload

    return asyncio.run(first())


@pytest.fixture
def run_trigger(scripted, monkeypatch):
    """Return a function that runs a trigger against these responses and returns its event."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())

    def run(*answers: Answer, seconds: float = 20, **arguments):
        scripted.script = list(answers)
        return _event(**({"segment_id": ID, "poll_interval": 0.05, "deadline": time.time() + seconds} | arguments))

    return run


def test_every_end_is_a_typed_event(run_trigger):
    """Success, failure, timeout and error are events, and the worker raises each as the same error."""
    assert check_of_event(run_trigger(BLIP, segment(6), segment(1))).result["status"] == "live"
    no = Answer(403, {"error": {"code": "0x80040220", "message": "no privilege"}})
    for status, kind, answers in (
        ("failed", CijSegmentFailedError, [segment(3), NONE, segment(3), NO_WORDS]),
        ("timeout", CijTimeoutError, [segment(6)]),
        ("error", CijForbiddenError, [no]),
    ):
        event = run_trigger(*answers, seconds=0.4)
        assert event["status"] == status
        with pytest.raises(kind):
            check_of_event(event)


def test_an_unexpected_error_is_an_event(run_trigger):
    """An unexpected error is an event with its message, since an exception would reach the task without it."""
    event = run_trigger(segment(1), cij_conn_id="nowhere")
    assert event["status"] == "error"
    assert "nowhere" in event["error"]["message"]


def test_a_failing_service_ends_in_a_timeout_event(run_trigger):
    """A service that keeps failing ends in a timeout event with the last error."""
    event = run_trigger(BLIP, seconds=0.3)
    assert event["status"] == "timeout"
    assert "The last check failed" in event["error"]["message"]


@pytest.mark.parametrize(
    "event", [None, {}, {"status": "live"}, {"status": "unheard of"}, {"status": "live", "segment": 3}]
)
def test_a_malformed_event_is_an_error(event):
    """An event of any other shape raises an error in the worker."""
    with pytest.raises(CijError, match="neither success nor failure"):
        check_of_event(event)


def test_the_first_poll_is_delayed(scripted, monkeypatch):
    """The first poll is delayed, because an event within seconds of the deferral can fail it (apache/airflow#66374)."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    scripted.script = [segment(1)]
    started = time.monotonic()

    async def in_a_triggerer():
        trigger = CijSegmentTrigger(segment_id=ID, poll_interval=0.01, deadline=time.time() + 20)
        trigger.trigger_id = 7  # as the triggerer sets it
        return (await anext(aiter(trigger.run()))).payload

    assert asyncio.run(in_a_triggerer())["status"] == "live"
    assert time.monotonic() - started >= 5


def test_waiting_triggers_do_not_block_the_loop(run_trigger):
    """While twenty triggers wait, the event loop that they share runs other tasks."""
    assert check_of_event(run_trigger(segment(1)))
    rounds = 0

    async def main():
        async def tick():
            nonlocal rounds
            while True:
                await asyncio.sleep(0.01)
                rounds += 1

        ticking = asyncio.create_task(tick())
        triggers = [CijSegmentTrigger(segment_id=ID, poll_interval=0.5, deadline=time.time() + 20) for _ in range(20)]
        events = await asyncio.gather(*(anext(aiter(trigger.run())) for trigger in triggers))
        ticking.cancel()
        return events

    assert all(event.payload["status"] == "live" for event in asyncio.run(main()))
    assert rounds >= 5
