"""Publish and refresh that meet another evaluation, or a failing service, with Airflow's own ``dag.test()``."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from airflow.sdk import DAG
from cij_sandbox.testing import running_sandbox

from airflow_provider_cij.api.segments import shared_poll as polling
from airflow_provider_cij.api.segments.client import Segments
from airflow_provider_cij.api.segments.models import MemberGroup
from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.api.segments.wait import Goal
from airflow_provider_cij.api.segments.wait import wait as until_live
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.errors import CijTimeoutError
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.operators import _publishing
from airflow_provider_cij.operators.segments import CijPublishSegmentOperator, CijRefreshSegmentOperator
from airflow_provider_cij.triggers import _waiting as triggers
from airflow_provider_cij.version_compat import TAKES_RETRY_POLICY
from tests.api.test_mirror import idset
from tests.dags import run_dag
from tests.scripted import Answer
from tests.test_tasks import dag_id  # noqa: F401  # a fixture
from tests.test_waiting_tasks import (
    FAILED,
    ID,
    IN_PROGRESS,
    LINK,
    NEW,
    NONE,
    NOT_STARTED,
    OLD,
    SUCCEEDED,
    every_mode,
    publish,  # noqa: F401  # a fixture
    run_of,
    segment,
    wait,  # noqa: F401  # a fixture
)

KINDS = {"publish": CijPublishSegmentOperator, "refresh": CijRefreshSegmentOperator}
both = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])
LATER = Answer(
    429, {"error": {"code": "0x80072322", "message": "Number of requests exceeded."}}, {"Retry-After": "3600"}
)
BEFORE = run_of(SUCCEEDED, execution=OLD)
TIMED_OUT, SKIPPED = 723270004, 723270005
DOWN = Answer(503, {"error": {"code": "0x0", "message": "down"}}, {"Retry-After": "3600"})


@pytest.fixture(scope="module", params=["replace", "drop"])
def busy(request):
    """Provide organisations that deal in either way with a publish that meets an evaluation."""
    options = ("--contacts", "300", "--compute-seconds", "1.5", "--busy-publish", request.param)
    with running_sandbox(*options) as sandbox:
        yield sandbox


@both
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("was", ["draft", "live"])
def test_members_added_during_an_evaluation_are_in(busy, monkeypatch, dag_id, kind, was, deferrable):  # noqa: F811
    """A segment whose evaluation is under way is evaluated once more, with the members that were added meanwhile."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", busy.airflow_conn_uri)
    monkeypatch.setattr(triggers, "FIRST_LOOK_AFTER", 0.1)
    monkeypatch.setattr(polling, "LINGER", 0.01)
    spec = SegmentSpec(dag_id, "Busy", groups=(MemberGroup("in"),))

    async def prepare(cij):
        made = await cij.segments.create(spec)
        people = [row["contactid"] for row in await cij.dataverse.rows("contacts?$select=contactid&$top=20")]
        await cij.members.add(spec.segment_id, made.groups["in"], idset(people[:10]))
        await cij.segments.publish(spec.segment_id)
        while was == "live" and (await cij.segments.get(spec.segment_id)).status_name != "live":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        if was == "live":
            await cij.segments.publish(spec.segment_id)
        # It is to read the members before those of later are there.
        segment = await cij.segments.get(spec.segment_id)
        while (await cij.segments.unfinished_executions(segment))[0].status != IN_PROGRESS:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await cij.members.add(spec.segment_id, made.groups["in"], idset(people))
        return {run.execution_id for run in await runs(cij)}

    async def runs(cij):
        return await cij.segments.executions_since(await cij.segments.get(spec.segment_id), "")

    too_early = CijHook().run(prepare)
    with DAG(dag_id, schedule=None) as dag:
        KINDS[kind](task_id="ask", segment_id=spec.segment_id, poll_interval=0.1, timeout=60, deferrable=deferrable)
    assert run_dag(dag).result("ask")["member_count"] == 20
    ended = {run.execution_id for run in CijHook().run(runs) if run.status == SUCCEEDED}
    assert ended - too_early, "an evaluation that began before the members were added was taken for ours"


