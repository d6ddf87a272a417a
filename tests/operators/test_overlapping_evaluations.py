"""Publish and refresh that meet another evaluation, or a failing service, with Airflow's own ``dag.test()``."""

from __future__ import annotations

import asyncio
import time

import pytest
from airflow.sdk import DAG
from cij_sandbox.testing import running_sandbox

from airflow_provider_cij.api.segments.models import MemberGroup
from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.operators import _publishing
from airflow_provider_cij.operators.segments import CijPublishSegmentOperator, CijRefreshSegmentOperator
from tests.dags import run_dag
from tests.member_ids import idset
from tests.scripted import Answer
from tests.segment_responses import (
    FAILED,
    ID,
    IN_PROGRESS,
    LINK,
    NEW,
    NONE,
    NOT_STARTED,
    OLD,
    SUCCEEDED,
    run_of,
    segment,
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
def test_members_added_during_an_evaluation_are_in(busy, monkeypatch, dag_id, kind, was, deferrable):
    """A segment whose evaluation is under way is evaluated once more, with the members that were added meanwhile."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", busy.airflow_conn_uri)
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
def test_a_dropped_request_is_repeated_once_the_other_has_ended(publish, scripted, deferrable):
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
def test_an_old_failure_is_not_that_of_the_new_evaluation(publish, status, deferrable):
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
def test_the_failure_of_the_other_evaluation_is_not_ours(publish, scripted, deferrable):
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
def test_back_in_live_is_no_success_of_ours(publish, deferrable, status):
    """A segment that was computed and is live again, with an evaluation of ours that ended badly, fails the task."""
    ran = publish(
        *[segment(1), BEFORE, BEFORE, Answer(204), segment(6), run_of(IN_PROGRESS)],
        *[segment(1), run_of(status), segment(1), Answer(404, {"error": {"message": "no words"}})],
        deferrable=deferrable,
    )
    assert ran.states == {"publish": "failed"}


@both
def test_the_count_of_the_evaluation_counts(publish, deferrable):
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
def test_an_old_evaluation_without_a_start_is_not_ours(publish, deferrable, status):
    """What the log held before is known, whether the service says when it began or not."""
    old = run_of(status, "", OLD)
    ran = publish(
        *[segment(1), NONE, old, Answer(204), segment(1), old],
        *[segment(1), run_of(SUCCEEDED), segment(1, 9)],
        deferrable=deferrable,
    )
    assert ran.result("publish")["member_count"] == 9


@both
def test_a_draft_whose_evaluation_is_in_the_log_already_is_busy(publish, scripted, deferrable):
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
def test_a_service_that_skips_is_not_asked_for_ever(publish, scripted, monkeypatch, capfd, deferrable):
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
def test_a_refresh_that_is_done_is_not_done_again(publish, scripted, monkeypatch, deferrable, trouble):
    """Whatever becomes of the last read, for when the segment was evaluated, the segment is published once."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection(max_throttle_wait_seconds=0))
    ran = publish(
        *[segment(2), NONE, Answer(204), segment(5), segment(1), trouble],
        kind=CijRefreshSegmentOperator,
        deferrable=deferrable,
    )
    assert ran.result("publish") == {"segment_id": ID, "status": "live", "member_count": 3, "evaluated_at": None}
    assert LINK in ran.xcoms["publish"]
    assert [asked.method for asked in scripted.asked].count("POST") == 1


@both
def test_what_fails_after_the_publish_is_waited_out(publish, scripted, monkeypatch, deferrable):
    """A throttled look behind an accepted publish leads to a later look, not to a second publish."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection(max_throttle_wait_seconds=0))
    soon = Answer(LATER.status, LATER.body, {"Retry-After": "1"})
    started = time.monotonic()
    ran = publish(segment(2), NONE, Answer(204), soon, segment(1), deferrable=deferrable)
    assert ran.states == {"publish": "success"}
    assert [asked.method for asked in scripted.asked].count("POST") == 1
    assert time.monotonic() - started > 1


def test_without_the_log_a_live_segment_is_not_published(publish, scripted, capfd):
    """Nobody could tell the new evaluation from the old one, so nothing is sent."""
    no = Answer(403, {"error": {"code": "0x80040220", "message": "missing prvReadmsdynmkt_segmentexecution"}})
    assert publish(segment(1), no).states == {"publish": "failed"}
    assert "missing prvReadmsdynmkt_segmentexecution" in capfd.readouterr().out
    assert {asked.method for asked in scripted.asked} == {"GET"}
