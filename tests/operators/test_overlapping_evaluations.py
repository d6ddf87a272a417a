"""Publish and refresh when another evaluation is in progress, or when the service fails."""

from __future__ import annotations

import asyncio
import time
import uuid
from itertools import pairwise

import pytest
from airflow.sdk import DAG
from cij_sandbox.testing import running_sandbox

from airflow_provider_cij.api.segments.models import MemberGroup
from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.operators.segments import CijPublishSegmentOperator, CijRefreshSegmentOperator
from tests.dags import run_dag
from tests.member_ids import id_set
from tests.scripted import Answer
from tests.segment_responses import (
    FAILED,
    ID,
    IN_PROGRESS,
    LINK,
    NONE,
    NOT_STARTED,
    OLD,
    SUCCEEDED,
    evaluation,
    segment,
)

KINDS = {"publish": CijPublishSegmentOperator, "refresh": CijRefreshSegmentOperator}
both = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])
LATER = Answer(
    429, {"error": {"code": "0x80072322", "message": "Number of requests exceeded."}}, {"Retry-After": "3600"}
)
BEFORE = evaluation(SUCCEEDED, execution=OLD)
TIMED_OUT, SKIPPED = 723270004, 723270005
DOWN = Answer(503, {"error": {"code": "0x0", "message": "down"}}, {"Retry-After": "3600"})


@pytest.fixture(scope="module", params=["replace", "drop"])
def busy(request):
    """Provide sandboxes that replace or drop a publish during an evaluation."""
    options = ("--contacts", "300", "--compute-seconds", "1.5", "--busy-publish", request.param)
    with running_sandbox(*options) as sandbox:
        yield sandbox


@both
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("was", ["draft", "live"])
def test_members_added_during_an_evaluation_are_included(busy, monkeypatch, dag_id, kind, was, deferrable):
    """A segment in evaluation is evaluated again, with the members that were added meanwhile."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", busy.airflow_conn_uri)
    spec = SegmentSpec(dag_id, "Busy", groups=(MemberGroup("in"),))

    async def prepare(cij):
        made = await cij.segments.create(spec)
        people = [row["contactid"] for row in await cij.dataverse.rows("contacts?$select=contactid&$top=20")]
        await cij.members.add(spec.segment_id, made.groups["in"], id_set(people[:10]))
        await cij.segments.publish(spec.segment_id)
        while was == "live" and (await cij.segments.get(spec.segment_id)).status_name != "live":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        if was == "live":
            await cij.segments.publish(spec.segment_id)
        # It is to read the members before those of later are there.
        segment = await cij.segments.get(spec.segment_id)
        while (await cij.segments.unfinished_executions(segment))[0].status != IN_PROGRESS:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await cij.members.add(spec.segment_id, made.groups["in"], id_set(people))
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
def test_a_dropped_publish_is_repeated_after_the_evaluation(run_publish, scripted, deferrable):
    """A publish during an evaluation is repeated after that evaluation has ended."""
    running, ended, ours = (
        evaluation(IN_PROGRESS, execution=OLD),
        evaluation(SUCCEEDED, execution=OLD),
        evaluation(SUCCEEDED),
    )
    ours.body["value"][0]["msdynmkt_finishedon"] = "2026-11-02T03:00:07Z"
    ran = run_publish(
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
    assert [request.method for request in scripted.requests].count("POST") == 2
    # The last reads who uses the segment, for its event.
    assert len(scripted.requests) == 21


@both
@pytest.mark.parametrize("status", [3, 11])
def test_an_old_failure_does_not_fail_a_new_evaluation(run_publish, status, deferrable):
    """A broken segment that shows its old failure does not fail the task while a new evaluation is in progress."""
    old = evaluation(FAILED, execution=OLD)
    both_runs = Answer(body={"value": [*evaluation(NOT_STARTED, "").body["value"], *old.body["value"]]})
    ran = run_publish(
        *[segment(status), old, old, Answer(204), segment(status), both_runs, segment(status), evaluation(IN_PROGRESS)],
        *[segment(status), evaluation(SUCCEEDED), segment(1)],
        deferrable=deferrable,
    )
    assert ran.states == {"publish": "success"}


@both
def test_the_failure_of_another_evaluation_does_not_fail_the_task(run_publish, scripted, deferrable):
    """When the other evaluation fails, the publish is repeated and the task succeeds."""
    running, failed, ours = (
        evaluation(IN_PROGRESS, execution=OLD),
        evaluation(FAILED, execution=OLD),
        evaluation(SUCCEEDED),
    )
    ran = run_publish(
        *[segment(6), NONE, running, Answer(204), *[segment(3), failed, segment(3)] * 2],
        *[segment(3), failed, failed, Answer(204), segment(5), failed, segment(1), ours, segment(1)],
        deferrable=deferrable,
    )
    assert ran.states == {"publish": "success"}
    assert [request.method for request in scripted.requests].count("POST") == 2


@both
@pytest.mark.parametrize("status", [FAILED, TIMED_OUT])
def test_a_live_segment_with_a_failed_evaluation_fails_the_task(run_publish, deferrable, status):
    """A segment that is live again although the new evaluation failed fails the task."""
    ran = run_publish(
        *[segment(1), BEFORE, BEFORE, Answer(204), segment(6), evaluation(IN_PROGRESS)],
        *[segment(1), evaluation(status), segment(1), Answer(404, {"error": {"message": "no words"}})],
        deferrable=deferrable,
    )
    assert ran.states == {"publish": "failed"}


@both
def test_the_member_count_of_the_evaluation_is_limited(run_publish, deferrable):
    """The evaluation's member count is limited even while the segment still shows the old one."""
    large = evaluation(SUCCEEDED)
    large.body["value"][0]["msdynmkt_membershipcount"] = 500_000
    ran = run_publish(
        *[segment(1), BEFORE, BEFORE, Answer(204), segment(6), BEFORE, segment(1), large, segment(1)],
        deferrable=deferrable,
        max_members=2000,
    )
    assert ran.states == {"publish": "failed"}


