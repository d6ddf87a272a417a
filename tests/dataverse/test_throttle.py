from __future__ import annotations

import asyncio
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.dataverse.clock import Clock
from airflow_provider_cij.dataverse.throttle import ConcurrencyLimit, Throttle, throttle_of
from airflow_provider_cij.errors import CijThrottledError
from tests.scripted import Answer, RecordedRequest, ScriptedServer

BUSY = {"error": {"code": "0x80072326", "message": "Number of concurrent requests exceeded the limit of 52."}}
told = st.tuples(st.just("told"), st.floats(0, 100), st.floats(0, 50))
steps = st.lists(st.one_of(told, st.just(("answered", 0.0, 0.0))), max_size=200)


@given(st.integers(1, 52), steps)
def test_concurrency_stays_within_its_bounds(most, given_steps):
    """Concurrency stays between one and the limit, and a wait once set is never shortened."""
    pace, now = ConcurrencyLimit(most, most), 0.0
    for what, passed, wait in given_steps:
        before, now = pace, now + passed
        pace = pace.on_response() if what == "answered" else pace.on_throttled(wait, sent_at=now, now=now)
        assert 1 <= pace.limit <= most
        assert pace.closed_until >= before.closed_until
        assert what == "answered" or pace.closed_until >= now + wait


def test_concurrency_halves_after_429_and_grows_after_successes():
    """Concurrency halves once for all 429s in flight together and grows by one after a run of successes."""
    pace = ConcurrencyLimit(8, 8)
    for _ in range(3):
        pace = pace.on_throttled(10, sent_at=100, now=101)
    assert (pace.limit, pace.closed_until) == (4, 111)
    assert pace.on_throttled(10, sent_at=112, now=113).limit == 2
    limits = []
    for _ in range(100):
        pace = pace.on_response()
        limits.append(pace.limit)
    assert [limits.count(limit) for limit in (4, 5, 6, 7, 8)] == [19, 20, 20, 20, 21]


def test_the_limit_after_too_many_at_once_is_what_was_in_flight():
    """A concurrency refusal lowers the limit to what was in flight before it; a full window of time leaves it."""
    pace, why = ConcurrencyLimit(52, 52), "0x80072326"
    for in_flight in (50, 49, 52):
        pace = pace.on_throttled(1, sent_at=100, now=101, in_flight=in_flight, code=why)
    assert (pace.limit, pace.closed_until) == (48, 102)
    assert pace.on_throttled(1, sent_at=103, now=104, in_flight=1, code=why).limit == 1
    for why in ("0x80072321", "0x80072322"):
        assert pace.on_throttled(9, sent_at=103, now=104, in_flight=40, code=why).limit == 48


def _in_threads(count: int, main) -> list:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda number: asyncio.run(main(number)), range(count)))


def test_slots_are_shared_over_threads_and_loops():
    """Four threads with an event loop each never hold more slots than one connection has."""
    throttle, lock = Throttle(3), threading.Lock()
    busy = most = done = 0

    async def hold_slot(chance: random.Random) -> None:
        nonlocal busy, most, done
        async with throttle.slot(Clock(), 60, "GET x"):
            with lock:
                busy += 1
                most = max(most, busy)
            try:
                await asyncio.sleep(chance.random() / 500)
            finally:
                with lock:
                    busy -= 1
        with lock:
            done += 1

    async def main(number: int) -> None:
        chance = random.Random(number)  # noqa: S311
        tasks = [asyncio.create_task(hold_slot(chance)) for _ in range(60)]
        for task in chance.sample(tasks, 20):
            await asyncio.sleep(chance.random() / 1000)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    _in_threads(4, main)
    assert most == 3
    assert done >= 160
    assert throttle._in_flight == 0
    assert not throttle._queue


def test_a_closed_loop_keeps_no_slot():
    """A waiter on a closed event loop is skipped and the next one in the queue gets the slot."""
    throttle = Throttle(1)

    async def enter() -> None:
        async with throttle.slot(Clock(), 60, "GET x"):
            pass

    async def main() -> None:
        async with throttle.slot(Clock(), 60, "GET x"):
            await asyncio.to_thread(abandon)
            waiting = asyncio.create_task(enter())
            await asyncio.sleep(0)
        await asyncio.wait_for(waiting, 5)

    def abandon() -> None:
        loop = asyncio.new_event_loop()
        waiting.append(loop.create_task(enter()))
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()

    waiting: list[asyncio.Task[None]] = []
    asyncio.run(main())
    assert throttle._in_flight == 0
    # Its loop can't end it any more, and a pending task would be complained about.
    waiting[0]._log_destroy_pending = False


