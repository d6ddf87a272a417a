"""The journey sensor in all its modes."""

from __future__ import annotations

import pytest

from airflow_provider_cij.sensors.journeys import CijJourneySensor
from tests.journey_responses import BLIP, ID, LINK, journey
from tests.scripted import Answer
from tests.sensor_modes import MODES, every_mode


@pytest.fixture
def wait(run_journey_task):
    """Run the sensor in one of its modes."""
    given = {"journey_id": ID, "poke_interval": 0.1, "timeout": 30}
    return lambda mode, *answers, **others: run_journey_task(
        CijJourneySensor, *answers, **(given | MODES[mode] | others)
    )


@every_mode
def test_a_journey_becomes_live(wait, scripted, mode):
    """Draft, publishing, a status nobody knows: waiting; then live. Result and link are the same in all."""
    ran = wait(mode, journey(1), journey(4), BLIP, journey(99), journey(2))
    assert ran.result("t") == {"journey_id": ID, "status": "live"}
    assert ran.xcoms["t"][LINK] == f"{scripted.url}/main.aspx?etn=msdynmkt_journey&pagetype=entityrecord&id={ID}"
    assert {asked.method for asked in scripted.asked} == {"GET"}


@every_mode
@pytest.mark.parametrize(("until", "on_the_way", "end"), [("completed", [2, 7], 8), ("stopped", [2, 9, 5], 3)])
def test_a_journey_ends(wait, mode, until, in_flight, end):
    """By itself, or by a stop."""
    assert wait(mode, *map(journey, [*in_flight, end]), until=until).states == {"t": "success"}


@every_mode
@pytest.mark.parametrize(("soft_fail", "until", "status"), [(False, "live", 3), (True, "completed", 6)])
def test_a_journey_that_cant_become_it_fails_the_task(wait, capfd, mode, soft_fail, until, status):
    """With the service's words; it never skips it."""
    words = Answer(body={"msdynmkt_errorDetails": "The segment is gone."})
    ran = wait(mode, journey(4), journey(status), words, until=until, soft_fail=soft_fail)
    assert ran.states == {"t": "failed"}
    assert f"and was to become {until}: The segment is gone." in capfd.readouterr().out


@every_mode
@pytest.mark.parametrize("column", ["msdynmkt_issupersededbylaterversion", "msdynmkt_IsSupersededByLaterVersion"])
def test_a_superseded_version_is_no_stopped_journey(wait, capfd, mode, column):
    """The error says that a later version runs; an organisation without the column gives the plain words."""
    row = {column: True, "msdynmkt_errorDetails": "Old."}
    assert wait(mode, journey(2), journey(5), Answer(body=row), until="completed").states == {"t": "failed"}
    said = capfd.readouterr().out
    assert "is draining, and was to become completed: it is superseded by a later version" in said
    assert "Wait for the id of the later version." in said
    row[column] = False
    assert wait(mode, journey(2), journey(5), Answer(body=row), until="completed").states == {"t": "failed"}
    assert "was to become completed: Old." in capfd.readouterr().out


@pytest.mark.parametrize(("later", "warned"), [(True, True), (False, False)])
def test_a_superseded_version_that_stopped_is_warned_of(wait, heard, later, warned):
    """The version runs no more; the journey may."""
    row = journey(3, msdynmkt_issupersededbylaterversion=later)
    assert wait("poke", journey(2), journey(3), row, until="stopped").states == {"t": "success"}
    assert ("superseded by a later version" in heard.text) is warned


@every_mode
@pytest.mark.parametrize(("soft_fail", "state"), [(False, "failed"), (True, "skipped")])
def test_a_timeout_fails_or_skips(wait, mode, soft_fail, state):
    """As Airflow's users expect it of each sensor."""
    assert wait(mode, journey(4), timeout=0.5, soft_fail=soft_fail).states == {"t": state}


@every_mode
@pytest.mark.parametrize(
    ("arguments", "said"), [({"until": "dead"}, "until is 'dead'"), ({"poke_interval": 0}, "is 0")]
)
def test_what_is_waited_for_is_checked(wait, scripted, capfd, mode, arguments, said):
    """Before anything is sent."""
    assert wait(mode, journey(2), **arguments).states == {"t": "failed"}
    assert said in capfd.readouterr().out
    assert scripted.asked == []
