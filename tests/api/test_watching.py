from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.models import Execution, ExecutionStatus, Segment, SegmentStatus, status_name
from airflow_provider_cij.api.watching import Before, judge

LIVE, DRAFT, ERROR = SegmentStatus.LIVE, SegmentStatus.DRAFT, SegmentStatus.ERROR
OLD, DONE, RUNNING, FAILED = (
    Execution("old", ExecutionStatus.SUCCEEDED),
    Execution("new", ExecutionStatus.SUCCEEDED),
    Execution("new", ExecutionStatus.IN_PROGRESS),
    Execution("new", ExecutionStatus.FAILED),
)


def _segment(status: int) -> Segment:
    return Segment("id", "definition", "name", "contact", status, None)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (1, "live"),
        (7, "live"),
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
    assert judge(_segment(status), None, None) == outcome


@given(st.integers())
def test_an_unknown_status_is_never_a_success(status):
    """Nor a failure, nor a crash."""
    if status not in set(SegmentStatus):
        assert judge(_segment(status), None, None) == "waiting"
        assert status_name(status) == f"status {status}"


@pytest.mark.parametrize(
    ("before", "status", "newest", "outcome"),
    [
        (Before(DRAFT), LIVE, None, "live"),
        (Before(DRAFT), ERROR, None, "failed"),
        (Before(DRAFT), DRAFT, None, "waiting"),
        # It was live: the old evaluation does not count for the new publish.
        (Before(LIVE, "old"), LIVE, OLD, "waiting"),
        (Before(LIVE, "old"), LIVE, RUNNING, "waiting"),
        (Before(LIVE, "old"), LIVE, DONE, "live"),
        (Before(LIVE, "old"), LIVE, FAILED, "failed"),
        (Before(LIVE, "old"), LIVE, None, "waiting"),
        (Before(LIVE, ""), LIVE, None, "live"),
        (Before(LIVE, "old"), ERROR, DONE, "failed"),
        # It had failed: the old failure is what the publish is to mend.
        (Before(ERROR, "old"), ERROR, OLD, "waiting"),
        (Before(ERROR, "old"), ERROR, FAILED, "failed"),
        (Before(ERROR, "old"), LIVE, DONE, "live"),
        (Before(ERROR, ""), ERROR, None, "waiting"),
    ],
)
def test_after_a_publish_only_news_counts(before, status, newest, outcome):
    """What was so before it is no answer to it."""
    assert judge(_segment(status), newest, before) == outcome
