"""Which evaluations and states of a segment are news to a watcher."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.segments.models import Execution, ExecutionStatus, Segment
from airflow_provider_cij.api.segments.watch import SegmentWatch, Watermark, change_bound
from airflow_provider_cij.errors import CijInputError

SUCCEEDED, FAILED, RUNNING = ExecutionStatus.SUCCEEDED, ExecutionStatus.FAILED, ExecutionStatus.IN_PROGRESS


def _run(number: int, status: int = SUCCEEDED, count: int | None = 10) -> Execution:
    ended = "" if status == RUNNING else f"2026-11-02T03:{number:02}:05Z"
    return Execution(f"e{number}", status, f"2026-11-02T03:{number:02}:00Z", ended, count)


def _news(watch: SegmentWatch, watermark: Watermark, runs, segment=None) -> tuple[Watermark, list[dict]]:
    """Return all news of some evaluations, and the watermark behind them."""
    news = []
    while True:
        watermark, one = watch.evaluations(watermark, runs, segment)
        if one is None:
            return watermark, news
        news.append(one)


def _segment(status: int) -> Segment:
    return Segment("s", "d", "VIP", "contact", status, 10)


@given(st.lists(st.lists(st.integers(0, 59), max_size=6), max_size=6))
def test_each_evaluation_is_news_exactly_once(polls):
    """However polls overlap, each evaluation that follows the last one is news exactly once, also over a restart."""
    watch, watermark, seen = SegmentWatch("refreshed"), Watermark(), []
    for newest in range(len(polls)):
        reached = sorted({number for poll in polls[: newest + 1] for number in poll})
        runs = [_run(number) for number in reached if number >= (max(map(int, seen)) if seen else 0)]
        watermark, news = _news(watch, watermark, [*runs, *runs])
        seen += [one["execution_id"][1:] for one in news]
        watermark = Watermark.of(json.loads(json.dumps(watermark.as_dict())))
    assert len(seen) == len(set(seen))
    assert seen == sorted(seen, key=int)


def test_an_evaluation_under_way_is_news_when_it_has_ended():
    """An evaluation is no news while it runs, and is once it has ended, after another that ended in the same second."""
    watch = SegmentWatch("refreshed")
    watermark, news = _news(watch, Watermark(), [_run(1, RUNNING)])
    assert news == []
    watermark, news = _news(watch, watermark, [_run(1)])
    assert [one["execution_id"] for one in news] == ["e1"]
    twin = Execution("twin", SUCCEEDED, _run(1).started_on, _run(1).finished_on, 12)
    watermark, news = _news(watch, watermark, [_run(1), twin])
    assert [(one["execution_id"], one["member_count"], one["change"]) for one in news] == [("twin", 12, 2)]
    assert _news(watch, watermark, [twin, _run(1)]) == (watermark, [])


def test_a_failed_evaluation_is_news_for_failed_alone():
    """A failed evaluation is news for failed, without a member count, and leaves the count to compare with."""
    runs = [_run(1, count=10), _run(2, FAILED, None), _run(3, count=15)]
    _, failed = _news(SegmentWatch("failed"), Watermark(), runs)
    assert [(one["execution_id"], one["status"], one["member_count"]) for one in failed] == [("e2", "failed", None)]
    _, refreshed = _news(SegmentWatch("refreshed"), Watermark(), runs, _segment(1))
    assert [(one["execution_id"], one["change"], one["status"]) for one in refreshed] == [
        *[("e1", None, "live"), ("e3", 5, "live")]
    ]


@pytest.mark.parametrize(
    ("at_least", "counts", "expected"),
    [
        (None, [100, 100, 101], ["e3"]),
        (5, [100, 104, 109, 114], ["e3", "e4"]),
        ("10%", [100, 109, 120, 108], ["e3", "e4"]),
        ("10%", [0, 1], ["e2"]),
        (0.5, [10, None, 15], ["e3"]),
    ],
)
def test_members_changed_compares_with_the_evaluation_before(at_least, counts, expected):
    """members_changed is news when the count moved at least as far as asked from that of the evaluation before."""
    watch = SegmentWatch("members_changed", change_bound("members_changed", at_least))
    _, news = _news(watch, Watermark(), [_run(number, count=c) for number, c in enumerate(counts, 1)])
    assert [one["execution_id"] for one in news] == expected


@pytest.mark.parametrize(
    ("on", "states", "expected"),
    [
        ("live", [1, 6, 1, 7, 8, 9, 6, 7], [False, False, True, False, False, False, False, True]),
        ("stopped", [1, 8, 9, 9, 6, 10], [False, False, True, False, False, True]),
        ("refreshed", [6, 1], [False, False]),
    ],
)
def test_a_state_is_news_when_the_segment_gets_into_it(on, states, expected):
    """A state is news when the segment gets into it, not at the first look and not while it stays."""
    watermark, found = Watermark(), []
    for status in states:
        watermark, became = SegmentWatch(on).state(watermark, _segment(status))
        found.append(became)
    assert found == expected


@pytest.mark.parametrize(
    ("on", "at_least"), [("gone", None), ("refreshed", 5), ("members_changed", "many"), ("members_changed", 1.0)]
)
def test_what_can_not_be_right_is_refused(on, at_least):
    """An unknown event, a bound for another event and a bound that is none are refused."""
    with pytest.raises(CijInputError):
        change_bound(on, at_least)
