"""``msdynmkt_StopSegments``, and what is refused while a segment is in use."""

import time
import uuid

import pytest

GROUP = "aaaaaaaa-0000-4000-8000-000000000004"
NOBODY = "00000000-0000-4000-8000-00000000beef"


def stop(org, *segments):
    """Stop segments; return the entries of the answer by segment id."""
    reply = org.post("msdynmkt_StopSegments", {"SegmentIdList": list(segments)}, 200).json()
    assert reply["@odata.context"].endswith("#Microsoft.Dynamics.CRM.msdynmkt_StopSegmentsResponse")
    results = reply["stopSingleSegmentResults"]
    stopped = sum(result["WasStopped"] for result in results)
    assert reply["summary"] == (
        f"Complete StopSegments operation. Successfully stopped {stopped} of {len(segments)} in total"
    )
    assert [result["SegmentId"] for result in results] == list(segments)
    return results


def live(org, **definition):
    """Create a segment and publish it; return the ids of its two rows."""
    segment, definition_id = org.segment("PROFILE(contact)", **definition)
    assert org.publish(segment) == 1
    return segment, definition_id


def test_a_segment_walks_from_live_to_stopped_and_back(org):
    """Stop answers at once; segment and definition pass through Stopping, keep the members, and may be published."""
    segment, definition = live(org)
    assert stop(org, segment) == [
        {
            "SegmentId": segment,
            "WasStopped": True,
            "Message": None,
            "DependentJourneys": None,
            "DependentSegments": None,
        }
    ]
    seen = []
    end = time.monotonic() + 10
    while not seen or (seen[-1][0] != 9 and time.monotonic() < end):
        now = (org.status(segment), org.get(f"msdynmkt_segmentdefinitions({definition})")["statuscode"])
        seen += [now] if now not in seen else []
    # Two reads, so that between them there may be a mixture.
    assert (seen[0], seen[-1]) == ((8, 723270005), (9, 723270006))
    assert org.get(f"msdynmkt_segments({segment})")["statecode"] == 1
    assert len(org.members(segment)) > 0
    change = {"msdynmkt_segmentquery": "PROFILE(contact).FILTER(ISNULL(lastname))"}
    assert org.web.patch(f"msdynmkt_segmentdefinitions({definition})", json=change).status_code == 204
    assert org.publish(segment) == 1
    assert org.members(segment) == []


def test_each_segment_is_refused_on_its_own(org):
    """Unknown and not live segments are refused by name, and the others are stopped."""
    segment, _ = live(org)
    draft, _ = org.segment()
    results = stop(org, NOBODY, draft, segment, "nonsense")
    assert [result["WasStopped"] for result in results] == [False, False, True, False]
    assert all(result["Message"] for result in results if not result["WasStopped"])
    assert "Inactive" in results[1]["Message"]
    assert org.status(draft) == 2
    assert org.wait(segment) == 9
    (again,) = stop(org, segment)
    assert (again["WasStopped"], "Stopped" in again["Message"]) == (False, True)
    assert stop(org) == []


def test_the_list_holds_strings(org):
    """A list with anything but strings, or no list, is refused."""
    for body in ({}, {"SegmentIdList": NOBODY}, {"SegmentIdList": [1]}, {"SegmentId": NOBODY}):
        assert org.post("msdynmkt_StopSegments", body, 400).json()["error"]["code"] == "0x80048d19"


def test_a_segment_in_use_is_not_stopped(org):
    """A segment is not stopped while a live journey or segment uses it, and these are named."""
    segment, _ = live(org)
    other, _ = org.segment()
    draft, journey = org.journey(segment, status=1), org.journey(other, segment)
    user, _ = live(org, msdynmkt_targetedsegmentids=f"{segment},{other}")
    (result,) = stop(org, segment)
    assert result["WasStopped"] is False
    assert result["Message"]
    assert (result["DependentJourneys"], result["DependentSegments"]) == ([journey], [user])
    assert org.status(segment) == 1
    org.web.patch(f"msdynmkt_journeys({journey})", json={"statecode": 2, "statuscode": 3})
    (result,) = stop(org, segment)
    assert (result["DependentJourneys"], result["DependentSegments"]) == ([], [user])
    assert [result["WasStopped"] for result in stop(org, segment, user, segment)] == [False, True, True]
    assert draft != journey


