"""How fast an organisation is: evaluations, Retry-After, the clock."""

import time
from datetime import datetime

import pytest

from ..organisation import running_organisation


@pytest.fixture
def slow():
    """Provide a client of a sandbox in which publishing takes an hour."""
    limits = ("--limit-requests", "50", "--limit-window", "3000")
    with running_organisation("--contacts", "5", "--compute-seconds", "3600", *limits) as organisation:
        yield organisation


def test_a_hurried_organisation_evaluates_at_once(slow):
    """After hurry() a publish is done at once, in an organisation where it took an hour."""
    slow.sandbox.hurry()
    segment, _ = slow.segment("PROFILE(contact)")
    assert slow.publish(segment) == 1
    assert len(slow.members(segment)) == 5


@pytest.mark.parametrize(("rule", "shown"), [({"retry_after": 60}, "1"), ({"retry_after": None}, None)])
def test_a_hurried_organisation_asks_for_short_waits(slow, rule, shown):
    """After hurry() no fault has a Retry-After above the longest one, and one without it stays without."""
    slow.sandbox.hurry(retry_after=1)
    slow.sandbox.faults.add("429", count=1, **rule)
    reply = slow.web.get("WhoAmI")
    assert (reply.status_code, reply.headers.get("Retry-After")) == (429, shown)


def test_a_hurried_organisation_forgets_service_protection_soon(slow):
    """After hurry() the window of service protection is a second."""
    while slow.web.get("WhoAmI").status_code == 200:
        pass
    assert int(slow.web.get("WhoAmI").headers["Retry-After"]) > 2000
    slow.sandbox.hurry()
    assert slow.web.get("WhoAmI").headers["Retry-After"] == "1"


def test_time_flies_in_a_hurried_organisation(slow):
    """The organisation's clock runs at the given speed, and may jump."""
    now = lambda: datetime.fromisoformat(slow.plain.get("/sandbox/clock").json()["now"]).timestamp()  # noqa: E731
    assert abs(now() - time.time()) < 60
    slow.sandbox.hurry(speed=100_000)
    slow.sandbox.advance(86_400)
    assert now() - time.time() >= 86_400
    assert slow.plain.get("/sandbox/pace").json() == {
        "compute_seconds": 0,
        "longest_retry_after": 0,
        "speed": 100_000,
    }


@pytest.mark.parametrize("pace", [{"speed": 0}, {"speed": True}, {"speeds": 1}, {"compute_seconds": -1}, [], 1])
def test_a_wrong_pace_is_refused(slow, pace):
    """A pace that is no pace is refused with the ranges, and changes nothing."""
    before = slow.plain.get("/sandbox/pace").json()
    reply = slow.plain.post("/sandbox/pace", json=pace)
    assert reply.status_code == 400
    assert '"speed" (0.001 to 100,000)' in reply.json()["error"]
    assert slow.plain.get("/sandbox/pace").json() == before
    assert slow.plain.post("/sandbox/pace", content=b"{}").status_code == 415
