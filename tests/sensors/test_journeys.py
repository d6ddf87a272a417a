"""The journey sensor in all its modes."""

from __future__ import annotations

import pytest

from airflow_provider_cij.sensors.journeys import CijJourneySensor
from tests.journey_responses import BLIP, ID, LINK, journey
from tests.scripted import Answer
from tests.sensor_modes import MODES, every_mode


@pytest.fixture
def run_sensor(run_journey_task):
    """Return a function that runs the sensor in one of its modes against these responses."""
    given = {"journey_id": ID, "poke_interval": 0.1, "timeout": 30}
    return lambda mode, *answers, **others: run_journey_task(
        CijJourneySensor, *answers, **(given | MODES[mode] | others)
    )


@every_mode
def test_a_journey_becomes_live(run_sensor, scripted, mode):
    """The sensor waits through draft, publishing and an unknown status until live, in each mode."""
    ran = run_sensor(mode, journey(1), journey(4), BLIP, journey(99), journey(2))
    assert ran.result("t") == {"journey_id": ID, "status": "live"}
    assert ran.xcoms["t"][LINK] == f"{scripted.url}/main.aspx?etn=msdynmkt_journey&pagetype=entityrecord&id={ID}"
    assert {request.method for request in scripted.requests} == {"GET"}


@every_mode
@pytest.mark.parametrize(("until", "in_flight", "end"), [("completed", [2, 7], 8), ("stopped", [2, 9, 5], 3)])
def test_a_journey_completes_or_stops(run_sensor, mode, until, in_flight, end):
    """The sensor waits until a journey completes or is stopped."""
    assert run_sensor(mode, *map(journey, [*in_flight, end]), until=until).states == {"t": "success"}


@every_mode
@pytest.mark.parametrize(("soft_fail", "until", "status"), [(False, "live", 3), (True, "completed", 6)])
def test_an_unreachable_status_fails_the_task(run_sensor, capfd, mode, soft_fail, until, status):
    """A status that rules the goal out fails the task with the service's message, also with ``soft_fail``."""
    words = Answer(body={"msdynmkt_errorDetails": "The segment is gone."})
    ran = run_sensor(mode, journey(4), journey(status), words, until=until, soft_fail=soft_fail)
    assert ran.states == {"t": "failed"}
    assert f"and was to become {until}: The segment is gone." in capfd.readouterr().out


@every_mode
@pytest.mark.parametrize("column", ["msdynmkt_issupersededbylaterversion", "msdynmkt_IsSupersededByLaterVersion"])
def test_a_superseded_version_is_explained(run_sensor, capfd, mode, column):
    """The error for a superseded version names it as such, where the organisation has the column."""
    row = {column: True, "msdynmkt_errorDetails": "Old."}
    assert run_sensor(mode, journey(2), journey(5), Answer(body=row), until="completed").states == {"t": "failed"}
    message = capfd.readouterr().out
    assert "is draining, and was to become completed: it is superseded by a later version" in message
    assert "Wait for the id of the later version." in message
    row[column] = False
    assert run_sensor(mode, journey(2), journey(5), Answer(body=row), until="completed").states == {"t": "failed"}
    assert "was to become completed: Old." in capfd.readouterr().out


@pytest.mark.parametrize(("later", "warned"), [(True, True), (False, False)])
def test_a_superseded_version_that_stopped_is_warned_of(run_sensor, caplog_all, later, warned):
    """A superseded version that stopped is a success with a warning."""
    row = journey(3, msdynmkt_issupersededbylaterversion=later)
    assert run_sensor("poke", journey(2), journey(3), row, until="stopped").states == {"t": "success"}
    assert ("superseded by a later version" in caplog_all.text) is warned


@every_mode
@pytest.mark.parametrize(("soft_fail", "state"), [(False, "failed"), (True, "skipped")])
def test_a_timeout_fails_or_skips(run_sensor, mode, soft_fail, state):
    """A timeout fails the task, and skips it with ``soft_fail``."""
    assert run_sensor(mode, journey(4), timeout=0.5, soft_fail=soft_fail).states == {"t": state}


@every_mode
@pytest.mark.parametrize(
    ("arguments", "message"), [({"until": "{{ 'dead' }}"}, "until is 'dead'"), ({"poke_interval": 0}, "is 0")]
)
def test_invalid_arguments_are_refused(run_sensor, scripted, capfd, mode, arguments, message):
    """Invalid arguments fail the task before anything is sent."""
    assert run_sensor(mode, journey(2), **arguments).states == {"t": "failed"}
    assert message in capfd.readouterr().out
    assert scripted.requests == []
