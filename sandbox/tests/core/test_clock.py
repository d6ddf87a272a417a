"""The clock and its jumps, and the pure decision when a segment is refreshed."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from cij_sandbox.core.clock import Clock
from cij_sandbox.segments.scheduling import DAY, HALF_HOUR, Cadence
from cij_sandbox.testing import running_sandbox
from hypothesis import given
from hypothesis import strategies as st

from ..organisation import Organisation

MOMENTS = st.integers(0, 10**9)


@given(MOMENTS, st.lists(st.tuples(st.sampled_from(["wait", "jump"]), st.floats(-1e6, 1e6))), st.floats(0.001, 1000))
def test_time_never_goes_back(begin, steps, speed):
    """The clock goes forward by jumps and by real time multiplied by the speed, even when the machine's goes back."""
    real = [float(begin)]
    clock = Clock(lambda: real[0])
    clock.start(begin + 100, speed)
    shown = clock.now()
    assert shown == begin + 100
    for what, seconds in steps:
        if what == "wait":
            real[0] += seconds
            expected = shown + max(seconds, 0) * speed
        elif seconds >= 0:
            clock.advance(seconds)
            expected = shown + seconds
        else:
            with pytest.raises(ValueError, match="forward"):
                clock.advance(seconds)
            expected = shown
        assert clock.now() >= shown
        assert clock.now() == pytest.approx(expected, abs=1e-3)
        assert clock.until(clock.now() + 60) == pytest.approx(60 / speed, rel=1e-2)
        shown = clock.now()


@given(MOMENTS, st.integers(0, 200 * DAY), st.integers(0, 200 * DAY), st.booleans())
def test_a_segment_is_refreshed_half_hourly_or_daily(published, later, unused, used):
    """A segment is refreshed half-hourly while it is used or up to a day old, else daily; a snapshot never is."""
    evaluated = published + later
    unused_since = None if used else published + unused
    wait = HALF_HOUR if used or later + HALF_HOUR <= DAY else DAY
    assert Cadence(published, evaluated, unused_since).refresh_at == evaluated + wait
    assert Cadence(published, evaluated, unused_since, frozen=True).refresh_at == math.inf
    expires = math.inf if used else published + unused + 120 * DAY
    assert Cadence(published, evaluated, unused_since).expires_at == expires


def test_the_clock_jumps_without_a_token(moving):
    """GET returns the time and POST advances it without a token; rows are written at the new time."""
    before = datetime.fromisoformat(moving.plain.get("/sandbox/clock").json()["now"])
    after = moving.advance(hours=5)
    assert timedelta(hours=5) <= after - before < timedelta(hours=5, minutes=1)
    row = moving.post("contacts", {"lastname": "New"}, 201, Prefer="return=representation").json()
    assert timedelta() <= datetime.fromisoformat(row["createdon"]) - after < timedelta(minutes=1)
    moving.web.delete(f"contacts({row['contactid']})")


@pytest.mark.parametrize(
    "text", ['{"advance_seconds": -1}', '{"advance_seconds": 1e12}', '{"advance_seconds": NaN}', "{}", "[]", "x", ""]
)
def test_a_jump_that_makes_no_sense_is_refused(moving, text):
    """A jump back, beyond the calendar, or by no number is refused with what is expected."""
    reply = moving.plain.post("/sandbox/clock", content=text, headers={"Content-Type": "application/json"})
    assert (reply.status_code, "advance_seconds" in reply.json()["error"]) == (400, True)
    assert moving.plain.post("/sandbox/clock", json={}, headers={"Host": "evil.example"}).status_code == 400


def test_time_goes_on_from_the_state_file(tmp_path):
    """After a restart the clock is not behind what it showed before, and a jump is not forgotten."""
    state = str(tmp_path / "state.sqlite")
    with running_sandbox("--state", state) as first:
        organisation = Organisation(first)
        shown = organisation.advance(days=40)
        organisation.close()
    with running_sandbox("--state", state) as second:
        organisation = Organisation(second)
        assert timedelta() <= organisation.advance() - shown < timedelta(minutes=1)
        organisation.close()
    assert shown > datetime.now(UTC) + timedelta(days=39)


def test_speed_makes_half_hours_pass():
    """At 3,600 seconds a second a segment is refreshed twice within seconds, while clients read the time."""
    with running_sandbox("--contacts", "5", "--compute-seconds", "0", "--speed", "3600") as sandbox:
        organisation = Organisation(sandbox)
        segment, definition = organisation.segment("PROFILE(contact)")
        begin = organisation.advance()
        assert organisation.publish(segment) == 1
        while len(runs := organisation.runs(definition)) < 3:
            assert organisation.advance() - begin < timedelta(hours=12)
        assert [kind for kind, _ in runs[:3]] == [723270000, 723270001, 723270001]
        assert organisation.advance() - begin >= timedelta(hours=1)
        organisation.close()