def test_a_429_in_one_thread_holds_all_threads():
    """After a 429 in one thread, requests of all threads wait and then start one after the other."""
    throttle = Throttle(8)
    throttle.on_throttled(0.3, Clock(), sent_at=time.time())
    until = throttle.concurrency.closed_until

    async def main(_: int) -> list[float]:
        async def start() -> float:
            async with throttle.slot(Clock(), 60, "GET x"):
                return time.time()

        return await asyncio.gather(start(), start())

    starts = sorted(start for pair in _in_threads(4, main) for start in pair)
    assert until <= starts[0]
    assert starts[-1] <= until + 5  # two seconds, and a slow machine
    assert starts[-1] - starts[0] > 0.01


def test_a_connection_has_one_throttle(scripted):
    """Clients with the same settings share a throttle; another user of the organisation has its own."""
    assert throttle_of(scripted.settings()) is throttle_of(scripted.settings())
    assert throttle_of(scripted.settings()) is not throttle_of(scripted.settings(client_id="another"))


def test_a_wait_beyond_the_limit_is_raised_by_all_clients(scripted):
    """A wait beyond the limit is raised at once by all clients of the connection, with its length."""
    scripted.script = [Answer(429, BUSY, {"Retry-After": "600"})]

    async def main(_: int) -> CijThrottledError:
        async with DataverseClient(scripted.settings()) as client:
            with pytest.raises(CijThrottledError) as caught:
                await client.get("WhoAmI")
            return caught.value

    first, second = main(0), main(1)
    told, not_sent = asyncio.run(first), _in_threads(1, lambda _: second)[0]
    assert (told.retry_after, told.http_status) == (600, 429)
    assert 590 < not_sent.retry_after <= 600
    assert not_sent.http_status is None
    assert "GET WhoAmI was not sent" in str(not_sent)
    assert "max_throttle_wait_seconds is 60" in str(not_sent)
    assert len(scripted.requests) == 1


class _Busy(ScriptedServer):
    """A server that throttles for a second from a given request on and counts the requests sent meanwhile."""

    def __init__(self, folder) -> None:
        super().__init__(folder)
        self.served: list[float] = []
        self.refused: list[float] = []
        self.at_once = self.most_at_once = 0
        self._counting = threading.Lock()

    def answer(self, request: RecordedRequest) -> Answer:
        if not request.path.endswith("/WhoAmI"):
            return super().answer(request)
        now = time.time()
        with self._counting:
            if len(self.served) == 8 and (not self.refused or now < self.refused[0] + 1):
                self.refused.append(now)
                return Answer(429, BUSY, {"Retry-After": "1"})
            self.served.append(now)
            number = len(self.served)
            self.at_once += number > 8
            self.most_at_once = max(self.most_at_once, self.at_once)
        # The first eight end one after the other, as those of a busy service would.
        time.sleep(0.1 + 0.05 * number if number <= 8 else 0.05)
        with self._counting:
            self.at_once -= number > 8
        return Answer(body={})


def test_few_requests_are_sent_while_throttled(tmp_path):
    """Of 40 requests over two clients, hardly any is sent while the service throttles."""

    async def main() -> None:
        async with DataverseClient(server.settings()) as first, DataverseClient(server.settings()) as second:
            await first.get("WhoAmI")
            server.served.clear()
            await asyncio.gather(*((first, second)[number % 2].get("WhoAmI") for number in range(40)))

    with _Busy(tmp_path) as server:
        asyncio.run(main())
    assert 1 <= len(server.refused) <= 2
    assert len(server.served) == 40
    after = server.served[8:]
    assert after[0] >= server.refused[0] + 1
    assert server.most_at_once <= 8
    assert throttle_of(server.settings()).concurrency.limit in (7, 8)  # eight in flight were too many; one is back
    assert after[6] - after[0] > 0.02
