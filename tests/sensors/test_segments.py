"""Publish and the sensor in all their modes, against a service that says what the test wants."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from airflow.sdk import DAG

from airflow_provider_cij.sensors.segments import CijSegmentMembersSensor, CijSegmentSensor
from tests.dags import run_dag
from tests.scripted import Answer
from tests.segment_responses import (
    BEFORE,
    BLIP,
    DEFINITION,
    FAILED,
    ID,
    IN_PROGRESS,
    LINK,
    NO_WORDS,
    NONE,
    NOW,
    PERSON,
    SUCCEEDED,
    run_of,
    segment,
)
from tests.sensor_modes import MODES, every_mode


@pytest.fixture
def wait(scripted, monkeypatch):
    """Run a sensor in one of its modes against these answers."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())

    def run(mode: str, *answers: Answer, kind=CijSegmentSensor, **arguments):
        scripted.script = list(answers)
        with DAG(f"wait_{mode}", schedule=None) as dag:
            kind(
                **({"task_id": "wait", "segment_id": ID, "poke_interval": 0.1, "timeout": 30} | MODES[mode] | arguments)
            )
        return run_dag(dag)

    return run


@every_mode
def test_a_segment_becomes_live(wait, scripted, mode):
    """Draft, exporting, a status nobody knows, computing: waiting; then live. Result and link are the same in all."""
    ran = wait(mode, segment(2), segment(5), segment(99), segment(6), segment(1))
    assert ran.states == {"wait": "success"}
    assert ran.result("wait") == {"segment_id": ID, "status": "live", "member_count": 3}
    assert ran.xcoms["wait"][LINK] == f"{scripted.url}/main.aspx?etn=msdynmkt_segment&pagetype=entityrecord&id={ID}"
    assert len(scripted.asked) == 5


@every_mode
def test_a_live_segment_is_not_waited_for(wait, scripted, mode):
    """One look, and no deferral."""
    assert wait(mode, segment(1)).states == {"wait": "success"}
    assert len(scripted.asked) == 1


@every_mode
def test_warnings_are_a_success_that_shows(wait, mode):
    """Computed with warnings is live."""
    ran = wait(mode, segment(6), segment(7))
    assert ran.result("wait")["status"] == "live_with_warnings"


FAILURES = [(mode, soft_fail, 3, "error") for mode in MODES for soft_fail in (False, True)]


FAILURES += [("deferrable", False, 4, "deleted"), ("deferrable", False, 11, "faulted")]


@pytest.mark.parametrize(("mode", "soft_fail", "status", "word"), FAILURES)
def test_a_failed_segment_fails_the_task_with_the_services_words(wait, capfd, mode, soft_fail, status, word):
    """It never skips it."""
    words = Answer(body={"ResultText": '{"lastExecution": {"statusMessage": "No column named creditlimt."}}'})
    # Broken, it may be on its way to be mended: its evaluations are read, and then the row once more.
    looked = [segment(status)] if status == 4 else [segment(status), NONE, segment(status)]
    assert wait(mode, segment(6), *looked, words, soft_fail=soft_fail).states == {"wait": "failed"}
    assert f"Segment 'VIP' ({ID}) ended in status {word}: No column named creditlimt." in capfd.readouterr().out


def test_the_words_behind_a_failure_name_nobody(wait, capfd):
    """Ids and addresses of people in the service's words stay out of the log."""
    said = f"Contact {PERSON} ada@contoso.test has no name.\\n::error::"
    last = {"lastExecution": {"statusMessage": said, "errorMessage": "x"}}
    words = Answer(body={"ResultText": json.dumps(last)})
    wait("poke", segment(3), NONE, segment(3), words)
    out = capfd.readouterr().out
    assert "has no name" in out
    assert not any(canary in out for canary in (PERSON, "ada@", "::error::"))


@every_mode
def test_a_failure_without_words_says_where_to_look(wait, capfd, mode):
    """The service need not explain itself."""
    wait(mode, segment(3), NO_WORDS)
    assert "the service gives no reason. Open the segment in Dynamics 365" in capfd.readouterr().out


@every_mode
@pytest.mark.parametrize(("soft_fail", "state"), [(False, "failed"), (True, "skipped")])
def test_a_timeout_fails_or_skips(wait, mode, soft_fail, state):
    """As Airflow's users expect it of each sensor."""
    started = time.monotonic()
    assert wait(mode, segment(6), timeout=0.5, soft_fail=soft_fail).states == {"wait": state}
    assert time.monotonic() - started < 10


