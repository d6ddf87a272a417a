"""The weekly refresh over many weeks while the service fails and workers die, compared with plain sets.

A season is ten weeks of one organisation. All of it derives from the season's number: the audience, the events between
the weeks, how a worker dies, and which requests of a week meet which faults (each week has fault rules of its own; only
the number of polls while waiting varies). ``pytest "tests/system/test_soak_weekly_refresh.py" -k "[3]"``
repeats a season.
"""

from __future__ import annotations

import csv
import gc
import json
import os
import runpy
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cij_sandbox.remote import Remote
from cij_sandbox.testing import Sandbox, running_sandbox

from airflow_provider_cij.api.members.id_list import read_member_ids
from airflow_provider_cij.api.segments.models import ExecutionStatus, SegmentStatus
from airflow_provider_cij.api.segments.wait import SegmentWait, capture_baseline
from airflow_provider_cij.api.wait import wait_until
from airflow_provider_cij.dataverse import client
from airflow_provider_cij.dataverse.odata import query
from airflow_provider_cij.dataverse.retry import RetryPolicy
from airflow_provider_cij.errors import CijError
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.operators import _member_list
from airflow_provider_cij.sources import FromFile, FromSql
from tests.dags import run_dag
from tests.system.weekly_refresh_model import (
    ANY,
    DIRT,
    GROUP,
    KEPT_OUT,
    NAME,
    SEGMENT_ID,
    TOLD,
    Model,
    Week,
    faults_of,
    turn,
)

WEEKS = 10
EXAMPLE = Path(__file__).parents[2] / "example_dags" / "cij_weekly_refresh.py"
SQL = "SELECT contact_id FROM newsletter_audience WHERE unsubscribed = 0"
# As patient as by default, in less time.
PATIENT = RetryPolicy(initial_wait=0.01)
TRIES = 6
AT_ONCE = 2


class _DiedError(Exception):
    """The simulated death of a worker."""


async def mirror(cij, group: str, source: Any, on_batch: Callable[..., None] | None = None) -> None:
    """Make a group of the segment equal to a source."""
    intake = await read_member_ids(source.chunks(cij.dataverse))
    segment = await cij.segments.get(SEGMENT_ID)
    plan = await cij.members.plan(segment.segment_id, [await cij.segments.group(segment, group)], intake.ids)
    await cij.members.mirror(segment.segment_id, plan, on_batch)


