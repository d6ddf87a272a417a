"""Service protection: the sliding window by itself, and enforced by a running sandbox."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from cij_sandbox.core.errors import ODataError
from cij_sandbox.faults.limits import DOCUMENTED, Limits, Usage
from cij_sandbox.testing import running_sandbox
from hypothesis import given
from hypothesis import strategies as st

from ..organisation import Organisation

BURST = "x-ms-ratelimit-burst-remaining-xrm-requests"
SPENT = "x-ms-ratelimit-time-remaining-xrm-requests"
# Eighths are exact in binary: the model and the window may be compared at the very edge.
eighths = st.integers(0, 80).map(lambda number: number / 8)


class Meter:
    """A usage with a clock of its own."""

    def __init__(self, **limits: float) -> None:
        self.now = 1000.0
        self.usage = Usage(Limits(**limits), lambda: self.now)

    def ask(self, seconds: float = 0) -> tuple[str, int]:
        """Make a request that takes so long; return the code of its refusal and the time to wait, if any."""
        try:
            with self.usage.admitted():
                self.now += seconds
        except ODataError as refusal:
            return refusal.code, int(refusal.headers["Retry-After"])
        return "", 0


@given(st.integers(1, 5), st.integers(1, 8), st.lists(eighths, max_size=40))
def test_requests_in_a_sliding_window(limit, window, pauses):
    """A request is refused exactly when the window has more than the limit, refused ones included."""
    meter, arrivals = Meter(requests=limit, window_seconds=window), []
    for pause in pauses:
        meter.now += pause
        arrivals.append(meter.now)
        recent = sum(meter.now - window < arrival for arrival in arrivals)
        assert bool(meter.ask()[0]) is (recent > limit)
        assert meter.usage.headers() == {BURST: str(max(0, limit - recent))}


@given(st.integers(1, 5), st.integers(2, 8), st.lists(eighths, min_size=1, max_size=40))
def test_waiting_as_told_is_enough_and_no_second_too_long(limit, window, pauses):
    """The next request is admitted after Retry-After, and not more than a second earlier."""
    for early in (0, 1):
        meter, wait = Meter(requests=limit, window_seconds=window), 0
        for pause in pauses:
            meter.now += pause
            wait = meter.ask()[1]
        if wait > early:
            meter.now += wait - early
            assert bool(meter.ask()[0]) is bool(early)


@given(st.integers(1, 4), st.integers(1, 8), st.lists(st.tuples(eighths, eighths), max_size=30))
def test_execution_time_in_a_sliding_window(limit, window, calls):
    """A request is refused exactly when those that ended in the window took the limit or more."""
    meter, ended = Meter(execution_seconds=limit, window_seconds=window), []
    for pause, seconds in calls:
        meter.now += pause
        spent = sum(took for end, took in ended if meter.now - window < end)
        assert meter.usage.headers() == {SPENT: f"{max(0, limit - spent):.2f}"}
        code, wait = meter.ask(seconds)
        assert code == ("0x80072321" if spent >= limit else "")
        if not code:
            ended.append((meter.now, seconds))
            continue
        assert sum(took for end, took in ended if meter.now + wait - window < end) < limit
        if wait > 1:
            assert sum(took for end, took in ended if meter.now + wait - 1 - window < end) >= limit


def test_without_limits_nothing_is_counted():
    """Without limits every request is admitted, and no header says what is left."""
    meter = Meter()
    assert {meter.ask(100) for _ in range(10_000)} == {("", 0)}
    assert meter.usage.headers() == {}


def test_the_documented_words():
    """The documented limits have the documented messages."""
    assert (DOCUMENTED.requests, DOCUMENTED.execution_seconds, DOCUMENTED.concurrent) == (6000, 1200, 52)
    assert DOCUMENTED.message("0x80072322") == (
        "Number of requests exceeded the limit of 6000 over time window of 300 seconds."
    )
    assert DOCUMENTED.message("0x80072321").startswith(
        "Combined execution time of incoming requests exceeded limit of 1,200,000 milliseconds over time window of 300 "
    )
    assert DOCUMENTED.message("0x80072326") == "Number of concurrent requests exceeded the limit of 52."


@pytest.fixture
def limited(request) -> Iterator[Organisation]:
    """Provide a sandbox with the options of the test."""
    with running_sandbox(*request.param) as sandbox:
        organisation = Organisation(sandbox)
        yield organisation
        organisation.close()


@pytest.mark.parametrize("limited", [("--limit-requests", "5", "--limit-window", "2")], indirect=True)
def test_too_many_requests(limited):
    """The sixth request in the window is a 429, every reply says what is left, and Retry-After is enough."""
    replies = [limited.web.get("WhoAmI") for _ in range(6)]
    assert [reply.status_code for reply in replies] == [200] * 5 + [429]
    assert [reply.headers[BURST] for reply in replies] == ["4", "3", "2", "1", "0", "0"]
    assert SPENT not in replies[0].headers
    assert replies[5].json()["error"] == {
        "code": "0x80072322",
        "message": "Number of requests exceeded the limit of 5 over time window of 2 seconds.",
    }
    assert limited.plain.get("/api/data/v9.2/WhoAmI").status_code == 401
    limited.token()
    time.sleep(int(replies[5].headers["retry-after"]))
    assert limited.get("WhoAmI")


@pytest.mark.parametrize("limited", [("--limit-execution-seconds", "0.3")], indirect=True)
def test_too_much_execution_time(limited):
    """A slow request uses up the total duration; errors count too."""
    limited.sandbox.faults.add("slow", count=1, delay=0.4)
    first = limited.web.get("contacts(no)")
    assert (first.status_code, first.headers[SPENT]) == (400, "0.00")
    refused = limited.web.get("WhoAmI")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "0x80072321")
    assert "exceeded limit of 300 milliseconds over time window of 300 seconds. Decrease" in refused.text
    assert 290 < int(refused.headers["retry-after"]) <= 300
    assert BURST not in refused.headers


@pytest.mark.parametrize("limited", [("--limits", "--limit-concurrent", "3")], indirect=True)
def test_too_many_at_once(limited):
    """With three requests in flight the fourth is refused, and admitted when they have ended."""
    limited.sandbox.faults.add("slow", path="WhoAmI", delay=1)
    with ThreadPoolExecutor(3) as pool:
        slow = [pool.submit(limited.web.get, "WhoAmI") for _ in range(3)]
        while len(limited.sandbox.requests(since=2)) < 3:
            time.sleep(0.01)
        refused = limited.web.get("contacts")
    assert [reply.result().status_code for reply in slow] == [200] * 3
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert refused.json()["error"] == {
        "code": "0x80072326",
        "message": "Number of concurrent requests exceeded the limit of 3.",
    }
    after = limited.web.get("contacts")
    assert (after.status_code, after.headers[BURST]) == (200, "5995")
    assert 1195 < float(after.headers[SPENT]) <= 1197


@pytest.mark.parametrize("wrong", ["0", "-1", "x"])
def test_a_limit_of_nothing_is_refused(wrong):
    """A sandbox with a limit of zero does not start."""
    with pytest.raises(RuntimeError, match="--limit-requests"), running_sandbox("--limit-requests", wrong):
        pass
