"""Publish and the sensor in all their modes, against a service that says what the test wants."""

from __future__ import annotations

import json
import time

import pytest
from airflow.sdk import DAG

from airflow_provider_cij.api.segments import shared_poll as polling
from airflow_provider_cij.operators.segments import CijPublishSegmentOperator, CijRefreshSegmentOperator
from airflow_provider_cij.sensors.segments import CijSegmentMembersSensor, CijSegmentSensor
from airflow_provider_cij.triggers import _waiting as triggers
from tests.dags import run_dag
from tests.scripted import Answer

ID, DEFINITION = "0f5b0c7f-395d-447b-b14c-315a601f878e", "5f2e9d6c-2c5e-4e11-be6f-000d3a3e1f2a"
OLD, NEW = "00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b"
BEFORE, NOW = "2026-11-02T02:59:59Z", "2026-11-02T03:00:00Z"
PERSON = "11111111-395d-447b-b14c-315a601f878e"
MODES = {"poke": {}, "reschedule": {"mode": "reschedule"}, "deferrable": {"deferrable": True}}
LINK = "_link_CijSegmentLink"
NO_WORDS = Answer(404, {"error": {"code": "0x80060888", "message": "Resource not found for the segment 'x'."}})
BLIP = Answer(200, b"<html>a gateway's page</html>")
NONE = Answer(body={"value": []})

every_mode = pytest.mark.parametrize("mode", MODES)


def segment(status: int, members: int | None = 3) -> Answer:
    """Answer with a segment in this status."""
    return Answer(
        body={
            "msdynmkt_segmentid": ID,
            "msdynmkt_sourcesegmentuid": DEFINITION,
            "msdynmkt_displayname": "VIP",
            "msdynmkt_baseentitylogicalname": "contact",
            "statuscode": status,
            "msdynmkt_membercount": members,
        }
    )


@pytest.fixture
def wait(scripted, monkeypatch):
    """Run a sensor in one of its modes against these answers."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    monkeypatch.setattr(triggers, "FIRST_LOOK_AFTER", 0.1)
    monkeypatch.setattr(polling, "LINGER", 0.01)

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
        ({"kind": CijSegmentMembersSensor, "at_least": 0}, "at_least is 0. Give a number from 1 on."),
    ],
)
def test_what_is_waited_for_is_checked(wait, scripted, capfd, mode, arguments, said):
    """Before anything is sent, in each mode."""
    assert wait(mode, segment(1), **arguments).states == {"wait": "failed"}
    assert said in capfd.readouterr().out
    assert scripted.asked == []


def run_of(status: int, began: str = NOW, execution: str = NEW) -> Answer:
    """Answer with the log of evaluations."""
    row = {"msdynmkt_segmentexecutionid": execution, "statuscode": status, "msdynmkt_startedon": began}
    return Answer(body={"value": [row | {"_msdynmkt_segmentdefinitionid_value": DEFINITION}]})


SUCCEEDED, FAILED, IN_PROGRESS, NOT_STARTED = 723270002, 723270003, 723270001, 723270000


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
    ran = wait(mode, *answers, kind=CijSegmentMembersSensor, at_least=5)
    assert ran.result("wait") == {"segment_id": ID, "status": "computing", "member_count": 9}


@every_mode
@pytest.mark.parametrize(("soft_fail", "state"), [(False, "failed"), (True, "skipped")])
def test_too_few_members_are_a_timeout(wait, mode, soft_fail, state):
    """Failed, or skipped where that is asked for."""
    arguments = {"kind": CijSegmentMembersSensor, "at_least": 5, "timeout": 0.5, "soft_fail": soft_fail}
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
    ran = wait(mode, *few, *enough, kind=CijSegmentMembersSensor, group="in", at_least=2)
    assert ran.result("wait") == {"segment_id": ID, "status": "draft", "member_count": 2}


@pytest.fixture
def publish(scripted, monkeypatch):
    """Run the publish operator against these answers."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    monkeypatch.setattr(triggers, "FIRST_LOOK_AFTER", 0.1)
    monkeypatch.setattr(polling, "LINGER", 0.01)

    def run(*answers: Answer, kind=CijPublishSegmentOperator, **arguments):
        scripted.script = list(answers)
        with DAG("publish", schedule=None) as dag:
            kind(**({"task_id": "publish", "segment_id": ID, "poll_interval": 0.1, "timeout": 30} | arguments))
        return run_dag(dag)

    return run