@both
def test_a_dropped_request_is_repeated_once_the_other_has_ended(publish, scripted, deferrable):  # noqa: F811
    """The evaluation that was under way is waited for, and only then the request is repeated."""
    running, ended, ours = run_of(IN_PROGRESS, execution=OLD), run_of(SUCCEEDED, execution=OLD), run_of(SUCCEEDED)
    ours.body["value"][0]["msdynmkt_finishedon"] = "2026-11-02T03:00:07Z"
    ran = publish(
        *[segment(6), NONE, running, Answer(204), segment(6), running],
        *[segment(1), running, segment(1), ended, segment(1)],
        *[segment(1), ended, ended, Answer(204), segment(1), ended, segment(1), ours, segment(1, 9)],
        kind=CijRefreshSegmentOperator,
        deferrable=deferrable,
    )
    assert ran.result("publish") == {
        "segment_id": ID,
        "status": "live",
        "member_count": 9,
        "evaluated_at": "2026-11-02T03:00:07Z",
    }
    assert [asked.method for asked in scripted.asked].count("POST") == 2
    assert len(scripted.asked) == 20


@both
@pytest.mark.parametrize("status", [3, 11])
def test_an_old_failure_is_not_that_of_the_new_evaluation(publish, status, deferrable):  # noqa: F811
    """A broken segment may show its old failure while the evaluation that mends it is in the log already."""
    old = run_of(FAILED, execution=OLD)
    both_runs = Answer(body={"value": [*run_of(NOT_STARTED, "").body["value"], *old.body["value"]]})
    ran = publish(
        *[segment(status), old, old, Answer(204), segment(status), both_runs, segment(status), run_of(IN_PROGRESS)],
        *[segment(status), run_of(SUCCEEDED), segment(1)],
        deferrable=deferrable,
    )
    assert ran.states == {"publish": "success"}


@both
def test_the_failure_of_the_other_evaluation_is_not_ours(publish, scripted, deferrable):  # noqa: F811
    """When the evaluation that was under way fails, ours is asked for again."""
    running, failed, ours = run_of(IN_PROGRESS, execution=OLD), run_of(FAILED, execution=OLD), run_of(SUCCEEDED)
    ran = publish(
        *[segment(6), NONE, running, Answer(204), *[segment(3), failed, segment(3)] * 2],
        *[segment(3), failed, failed, Answer(204), segment(5), failed, segment(1), ours, segment(1)],
        deferrable=deferrable,
    )
    assert ran.states == {"publish": "success"}
    assert [asked.method for asked in scripted.asked].count("POST") == 2


@both
@pytest.mark.parametrize("status", [FAILED, TIMED_OUT])
def test_back_in_live_is_no_success_of_ours(publish, deferrable, status):  # noqa: F811
    """A segment that was computed and is live again, with an evaluation of ours that ended badly, fails the task."""
    ran = publish(
        *[segment(1), BEFORE, BEFORE, Answer(204), segment(6), run_of(IN_PROGRESS)],
        *[segment(1), run_of(status), segment(1), Answer(404, {"error": {"message": "no words"}})],
        deferrable=deferrable,
    )
    assert ran.states == {"publish": "failed"}


@both
def test_the_count_of_the_evaluation_counts(publish, deferrable):  # noqa: F811
    """A row whose member count comes later does not hide an evaluation that found too many."""
    large = run_of(SUCCEEDED)
    large.body["value"][0]["msdynmkt_membershipcount"] = 500_000
    ran = publish(
        *[segment(1), BEFORE, BEFORE, Answer(204), segment(6), BEFORE, segment(1), large, segment(1)],
        deferrable=deferrable,
        max_members=2000,
    )
    assert ran.states == {"publish": "failed"}


@both
@pytest.mark.parametrize("status", [SUCCEEDED, FAILED])
def test_an_old_evaluation_without_a_start_is_not_ours(publish, deferrable, status):  # noqa: F811
    """What the log held before is known, whether the service says when it began or not."""
    old = run_of(status, "", OLD)
    ran = publish(
        *[segment(1), NONE, old, Answer(204), segment(1), old],
        *[segment(1), run_of(SUCCEEDED), segment(1, 9)],
        deferrable=deferrable,
    )
    assert ran.result("publish")["member_count"] == 9


@both
def test_a_draft_whose_evaluation_is_in_the_log_already_is_busy(publish, scripted, deferrable):  # noqa: F811
    """A segment that another writer published a moment ago is published once more when that evaluation has ended."""
    running, ended = run_of(IN_PROGRESS, execution=OLD), run_of(SUCCEEDED, execution=OLD)
    ran = publish(
        *[segment(2), running, running, running, Answer(204), segment(6), running, segment(1), ended, segment(1)],
        *[segment(1), ended, ended, Answer(204), segment(1), ended, segment(1), run_of(SUCCEEDED), segment(1, 9)],
        deferrable=deferrable,
    )
    assert ran.result("publish")["member_count"] == 9
    assert [asked.method for asked in scripted.asked].count("POST") == 2


