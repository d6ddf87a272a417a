"""Run Airflow as it is run for many, let its parts fail, and compare what is left: ``python -m tests.stack``."""

from __future__ import annotations

import argparse
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from cij_sandbox.testing import Sandbox, running_sandbox

from demo.examples import Examples, prepare
from tests.sources.databases import postgres
from tests.stack.celery import CeleryStack
from tests.stack.servers import Proxy, files, redis, store
from tests.system.e2e.running_examples import run_all

DAGS = Path(__file__).with_name("dags")
DAG_ID = "stack_segments"
_BUCKET = "marketing/many"
_AWAY_SECONDS = 10


class Site:
    """Everything that runs.

    :param sandbox: the organisation
    :param airflow: Airflow
    :param examples: the example DAGs
    :param bucket: the file system of the store
    :param proxies: the ways to the database and the broker
    """

    def __init__(
        self, sandbox: Sandbox, airflow: CeleryStack, examples: Examples, bucket: Any, proxies: dict[str, Proxy]
    ) -> None:
        self.sandbox, self.airflow, self.examples, self.bucket = sandbox, airflow, examples, bucket
        self.proxies = proxies

    def break_it(self, fault: str, chance: random.Random) -> None:
        """Let a part fail."""
        if fault in self.proxies:
            self.proxies[fault].away(_AWAY_SECONDS)
        elif fault == "task":
            give_up = time.monotonic() + 60
            while not (found := self.airflow.task_processes()):
                if time.monotonic() > give_up:
                    raise RuntimeError("No task is running.")
                time.sleep(0.1)
            with suppress(ProcessLookupError):
                os.kill(chance.choice(found), signal.SIGKILL)
        elif fault != "none":
            self.airflow.kill("worker-1" if fault == "worker" else fault)


@contextmanager
def site(folder: Path, contacts: int) -> Iterator[Site]:
    """Start everything."""
    with ExitStack() as stack:
        socket_folder = Path(stack.enter_context(postgres()))
        _create_database(socket_folder)
        ways = {
            "database": Proxy(socket_folder / ".s.PGSQL.5432"),
            "broker": Proxy(stack.enter_context(redis(folder))),
        }
        address = stack.enter_context(store())
        arguments = ("--contacts", str(contacts), "--compute-seconds", "0", "--with-journey-instances")
        sandbox = stack.enter_context(running_sandbox(*arguments))
        sandbox.add_trigger("msdynmkt_cartabandoned", msdynmkt_carturl="string")
        examples, bucket = prepare(sandbox.airflow_conn_uri, folder), files(address)
        local = folder / "data"
        for path in examples.dags.glob("*.py"):  # what the demo keeps on its disk lies in the store here
            path.write_text(path.read_text().replace(f'"{local.as_uri()}/', '"s3://store@marketing/'))
        for path in local.rglob("*.csv"):
            bucket.put_file(str(path), f"marketing/{path.relative_to(local)}")
        shutil.rmtree(local)
        for path in DAGS.glob("*.py"):
            shutil.copy(path, examples.dags)
        sandbox.hurry(compute_seconds=3, retry_after=3600, speed=1)
        home = folder / "airflow"
        airflow = stack.enter_context(CeleryStack(home, examples.dags, ways["database"].port, ways["broker"].port))
        examples.connect(airflow, sandbox.airflow_conn_uri)
        extra = f'{{"endpoint_url": "{address}", "region_name": "us-east-1"}}'
        body = {"connection_id": "store", "conn_type": "aws", "login": "a", "password": "b", "extra": extra}
        airflow.rest("POST", "connections", json=body)
        airflow.wait_for_dag(DAG_ID)
        yield Site(sandbox, airflow, examples, bucket, ways)


def _create_database(socket_folder: Path) -> None:
    import psycopg

    with psycopg.connect(host=str(socket_folder), user="postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE airflow")


def round_of(where: Site, fault: str, number: int, chance: random.Random, options: argparse.Namespace) -> list[str]:
    """Run the DAG on new lists, let a part fail on the way, and return a line of the table."""
    everybody = _contacts(where)
    wanted = {n: chance.sample(everybody, options.people) for n in range(options.segments)}
    to_raise = chance.sample(everybody, options.raised)
    for name, people in [*((f"{number}_{n}", people) for n, people in wanted.items()), (f"{number}_raise", to_raise)]:
        where.bucket.pipe_file(f"{_BUCKET}/{name}.csv", "\n".join(["contactid", *people, ""]).encode())
    before, restarts = len(where.sandbox.events()), where.airflow.restarts
    started = time.monotonic()
    run_id = where.airflow.trigger(DAG_ID, {"segments": options.segments, "round": str(number)})
    at = chance.uniform(*options.window)
    time.sleep(at)
    where.break_it(fault, chance)
    state = _wait(where, run_id, options.seconds)
    seconds = time.monotonic() - started
    tasks = where.airflow.tasks(DAG_ID, run_id)
    tries = sum(max(0, task["try_number"] - 1) for task in tasks)
    wrong = [f"{task['task_id']}[{task['map_index']}] {task['state']}" for task in tasks if task["state"] != "success"]
    found = wrong or [
        *(f"list {n} differs" for n in wanted if set(_read(where, f"{number}_{n}_out")) != set(wanted[n])),
        *_raised(where, number, to_raise, before),
    ]
    return [
        *(fault, f"{at:.0f} s", f"{seconds:.0f} s", state, str(tries), str(where.airflow.restarts - restarts)),
        "; ".join(found[:4]) or "as without",
    ]


