"""The segment sensors in all their modes, against a scripted service."""

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
    evaluation,
    segment,
)
from tests.sensor_modes import MODES, every_mode


@pytest.fixture
def run_sensor(scripted, monkeypatch):
    """Return a function that runs a sensor in one of its modes against these responses."""
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
def test_the_connection_bounds_the_poke_interval(run_sensor, scripted, monkeypatch, mode):
    """A sensor checks as often as the connection's ``max_poll_seconds`` says, in each mode."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection(max_poll_seconds=0.1))
    ran = run_sensor(mode, segment(2), segment(5), segment(1), poke_interval=3600, timeout=7200)
    assert ran.states == {"wait": "success"}


@every_mode
def test_a_segment_becomes_live(run_sensor, scripted, mode):
    """The sensor waits through draft, exporting, an unknown status and computing until live, in each mode."""
    ran = run_sensor(mode, segment(2), segment(5), segment(99), segment(6), segment(1))
    assert ran.states == {"wait": "success"}
    assert ran.result("wait") == {"segment_id": ID, "status": "live", "member_count": 3}
    assert ran.xcoms["wait"][LINK] == f"{scripted.url}/main.aspx?etn=msdynmkt_segment&pagetype=entityrecord&id={ID}"
    assert len(scripted.requests) == 5


@every_mode
def test_a_live_segment_succeeds_without_deferral(run_sensor, scripted, mode):
    """A live segment takes one request and no deferral."""
    assert run_sensor(mode, segment(1)).states == {"wait": "success"}
    assert len(scripted.requests) == 1


@every_mode
def test_live_with_warnings_is_a_success(run_sensor, mode):
    """A segment computed with warnings is live, and its status says so."""
    ran = run_sensor(mode, segment(6), segment(7))
    assert ran.result("wait")["status"] == "live_with_warnings"


FAILURES = [(mode, soft_fail, 3, "error") for mode in MODES for soft_fail in (False, True)]


FAILURES += [("deferrable", False, 4, "deleted"), ("deferrable", False, 11, "faulted")]


@pytest.mark.parametrize(("mode", "soft_fail", "status", "word"), FAILURES)
def test_a_failed_segment_fails_the_task_with_its_reason(run_sensor, capfd, mode, soft_fail, status, word):
    """A failed segment fails the task with the service's message, also with ``soft_fail``."""
    words = Answer(body={"ResultText": '{"lastExecution": {"statusMessage": "No column named creditlimt."}}'})
    # Broken, it may be on its way to be mended: its evaluations are read, and then the row once more.
    looked = [segment(status)] if status == 4 else [segment(status), NONE, segment(status)]
    assert run_sensor(mode, segment(6), *looked, words, soft_fail=soft_fail).states == {"wait": "failed"}
    assert f"Segment 'VIP' ({ID}) ended in status {word}: No column named creditlimt." in capfd.readouterr().out


def test_the_failure_reason_holds_no_personal_data(run_sensor, capfd):
    """Ids and addresses of people in the failure reason stay out of the log."""
    message = f"Contact {PERSON} ada@contoso.test has no name.\\n::error::"
    last = {"lastExecution": {"statusMessage": message, "errorMessage": "x"}}
    words = Answer(body={"ResultText": json.dumps(last)})
    run_sensor("poke", segment(3), NONE, segment(3), words)
    out = capfd.readouterr().out
    assert "has no name" in out
    assert not any(canary in out for canary in (PERSON, "ada@", "::error::"))


@every_mode
def test_a_failure_without_a_reason_says_where_to_look(run_sensor, capfd, mode):
    """A failure without a reason refers to the segment in Dynamics 365."""
    run_sensor(mode, segment(3), NO_WORDS)
    assert "the service gives no reason. Open the segment in Dynamics 365" in capfd.readouterr().out


@every_mode
@pytest.mark.parametrize(("soft_fail", "state"), [(False, "failed"), (True, "skipped")])
def test_a_timeout_fails_or_skips(run_sensor, mode, soft_fail, state):
    """A timeout fails the task, and skips it with ``soft_fail``."""
    started = time.monotonic()
    assert run_sensor(mode, segment(6), timeout=0.5, soft_fail=soft_fail).states == {"wait": state}
    assert time.monotonic() - started < 30


@every_mode
def test_a_failed_poll_does_not_fail_the_task(run_sensor, mode):
    """After a failed poll that is retryable the sensor polls again."""
    assert run_sensor(mode, BLIP, segment(6), BLIP, segment(1)).states == {"wait": "success"}


@every_mode
def test_a_throttled_poll_is_repeated_after_retry_after(run_sensor, scripted, monkeypatch, mode):
    """After a throttled poll the next one comes when Retry-After has passed, in each mode."""
    connection = json.loads(scripted.connection())
    connection["extra"]["max_hold_seconds"] = 1
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", json.dumps(connection))
    error = {"code": "0x80072322", "message": "Number of requests exceeded the limit."}
    started = time.monotonic()
    told = Answer(429, {"error": error}, {"Retry-After": "3"})
    assert run_sensor(mode, told, segment(1)).states == {"wait": "success"}
    assert time.monotonic() - started >= 3
    assert len(scripted.requests) == 2


