"""The versions of a journey, which edits of a live journey make."""

import time

import pytest

from ..organisation import running_organisation
from .helpers import create, row, walk
from .test_participants import everybody, states

LIVE, STOPPED, DRAINING = 2, 3, 5
BASE, NUMBER = "msdynmkt_baseversionjourneyid", "msdynmkt_versionnumber"
SUPERSEDED = "msdynmkt_issupersededbylaterversion"


@pytest.fixture(scope="module")
def readable(tmp_path_factory):
    """Provide an organisation whose application user may read journey instances."""
    with running_organisation("--contacts", "50", "--compute-seconds", "0.1", "--with-journey-instances") as org:
        yield org


def publish(org, journey):
    """Publish a journey, and wait until it is live."""
    org.post("msdynmkt_PublishJourneyV2", {"msdynmkt_journeyid": journey})
    walk(org, journey, LIVE)


def until(condition):
    """Wait until the organisation has done something in the background."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_published_version_takes_the_place_of_the_one_before(readable):
    """People under way stay in the earlier version, which is Draining and Stopped in the end; nobody enters twice."""
    journey, _, _ = create(readable, None, {"$.trigger.audience": everybody(readable)})
    publish(readable, journey)
    until(lambda: readable.sandbox.mail(journey))
    people = set(states(readable, journey))
    later = readable.sandbox.edit_journey(journey, "another subject")
    draft = row(readable, later)
    assert (draft["statuscode"], draft[BASE], draft[NUMBER]) == (1, journey, 2)
    assert draft["msdynmkt_name"] == row(readable, journey)["msdynmkt_name"]
    assert not row(readable, journey)[SUPERSEDED]
    publish(readable, later)
    earlier = row(readable, journey)
    assert (earlier["statuscode"], earlier[SUPERSEDED]) == (DRAINING, True)
    assert states(readable, later) == {}
    assert readable.sandbox.mail(later) == []
    assert set(states(readable, journey).values()) == {534121000}
    readable.advance(days=2)
    until(lambda: row(readable, journey)["statuscode"] == STOPPED)
    assert states(readable, journey) == dict.fromkeys(people, 534121001)
    assert row(readable, later)["statuscode"] == LIVE


def test_only_a_live_journey_has_new_versions(readable):
    """An edit of a draft, or of no journey, is refused."""
    draft, _, _ = create(readable, None, {"$.trigger.audience": everybody(readable)})
    for journey in (draft, "no-id"):
        with pytest.raises(ValueError, match=f"There is no live journey {journey}"):
            readable.sandbox.edit_journey(journey)