@every_mode
def test_a_blip_does_not_fail_the_task(wait, mode):
    """What a retry may mend, the next look mends."""
    assert wait(mode, BLIP, segment(6), BLIP, segment(1)).states == {"wait": "success"}


@every_mode
def test_a_throttled_look_is_not_repeated_too_soon(wait, scripted, monkeypatch, mode):
    """Whichever process looks next, it comes when the service said."""
    connection = json.loads(scripted.connection())
    connection["extra"]["max_hold_seconds"] = 1
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", json.dumps(connection))
    error = {"code": "0x80072322", "message": "Number of requests exceeded the limit."}
    started = time.monotonic()
    told = Answer(429, {"error": error}, {"Retry-After": "3"})
    assert wait(mode, told, segment(1)).states == {"wait": "success"}
    assert time.monotonic() - started >= 3
    assert len(scripted.asked) == 2


@every_mode
def test_a_segment_that_is_gone_fails_the_task(wait, capfd, mode):
    """Neither a segment nor a definition has this id."""
    gone = Answer(404, {"error": {"code": "0x80040217", "message": "msdynmkt_segment Does Not Exist"}})
    assert wait(mode, segment(6), gone, Answer(body={"value": []})).states == {"wait": "failed"}
    assert "Does Not Exist" in capfd.readouterr().out


@every_mode
def test_a_definitions_id_is_taken_too(wait, mode):
    """Older documents hand those out."""
    gone = Answer(404, {"error": {"code": "0x80040217", "message": "msdynmkt_segment Does Not Exist"}})
    found = Answer(body={"value": [segment(1).body]})
    assert wait(mode, gone, found, segment_id=DEFINITION).result("wait")["segment_id"] == ID


def test_until_is_checked(wait, scripted, capfd):
    """Before anything is sent."""
    assert wait("poke", segment(1), until="dead").states == {"wait": "failed"}
    assert "until is 'dead'. Use 'live', 'refreshed' or 'stopped'." in capfd.readouterr().out
    assert scripted.asked == []


@every_mode
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"until": "live", "since": NOW}, "since is given, and until is 'live'. It goes with 'refreshed'."),
        ({"until": "refreshed", "since": "soon"}, "since is 'soon'. Give a datetime, or ISO 8601."),
        ({"until": "refreshed", "since": "2026-11-02T03:00:00"}, "without a time zone"),
        ({"poke_interval": 0}, "poke_interval is 0"),
        ({"kind": CijSegmentMembersSensor, "min_members": 0}, "min_members is 0. Give a number from 1 on."),
    ],
)
def test_what_is_waited_for_is_checked(wait, scripted, capfd, mode, arguments, said):
    """Before anything is sent, in each mode."""
    assert wait(mode, segment(1), **arguments).states == {"wait": "failed"}
    assert said in capfd.readouterr().out
    assert scripted.asked == []


@every_mode
def test_a_segment_is_refreshed(wait, scripted, mode):
    """By an evaluation that began since, and has succeeded."""
    looks = [
        *[segment(1, 3), NONE],
        *[segment(1, 3), run_of(SUCCEEDED, BEFORE)],
        *[segment(6, 3), run_of(IN_PROGRESS)],
        # The row once more after the log: the first may be of the evaluation before.
        *[segment(1, 3), run_of(SUCCEEDED), segment(1, 5)],
    ]
    ran = wait(mode, *looks, until="refreshed", since="{{ '" + NOW + "' }}")
    assert ran.result("wait") == {"segment_id": ID, "status": "live", "member_count": 5}
    assert len(scripted.asked) == 9
    assert "msdynmkt_startedon%20ge%20" + NOW in scripted.asked[1].path


@every_mode
def test_since_is_the_dag_runs_start_unless_given(wait, mode):
    """What was evaluated before it is no answer."""
    new = run_of(SUCCEEDED, "2099-01-01T00:00:00Z")
    answers = [segment(1, 3), run_of(SUCCEEDED, BEFORE), segment(1, 3), new, segment(1, 5)]
    assert wait(mode, *answers, until="refreshed").result("wait")["member_count"] == 5