@every_mode
def test_a_deleted_segment_fails_the_task(run_sensor, capfd, mode):
    """An id that belongs to neither a segment nor a definition fails the task."""
    gone = Answer(404, {"error": {"code": "0x80040217", "message": "msdynmkt_segment Does Not Exist"}})
    assert run_sensor(mode, segment(6), gone, Answer(body={"value": []})).states == {"wait": "failed"}
    assert "Does Not Exist" in capfd.readouterr().out


@every_mode
def test_a_definitions_id_is_accepted(run_sensor, mode):
    """The id of a definition is accepted in place of the segment's."""
    gone = Answer(404, {"error": {"code": "0x80040217", "message": "msdynmkt_segment Does Not Exist"}})
    found = Answer(body={"value": [segment(1).body]})
    assert run_sensor(mode, gone, found, segment_id=DEFINITION).result("wait")["segment_id"] == ID


def test_an_unknown_until_is_refused(run_sensor, scripted, capfd):
    """An unknown ``until`` fails the task before anything is sent."""
    assert run_sensor("poke", segment(1), until="{{ 'dead' }}").states == {"wait": "failed"}
    assert "until is 'dead'. Use 'live', 'refreshed' or 'stopped'." in capfd.readouterr().out
    assert scripted.requests == []


@every_mode
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"until": "live", "since": NOW}, "since is given, and until is 'live'. It goes with 'refreshed'."),
        ({"until": "refreshed", "since": "soon"}, "since is 'soon'. Give a datetime, or ISO 8601."),
        ({"until": "refreshed", "since": "2026-11-02T03:00:00"}, "without a time zone"),
        ({"poke_interval": 0}, "poke_interval is 0"),
        ({"kind": CijSegmentMembersSensor, "min_members": 0}, "min_members is 0. Give a number from 1 on."),
    ],
)
def test_invalid_arguments_are_refused(run_sensor, scripted, capfd, mode, arguments, message):
    """Invalid arguments fail the task before anything is sent, in each mode."""
    assert run_sensor(mode, segment(1), **arguments).states == {"wait": "failed"}
    assert message in capfd.readouterr().out
    assert scripted.requests == []


def _check_again(mode, row: Answer, log: Answer) -> list[Answer]:
    """Return what a later check reads: in the triggerer the row once a minute, and when the log shows an end."""
    return [log] if mode == "deferrable" else [row, log]


@every_mode
def test_until_refreshed_waits_for_a_new_evaluation(run_sensor, scripted, mode):
    """The sensor waits for a successful evaluation that began at or after ``since``."""
    looks = [
        *[segment(1, 3), NONE],
        *[segment(1, 3), evaluation(SUCCEEDED, BEFORE)],
        *_check_again(mode, segment(6, 3), evaluation(IN_PROGRESS)),
        # The row once more after the log: the first may be of the evaluation before.
        *_check_again(mode, segment(1, 3), evaluation(SUCCEEDED)),
        segment(1, 5),
    ]
    ran = run_sensor(mode, *looks, until="refreshed", since="{{ '" + NOW + "' }}")
    assert ran.result("wait") == {"segment_id": ID, "status": "live", "member_count": 5}
    assert len(scripted.requests) == len(looks)
    assert "msdynmkt_startedon%20ge%20" + NOW in scripted.requests[1].path


@every_mode
def test_since_defaults_to_the_start_of_the_dag_run(run_sensor, mode):
    """Without ``since`` only evaluations that began after the start of the DAG run count."""
    new = evaluation(SUCCEEDED, "2099-01-01T00:00:00Z")
    answers = [segment(1, 3), evaluation(SUCCEEDED, BEFORE), segment(1, 3), new, segment(1, 5)]
    assert run_sensor(mode, *answers, until="refreshed").result("wait")["member_count"] == 5


@every_mode
@pytest.mark.parametrize("soft_fail", [False, True])
def test_a_failed_evaluation_fails_the_task(run_sensor, capfd, mode, soft_fail):
    """A failed evaluation fails the task although the segment is live with its earlier members."""
    answers = [segment(1), NONE, segment(1), evaluation(FAILED), segment(1), NO_WORDS]
    assert run_sensor(mode, *answers, until="refreshed", since=NOW, soft_fail=soft_fail).states == {"wait": "failed"}
    assert f"Segment 'VIP' ({ID}) could not be evaluated: the service gives no reason." in capfd.readouterr().out


@every_mode
def test_missing_access_to_evaluations_fails_the_task(run_sensor, capfd, mode):
    """A missing privilege to read evaluations fails the task and is named."""
    no = Answer(403, {"error": {"code": "0x80040220", "message": "missing prvReadmsdynmkt_segmentexecution"}})
    assert run_sensor(mode, segment(1), no, until="refreshed").states == {"wait": "failed"}
    assert "missing prvReadmsdynmkt_segmentexecution" in capfd.readouterr().out


@every_mode
@pytest.mark.parametrize("end", [9, 10])
def test_a_segment_stops(run_sensor, mode, end):
    """The sensor waits through stopping until stopped or expired."""
    ran = run_sensor(mode, segment(1), segment(8), segment(end), until="stopped")
    assert ran.result("wait")["status"] == {9: "stopped", 10: "expired"}[end]


