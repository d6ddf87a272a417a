"""Limits on the member count of a published segment."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest

from airflow_provider_cij.operators._member_list import counts_text
from airflow_provider_cij.version_compat import TAKES_RETRY_POLICY
from tests.scripted import Answer
from tests.segment_responses import ID, NONE, OLD, SUCCEEDED, evaluation, segment

both = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])
BEFORE = evaluation(SUCCEEDED, execution=OLD)
GROWN = [
    *[segment(1, 3), BEFORE, BEFORE, Answer(204), segment(1, 3), BEFORE],
    *[segment(1, 3), evaluation(SUCCEEDED), segment(1, 9)],
]


@both
@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_members": 8}, "has 9 members, more than max_members=8."),
        ({"max_members": "{{ 8 }}"}, "has 9 members, more than max_members=8."),
        ({"max_change": "20%"}, "has 9 members after 3 in the evaluation before, a change of +6, more than max_change"),
        ({"max_change": 5}, "has 9 members after 3 in the evaluation before, a change of +6, more than max_change=5."),
    ],
)
def test_too_many_members_fail_the_task(run_publish, scripted, capfd, deferrable, limits, message):
    """A segment that grew beyond its limit fails the task with both counts."""
    assert run_publish(*GROWN, deferrable=deferrable, **limits).states == {"publish": "failed"}
    assert message in capfd.readouterr().out


@both
@pytest.mark.parametrize("limits", [{"max_members": 9, "min_members": 9}, {"max_change": "200%"}, {"max_change": 6}])
def test_a_count_within_all_limits_succeeds(run_publish, deferrable, limits):
    """A member count within all limits is a success."""
    assert run_publish(*GROWN, deferrable=deferrable, **limits).states == {"publish": "success"}


def test_a_first_evaluation_has_no_count_to_compare_with(run_publish):
    """A draft may get any number of members, whatever ``max_change`` is."""
    ran = run_publish(segment(2, None), NONE, Answer(204), segment(1, 9), max_change=0)
    assert ran.states == {"publish": "success"}


@pytest.mark.parametrize(
    "limits", [{"max_members": -1}, {"max_members": "many"}, {"min_members": 1.5}, {"max_change": 1.0}]
)
def test_invalid_limits_are_refused(run_publish, scripted, capfd, limits):
    """An invalid limit fails the task before the first request."""
    assert run_publish(segment(2), **limits).states == {"publish": "failed"}
    assert f"{next(iter(limits))} is" in capfd.readouterr().out
    assert scripted.requests == []


@pytest.mark.skipif(not TAKES_RETRY_POLICY, reason="This Airflow has no task state store.")
def test_a_retry_compares_with_the_count_before_the_first_attempt(run_publish, scripted, capfd):
    """A retry compares with the count from before the first attempt, also when that one had published."""
    first, second = evaluation(SUCCEEDED, execution=OLD), evaluation(SUCCEEDED)
    third = evaluation(SUCCEEDED, execution=ID)
    ran = run_publish(
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
    assert len(scripted.requests) == 17


@pytest.mark.parametrize(
    ("report", "lines", "text"),
    [
        ({"read": 3, "added": 3, "invalid": 0, "batches": 1}, (), "read 3: added 3"),
        (
            {"read": 20085, "invalid": 25, "duplicate": 60, "added": 20000},
            range(1, 26),
            "read 20,085: added 20,000, 25 invalid (lines 1, 2, 3, 4, 5, …; see r.csv), 60 duplicates",
        ),
        ({"read": 2, "invalid": 1, "not_found": 1}, (2,), "read 2: 1 invalid (line 2; see r.csv), 1 not found"),
        ({"read": 0}, (), "read 0: nothing to do"),
    ],
)
def test_a_report_is_one_line_without_zeros(report, lines, text):
    """The report in the log is one line without zeros, with the first invalid lines and the file that lists them."""
    task, id_list = SimpleNamespace(rejects_path="r.csv"), SimpleNamespace(invalid_lines=tuple(lines))
    assert counts_text(report, task, id_list) == text