def _wait(where: Site, run_id: str, seconds: float) -> str:
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        state = str(where.airflow.rest("GET", f"dags/{DAG_ID}/dagRuns/{run_id}")["state"])
        if state in ("success", "failed"):
            return state
        time.sleep(1)
    return "stuck"


def _read(where: Site, name: str) -> list[str]:
    return where.bucket.cat_file(f"{_BUCKET}/{name}.csv").decode().split()[1:]


def _raised(where: Site, number: int, people: list[str], before: int) -> Iterator[str]:
    """Yield what is wrong with the raised triggers: each person once, or named as unclear."""
    events = [event for event in where.sandbox.events()[before:] if "cartabandoned" in event["trigger"]]
    times = Counter(event["profile_id"] for event in events)
    unclear = set(_read(where, f"{number}_unclear"))
    if twice := [person for person in people if times[person] > 1]:
        yield f"{len(twice)} raised twice"
    if lost := [person for person in people if not times[person] and person not in unclear]:
        yield f"{len(lost)} never raised, and not unclear"


def _contacts(where: Site) -> list[str]:
    from airflow.sdk import Connection

    from airflow_provider_cij.dataverse.client import DataverseClient
    from airflow_provider_cij.hooks.cij import settings_of

    async def read() -> list[str]:
        connection = Connection.from_uri(where.sandbox.airflow_conn_uri, conn_id="stack")
        async with DataverseClient(settings_of(connection)) as client:
            return [row["contactid"] async for page in client.pages("contacts?$select=contactid") for row in page]

    import asyncio

    return sorted(asyncio.run(read()))


def _examples(where: Site, seconds: float) -> list[str]:
    started = time.monotonic()
    states = run_all(where.airflow, where.examples, seconds)
    wrong = {dag_id: state for dag_id, state in states.items() if state != "success"}
    for dag_id, state in wrong.items():
        print(f"{dag_id}: {state}", file=sys.stderr)
    took = f"{time.monotonic() - started:.0f} s"
    return ["examples", "", took, "failed" if wrong else "success", "", "", ", ".join(wrong) or "as without"]


FAULTS = ("none", "worker", "task", "triggerer", "scheduler", "database", "broker")
_HEAD = ["fault", "at", "took", "run", "retries", "restarts", "end state"]


def main() -> int:
    """Run it, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.stack", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="who is in the lists, and when parts fail")
    parser.add_argument("--segments", type=int, default=12)
    parser.add_argument("--people", type=int, default=20_000, help="people in each segment")
    parser.add_argument("--raised", type=int, default=600, help="people for whom a trigger is raised")
    parser.add_argument("--contacts", type=int, default=30_000, help="contacts in the sandbox")
    parser.add_argument("--rounds", type=int, default=1, help="how often each part fails")
    parser.add_argument("--fault", action="append", choices=FAULTS, help="only this one; may be repeated")
    parser.add_argument("--no-examples", action="store_true", help="leave the example DAGs out")
    parser.add_argument("--window", type=float, nargs=2, default=(5, 45), help="seconds between which a part fails")
    parser.add_argument("--seconds", type=float, default=900, help="when a run counts as stuck")
    parser.add_argument("--keep", action="store_true", help="keep the logs")
    options = parser.parse_args()
    logging.disable(logging.INFO)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(130))
    chance = random.Random(options.seed)  # noqa: S311
    folder = Path(tempfile.mkdtemp(prefix="cij-stack-"))
    print(f"Seed {options.seed}; logs in {folder}", flush=True)
    good = True
    calls: list[Callable[[Site], list[str]]] = []
    if not options.no_examples:
        calls.append(lambda where: _examples(where, options.seconds))
    faults = [fault for _ in range(options.rounds) for fault in options.fault or FAULTS]
    calls += [
        lambda where, fault=fault, number=number: round_of(where, fault, number, chance, options)
        for number, fault in enumerate(faults)
    ]
    with site(folder, options.contacts) as where:
        print(_line(_HEAD), flush=True)
        for call in calls:
            line = call(where)
            good = good and line[-1] == "as without"
            print(_line(line), flush=True)
    if good and not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if good else 1


def _line(cells: list[str]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, (10, 5, 6, 8, 7, 8, 0), strict=True))


if __name__ == "__main__":
    sys.exit(main())