def die(path: str) -> None:
    """Mirror a file and be killed halfway, in a process of its own."""

    def killed(*_: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    CijHook().run(lambda cij: mirror(cij, GROUP, FromFile(path, "contact_id"), killed), PATIENT)


async def _refresh(cij, segment_id: str):
    segment = await cij.segments.get(segment_id)
    wait = SegmentWait(segment_id, baseline=await capture_baseline(cij.segments, segment))
    await cij.segments.publish(segment)
    await wait_until(wait, cij, poll_interval=0.03, deadline=time.time() + 20)
    return await cij.segments.get(segment_id)


async def _whole_list(pages) -> list[str]:
    return [member async for page in pages for member in page]


class Season:
    """One organisation, its model, and the tasks that work on it."""

    def __init__(self, number: int, sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
        self.number = number
        self.sandbox = sandbox
        self.file, self.database = folder / "audience.csv", folder / "warehouse.db"
        self.monkeypatch = monkeypatch
        self.caplog = caplog
        self.hook = CijHook()
        self.control = Remote(sandbox.base_url, sandbox.ca)
        self.model = Model(self.hook.run(_contacts))
        self.seen: Counter[str] = Counter()
        self.met: Counter[str] = Counter()

    def week(self, number: int) -> None:
        """Run one week and check its result."""
        week = turn(self.model, self.number, number)
        self._write(week.rows)
        evaluations = self._evaluations() if number else 0
        began = max((request["number"] for request in self.sandbox.requests()), default=0)
        for rule in faults_of(self.number, number):
            self.sandbox.faults.add(rule.pop("fault"), **rule)
        self._between(week.between)
        source = FromFile(str(self.file), "contact_id") if number % 2 else FromSql(SQL, "warehouse")
        if week.dag:
            self._by_dag(week, source)
        else:
            self._by_hook(week, source)
        struck = sum(self.sandbox.faults.struck())
        self.sandbox.faults.clear()
        assert struck >= 3
        requests = self.sandbox.requests(since=began)
        self.met.update(request["fault"] for request in requests if request["fault"])
        self._check_throttling(requests)
        self._check(evaluations)

    def _between(self, what: str) -> None:
        if what == "stopped":
            self._until_done("stop", lambda cij: cij.segments.stop([SEGMENT_ID]))
        elif what == "a week":
            # A refresh of the service's own is under way then.
            self._pass_days(7)
        elif what == "expired":
            self._pass_days(121)
            segment = self._until_done("look", lambda cij: cij.segments.get(SEGMENT_ID))
            assert segment.status == SegmentStatus.EXPIRED

    def _pass_days(self, days: int) -> None:
        self.control.call("POST", "clock", {"advance_seconds": days * 86_400})

    def _by_dag(self, week: Week, source: Any) -> None:
        """Run the example DAG with the week's arguments and without pauses."""
        parts = runpy.run_path(str(EXAMPLE))
        create, mirror, refresh = parts["create"], parts["mirror"], parts["refresh"]
        create.query, create.groups = self.model.query, list(self.model.spec.groups)
        mirror.members, mirror.max_invalid = source, None
        refresh.poll_interval = 0.03
        dag = create.dag
        for task in dag.tasks:
            task.retry_delay *= 0
        with self.monkeypatch.context() as patch:
            if week.death == "raise":
                patch.setattr(_member_list.Progress, "__call__", _once(partial(_raise, self.seen, "died in a DAG")))
            ran = run_dag(dag)
        assert set(ran.states.values()) == {"success"}
        report = ran.result("mirror_members")
        invalid = sum(row in DIRT for row in week.rows)
        assert (report["read"], report["invalid"]) == (len(week.rows), invalid)
        assert report["duplicate"] == len(week.rows) - invalid - len(self.model.invited)
        assert ran.result("refresh_segment")["member_count"] == len(self.model.members)

    def _by_hook(self, week: Week, source: Any) -> None:
        """Run the steps of the example DAG by the hook, with other ways to die."""
        spec = self.model.spec
        self._until_done("create", lambda cij: cij.segments.create(spec))
        on_batch = None
        if week.death == "kill":
            command = [
                sys.executable,
                "-c",
                "import sys; from tests.system.test_soak_weekly_refresh import die; die(sys.argv[1])",
            ]
            ended = subprocess.run([*command, str(self.file)], check=False, capture_output=True, text=True)
            assert ended.returncode == -signal.SIGKILL, ended.stderr
            self.seen["killed"] += 1
        elif week.death != "none":
            end = partial(_raise, self.seen, "died") if week.death == "raise" else self.hook.stop
            on_batch = _once(end)
        self._until_done("mirror", lambda cij: mirror(cij, GROUP, source, on_batch))
        kept_out = self.file.with_name("kept_out.csv")
        kept_out.write_text("\n".join(["contact_id", *self.model.kept_out]))
        self._until_done("mirror", lambda cij: mirror(cij, KEPT_OUT.name, FromFile(str(kept_out))))
        segment = self._until_done("refresh", lambda cij: _refresh(cij, SEGMENT_ID))
        assert segment.member_count == len(self.model.members)

    def _until_done(self, what: str, work: Callable[..., Any]) -> Any:
        """Repeat a call as Airflow's retries would."""
        for left in reversed(range(TRIES)):
            try:
                return self.hook.run(work)
            except (CijError, _DiedError) as error:
                self.seen[f"{what}: {type(error).__name__}"] += 1
                if not left or getattr(error, "permanent", False):
                    raise
        raise AssertionError

    def _write(self, rows: list[str]) -> None:
        with closing(sqlite3.connect(self.database)) as database, database:
            database.execute("DROP TABLE IF EXISTS newsletter_audience")
            database.execute("CREATE TABLE newsletter_audience (contact_id TEXT, unsubscribed INTEGER)")
            audience = [*((member, 0) for member in rows), (str(uuid.uuid4()), 1)]
            database.executemany("INSERT INTO newsletter_audience VALUES (?, ?)", audience)
        with self.file.open("w", newline="") as file:
            csv.writer(file).writerows([["name", "contact_id"], *([f'"No. {row[:3]}"', row] for row in rows)])

    def _evaluations(self) -> int:
        """Return the number of requested evaluations that succeeded."""
        where = f"msdynmkt_type eq 723270000 and statuscode eq {int(ExecutionStatus.SUCCEEDED)}"
        column = "msdynmkt_segmentexecutionid"
        return len(self.hook.run(lambda cij: _rows(cij, "msdynmkt_segmentexecutions", column, where)))

    def _check_throttling(self, requests: list[dict[str, Any]]) -> None:
        """After a 429 only the requests in flight reach the service before Retry-After."""
        messages = [(record.created, record.getMessage()) for record in self.caplog.records]
        requests = [request for request in requests if request["path"].startswith("/api/data/")]
        for throttled in requests:
            if throttled["fault"] == "429" and throttled["method"] == "POST":
                noticed_at = next(
                    at
                    for at, text in messages
                    if at > throttled["time"] and text.startswith("POST") and "throttled by the service" in text
                )
                early = [request for request in requests if noticed_at < request["time"] < throttled["time"] + TOLD]
                assert len(early) < AT_ONCE
                self.seen["told to wait"] += 1

    def _check(self, evaluations: int) -> None:
        """Compare the whole organisation with the model."""

        async def read(cij) -> tuple[Any, ...]:
            segment = await cij.segments.get(SEGMENT_ID)
            groups = [await cij.segments.group(segment, name) for name in (GROUP, KEPT_OUT.name)]
            lists = [
                cij.members.of_group(SEGMENT_ID, groups[0].group_id),
                cij.members.of_group(SEGMENT_ID, groups[1].group_id),
                cij.members.of_segment(SEGMENT_ID),
            ]
            return (
                segment.status,
                (await cij.segments.definition(segment)).query,
                await _rows(cij, "msdynmkt_segments", "msdynmkt_displayname"),
                len(await _rows(cij, "msdynmkt_segmentdefinitions", "msdynmkt_segmentdefinitionid")),
                # Lists, not sets: no member may be listed twice.
                *[sorted(await _whole_list(pages)) for pages in lists],
            )

        status, text, names, definitions, invited, kept_out, members = self.hook.run(read)
        assert (status, text, names, definitions) == (SegmentStatus.LIVE, self.model.query, [NAME], 1)
        assert invited == sorted(self.model.invited)
        assert kept_out == sorted(self.model.kept_out)
        assert members == sorted(self.model.members)
        assert self._evaluations() > evaluations


def _once(do: Callable[[], None]) -> Callable[..., None]:
    left = [do]
    return lambda *_: left.pop()() if left else None


def _raise(tries: Counter[str], what: str) -> None:
    tries[what] += 1
    raise _DiedError(what)


async def _rows(cij, entity_set: str, column: str, where: str = "") -> list[Any]:
    pages = cij.dataverse.pages(query(entity_set, select=(column,), where=where))
    return [row[column] async for page in pages for row in page]


async def _contacts(cij) -> dict[str, float]:
    pages = cij.dataverse.pages("contacts?$select=contactid,creditlimit&$filter=creditlimit ne null")
    return {row["contactid"]: row["creditlimit"] async for page in pages for row in page}


@pytest.fixture
def sandbox(monkeypatch) -> Iterator[Sandbox]:
    """Run one for a season, with clients that do not lose time."""
    monkeypatch.setattr(client, "RetryPolicy", lambda: PATIENT)
    with running_sandbox("--contacts", "800", "--compute-seconds", "0.05") as running:
        monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", f"{running.airflow_conn_uri}&max_concurrency={AT_ONCE}")
        yield running


@pytest.mark.soak
@pytest.mark.parametrize("number", range(3))
def test_ten_weekly_refreshes(sandbox, tmp_path, monkeypatch, caplog, number):
    """Ten weekly refreshes, by the example DAG and by the hook, leave the state of the model."""
    season = Season(number, sandbox, tmp_path, monkeypatch, caplog)
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(season.database)}))
    for week in range(WEEKS):
        try:
            season.week(week)
        except BaseException as error:
            error.add_note(f"In week {week} of season {number}; so far {dict(season.seen)}")
            raise
    gc.collect()  # here, and not in another test
    assert season.met.keys() >= {name.split()[0] for name in ANY} | {"401"}
    assert season.seen.keys() >= {"died in a DAG", "died", "told to wait"}
