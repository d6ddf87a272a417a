"""What looks at a segment mean."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.models import Execution, ExecutionStatus, Segment, SegmentStatus, status_name
from airflow_provider_cij.api.watching import Before, Goal, judge

LIVE, DRAFT, ERROR = SegmentStatus.LIVE, SegmentStatus.DRAFT, SegmentStatus.ERROR
OLD, DONE, RUNNING, FAILED = (
    Execution("old", ExecutionStatus.SUCCEEDED),
    Execution("new", ExecutionStatus.SUCCEEDED),
    Execution("new", ExecutionStatus.IN_PROGRESS),
    Execution("new", ExecutionStatus.FAILED),
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
def test_what_each_status_means_to_who_only_looks(status, outcome):
    """Live is 1 and 7; failed is 3, 4 and 11; all else, known or not, is not yet."""
    assert judge(_segment(status), None, Goal()) == outcome


@given(st.integers())
def test_an_unknown_status_is_never_a_success(status):
    """Nor a failure, nor a crash."""
    if status not in set(SegmentStatus):
        assert judge(_segment(status), None, Goal()) == "waiting"
        assert status_name(status) == f"status {status}"


@pytest.mark.parametrize(
    ("before", "status", "newest", "outcome"),
    [
        (Before(DRAFT), LIVE, None, "done"),
        (Before(DRAFT), ERROR, None, "failed"),
        (Before(DRAFT), DRAFT, None, "waiting"),
        # It was live: the old evaluation does not count for the new publish.
        (Before(LIVE, "old"), LIVE, OLD, "waiting"),
        (Before(LIVE, "old"), LIVE, RUNNING, "waiting"),
        (Before(LIVE, "old"), LIVE, DONE, "done"),
        (Before(LIVE, "old"), LIVE, FAILED, "failed"),
        (Before(LIVE, "old"), LIVE, None, "waiting"),
        (Before(LIVE, ""), LIVE, None, "done"),
        (Before(LIVE, "old"), ERROR, DONE, "failed"),
        # It had failed: the old failure is what the publish is to mend.
        (Before(ERROR, "old"), ERROR, OLD, "waiting"),
        (Before(ERROR, "old"), ERROR, FAILED, "failed"),
        (Before(ERROR, "old"), LIVE, DONE, "done"),
        (Before(ERROR, ""), ERROR, None, "waiting"),
    ],
)
def test_after_a_publish_only_news_counts(before, status, newest, outcome):
    """What was so before it is no answer to it."""
    assert judge(_segment(status), newest, Goal(before=before)) == outcome


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
    ],
)
def test_refreshed_is_an_evaluation_that_began_since(status, newest, outcome):
    """Not one that merely ended since: it may have read the data before."""
    assert judge(_segment(status), newest, Goal("refreshed", SINCE)) == outcome


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(9, "done"), (10, "done"), (8, "waiting"), (1, "waiting"), (2, "waiting"), (3, "failed"), (99, "waiting")],
)
def test_stopped_is_stopped_or_expired(status, outcome):
    """Stopping is not yet."""
    assert judge(_segment(status), None, Goal("stopped")) == outcome


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
def test_enough_members(until, status, members, outcome):
    """Not known is not enough."""
    assert judge(_segment(status, members), None, Goal(until, min_members=5)) == outcome