@every_mode
@pytest.mark.parametrize("soft_fail", [False, True])
def test_a_failed_evaluation_fails_the_task(wait, capfd, mode, soft_fail):
    """The segment is live as before, with members of before."""
    answers = [segment(1), NONE, segment(1), run_of(FAILED), segment(1), NO_WORDS]
    assert wait(mode, *answers, until="refreshed", since=NOW, soft_fail=soft_fail).states == {"wait": "failed"}
    assert f"Segment 'VIP' ({ID}) could not be evaluated: the service gives no reason." in capfd.readouterr().out


@every_mode
def test_a_log_that_cant_be_read_is_no_refresh(wait, capfd, mode):
    """It says which privilege is missing."""
    no = Answer(403, {"error": {"code": "0x80040220", "message": "missing prvReadmsdynmkt_segmentexecution"}})
    assert wait(mode, segment(1), no, until="refreshed").states == {"wait": "failed"}
    assert "missing prvReadmsdynmkt_segmentexecution" in capfd.readouterr().out


@every_mode
@pytest.mark.parametrize("end", [9, 10])
def test_a_segment_stops(wait, mode, end):
    """Stopping is not yet; stopped and expired are."""
    ran = wait(mode, segment(1), segment(8), segment(end), until="stopped")
    assert ran.result("wait")["status"] == {9: "stopped", 10: "expired"}[end]


@every_mode
def test_a_live_segment_gets_enough_members(wait, mode):
    """A number that is not known is not enough."""
    answers = [segment(1, None), segment(1, 4), segment(6, 9), segment(1, 5)]
    assert wait(mode, *answers, min_members=5).result("wait")["member_count"] == 5


@every_mode
def test_members_are_waited_for_whatever_the_status(wait, mode):
    """Of the segment, by its last evaluation."""
    answers = [segment(2, None), segment(6, 4), segment(6, 9)]
    ran = wait(mode, *answers, kind=CijSegmentMembersSensor, min_members=5)
    assert ran.result("wait") == {"segment_id": ID, "status": "computing", "member_count": 9}


@every_mode
@pytest.mark.parametrize(("soft_fail", "state"), [(False, "failed"), (True, "skipped")])
def test_too_few_members_are_a_timeout(wait, mode, soft_fail, state):
    """Failed, or skipped where that is asked for."""
    arguments = {"kind": CijSegmentMembersSensor, "min_members": 5, "timeout": 0.5, "soft_fail": soft_fail}
    assert wait(mode, segment(1, 4), **arguments).states == {"wait": state}


@every_mode
def test_a_groups_members_are_waited_for(wait, mode):
    """They are counted page by page."""
    group = {"groupId": ID, "includeType": "Include", "name": "in"}
    definition = Answer(body={"msdynmkt_staticlistmembers": json.dumps([group])})

    def listed(*ids: str) -> Answer:
        return Answer(body={"Response": json.dumps({"entityIds": ids})})

    few = [segment(2), definition, listed(ID), listed()]
    enough = [segment(2), definition, listed(ID, DEFINITION)]
    ran = wait(mode, *few, *enough, kind=CijSegmentMembersSensor, group="in", min_members=2)
    assert ran.result("wait") == {"segment_id": ID, "status": "draft", "member_count": 2}


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
def test_a_sensor_limits_the_members(wait, mode, counts, limits, state):
    """A live segment with more members than it may have fails the sensor, compared by the log of evaluations."""
    assert wait(mode, segment(1, 9), runs_of(*counts), **limits).states == {"wait": state}


@every_mode
@pytest.mark.parametrize("trouble", [429, 503])
def test_no_sensor_asks_earlier_than_it_was_told(wait, scripted, monkeypatch, mode, trouble):
    """A Retry-After that is longer than the client waits for is kept in each mode, whatever the status."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection(max_throttle_wait_seconds=0.5))
    started = time.monotonic()
    told = Answer(trouble, {"error": {"code": "0x0", "message": "busy"}}, {"Retry-After": "3"})
    assert wait(mode, told, segment(1)).states == {"wait": "success"}
    assert time.monotonic() - started >= 3
    assert len(scripted.asked) == 2


@every_mode
@pytest.mark.parametrize("skew", [-900, 900], ids=["behind", "ahead"])
def test_a_clock_that_differs_makes_no_evaluation_ours(wait, mode, skew):
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
