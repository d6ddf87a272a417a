"""What the processes of a host share of a throttle: with real processes, and with the sandbox's limits."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time

import pytest
from cij_sandbox.testing import running_sandbox
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.dataverse.clock import DAY, Clock
from airflow_provider_cij.dataverse.host_throttle import HostThrottle, host_throttle_of
from tests.scripted_client import FakeClock
from tests.throttled_calls import run_processes

CLOCK = Clock()
HOLDER = """
import asyncio, sys
from airflow_provider_cij.dataverse.clock import Clock
from airflow_provider_cij.dataverse.host_throttle import HostThrottle
async def main():
    throttle = HostThrottle(sys.argv[1])
    throttle.close_for(50, Clock())
    async with throttle.slot(2, Clock()), throttle.slot(2, Clock()):
        print(flush=True)
        await asyncio.to_thread(sys.stdin.readline)
asyncio.run(main())
"""


async def _has_slot(throttle: HostThrottle, most: int) -> bool:
    try:
        async with asyncio.timeout(0.2), throttle.slot(most, CLOCK):
            return True
    except TimeoutError:
        return False


def test_another_process_is_counted_until_it_is_killed(tmp_path):
    """The requests in flight of another process are counted, and those of a killed one are not; what it said stays."""
    path = str(tmp_path / "throttle")
    throttle = HostThrottle(path)
    with subprocess.Popen([sys.executable, "-c", HOLDER, path], stdin=-1, stdout=-1) as other:
        other.stdout.readline()
        assert 40 < throttle.closed_for(CLOCK) <= 50
        assert not asyncio.run(_has_slot(throttle, 2))
        assert asyncio.run(_has_slot(throttle, 3))
        other.kill()
    assert asyncio.run(_has_slot(throttle, 2))
    assert 40 < HostThrottle(path).closed_for(CLOCK) <= 50


class _NotedClock(Clock):
    """The real clock, which notes how many sleep at once."""

    sleeping = most = 0

    async def sleep(self, seconds):
        self.sleeping += 1
        self.most = max(self.most, self.sleeping)
        try:
            await super().sleep(seconds)
        finally:
            self.sleeping -= 1


def test_one_waiting_request_of_an_event_loop_looks_for_a_slot(tmp_path):
    """Of many requests that wait for other processes one looks for a slot; all get one, and a cancelled one leaves."""
    path, clock, served = str(tmp_path / "throttle"), _NotedClock(), []

    throttle = HostThrottle(path)

    async def main(other):
        async def one(number):
            async with throttle.slot(2, clock):
                served.append(number)

        tasks = [asyncio.create_task(one(number)) for number in range(20)]
        await asyncio.sleep(0.1)
        assert (served, clock.most) == ([], 1)
        for task in tasks[:2]:
            task.cancel()
        await asyncio.sleep(0.1)
        assert (served, clock.most) == ([], 1)
        await asyncio.to_thread(other.communicate, b"\n")
        await asyncio.gather(*tasks, return_exceptions=True)

    with subprocess.Popen([sys.executable, "-c", HOLDER, path], stdin=-1, stdout=-1) as other:
        other.stdout.readline()
        asyncio.run(main(other))
    assert served == list(range(2, 20))
    assert asyncio.run(_has_slot(throttle, 2))
    assert len(throttle._looking) == 1  # of an event loop that has ended nothing is kept


@given(st.lists(st.floats(0, 2 * DAY), min_size=1, max_size=5))
def test_the_longest_wait_stays(tmp_path_factory, waits):
    """The longest of several waits holds, up to a day, and passes with time."""
    clock = FakeClock()
    throttle = HostThrottle(str(tmp_path_factory.mktemp("t") / "throttle"))
    for wait in waits:
        throttle.close_for(wait, clock)
    assert throttle.closed_for(clock) == pytest.approx(min(max(waits), DAY))
    clock.time += max(waits)
    assert throttle.closed_for(clock) == 0
    os.close(throttle._file)


@given(st.binary(max_size=64), st.integers(0, 28))
def test_a_torn_file_says_nothing(tmp_path_factory, content, cut):
    """Any content that no process wrote whole is as good as none, and is written over."""
    path = tmp_path_factory.mktemp("t") / "throttle"
    throttle = HostThrottle(str(path))
    path.write_bytes(content)
    assert throttle.closed_for(CLOCK) == 0
    throttle.close_for(30, CLOCK)
    assert 0 < throttle.closed_for(CLOCK) <= 30
    os.truncate(path, min(cut, 27))
    assert throttle.closed_for(CLOCK) == 0
    os.close(throttle._file)


def test_what_was_written_before_the_system_started_is_stale(tmp_path):
    """A moment of another boot is ignored: its monotonic clock is ahead, or as far from the wall clock as no other."""
    before, now = FakeClock(), FakeClock()
    throttle = HostThrottle(str(tmp_path / "throttle"))
    throttle.close_for(500, before)
    now.time = before.time - 100
    assert throttle.closed_for(now) == 0
    now.time = before.time + 100
    assert throttle.closed_for(now) == 400
    now.monotonic = lambda: before.time + 10
    assert throttle.closed_for(now) == 0


def test_a_file_that_is_not_the_users_alone_is_not_used(tmp_path):
    """A file that others may write, a link, a folder and a missing folder leave the process for itself."""
    shared, link = tmp_path / "shared", tmp_path / "link"
    shared.touch()
    shared.chmod(0o666)
    link.symlink_to(tmp_path / "target")
    for path in (shared, link, tmp_path, tmp_path / "none" / "file", "/dev/full"):
        throttle = HostThrottle(str(path))
        throttle.close_for(10, CLOCK)
        assert throttle.closed_for(CLOCK) == 0
        assert asyncio.run(_has_slot(throttle, 1))
    assert not (tmp_path / "target").exists()


def test_the_file_is_private_and_of_one_user(scripted):
    """The file is readable by its owner alone, and connections share it by organisation and client id."""
    one = host_throttle_of(scripted.settings())
    assert os.fstat(one._file).st_mode & 0o777 == 0o600
    assert one is host_throttle_of(scripted.settings(max_concurrency=3))
    assert one is not host_throttle_of(scripted.settings(client_id="another"))


def test_a_forked_process_holds_no_slot(tmp_path, scripted):
    """A forked process begins without the slots of its parent, and counts those as another's."""

    async def main() -> int:
        throttle = host_throttle_of(scripted.settings())
        async with throttle.slot(1, CLOCK):
            child = os.fork()
            if not child:
                again = host_throttle_of(scripted.settings())
                os._exit(0 if again is not throttle and again._take(1, 0) is None and again._take(2, 1) == 1 else 1)
            _, status = await asyncio.to_thread(os.waitpid, child, 0)
            return os.waitstatus_to_exitcode(status)

    assert asyncio.run(main()) == 0


