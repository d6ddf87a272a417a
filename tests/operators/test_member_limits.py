"""Limits on how many members a published segment may have."""

from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_provider_cij.version_compat import TAKES_RETRY_POLICY
from tests.scripted import Answer
from tests.segment_responses import ID, NONE, OLD, SUCCEEDED, run_of, segment

both = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])
BEFORE = run_of(SUCCEEDED, execution=OLD)
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
def test_too_many_members_fail_the_task(publish, scripted, capfd, deferrable, limits, said):
    """A segment that grew beyond what is allowed fails the task with both counts."""
    assert publish(*GROWN, deferrable=deferrable, **limits).states == {"publish": "failed"}
    assert said in capfd.readouterr().out


@both
@pytest.mark.parametrize("limits", [{"max_members": 9, "min_members": 9}, {"max_change": "200%"}, {"max_change": 6}])
def test_enough_members_do_not(publish, deferrable, limits):
    """What is within all limits is a success."""
    assert publish(*GROWN, deferrable=deferrable, **limits).states == {"publish": "success"}


def test_a_first_evaluation_has_nothing_to_compare_with(publish):
    """A draft may come to any number of members, whatever change is allowed."""
    ran = publish(segment(2, None), NONE, Answer(204), segment(1, 9), max_change=0)
    assert ran.states == {"publish": "success"}


@pytest.mark.parametrize(
    "limits", [{"max_members": -1}, {"max_members": "many"}, {"min_members": 1.5}, {"max_change": 1.0}]
)
def test_limits_are_checked_before_anything_is_sent(publish, scripted, capfd, limits):
    """A limit that is none fails the task before the first request."""
    assert publish(segment(2), **limits).states == {"publish": "failed"}
    assert f"{next(iter(limits))} is" in capfd.readouterr().out
    assert scripted.asked == []


@pytest.mark.skipif(not TAKES_RETRY_POLICY, reason="This Airflow has no task state store.")
def test_a_second_try_does_not_compare_the_new_count_with_itself(publish, scripted, capfd):
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
