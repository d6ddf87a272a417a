"""5,000 waits of all kinds in one triggerer, beside a trigger of the HTTP provider; and 1,000 watchers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from ssl import create_default_context
from typing import Any

from tests.bench.https_service import TENANT
from tests.bench.table import note
from tests.bench.waiting_service import KINDS, id_of, ready_after

WAITS, PEERS, WATCHERS = 5_000, 500, 1_000
POLL = 10.0
FIRST, LAST, END = 22.0, 62.0, 75.0
"""Seconds: a fifth of the rows get ready between the first two; then nothing is measured any more."""
STEADY = 20.0


def main() -> None:
    """Print what both cost."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.bench.waiting_service", folder]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            ours, peer, watchers = (_run(how, url, folder) for how in ("waits", "peer", "watchers"))
        finally:
            server.terminate()
            server.communicate()
    print(f"{WAITS:,} waits of {len(KINDS)} kinds every {POLL:.0f} s; {PEERS} of HttpSensorTrigger, one request each")
    late, looks = ours["late"] - peer["late"], 60 / POLL * WAITS / 500
    note(
        "5,000 waits, requests a minute",
        f"{PEERS} HttpSensorTrigger: {peer['requests']:,.0f}",
        f"{ours['requests']:.0f}",
        f"at most {30 + looks:.0f}",
    )
    note("5,000 waits, CPU", f"{PEERS} HttpSensorTrigger: {peer['cpu']:.1%}", f"{ours['cpu']:.1%}", "at most 3 %")
    note("5,000 waits, late p95", "HttpSensorTrigger", f"{late:+.2f} s", "at most +0.5 s")
    note(
        "5,000 waits, loop blocked, without Python's collector",
        "limit",
        f"{ours['blocked by us'] * 1000:.0f} ms",
        "at most 50 ms",
    )
    note("1,000 watchers, requests a minute", "limit", f"{watchers['requests']:.1f}", "at most 12")
    for title, found, count in (("ours", ours, WAITS), ("HttpSensorTrigger", peer, PEERS)):
        print(
            f"  {title:<17} {count:,} waits: {found['requests']:,.0f} requests a minute, late p95 {found['late']:.2f} s"
        )
        print(f"    CPU {found['cpu']:.1%}, of which Python's garbage collector {found['collector']:.1%}")
        blocked, by_us = found["blocked"] * 1000, found["blocked by us"] * 1000
        print(f"    loop blocked {blocked:.0f} ms at most, {by_us:.0f} ms without the collector")
    print(f"{WATCHERS:,} watchers: {watchers['requests']:.1f} requests a minute, {watchers['first']:.0f} at the start")