@pytest.mark.parametrize("count", [4, pytest.param(12, marks=pytest.mark.soak)])
def test_processes_wait_together(count):
    """Of 240 calls of several processes against 120 in 5 s, no more than a handful are refused in all."""
    with running_sandbox("--limit-requests", "120", "--limit-window", "5") as sandbox:
        _, refused = run_processes(count, 240 // count, sandbox)
    assert 1 <= refused <= (4 if count == 4 else 8)


def test_no_more_are_sent_than_the_service_still_accepts(tmp_path):
    """Two processes' worth of requests in flight are as many as the service last said it accepts, and one at zero."""
    path = str(tmp_path / "throttle")
    for throttle in (HostThrottle(path), HostThrottle("")):
        clock = FakeClock()
        for left, sent, free in ((3, 0, 3), (0, 0, 1), (9, -1, 1), (5000, 1, 52)):
            clock.time += 2
            throttle.note_left(left, clock.time + sent - 2, clock)
            taken = [throttle._take(52, number) for number in range(60)]
            assert [number for number in taken if number is not None] == list(range(free))
            for number in range(free):
                throttle._release(number)


def test_processes_share_the_limit_at_once():
    """Sixteen calls at once of each of four processes meet the limit of 52 at once without a refusal."""
    with running_sandbox("--limits") as sandbox:
        sandbox.faults.add("slow", path="WhoAmI", delay=0.1)
        started = time.monotonic()
        seconds, refused = run_processes(4, 52, sandbox, max_concurrency=16)
        assert (refused, seconds <= time.monotonic() - started) == (0, True)


def test_the_last_process_takes_the_file_away(tmp_path):
    """A file that another process uses stays; the last to close it takes it away, unless it says that it is closed."""
    path = tmp_path / "throttle"
    throttle = HostThrottle(str(path))
    throttle.open()
    with subprocess.Popen([sys.executable, "-c", USER, str(path)], stdin=-1, stdout=-1) as other:
        other.stdout.readline()
        throttle.close(CLOCK)
        assert path.exists()
        other.communicate(b"\n")
    assert not path.exists()
    throttle.open()
    throttle.close_for(30, CLOCK)
    throttle.close(CLOCK)
    assert path.exists()
    assert 0 < HostThrottle(str(path)).closed_for(CLOCK) <= 30


USER = """
import sys
from airflow_provider_cij.dataverse.clock import Clock
from airflow_provider_cij.dataverse.host_throttle import HostThrottle
throttle = HostThrottle(sys.argv[1])
throttle.open()
print(flush=True)
sys.stdin.readline()
throttle.close(Clock())
"""


def test_a_file_that_was_cleaned_away_is_shared_again(tmp_path):
    """Processes whose file was removed find together again, and still know that the service is closed."""
    path, clock = tmp_path / "throttle", FakeClock()
    first = HostThrottle(str(path))
    first.close_for(50, clock)

    async def look(throttle: HostThrottle) -> None:
        async with throttle.slot(52, clock):
            pass

    path.unlink()
    clock.time += 2
    asyncio.run(look(first))
    assert HostThrottle(str(path)).closed_for(clock) == pytest.approx(48)


OPENER = """
import os, random, sys, time
from airflow_provider_cij.dataverse.clock import Clock
from airflow_provider_cij.dataverse.host_throttle import HostThrottle
throttle, clock = HostThrottle(sys.argv[1]), Clock()
for _ in range(300):
    throttle.open()
    assert throttle._file is not None
    assert os.path.samestat(os.stat(sys.argv[1]), os.fstat(throttle._file))
    throttle.close(clock)
"""


def test_processes_that_open_and_close_at_once_never_hold_different_files(tmp_path):
    """A process that has opened the file has the one that the path names, however often others take it away."""
    path = str(tmp_path / "throttle")
    running = [subprocess.Popen([sys.executable, "-c", OPENER, path], stderr=-1) for _ in range(4)]
    assert [process.communicate()[1].decode() for process in running] == [""] * 4