def _run_of_segment(execution: str, status: int) -> Answer:
    return run_of(status, NOW, execution)


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("status", [1, 9, 10])
def test_a_refresh_is_a_new_evaluation(publish, scripted, deferrable, status):
    """Also of a segment that is stopped or has expired; and it says when."""
    old, new = _run_of_segment(OLD, SUCCEEDED), run_of(SUCCEEDED)
    new.body["value"][0]["msdynmkt_finishedon"] = "2026-11-02T03:00:07Z"
    asked = [segment(1, 3), old, old] if status == 1 else [segment(status, 3), NONE]
    waited = [segment(1, 3), old, segment(5, 3), old] if status == 1 else [segment(5, 3)]
    ran = publish(
        *asked,
        Answer(204),
        *waited,
        *([segment(6, 3), old, segment(1, 5), new, segment(1, 5)] if status == 1 else [segment(6, 3), segment(1, 5)]),
        *([] if status == 1 else [segment(1, 5), new]),
        kind=CijRefreshSegmentOperator,
        deferrable=deferrable,
    )
    assert ran.result("publish") == {
        "segment_id": ID,
        "status": "live",
        "member_count": 5,
        "evaluated_at": "2026-11-02T03:00:07Z",
    }
    assert [asked.path for asked in scripted.asked if asked.method == "POST"] == [
        "/api/data/v9.2/msdynmkt_PublishSegmentDefinition"
    ]


@pytest.mark.parametrize("deferrable", [False, True])
def test_publish_waits_until_live(publish, scripted, deferrable):
    """The service accepts, works behind it, and the task ends when it is done."""
    ran = publish(segment(2), NONE, Answer(204), segment(5), segment(6), segment(1), deferrable=deferrable)
    assert ran.states == {"publish": "success"}
    assert ran.result("publish") == {"segment_id": ID, "status": "live", "member_count": 3}
    assert LINK in ran.xcoms["publish"]
    posts = [asked for asked in scripted.asked if asked.method == "POST"]
    assert [(asked.path, asked.body) for asked in posts] == [
        ("/api/data/v9.2/msdynmkt_PublishSegmentDefinition", f'{{"SegmentId": "{ID}"}}'.encode())
    ]


@pytest.mark.parametrize("deferrable", [False, True])
def test_publishing_a_live_segment_waits_for_a_new_evaluation(publish, scripted, deferrable):
    """The members of the old one are not what was published."""
    old, new = _run_of_segment(OLD, 723270002), _run_of_segment(NEW, 723270001)
    done = _run_of_segment(NEW, 723270002)
    ran = publish(
        *[segment(1, 3), old, old, Answer(204)],
        *[segment(1, 3), old, segment(1, 3), new, segment(1, 3), done, segment(1, 5)],
        deferrable=deferrable,
    )
    assert ran.result("publish")["member_count"] == 5
    assert len(scripted.asked) == 11


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("later", [[], [1]])
def test_a_segment_that_has_left_live_needs_its_evaluation(publish, scripted, deferrable, later):
    """Back in live is not enough: the evaluation may have failed, and the members be those of before."""
    old = _run_of_segment(OLD, 723270002)
    still = [answer for _ in later for answer in (segment(1, 3), old)]
    ran = publish(
        *[segment(1, 3), old, old, Answer(204), *still, segment(5), old, segment(6), old, segment(1, 5), old],
        *[segment(1, 5), run_of(SUCCEEDED), segment(1, 5)],
        deferrable=deferrable,
    )
    assert ran.result("publish")["member_count"] == 5


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_failed_segment_can_be_published_again(publish, deferrable):
    """The error from before is not the answer."""
    old = _run_of_segment(OLD, 723270003)
    answers = [segment(3), old, old, Answer(204), segment(3), old, segment(6), old, segment(1), run_of(SUCCEEDED)]
    answers += [segment(1)]
    assert publish(*answers, deferrable=deferrable).states == {"publish": "success"}


def test_a_rejected_query_fails_the_task_at_once(publish, capfd):
    """With the service's words, and no retry."""
    no = Answer(400, {"error": {"code": "0x80040265", "message": "Parse error at position 23."}})
    assert publish(segment(2), NONE, no, retries=3).states == {"publish": "failed"}
    assert "Parse error at position 23. [code 0x80040265, HTTP 400]" in capfd.readouterr().out


def test_publish_does_not_hammer(publish, scripted, capfd):
    """A wait without a pause is refused before anything is sent."""
    assert publish(segment(2), poll_interval=0).states == {"publish": "failed"}
    assert "poll_interval is 0. Give seconds, more than 0." in capfd.readouterr().out
    assert scripted.asked == []


def test_publish_need_not_wait(publish, scripted):
    """Then it returns what it sees."""
    ran = publish(segment(2), Answer(204), segment(5), wait_until_live=False)
    assert ran.result("publish")["status"] == "exporting"
    assert len(scripted.asked) == 3


@pytest.mark.parametrize("deferrable", [False, True])
def test_publish_does_not_wait_for_ever(publish, capfd, deferrable):
    """The error says what was last seen."""
    ran = publish(segment(2), NONE, Answer(204), segment(6), timeout=0.5, deferrable=deferrable)
    assert ran.states == {"publish": "failed"}
    assert "did not become live in the time given (last seen computing)" in capfd.readouterr().out