@both
@pytest.mark.parametrize("status", [SUCCEEDED, FAILED])
def test_an_old_evaluation_without_a_start_is_ignored(run_publish, deferrable, status):
    """An evaluation that was listed before the publish is ignored, also when it has no start time."""
    old = evaluation(status, "", OLD)
    ran = run_publish(
        *[segment(1), NONE, old, Answer(204), segment(1), old],
        *[segment(1), evaluation(SUCCEEDED), segment(1, 9)],
        deferrable=deferrable,
    )
    assert ran.result("publish")["member_count"] == 9


@both
def test_a_draft_with_an_evaluation_in_progress_is_published_again(run_publish, scripted, deferrable):
    """A draft that another writer has just published is published again after that evaluation."""
    running, ended = evaluation(IN_PROGRESS, execution=OLD), evaluation(SUCCEEDED, execution=OLD)
    ran = run_publish(
        *[segment(2), running, running, running, Answer(204), segment(6), running, segment(1), ended, segment(1)],
        *[segment(1), ended, ended, Answer(204), segment(1), ended, segment(1), evaluation(SUCCEEDED), segment(1, 9)],
        deferrable=deferrable,
    )
    assert ran.result("publish")["member_count"] == 9
    assert [request.method for request in scripted.requests].count("POST") == 2


@both
def test_a_skipped_publish_is_repeated_ten_times(run_publish, scripted, capfd, deferrable):
    """A publish that is skipped each time is repeated, with a pause, and fails the task after ten."""
    logs = [BEFORE, *(evaluation(SKIPPED, execution=str(uuid.UUID(int=number))) for number in range(10))]
    answers = []
    for before, after in pairwise(logs):
        answers += [segment(1), before, before, Answer(204), *[segment(1), after, segment(1)] * 2]
    ran = run_publish(*answers, deferrable=deferrable)
    assert ran.states == {"publish": "failed"}
    assert "was published 10 times, and the service began no evaluation for it" in capfd.readouterr().out
    assert [request.method for request in scripted.requests].count("POST") == 10


@both
@pytest.mark.parametrize("trouble", [LATER, DOWN], ids=["429", "503"])
def test_a_completed_refresh_is_not_repeated(run_publish, scripted, monkeypatch, deferrable, trouble):
    """A failed read after the evaluation does not lead to a second publish."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection(max_throttle_wait_seconds=0))
    ran = run_publish(
        *[segment(2), NONE, Answer(204), segment(5), segment(1), trouble],
        kind=CijRefreshSegmentOperator,
        deferrable=deferrable,
    )
    assert ran.result("publish") == {"segment_id": ID, "status": "live", "member_count": 3, "evaluated_at": None}
    assert LINK in ran.xcoms["publish"]
    assert [request.method for request in scripted.requests].count("POST") == 1


@both
def test_a_throttled_poll_does_not_repeat_the_publish(run_publish, scripted, monkeypatch, deferrable):
    """A throttled poll after an accepted publish leads to a later poll, not to a second publish."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection(max_throttle_wait_seconds=0))
    soon = Answer(LATER.status, LATER.body, {"Retry-After": "1"})
    started = time.monotonic()
    ran = run_publish(segment(2), NONE, Answer(204), soon, segment(1), deferrable=deferrable)
    assert ran.states == {"publish": "success"}
    assert [request.method for request in scripted.requests].count("POST") == 1
    assert time.monotonic() - started > 1


def test_a_live_segment_needs_access_to_evaluations(run_publish, scripted, capfd):
    """A live segment is not published when its evaluations cannot be read, for they could not be told apart."""
    no = Answer(403, {"error": {"code": "0x80040220", "message": "missing prvReadmsdynmkt_segmentexecution"}})
    assert run_publish(segment(1), no).states == {"publish": "failed"}
    assert "missing prvReadmsdynmkt_segmentexecution" in capfd.readouterr().out
    assert {request.method for request in scripted.requests} == {"GET"}
