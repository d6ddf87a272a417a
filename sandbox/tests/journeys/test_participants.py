"""Who is in a live journey, and which segments it uses."""

import time

import pytest

from ..organisation import running_organisation
from .helpers import create, live_segment, walk

LIVE, STOPPED_BY_JOURNEY = 2, 534121004
INSTANCES = "msdynmkt_journeyinstances?$filter=msdynmkt_journeydefinitionid eq '{}'"
USAGES = "msdynmkt_segmentusages?$filter=_msdynmkt_segmentid_value eq {}"


@pytest.fixture(scope="module")
def readable(tmp_path_factory):
    """Provide an organisation whose application user may read journey instances."""
    with running_organisation("--contacts", "50", "--compute-seconds", "0.1", "--with-journey-instances") as org:
        yield org


def states(org, journey):
    """Return the states of a journey's instances, by the person."""
    rows = org.get(INSTANCES.format(journey))["value"]
    assert {row["msdynmkt_targetentity"] for row in rows} <= {"contact"}
    return {row["msdynmkt_targetid"]: row["msdynmkt_journeyinstancestate"] for row in rows}


def everybody(org):
    """Create a segment of all contacts, and have it published."""
    segment, _ = org.segment("PROFILE(contact)")
    assert org.publish(segment) == 1
    return segment


def test_a_live_journey_has_the_members_of_its_audience(readable):
    """A journey has no instances before it is live, then one for each member of its audience."""
    segment = everybody(readable)
    journey, _, _ = create(readable, None, {"$.trigger.audience": segment})
    assert states(readable, journey) == {}
    assert readable.get(USAGES.format(segment))["value"] == []
    readable.post("msdynmkt_PublishJourneyV2", {"msdynmkt_journeyid": journey})
    walk(readable, journey, LIVE)
    contacts = readable.get("contacts?$select=contactid")["value"]
    assert states(readable, journey) == dict.fromkeys((row["contactid"] for row in contacts), 534121000)
    (usage,) = readable.get(USAGES.format(segment))["value"]
    assert (usage["_msdynmkt_journeyid_value"], usage["msdynmkt_usage"]) == (journey, 1)


def test_people_get_through_in_time_or_when_the_journey_ends(readable):
    """People are through a day after they entered, on the organisation's clock; a stop of the journey ends the rest."""
    segment = everybody(readable)
    journeys = [create(readable, None, {"$.trigger.audience": segment})[0] for _ in range(2)]
    for journey in journeys:
        readable.post("msdynmkt_PublishJourneyV2", {"msdynmkt_journeyid": journey})
        walk(readable, journey, LIVE)
    stopped = readable.web.patch(f"msdynmkt_journeys({journeys[1]})", json={"statecode": 2, "statuscode": 3})
    assert stopped.status_code == 204
    assert set(states(readable, journeys[1]).values()) == {STOPPED_BY_JOURNEY}
    assert [row["_msdynmkt_journeyid_value"] for row in readable.get(USAGES.format(segment))["value"]] == [journeys[0]]
    readable.advance(days=2)
    end = time.monotonic() + 20
    while set(states(readable, journeys[0]).values()) != {534121001}:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_instances_are_hidden_by_default(org):
    """Without the option the application user may not read journey instances, and may read usages."""
    refused = org.web.get("msdynmkt_journeyinstances")
    assert refused.status_code == 403
    assert "prvReadmsdynmkt_journeyinstance" in refused.text
    assert org.get(USAGES.format(live_segment(org)))["value"] == []
