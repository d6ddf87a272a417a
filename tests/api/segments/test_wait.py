"""The pure decision of a segment wait: done, failed or still waiting."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.cij import Cij
from airflow_provider_cij.api.segments.models import Execution, ExecutionStatus, Segment, SegmentStatus, status_name
from airflow_provider_cij.api.segments.sizes import SizeLimits
from airflow_provider_cij.api.segments.wait import PublishBaseline, SegmentWait, classify
from airflow_provider_cij.api.wait import wait_until
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.errors import CijTimeoutError
from tests.scripted import Answer
from tests.segment_responses import ID

LIVE, DRAFT, ERROR = SegmentStatus.LIVE, SegmentStatus.DRAFT, SegmentStatus.ERROR
STOPPED, DELETED, FAULTED = SegmentStatus.STOPPED, SegmentStatus.DELETED, SegmentStatus.FAULTED
COMPUTING, UNKNOWN = SegmentStatus.COMPUTING, 99
OLD, OLD_RUNNING, OLD_FAILED = (
    Execution("old", status)
    for status in (ExecutionStatus.SUCCEEDED, ExecutionStatus.IN_PROGRESS, ExecutionStatus.FAILED)
)
DONE, RUNNING, FAILED, TIMED_OUT, ASKED, SKIPPED, ODD = (
    Execution("new", status)
    for status in (
        *(ExecutionStatus.SUCCEEDED, ExecutionStatus.IN_PROGRESS, ExecutionStatus.FAILED, ExecutionStatus.TIMED_OUT),
        *(ExecutionStatus.NOT_STARTED, ExecutionStatus.SKIPPED, 723279999),
    )
)


def _segment(status: int, members: int | None = None) -> Segment:
    return Segment("id", "definition", "name", "contact", status, members)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (1, "done"),
        (7, "done"),
        (2, "waiting"),
        (5, "waiting"),
        (6, "waiting"),
        (8, "waiting"),
        (9, "waiting"),
        (10, "waiting"),
        (3, "failed"),
        (4, "failed"),
        (11, "failed"),
        (12, "waiting"),
        (-1, "waiting"),
        (723270000, "waiting"),
    ],
)
def test_the_outcome_of_each_status(status, outcome):
    """Statuses 1 and 7 are live, 3, 4 and 11 are failures, and all others, known or not, keep the wait going."""
    assert classify(_segment(status), (), SegmentWait("")) == outcome


@given(st.integers())
def test_an_unknown_status_keeps_the_wait_going(status):
    """An unknown status is neither a success nor a failure."""
    if status not in set(SegmentStatus):
        assert classify(_segment(status), (), SegmentWait("")) == "waiting"
        assert status_name(status) == f"status {status}"


WAS_LIVE, WAS_BROKEN = PublishBaseline(LIVE, ("old",)), PublishBaseline(ERROR, ("old",))
BUSY, BUSY_LIVE, BUSY_BROKEN = (
    PublishBaseline(status, ("old",), under_way=True) for status in (COMPUTING, LIVE, ERROR)
)


@pytest.mark.parametrize(
    ("before", "status", "runs", "outcome"),
    [
        (PublishBaseline(DRAFT), LIVE, [], "done"),
        (PublishBaseline(DRAFT), ERROR, [], "failed"),
        (PublishBaseline(DRAFT), DRAFT, [], "waiting"),
        (PublishBaseline(STOPPED), LIVE, [], "done"),
        (PublishBaseline(STOPPED), STOPPED, [], "waiting"),
        # It was live: the old evaluation does not count for the new publish.
        (WAS_LIVE, LIVE, [OLD], "waiting"),
        (WAS_LIVE, LIVE, [RUNNING, OLD], "waiting"),
        (WAS_LIVE, LIVE, [ASKED, OLD], "waiting"),
        (WAS_LIVE, LIVE, [ODD, OLD], "waiting"),
        (WAS_LIVE, LIVE, [DONE, OLD], "done"),
        (WAS_LIVE, LIVE, [FAILED, OLD], "failed"),
        (WAS_LIVE, LIVE, [TIMED_OUT, OLD], "failed"),
        (WAS_LIVE, LIVE, [], "waiting"),
        (PublishBaseline(LIVE), LIVE, [], "waiting"),
        (PublishBaseline(LIVE), LIVE, [DONE], "done"),
        (WAS_LIVE, COMPUTING, [DONE, OLD], "waiting"),
        (WAS_LIVE, ERROR, [DONE], "failed"),
        (WAS_LIVE, ERROR, [OLD], "failed"),
        (WAS_LIVE, ERROR, [RUNNING, OLD], "waiting"),
        (WAS_LIVE, DELETED, [OLD], "failed"),
        (WAS_LIVE, LIVE, [SKIPPED, OLD], "publish_again"),
        # The newest that has ended decides.
        (WAS_LIVE, LIVE, [Execution("newer", ExecutionStatus.SUCCEEDED), FAILED, OLD], "done"),
        (WAS_LIVE, LIVE, [Execution("newer", ExecutionStatus.FAILED), DONE, OLD], "failed"),
        (WAS_LIVE, LIVE, [Execution("newer", ExecutionStatus.IN_PROGRESS), DONE, OLD], "done"),
        # It had failed: the old failure is what the publish is to mend.
        (WAS_BROKEN, ERROR, [OLD_FAILED], "waiting"),
        (WAS_BROKEN, FAULTED, [OLD_FAILED], "waiting"),
        (WAS_BROKEN, ERROR, [RUNNING, OLD_FAILED], "waiting"),
        (WAS_BROKEN, ERROR, [ASKED, OLD_FAILED], "waiting"),
        (WAS_BROKEN, ERROR, [FAILED, OLD_FAILED], "failed"),
        (WAS_BROKEN, LIVE, [DONE, OLD_FAILED], "done"),
        (PublishBaseline(ERROR), ERROR, [], "waiting"),
        # One was under way: neither its success nor its failure is ours.
        (BUSY, COMPUTING, [OLD_RUNNING], "waiting"),
        (BUSY, LIVE, [OLD_RUNNING], "waiting"),
        (BUSY, LIVE, [OLD], "publish_again"),
        (BUSY, LIVE, [], "publish_again"),
        (BUSY, ERROR, [OLD_FAILED], "publish_again"),
        (BUSY, LIVE, [RUNNING, OLD], "waiting"),
        (BUSY, LIVE, [ASKED, OLD], "waiting"),
        (BUSY, LIVE, [DONE, OLD], "done"),
        (BUSY, LIVE, [FAILED, OLD], "failed"),
        (BUSY, UNKNOWN, [OLD], "waiting"),
        (BUSY, STOPPED, [OLD], "waiting"),
        (BUSY, DELETED, [OLD], "failed"),
        (BUSY_LIVE, LIVE, [OLD_RUNNING], "waiting"),
        (BUSY_LIVE, LIVE, [OLD], "publish_again"),
        (BUSY_BROKEN, ERROR, [OLD_RUNNING], "waiting"),
        (BUSY_BROKEN, LIVE, [OLD], "publish_again"),
    ],
)
def test_after_a_publish_only_new_evaluations_count(before, status, runs, outcome):
    """Neither a status nor an evaluation from before the publish ends the wait."""
    assert classify(_segment(status), runs, SegmentWait("", baseline=before)) == outcome


STATUSES = st.one_of(st.sampled_from(list(SegmentStatus)), st.integers())
RUN_STATUSES = st.one_of(st.sampled_from(list(ExecutionStatus)), st.integers(723270000, 723270009))


@given(
    st.sampled_from([*SegmentStatus, UNKNOWN]),
    st.booleans(),
    STATUSES,
    st.lists(st.builds(Execution, st.sampled_from(["a", "b", "c"]), RUN_STATUSES), max_size=3),
)
def test_an_earlier_evaluation_never_ends_the_wait(was, under_way, status, runs):
    """Evaluations from before the publish neither complete nor fail the wait, whatever their number and status."""
    before = PublishBaseline(was, ("a", "b", "c"), under_way=under_way or was not in {LIVE, 7, ERROR, FAULTED})
    outcome = classify(_segment(status), runs, SegmentWait("", baseline=before))
    assert outcome != "done"
    if before.under_way and status != DELETED:
        assert outcome in ("waiting", "publish_again")


@pytest.mark.parametrize(
    ("status", "runs", "outcome"),
    [
        (ERROR, [], "failed"),
        (ERROR, [OLD_FAILED], "failed"),
        (FAULTED, [RUNNING, OLD_FAILED], "waiting"),
        (ERROR, [ASKED], "waiting"),
        (DELETED, [RUNNING], "failed"),
    ],
)
def test_a_broken_segment_with_a_running_evaluation_is_waited_for(status, runs, outcome):
    """A broken segment fails the wait only when no evaluation is in progress."""
    assert classify(_segment(status), runs, SegmentWait("")) == outcome


SINCE = 1_000_000.0


def _run(status: int, seconds: float) -> Execution:
    began = datetime.fromtimestamp(SINCE + seconds, UTC).isoformat().replace("+00:00", "Z")
    return Execution("x", status, began)


@pytest.mark.parametrize(
    ("status", "newest", "outcome"),
    [
        (LIVE, None, "waiting"),
        (LIVE, _run(ExecutionStatus.SUCCEEDED, -1), "waiting"),
        (LIVE, _run(ExecutionStatus.SUCCEEDED, 0), "done"),
        (LIVE, _run(ExecutionStatus.SUCCEEDED, 1), "done"),
        (LIVE, _run(ExecutionStatus.IN_PROGRESS, 1), "waiting"),
        (LIVE, _run(ExecutionStatus.SKIPPED, 1), "waiting"),
        (LIVE, _run(723279999, 1), "waiting"),
        (LIVE, _run(ExecutionStatus.FAILED, 1), "failed"),
        (LIVE, _run(ExecutionStatus.TIMED_OUT, 1), "failed"),
        (LIVE, _run(ExecutionStatus.FAILED, -1), "waiting"),
        (LIVE, Execution("x", ExecutionStatus.SUCCEEDED, "soon"), "waiting"),
        (SegmentStatus.COMPUTING, _run(ExecutionStatus.SUCCEEDED, 1), "waiting"),
        (SegmentStatus.STOPPED, None, "waiting"),
        (ERROR, _run(ExecutionStatus.SUCCEEDED, 1), "failed"),
        # Broken before, and nothing since: it may be mended yet.
        (ERROR, _run(ExecutionStatus.FAILED, -1), "waiting"),
        (ERROR, None, "waiting"),
        (DELETED, None, "failed"),
    ],
)
def test_a_refresh_is_an_evaluation_that_began_later(status, newest, outcome):
    """A refresh is a successful evaluation that began at or after the given moment, not one that merely ended later."""
    assert classify(_segment(status), [newest] if newest else [], SegmentWait("", "refreshed", SINCE)) == outcome


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(9, "done"), (10, "done"), (8, "waiting"), (1, "waiting"), (2, "waiting"), (3, "failed"), (99, "waiting")],
)
def test_stopped_is_stopped_or_expired(status, outcome):
    """Stopped and expired end a wait for a stop; stopping does not."""
    assert classify(_segment(status), (), SegmentWait("", "stopped")) == outcome


@pytest.mark.parametrize(
    ("until", "status", "members", "outcome"),
    [
        ("live", 1, 5, "done"),
        ("live", 1, 4, "waiting"),
        ("live", 1, None, "waiting"),
        ("live", 6, 5, "waiting"),
        ("live", 3, 4, "failed"),
        ("members", 6, 5, "done"),
        ("members", 2, 4, "waiting"),
        ("members", 11, 5, "failed"),
    ],
)
def test_an_unknown_member_count_is_not_enough(until, status, members, outcome):
    """A wait for a number of members goes on while the number is too small or unknown."""
    assert classify(_segment(status, members), (), SegmentWait("", until, min_members=5)) == outcome


@pytest.mark.parametrize(("members", "outcome"), [(None, "waiting"), (0, "done"), (9, "done")])
def test_a_limit_waits_for_the_member_count(members, outcome):
    """A live segment without a member count is waited for when the count is limited."""
    assert classify(_segment(LIVE, members), (), SegmentWait("", limits=SizeLimits(max_members=5))) == outcome


@pytest.mark.parametrize("trouble", [429, 503])
def test_no_poll_at_the_deadline_before_retry_after(scripted, trouble):
    """A wait that ends before Retry-After has passed sends no further request."""
    scripted.script = [Answer(trouble, {"error": {"code": "0x0", "message": "busy"}}, {"Retry-After": "60"})]

    async def main() -> None:
        async with DataverseClient(replace(scripted.settings(), max_throttle_wait_seconds=0)) as client:
            until = {"poll_interval": 0.1, "deadline": time.time() + 0.5}
            await wait_until(SegmentWait(ID), Cij.on(client), **until)

    with pytest.raises(CijTimeoutError, match="The last check failed"):
        asyncio.run(main())
    assert len(scripted.requests) == 1