def _run(how: str, url: str, folder: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.waiting", how, url, f"{folder}/ca.pem"]
    environment = {**os.environ, "AIRFLOW_HOME": folder, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _triggers(how: str) -> list[tuple[str, Any]]:
    """Return ids and triggers that wait for them."""
    deadline = time.time() + 3600
    if how == "peer":
        from airflow.providers.http.triggers.http import HttpSensorTrigger

        ids = [id_of("live", number) for number in range(PEERS)]
        return [(row_id, HttpSensorTrigger(f"peer/{row_id}", poke_interval=POLL)) for row_id in ids]
    from airflow_provider_cij.triggers.journeys import CijJourneyTrigger
    from airflow_provider_cij.triggers.outbound import CijOutboundTrigger
    from airflow_provider_cij.triggers.segments import CijSegmentTrigger

    every: dict[str, Any] = {"poll_interval": POLL, "deadline": deadline}
    made = []
    for number in range(WAITS // len(KINDS)):
        ids = {kind: id_of(kind, number) for kind in KINDS}
        # Began a while ago, each at another time.
        since = 1_795_000_000.0 + number
        made += [
            (ids["live"], CijSegmentTrigger(segment_id=ids["live"], **every)),
            (ids["refreshed"], CijSegmentTrigger(segment_id=ids["refreshed"], until="refreshed", since=since, **every)),
            (ids["members"], CijSegmentTrigger(segment_id=ids["members"], until="members", min_members=3, **every)),
            (
                ids["group"],
                CijSegmentTrigger(segment_id=ids["group"], until="members", group="in", min_members=3, **every),
            ),
            (ids["journey"], CijJourneyTrigger(journey_id=ids["journey"], **every)),
            (ids["outbound segment"], CijOutboundTrigger(row_id=ids["outbound segment"], **every)),
            (ids["outbound journey"], CijOutboundTrigger(what="journey", row_id=ids["outbound journey"], **every)),
            (
                ids["operations"],
                CijOutboundTrigger(what="operations", row_id=ids["operations"], until="finished", **every),
            ),
        ]
    return made


class _Blocks:
    """For how long the loop was blocked at most: in all, and without Python's garbage collector.

    Between two looks for events the loop runs what is ready. A task that wakes each 10 ms would take 1 to 2 % of CPU.
    """

    def __init__(self) -> None:
        self.longest = self.without_collector = self.total = self._collected = self._began = 0.0
        gc.callbacks.append(self._note)
        selector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
        self._select, self._selected = selector.select, time.perf_counter()
        selector.select = self._timed

    def _note(self, phase: str, _: object) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self._collected += time.perf_counter() - self._began
            self.total += time.perf_counter() - self._began

    def _timed(self, timeout: float | None = None) -> Any:
        block = time.perf_counter() - self._selected
        self.longest = max(self.longest, block)
        self.without_collector = max(self.without_collector, block - self._collected)
        found = self._select(timeout)
        self._selected, self._collected = time.perf_counter(), 0.0
        return found


async def _measure(how: str, call: Any) -> dict[str, float]:
    events = dict[str, float]()
    # What is imported once is not the cost of a wait.
    warm, *triggers = _triggers(how)
    first = asyncio.create_task(anext(aiter(warm[1].run())))
    await asyncio.sleep(3)
    call((FIRST, LAST))
    began, blocks = time.monotonic(), _Blocks()

    async def run(row_id: str, trigger: Any) -> None:
        event = await anext(aiter(trigger.run()))
        status = event.payload if how == "peer" else event.payload["status"]
        assert status is True or status in ("live", "refreshed", "members", "finished"), event.payload
        events[row_id] = time.monotonic() - began

    tasks = []
    for row_id, trigger in triggers:  # as Airflow's triggerer starts them
        trigger.trigger_id = len(tasks) + 1
        tasks.append(asyncio.create_task(run(row_id, trigger)))
        await asyncio.sleep(0)
    await asyncio.sleep(began + STEADY - time.monotonic())
    cpu, requests, collected = time.process_time(), sum(_total(call())), blocks.total
    counts = call()
    await asyncio.sleep(began + END - time.monotonic())
    seconds = END - STEADY
    found = {
        "requests": (sum(_total(call())) - requests) / seconds * 60,
        "cpu": (time.process_time() - cpu) / seconds,
        "collector": (blocks.total - collected) / seconds,
        "blocked": blocks.longest,
        "blocked by us": blocks.without_collector,
    }
    print({name: count - counts.get(name, 0) for name, count in call().items()}, counts, file=sys.stderr)
    for task in (first, *tasks):
        task.cancel()
    failed = [
        result for result in await asyncio.gather(*tasks, return_exceptions=True) if isinstance(result, Exception)
    ]
    assert not failed, failed[:3]
    late = []
    for row_id, _ in triggers:
        if (due := ready_after(row_id, FIRST, LAST)) is not None:
            late.append(events.get(row_id, END + 60) - due)
    assert len(late) > 50
    assert min(late) > 0
    return {**found, "late": statistics.quantiles(late, n=20)[-1]}


async def _watch(call: Any) -> dict[str, float]:
    """Return what watchers of segments and journeys ask for, on one shared stream of each, as Airflow runs them."""
    from airflow_provider_cij.triggers import watching

    call((1e9, 1e9))
    feeds = []
    for kind in (watching.CijSegmentWatchTrigger, watching.CijJourneyWatchTrigger):
        name = "live" if kind is watching.CijSegmentWatchTrigger else "journey"
        of = "segment_id" if name == "live" else "journey_id"
        watchers = [kind(on="live", **{of: id_of(name, number)}) for number in range(WATCHERS // 2)]
        feeds.append(asyncio.create_task(_stream(watchers)))
    await asyncio.sleep(STEADY)
    first = sum(_total(call()))
    await asyncio.sleep(95)
    requests = sum(_total(call())) - first
    for feed in feeds:
        assert not feed.done(), feed.exception()
        feed.cancel()
    return {"requests": requests / 95 * 60, "first": first}


async def _stream(watchers: list[Any]) -> None:
    queues = [asyncio.Queue[Any]() for _ in watchers]

    async def polls(queue: asyncio.Queue[Any]) -> Any:
        while True:
            yield await queue.get()

    async def follow(watcher: Any, queue: asyncio.Queue[Any]) -> None:
        async for _ in watcher.filter_shared_stream(polls(queue)):
            pass

    from airflow_provider_cij.triggers.watching import polls_of

    async with asyncio.TaskGroup() as group:
        for watcher, queue in zip(watchers, queues, strict=True):
            group.create_task(follow(watcher, queue))
        async for poll in polls_of("cij_default", watchers[0].feed()):
            for queue in queues:
                queue.put_nowait(poll)


def _total(counts: dict[str, int]) -> list[int]:
    return [count for name, count in counts.items() if name != "in batches"]


def run_one(how: str, url: str, ca: str) -> None:
    """Measure, and print what came of it."""
    connection = {
        "conn_type": "cij",
        "host": url,
        "login": "client",
        "password": "secret",
        "extra": {"tenant_id": TENANT, "authority": f"{url}/{TENANT}", "ca_bundle": ca},
    }
    os.environ["AIRFLOW_CONN_CIJ_DEFAULT"] = json.dumps(connection)
    peer = {"conn_type": "http", "host": url, "extra": {"verify": False}}
    os.environ["AIRFLOW_CONN_HTTP_DEFAULT"] = json.dumps(peer)
    os.environ["SSL_CERT_FILE"] = ca
    context = create_default_context(cafile=ca)

    def call(seconds: tuple[float, float] | None = None) -> Any:
        body = None if seconds is None else json.dumps(seconds).encode()
        with urllib.request.urlopen(f"{url}/control", body, context=context) as response:  # noqa: S310  # our own
            return json.load(response)

    with contextlib.redirect_stdout(sys.stderr):
        found = asyncio.run(_watch(call) if how == "watchers" else _measure(how, call))
    print(json.dumps(found))


if __name__ == "__main__":
    run_one(*sys.argv[1:]) if len(sys.argv) > 1 else main()
