"""Waits that sleep until a poll reads anything else than their last check did."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from airflow_provider_cij.api.batching import RequestBatcher
from airflow_provider_cij.api.standing import check_again, read_anew, read_once
from airflow_provider_cij.api.wait import Check, wait_until
from airflow_provider_cij.errors import CijInputError, CijRefusedError, CijServerError, CijTimeoutError

POLL = 0.1


class Service:
    """Rows that are read many at once; those of ``y`` and ``z`` never change."""

    def __init__(self, **rows: str) -> None:
        self.rows = {"y": "1", "z": "1", **rows}
        self.asked: list[list[str]] = []
        self.alone: list[str] = []
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()
        self._answered = 0
        self.moved = asyncio.Condition()
        self.poll = RequestBatcher(self.read_many, 100, POLL / 3)

    async def read_many(self, keys: list[str]) -> dict[str, str]:
        self.asked.append(keys)
        found, error = {key: self.rows[key] for key in keys if key in self.rows}, self.error
        await self._note(0)
        await self.open.wait()
        await self._note(1)
        if error:
            raise error
        return found

    async def _note(self, answered: int) -> None:
        self._answered += answered
        async with self.moved:
            self.moved.notify_all()

    async def read(self, key: str) -> str:
        """Read a row with others, or alone."""
        found = await self.poll.read(key)
        if found is None:
            self.alone.append(key)
            check_again()
            await self._note(0)
            return self.rows[key]
        return found

    async def asks(self) -> None:
        """Wait until one more request is sent."""
        sent = len(self.asked)
        async with asyncio.timeout(20), self.moved:
            await self.moved.wait_for(lambda: len(self.asked) > sent)

    async def answers(self, requests: int) -> None:
        """Wait until so many more requests are answered that were not sent yet, and what they wake has run."""
        wanted = len(self.asked) + requests
        async with asyncio.timeout(20), self.moved:
            await self.moved.wait_for(lambda: self._answered >= wanted)
        for _ in range(20):
            await asyncio.sleep(0)


@dataclass
class RowsWait:
    """Wait until all its rows are ``x``."""

    reads: list[tuple[Service, str]]
    seen: list[list[str | None]] = field(default_factory=list)
    good_for: float = 600.0

    subject, until, unmet = "Rows", "x", "are not x"

    async def check(self, _: object) -> Check:
        self.seen.append(found := await self.read())
        return Check(set(found) == {"x"}, "rows", f"They are {found}", {}, good_for=self.good_for)

    async def read(self) -> list[str | None]:
        return [await service.read(key) for service, key in self.reads]


def start(*waits: RowsWait, seconds: float = 30) -> list[asyncio.Task[Check]]:
    """Start waits that share their polls."""
    running = {"poll_interval": POLL, "deadline": time.time() + seconds, "together": True}
    return [asyncio.create_task(wait_until(wait, None, **running)) for wait in waits]  # type: ignore[arg-type]


@asynccontextmanager
async def standing(*waits: RowsWait, seconds: float = 30):
    """Start waits, and yield their tasks once all stand in the poll, with the last check of each."""
    services = {id(service): service for wait in waits for service, _ in wait.reads}.values()
    others = [RowsWait([(service, key)]) for service in services for key in "yz"]
    tasks, checks = start(*waits, *others, seconds=seconds), -1
    while not all(wait.seen for wait in waits) or checks < sum(len(wait.seen) for wait in waits):
        checks = sum(len(wait.seen) for wait in waits)
        await waits[0].reads[0][0].answers(1)
    for wait in waits:
        del wait.seen[:-1]
    try:
        yield tasks[: len(waits)]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_only_the_wait_whose_row_has_changed_is_checked(caplog_all):
    """A poll that reads the same as before checks no wait, and a changed row checks its own wait once."""

    async def main():
        service = Service(a="1", b="1")
        first, second = RowsWait([(service, "a")]), RowsWait([(service, "b")])
        async with standing(first, second) as (task, other):
            await service.answers(4)
            assert (first.seen, second.seen) == ([["1"]], [["1"]])
            service.rows["a"] = "x"
            assert (await task).done
            assert (first.seen, second.seen) == ([["1"], ["x"]], [["1"]])
            assert all(len(set(keys)) == len(keys) for keys in service.asked)
            assert not other.done()

    asyncio.run(main())
    assert caplog_all.messages.count("They are ['x']") == 1


def test_a_row_that_changes_back_does_no_harm():
    """A row that changes and changes back, between polls or seen by one, neither ends its wait nor keeps it from it."""

    async def main():
        service = Service(a="1", b="1")
        wait = RowsWait([(service, "a")])
        async with standing(wait, RowsWait([(service, "b")])) as (task, _):
            service.rows["a"] = "x"
            service.rows["a"] = "1"
            await service.answers(2)
            assert wait.seen == [["1"]]
            service.rows["a"] = "2"
            await service.answers(2)
            service.rows["a"] = "1"
            await service.answers(2)
            assert wait.seen == [["1"], ["2"], ["1"]]
            assert not task.done()
            service.rows["a"] = "x"
            assert (await task).done

    asyncio.run(main())


def test_a_poll_that_fails_ends_no_wait(caplog_all):
    """A poll that fails is logged for each of its waits, which are checked again at the next moment."""

    async def main():
        service = Service(a="1", b="1")
        waits = [RowsWait([(service, key)]) for key in "ab"]
        async with standing(*waits) as tasks:
            service.error = CijServerError("down")
            await service.answers(3)
            assert not any(task.done() for task in tasks)
            service.error = None
            await service.answers(1)
            service.rows |= {"a": "x", "b": "x"}
            assert all(check.done for check in await asyncio.gather(*tasks))
            assert [wait.seen[-1] for wait in waits] == [["x"], ["x"]]

    asyncio.run(main())
    warned = [record for record in caplog_all.records if record.levelno == logging.WARNING]
    assert len(warned) >= 2 * 2
    assert all("could not be read, checking again: down" in record.message for record in warned)


def test_nothing_is_asked_before_retry_after():
    """A wait whose poll was throttled asks for nothing before Retry-After has passed, and then checks anew."""

    async def main():
        service = Service(a="1", b="1")
        wait = RowsWait([(service, "a")])
        async with standing(wait, RowsWait([(service, "b")])) as (task, _):
            service.error = CijServerError("throttled", retry_after=5 * POLL)
            await service.answers(1)
            failed_at, requests = time.monotonic(), len(service.asked)
            service.error, service.rows["a"] = None, "x"
            await task
            assert time.monotonic() - failed_at >= 5 * POLL
            assert len(service.asked) == requests + 1

    asyncio.run(main())


def test_a_failure_that_stays_ends_the_wait():
    """A permanent error of a poll ends its waits with that error."""

    async def main():
        service = Service(a="1", b="1")
        async with standing(RowsWait([(service, "a")]), RowsWait([(service, "b")])) as tasks:
            service.error = CijInputError("no such column")
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                assert result is service.error

    asyncio.run(main())


def test_a_wait_that_stands_gives_up_at_its_deadline():
    """A wait that sleeps in the poll checks once more at its deadline, and gives up with what it has seen last."""

    async def main():
        service = Service(a="1", b="1")
        wait = RowsWait([(service, "a")])
        async with standing(wait, RowsWait([(service, "b")]), seconds=1) as (task, _):
            with pytest.raises(CijTimeoutError, match=r"Last seen: They are \['1'\]"):
                await task
            assert wait.seen == [["1"], ["1"]]

    asyncio.run(main())


def test_a_row_that_changes_at_the_deadline_counts():
    """What a wait waits for is found by its last check, at the deadline."""

    async def main():
        service = Service(a="1", b="1")
        wait = RowsWait([(service, "a")])
        async with standing(wait, RowsWait([(service, "b")]), seconds=1) as (task, _):
            service.open.clear()  # no poll is answered any more
            await asyncio.sleep(0)
            service.rows["a"] = "x"
            asyncio.get_running_loop().call_later(2, service.open.set)
            assert (await task).done

    asyncio.run(main())


def test_a_cancelled_wait_leaves_the_poll():
    """The row of a wait that was cancelled is not read any more, and the others go on."""

    async def main():
        service = Service(a="1", b="1", c="1")
        async with standing(*(RowsWait([(service, key)]) for key in "abc")) as tasks:
            await service.answers(1)
            tasks[0].cancel()
            await service.asks()
            assert sorted(service.asked[-1]) == ["b", "c", "y", "z"]
            service.rows["c"] = "x"
            assert (await tasks[2]).done

    asyncio.run(main())


def test_a_refused_poll_lets_each_wait_read_its_own():
    """Where a poll is refused, each wait reads its own row at once, and at each moment until polls work again."""

    async def main():
        service = Service(a="1", b="1")
        waits = [RowsWait([(service, key)]) for key in "ab"]
        async with standing(*waits) as tasks:
            service.error = CijRefusedError("too long")
            await service.answers(3)
            assert min(service.alone.count("a"), service.alone.count("b")) >= 2
            service.error = None
            await service.answers(2)
            service.rows["a"] = "x"
            assert (await tasks[0]).done
            assert not tasks[1].done()

    asyncio.run(main())


def test_a_wait_that_is_alone_reads_by_itself():
    """A wait that nobody shares a poll with reads its row by itself at each moment."""

    async def main():
        service = Service(a="1")
        wait = RowsWait([(service, "a")])
        (task,) = start(wait)
        async with asyncio.timeout(20), service.moved:
            await service.moved.wait_for(lambda: len(wait.seen) >= 3)
        service.rows["a"] = "x"
        assert (await task).done
        assert service.alone == ["a"] * len(wait.seen)
        assert not service.asked

    asyncio.run(main())


def test_a_wait_on_two_reads_wakes_when_both_are_answered():
    """A wait on two reads is not checked while one of them is unanswered, though the other has changed."""

    async def main():
        quick, slow = Service(a="1", b="1"), Service(c="1", d="1")
        wait = RowsWait([(slow, "c"), (quick, "a")])
        async with standing(wait, RowsWait([(slow, "d"), (quick, "b")])) as (task, _):
            slow.open.clear()
            await slow.asks()
            quick.rows["a"], slow.rows["c"] = "x", "2"
            await quick.answers(2)
            assert wait.seen == [["1", "1"]]
            slow.open.set()
            await slow.answers(2)
            assert wait.seen[-1] == ["2", "x"]
            slow.rows["c"] = "x"
            assert (await task).done

    asyncio.run(main())


def test_what_is_read_once_does_not_stand():
    """What is read once is not polled, and a check that has to be repeated is repeated at each moment."""

    class Once(RowsWait):
        repeat = False

        async def read(self) -> list[str | None]:
            with read_once():
                await self.reads[1][0].read(self.reads[1][1])
            if self.repeat:
                check_again()
            return [await self.reads[0][0].read(self.reads[0][1])]

    async def main():
        rows, names = Service(a="1", b="1"), Service(a="A", b="B")
        waits = [Once([(rows, key), (names, key)]) for key in "ab"]
        async with standing(*waits):
            await rows.answers(3)
            assert [len(wait.seen) for wait in waits] == [1, 1]
            polled = {key for keys in names.asked[-2:] for key in keys}
            assert polled == {"y", "z"}
            waits[0].repeat = True
            rows.rows["a"] = "2"
            await rows.answers(4)
            assert len(waits[0].seen) >= 3
            assert len(waits[1].seen) == 1

    asyncio.run(main())


def test_a_row_that_is_read_anew_is_read_after_the_log():
    """What is read anew in a check is of a later request than what woke the wait, though the poll has read it too."""

    class LogThenRow(RowsWait):
        async def read(self) -> list[str | None]:
            (rows, row), (log, entry) = self.reads
            if (ended := await log.read(entry)) == "x":
                read_anew()
            return [await rows.read(row), ended]

    async def main():
        rows, log = Service(a="x", b="1"), Service(a="1", b="1")
        waits = [LogThenRow([(rows, key), (log, key)]) for key in "ab"]
        async with standing(*waits) as (task, _):
            log.open.clear()
            log.rows["a"] = "x"
            await log.asks()
            rows.rows["a"] = "2"  # since the poll that reads the end in the log
            log.open.set()
            await rows.answers(3)
            assert waits[0].seen[0] == ["x", "1"]
            assert waits[0].seen[-1] == ["2", "x"]
            assert not task.done()
            rows.rows["a"] = "x"
            assert (await task).done

    asyncio.run(main())


def test_what_a_poll_has_read_is_not_used_after_a_later_answer():
    """A check that has read anything since the poll reads what follows anew, as a check without a poll would."""

    class Later(RowsWait):
        async def read(self) -> list[str | None]:
            (rows, row), (others, other) = self.reads
            if self.seen:
                await asyncio.gather(others.read(other), others.read("c"))
            return [await rows.read(row)]

    async def main():
        rows, others = Service(a="1"), Service(b="1", c="1")

        async def since_the_poll(keys: list[str]) -> dict[str, str]:
            if "b" in keys:
                rows.rows["a"] = "2"
            return await others.read_many(keys)

        others.poll = RequestBatcher(since_the_poll, 100, POLL / 3)
        wait = Later([(rows, "a"), (others, "b")])
        (task, *idle) = start(wait, *(RowsWait([(service, key)]) for service in (rows, others) for key in "yz"))
        await rows.answers(2)
        rows.rows["a"] = "x"
        await rows.answers(3)
        assert wait.seen[-1] == ["2"]
        for other in (task, *idle):
            other.cancel()

    asyncio.run(main())


def test_a_check_is_repeated_when_it_is_not_good_any_more():
    """A wait whose check is good for some time only is checked again after that, though nothing has changed."""

    async def main():
        service = Service(a="1", b="1")
        wait = RowsWait([(service, "a")], good_for=2 * POLL)
        async with standing(wait, RowsWait([(service, "b")])):
            while len(wait.seen) < 3:
                await service.answers(1)
            assert len(service.asked) >= 5

    asyncio.run(main())


def test_waits_among_rows_that_flicker_end_once_and_in_time():
    """Waits on rows that change at each poll never end before both rows are as wanted, and one poll later at most."""
    chance = random.Random(7)  # noqa: S311  # makes up rows

    async def main():
        services = [Service(), Service()]
        keys = [f"k{number}" for number in range(90)]
        reads_since: Counter[str] = Counter()

        def flickering(which: int, read):
            async def changed(asked: list[str]) -> dict[str, str]:
                for key in asked:
                    if services[which].rows.get(key) == "x":
                        reads_since[f"{which}{key}"] += 1
                    elif key in keys:
                        services[which].rows[key] = chance.choice("111223x")
                return await read(asked)

            return changed

        for which, service in enumerate(services):
            service.poll = RequestBatcher(flickering(which, service.read_many), 40, POLL / 3)
        waits = [RowsWait([(services[0], key), (services[1], key)]) for key in keys]
        others = start(*(RowsWait([(service, key)]) for service in services for key in "yz"))
        await asyncio.gather(*start(*waits))
        for task in others:
            task.cancel()
        for wait, key in zip(waits, keys, strict=True):
            assert wait.seen[-1] == ["x", "x"]
            assert all(set(found) != {"x"} for found in wait.seen[:-1])
            # The row that was the last to be as wanted was read so once; woken by the other, its wait reads it again.
            assert min(reads_since[f"0{key}"], reads_since[f"1{key}"]) <= 1

    asyncio.run(main())