@both
def test_a_service_that_skips_is_not_asked_for_ever(publish, scripted, monkeypatch, capfd, deferrable):  # noqa: F811
    """A request that is skipped again and again is repeated a few times, with a pause, and then fails the task."""
    monkeypatch.setattr(_publishing, "_MOST_ASKS", 2)
    one, two = run_of(SKIPPED, execution=NEW), run_of(SKIPPED, execution=ID)
    ran = publish(
        *[segment(1), BEFORE, BEFORE, Answer(204), *[segment(1), one, segment(1)] * 2],
        *[segment(1), one, one, Answer(204), *[segment(1), two, segment(1)] * 2],
        deferrable=deferrable,
    )
    assert ran.states == {"publish": "failed"}
    assert "was published 2 times, and the service began no evaluation for it" in capfd.readouterr().out
    assert [asked.method for asked in scripted.asked].count("POST") == 2


@both
@pytest.mark.parametrize("trouble", [LATER, DOWN], ids=["429", "503"])
def test_a_refresh_that_is_done_is_not_done_again(publish, scripted, monkeypatch, deferrable, trouble):  # noqa: F811
    """Whatever becomes of the last read, for when the segment was evaluated, the segment is published once."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection(max_hold_seconds=0))
    ran = publish(
        *[segment(2), NONE, Answer(204), segment(5), segment(1), trouble],
        kind=CijRefreshSegmentOperator,
        deferrable=deferrable,
    )
    assert ran.result("publish") == {"segment_id": ID, "status": "live", "member_count": 3, "evaluated_at": None}
    assert LINK in ran.xcoms["publish"]
    assert [asked.method for asked in scripted.asked].count("POST") == 1


@both
def test_what_fails_after_the_publish_is_waited_out(publish, scripted, monkeypatch, deferrable):  # noqa: F811
    """A throttled look behind an accepted publish leads to a later look, not to a second publish."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection(max_hold_seconds=0))
    soon = Answer(LATER.status, LATER.body, {"Retry-After": "1"})
    started = time.monotonic()
    ran = publish(segment(2), NONE, Answer(204), soon, segment(1), deferrable=deferrable)
    assert ran.states == {"publish": "success"}
    assert [asked.method for asked in scripted.asked].count("POST") == 1
    assert time.monotonic() - started > 1


def test_without_the_log_a_live_segment_is_not_published(publish, scripted, capfd):  # noqa: F811
    """Nobody could tell the new evaluation from the old one, so nothing is sent."""
    no = Answer(403, {"error": {"code": "0x80040220", "message": "missing prvReadmsdynmkt_segmentexecution"}})
    assert publish(segment(1), no).states == {"publish": "failed"}
    assert "missing prvReadmsdynmkt_segmentexecution" in capfd.readouterr().out
    assert {asked.method for asked in scripted.asked} == {"GET"}


GROWN = [
    *[segment(1, 3), BEFORE, BEFORE, Answer(204), segment(1, 3), BEFORE],
    *[segment(1, 3), run_of(SUCCEEDED), segment(1, 9)],
]


@both
@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"max_members": 8}, "has 9 members, more than max_members=8."),
        ({"max_members": "{{ 8 }}"}, "has 9 members, more than max_members=8."),
        ({"max_change": "20%"}, "has 9 members after 3 in the evaluation before, a change of +6, more than max_change"),
        ({"max_change": 5}, "has 9 members after 3 in the evaluation before, a change of +6, more than max_change=5."),
    ],
)
def test_too_many_members_fail_the_task(publish, scripted, capfd, deferrable, limits, said):  # noqa: F811
    """A segment that grew beyond what is allowed fails the task with both counts."""
    assert publish(*GROWN, deferrable=deferrable, **limits).states == {"publish": "failed"}
    assert said in capfd.readouterr().out


@both
@pytest.mark.parametrize("limits", [{"max_members": 9, "min_members": 9}, {"max_change": "200%"}, {"max_change": 6}])
def test_enough_members_do_not(publish, deferrable, limits):  # noqa: F811
    """What is within all limits is a success."""
    assert publish(*GROWN, deferrable=deferrable, **limits).states == {"publish": "success"}


def test_a_first_evaluation_has_nothing_to_compare_with(publish):  # noqa: F811
    """A draft may come to any number of members, whatever change is allowed."""
    ran = publish(segment(2, None), NONE, Answer(204), segment(1, 9), max_change=0)
    assert ran.states == {"publish": "success"}


@pytest.mark.parametrize(
    "limits", [{"max_members": -1}, {"max_members": "many"}, {"min_members": 1.5}, {"max_change": 1.0}]
)
def test_limits_are_checked_before_anything_is_sent(publish, scripted, capfd, limits):  # noqa: F811
    """A limit that is none fails the task before the first request."""
    assert publish(segment(2), **limits).states == {"publish": "failed"}
    assert f"{next(iter(limits))} is" in capfd.readouterr().out
    assert scripted.asked == []