@every_mode
def test_min_members_is_waited_for(run_sensor, mode):
    """The sensor waits until the member count is known and at least ``min_members``."""
    answers = [segment(1, None), segment(1, 4), segment(6, 9), segment(1, 5)]
    assert run_sensor(mode, *answers, min_members=5).result("wait")["member_count"] == 5


@every_mode
def test_members_are_waited_for_whatever_the_status(run_sensor, mode):
    """The members sensor counts the last evaluation whatever the segment's status."""
    answers = [segment(2, None), segment(6, 4), segment(6, 9)]
    ran = run_sensor(mode, *answers, kind=CijSegmentMembersSensor, min_members=5)
    assert ran.result("wait") == {"segment_id": ID, "status": "computing", "member_count": 9}


@every_mode
@pytest.mark.parametrize(("soft_fail", "state"), [(False, "failed"), (True, "skipped")])
def test_too_few_members_time_out(run_sensor, mode, soft_fail, state):
    """Too few members time out, which fails or skips the task."""
    arguments = {"kind": CijSegmentMembersSensor, "min_members": 5, "timeout": 0.5, "soft_fail": soft_fail}
    assert run_sensor(mode, segment(1, 4), **arguments).states == {"wait": state}


@every_mode
def test_a_groups_members_are_waited_for(run_sensor, scripted, mode):
    """A group is counted at each look, until it has enough members."""
    group = {"groupId": ID, "includeType": "Include", "name": "in"}
    definition = Answer(body={"msdynmkt_staticlistmembers": json.dumps([group])})
    lists = [[], [ID], [DEFINITION], [ID, DEFINITION]]
    refused = Answer(501, {"error": {"code": "0x80060888", "message": "no batches"}})
    answers = [
        segment(2),
        definition,
        *(Answer(body={"Response": json.dumps({"entityIds": ids})}) for ids in lists),
        refused,
    ]

    def place_of(request) -> int:
        if "$batch" in request.path:
            return len(answers) - 1
        if "segmentdefinitions" in request.path:
            return 1
        if "ListGroupMembers" not in request.path:
            return 0
        looks = sum("msdynmkt_segments(" in earlier.path for earlier in scripted.requests)
        asked = json.loads(request.body)
        members = [ID, DEFINITION][: 1 if looks == 1 else 2]
        first = (asked["PageNo"] - 1) * asked["PageSize"]
        return 2 + lists.index(members[first : first + asked["PageSize"]])

    scripted.place_of = place_of
    ran = run_sensor(mode, *answers, kind=CijSegmentMembersSensor, group="in", min_members=2)
    assert ran.result("wait") == {"segment_id": ID, "status": "draft", "member_count": 2}
    assert sum("msdynmkt_segments(" in request.path for request in scripted.requests) == 2


def evaluations_with(*counts: int) -> Answer:
    """Return a response with evaluations that found these numbers of members, the newest first."""
    rows = [evaluation(SUCCEEDED).body["value"][0] | {"msdynmkt_membershipcount": count} for count in counts]
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
def test_member_limits_of_the_sensor(run_sensor, mode, counts, limits, state):
    """A live segment beyond its member limits fails the sensor, compared with the evaluation before."""
    assert run_sensor(mode, segment(1, 9), evaluations_with(*counts), **limits).states == {"wait": state}


@every_mode
@pytest.mark.parametrize("trouble", [429, 503])
def test_retry_after_beyond_the_limit_is_kept(run_sensor, scripted, monkeypatch, mode, trouble):
    """A Retry-After longer than the client may wait delays the next poll in each mode, for 429 and 503."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection(max_throttle_wait_seconds=0.5))
    started = time.monotonic()
    told = Answer(trouble, {"error": {"code": "0x0", "message": "busy"}}, {"Retry-After": "3"})
    assert run_sensor(mode, told, segment(1)).states == {"wait": "success"}
    assert time.monotonic() - started >= 3
    assert len(scripted.requests) == 2


@every_mode
@pytest.mark.parametrize("skew", [-900, 900], ids=["behind", "ahead"])
def test_clock_skew_does_not_change_which_evaluations_count(run_sensor, mode, skew):
    """Evaluations count by the service's clock, however it differs from the local one."""

    def at(answer: Answer, seconds: float) -> Answer:
        moment = datetime.now(UTC) + timedelta(seconds=skew + seconds)
        for row in answer.body.get("value", ()):
            row["msdynmkt_startedon"] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        now = datetime.now(UTC) + timedelta(seconds=skew)
        return Answer(answer.status, answer.body, {"Date": format_datetime(now, usegmt=True)})

    early, late = at(evaluation(SUCCEEDED), -60), at(evaluation(SUCCEEDED), 120)
    row = at(segment(1, 3), 0)
    looks = [row, early, row, early, *_check_again(mode, row, late), at(segment(1, 5), 0)]
    ran = run_sensor(mode, *looks, until="refreshed")
    assert ran.result("wait")["member_count"] == 5