def test_stopping_gives_up_a_refresh(moving):
    """Stopping skips a run in flight, which does not make the segment live again."""
    segment, definition = moving.segment("PROFILE(contact)")
    assert moving.publish(segment) == 1
    moving.advance(hours=1)
    assert stop(moving, segment)[0]["WasStopped"] is True
    assert moving.wait(segment) == 9
    assert moving.runs(definition) == [(723270000, 723270002), (723270001, 723270005)]
    moving.advance(days=2)
    assert (moving.status(segment), len(moving.runs(definition))) == (9, 2)


def test_publishing_a_segment_that_stops_wins(moving):
    """A segment that is published while it is stopping goes live and is never Stopped."""
    segment, definition = moving.segment("PROFILE(contact)")
    assert moving.publish(segment) == 1
    stop(moving, segment)
    moving.post("msdynmkt_PublishSegmentDefinition", {"SegmentId": segment})
    seen = set()
    while moving.status(segment) in (5, 6):
        seen.add(moving.get(f"msdynmkt_segmentdefinitions({definition})")["statuscode"])
    assert moving.status(segment) == 1
    assert seen <= {723270002, 723270000}


def test_a_segment_in_a_live_journey_keeps_its_query(org):
    """The query and the rows of a segment in a live journey cannot be changed or deleted; its members can."""
    segment, definition = org.segment("PROFILE(contact).FILTER(ISNULL(lastname))", ((GROUP, "Include"),))
    assert org.publish(segment) == 1
    journey = org.journey(NOBODY, NOBODY, segment)
    row = org.get(f"msdynmkt_segments({segment})")
    assert row["msdynmkt_publishedjourneycount"] == 1
    assert row["msdynmkt_lastusedinjourney"]
    path = f"msdynmkt_segmentdefinitions({definition})"
    for reply in (
        org.web.patch(path, json={"msdynmkt_segmentquery": "PROFILE(contact)"}),
        org.web.delete(path),
        org.web.delete(f"msdynmkt_segments({segment})"),
    ):
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "0x80040265")
        assert journey in reply.json()["error"]["message"]
    same = {"msdynmkt_segmentquery": org.get(path)["msdynmkt_segmentquery"], "msdynmkt_name": "New name"}
    assert org.web.patch(path, json=same).status_code == 204
    member = str(uuid.uuid4())
    org.post("msdynmkt_AddStaticMembers", {"SegmentId": segment, "GroupId": GROUP, "EntityIds": [member]})
    assert org.publish(segment) == 1
    assert org.members(segment) == [member]
    reply = org.web.delete(f"msdynmkt_journeys({journey})")
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "0x80040265")
    assert org.web.patch(f"msdynmkt_journeys({journey})", json={"statecode": 2, "statuscode": 3}).status_code == 204
    # "You can't delete journeys once created and made live": stopped ones, and drafts that were live, neither.
    assert "Stopped and cannot be deleted" in org.web.delete(f"msdynmkt_journeys({journey})").text
    assert org.web.patch(f"msdynmkt_journeys({journey})", json={"statecode": 0, "statuscode": 1}).status_code == 204
    assert "Draft and cannot be deleted" in org.web.delete(f"msdynmkt_journeys({journey})").text
    assert org.get(f"msdynmkt_segments({segment})")["msdynmkt_publishedjourneycount"] == 0
    assert org.web.delete(f"msdynmkt_segments({segment})").status_code == 204
    assert org.web.delete(path).status_code == 204


@pytest.mark.parametrize(
    ("state", "status"), [(0, 1), (1, 2), (2, 3), (3, 4), (2, 5), (4, 6), (5, 7), (6, 8), (8, 9), (None, None), (1, 1)]
)
def test_journeys_are_rows_with_states_of_their_own(org, state, status):
    """A journey row takes each status with its state, Draft when none is given, and no other pair."""
    body = {
        "msdynmkt_name": "Spring",
        "msdynmkt_triggertype": 2,
        "msdynmkt_journeystarttime": "2030-01-01T00:00:00Z",
        "msdynmkt_readytobetriggeredbysegmentrefresh": True,
        "msdynmkt_errorDetails": None,
        **({} if state is None else {"statecode": state, "statuscode": status}),
    }
    if (state, status) == (1, 1):
        assert org.post("msdynmkt_journeys", body, 400).json()["error"]["code"] == "0x80048408"
        return
    row = org.post("msdynmkt_journeys", body, 201, Prefer="return=representation").json()
    assert {name: row[name] for name in body} == body
    assert (row["statecode"], row["statuscode"]) == (state or 0, status or 1)
    # Draft and Deleted have never been live.
    deleted = org.web.delete(f"msdynmkt_journeys({row['msdynmkt_journeyid']})")
    assert deleted.status_code == (204 if status in (1, 6, None) else 400)