@pytest.mark.skipif(not TAKES_RETRY_POLICY, reason="This Airflow has no task state store.")
def test_a_second_try_does_not_compare_the_new_count_with_itself(publish, scripted, capfd):  # noqa: F811
    """The count to compare with is that before the first try, also when that one was published and then failed."""
    first, second = run_of(SUCCEEDED, execution=OLD), run_of(SUCCEEDED)
    third = run_of(SUCCEEDED, execution=ID)
    ran = publish(
        *[segment(1, 3), first, first, Answer(204), segment(5, 3), first, segment(5, 3), first],
        *[segment(1, 9), second, second, Answer(204), segment(1, 9), second, segment(1, 9), third, segment(1, 9)],
        max_change="20%",
        timeout=0.5,
        poll_interval=10,
        retries=1,
        retry_delay=timedelta(),
    )
    assert ran.states == {"publish": "failed"}
    assert "has 9 members after 3 in the evaluation before" in capfd.readouterr().out
    assert len(scripted.asked) == 17


def runs_of(*counts: int) -> Answer:
    """Answer with a log of evaluations that found so many members, the newest first."""
    rows = [run_of(SUCCEEDED).body["value"][0] | {"msdynmkt_membershipcount": count} for count in counts]
    return Answer(body={"value": rows})


@every_mode
@pytest.mark.parametrize(
    ("counts", "limits", "state"),
    [
        ([9, 3], {"max_change": "20%"}, "failed"),
        ([9, 3], {"max_change": 6}, "success"),
        ([9], {"max_change": 0}, "success"),
        ([9, 3], {"max_members": 8}, "failed"),
        # The row may say later what the log says already.
        ([90, 9], {"max_change": 20}, "failed"),
    ],
)
def test_a_sensor_limits_the_members(wait, mode, counts, limits, state):  # noqa: F811
    """A live segment with more members than it may have fails the sensor, compared by the log of evaluations."""
    assert wait(mode, segment(1, 9), runs_of(*counts), **limits).states == {"wait": state}


@every_mode
@pytest.mark.parametrize("trouble", [429, 503])
def test_no_sensor_asks_earlier_than_it_was_told(wait, scripted, monkeypatch, mode, trouble):  # noqa: F811
    """A Retry-After that is longer than the client waits for is kept in each mode, whatever the status."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection(max_hold_seconds=0.5))
    started = time.monotonic()
    told = Answer(trouble, {"error": {"code": "0x0", "message": "busy"}}, {"Retry-After": "3"})
    assert wait(mode, told, segment(1)).states == {"wait": "success"}
    assert time.monotonic() - started >= 3
    assert len(scripted.asked) == 2


@every_mode
@pytest.mark.parametrize("skew", [-900, 900], ids=["behind", "ahead"])
def test_a_clock_that_differs_makes_no_evaluation_ours(wait, mode, skew):  # noqa: F811
    """An evaluation from before the DAG run never counts, and a later one does, whatever time it is at the service."""

    def at(answer: Answer, seconds: float) -> Answer:
        moment = datetime.now(UTC) + timedelta(seconds=skew + seconds)
        for row in answer.body.get("value", ()):
            row["msdynmkt_startedon"] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        now = datetime.now(UTC) + timedelta(seconds=skew)
        return Answer(answer.status, answer.body, {"Date": format_datetime(now, usegmt=True)})

    early, late = at(run_of(SUCCEEDED), -60), at(run_of(SUCCEEDED), 120)
    row = at(segment(1, 3), 0)
    ran = wait(mode, row, early, row, early, row, late, at(segment(1, 5), 0), until="refreshed")
    assert ran.result("wait")["member_count"] == 5


@pytest.mark.parametrize("trouble", [429, 503])
def test_no_wait_asks_at_its_deadline_earlier_than_it_was_told(scripted, trouble):
    """A service that asks for more time than a wait has left is not asked once more at the deadline."""
    scripted.script = [Answer(trouble, {"error": {"code": "0x0", "message": "busy"}}, {"Retry-After": "60"})]

    async def main() -> None:
        async with DataverseClient(replace(scripted.settings(), max_throttle_wait_seconds=0)) as client:
            until = {"poll_interval": 0.1, "deadline": time.time() + 0.5}
            await until_live(Segments(client), ID, Goal(), **until)

    with pytest.raises(CijTimeoutError, match="The last look failed"):
        asyncio.run(main())
    assert len(scripted.asked) == 1
