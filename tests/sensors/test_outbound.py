"""The sensors of outbound marketing in all their modes."""

from __future__ import annotations

import json

import pytest
from airflow.sdk import DAG

from airflow_provider_cij.sensors.outbound import (
    CijOutboundJourneySensor,
    CijOutboundMemberOperationsSensor,
    CijOutboundSegmentSensor,
)
from tests.dags import run_dag
from tests.outbound_responses import (
    DRAFT,
    ERROR,
    EXPIRED,
    GOING_LIVE,
    ID,
    LIVE,
    MADE,
    REMOVED,
    STOPPED,
    STOPPING,
    journey,
    segment,
    state,
)
from tests.scripted import Answer
from tests.segment_responses import BLIP
from tests.sensor_modes import MODES, every_mode

UNHEARD_OF = 192350099


@pytest.fixture
def run_sensor(scripted, monkeypatch):
    """Return a function that runs a sensor in one of its modes against these responses."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())

    def run(kind, mode: str, *answers: Answer, **arguments):
        scripted.script = list(answers)
        given = {"journey_id" if kind is CijOutboundJourneySensor else "segment_id": ID}
        with DAG(f"wait_{mode}", schedule=None) as dag:
            kind(**({"task_id": "wait", "poke_interval": 0.1, "timeout": 30} | given | MODES[mode] | arguments))
        return run_dag(dag)

    return run


@every_mode
def test_a_segment_becomes_live(run_sensor, scripted, mode):
    """The sensor waits through a failed poll and an unknown status until live, with a link in each mode."""
    answers = [segment(DRAFT), BLIP, segment(GOING_LIVE), segment(UNHEARD_OF), segment(LIVE, msdyncrm_segmentsize=3)]
    ran = run_sensor(CijOutboundSegmentSensor, mode, *answers)
    assert ran.result("wait") == {"segment_id": ID, "status": "live", "member_count": 3}
    address = f"{scripted.url}/main.aspx?etn=msdyncrm_segment&pagetype=entityrecord&id={ID}"
    assert ran.xcoms["wait"]["_link_CijSegmentLink"] == address
    assert len(scripted.requests) == 5


@every_mode
def test_a_journey_stops(run_sensor, scripted, mode):
    """The journey sensor waits until the journey is stopped and links to it."""
    ran = run_sensor(
        CijOutboundJourneySensor, mode, journey(LIVE), journey(STOPPING), journey(STOPPED), until="stopped"
    )
    assert ran.result("wait") == {"journey_id": ID, "status": "stopped"}
    address = f"{scripted.url}/main.aspx?etn=msdyncrm_customerjourney&pagetype=entityrecord&id={ID}"
    assert ran.xcoms["wait"]["_link_CijJourneyLink"] == address


@every_mode
def test_member_operations_finish(run_sensor, scripted, mode):
    """The sensor waits through empty, unknown and pending states until the operations are finished."""
    looks = [MADE, state(state="Odd"), state(state="Pending", pendingOperations=1), state(pendingOperations=0)]

    def place_of(request) -> int:
        return sum(earlier.method == "POST" for earlier in scripted.requests) if request.method == "POST" else 0

    scripted.place_of = place_of
    ran = run_sensor(CijOutboundMemberOperationsSensor, mode, segment(LIVE), *looks)
    assert ran.result("wait") == {"segment_id": ID, "state": "finished"}
    assert [
        json.loads(request.body)["msdyncrm_operation"] for request in scripted.requests if request.method == "POST"
    ] == ["getState"] * 4


@every_mode
def test_an_empty_state_times_out(run_sensor, capfd, mode):
    """A state that stays empty times out with the state in the log; ``soft_fail`` skips the task."""
    kind, answers = CijOutboundMemberOperationsSensor, [segment(LIVE), MADE] * 50
    assert run_sensor(kind, mode, *answers, timeout=0.5).states == {"wait": "failed"}
    assert "are unknown: getState says {}" in capfd.readouterr().out
    assert run_sensor(kind, mode, *answers, timeout=0.5, soft_fail=True).states == {"wait": "skipped"}


FAILURES = [
    (CijOutboundSegmentSensor, [segment(ERROR)], "live", "Outbound segment 'VIP' (%s) is error."),
    (CijOutboundSegmentSensor, [segment(EXPIRED)], "live", "is expired. An expired one can't be published again"),
    (CijOutboundJourneySensor, [journey(ERROR, msdyncrm_validationresults="No e-mail.")], "live", "found No e-mail.."),
    (CijOutboundJourneySensor, [journey(ERROR)], "stopped", "Outbound journey 'VIP' (%s) is error."),
    (CijOutboundMemberOperationsSensor, [segment(LIVE), state(state="Failed")], None, "are failed: getState says"),
    (CijOutboundSegmentSensor, REMOVED[:1], "live", "This organisation has no outbound marketing any more"),
    (CijOutboundSegmentSensor, [segment(LIVE)], "{{ 'dead' }}", "until is 'dead'. Use 'live' or 'stopped'."),
]


@every_mode
@pytest.mark.parametrize(("kind", "answers", "until", "message"), FAILURES)
def test_a_failure_fails_the_task(run_sensor, capfd, mode, kind, answers, until, message):
    """A failure fails the task with its reason, also with ``soft_fail``."""
    first = [journey(DRAFT)] if kind is CijOutboundJourneySensor else [segment(DRAFT)]
    first += [MADE] if until is None else []
    arguments = {"soft_fail": True} | ({"until": until} if until else {})
    assert run_sensor(kind, mode, *first, *answers, **arguments).states == {"wait": "failed"}
    assert (message.replace("%s", ID)) in capfd.readouterr().out


def test_an_expired_segment_is_stopped(run_sensor):
    """An expired segment ends a wait for a stop."""
    assert run_sensor(CijOutboundSegmentSensor, "poke", segment(EXPIRED), until="stopped").states == {"wait": "success"}
