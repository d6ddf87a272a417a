"""A segment over days: refreshed half-hourly or daily, frozen, expired, published again."""

import json
import uuid

import pytest
from cij_sandbox.core.behaviours import Behaviours
from cij_sandbox.core.store import Store
from cij_sandbox.dataverse.privileges import Privileges
from cij_sandbox.dataverse.rows import insert
from cij_sandbox.segments.tables import DEFINITION, SEGMENT
from cij_sandbox.server import organisation

from ..organisation import running_organisation

ON_DEMAND, SCHEDULED = (723270000, 723270002), (723270001, 723270002)
GROUP = "aaaaaaaa-0000-4000-8000-000000000003"
ACTIVE, COMPUTED_WITH_WARNINGS, STOPPED, EXPIRED = 1, 7, 9, 10


@pytest.mark.parametrize("base", ["contact", "lead"])
def test_a_new_segment_is_refreshed_half_hourly_and_later_daily(moving, base):
    """An unused segment is refreshed every 30 minutes on its first day and every 24 hours from then on."""
    segment, definition = moving.segment(f"PROFILE({base})", base=base)
    assert moving.publish(segment) == ACTIVE
    expected = [ON_DEMAND]
    for hours, due in (
        (0.45, False),
        (0.1, True),
        (0.45, False),
        (0.1, True),
        (25, True),
        (1, False),
        (22.9, False),
        (0.2, True),
    ):
        moving.advance(hours=hours)
        expected += [SCHEDULED] * due
        assert moving.runs(definition) == expected
    assert moving.status(segment) == ACTIVE


def test_a_jump_over_days_is_caught_up_with_by_one_run(moving):
    """After a jump of ten days there is one more run, on file at once, and the segment stays Active."""
    segment, definition = moving.segment("PROFILE(contact)")
    assert moving.publish(segment) == ACTIVE
    now = moving.advance(days=10)
    query = f"msdynmkt_segmentexecutions?$filter=_msdynmkt_segmentdefinitionid_value eq {definition}"
    runs = {run["msdynmkt_type"]: run for run in moving.get(query)["value"]}
    assert len(runs) == 2
    seen = {moving.status(segment)}
    while runs[723270001]["statuscode"] != 723270002:
        seen.add(moving.status(segment))
        runs = {run["msdynmkt_type"]: run for run in moving.get(query)["value"]}
    assert seen == {ACTIVE}
    assert len(moving.runs(definition)) == 2
    row = moving.get(f"msdynmkt_segments({segment})")
    run = runs[723270001]
    assert run["msdynmkt_startedon"] >= f"{now:%Y-%m-%dT%H:%M:%SZ}"
    assert run["msdynmkt_membershipcount"] == row["msdynmkt_membercount"]
    assert row["msdynmkt_lastevaluated"] == run["msdynmkt_finishedon"]
    row = moving.get(f"msdynmkt_segmentdefinitions({definition})")
    assert (row["statuscode"], row["msdynmkt_computationstatus"]) == (723270000, 723270001)
    assert row["msdynmkt_computationstartedon"] == run["msdynmkt_startedon"]
    status = json.loads(moving.post("msdynmkt_SegmentStatus", {"SegmentId": segment}, 200).json()["ResultText"])
    assert status["lastExecution"]["lastRunTime"] == run["msdynmkt_finishedon"]


def test_what_a_jump_makes_due_is_on_file_when_it_is_answered(tmp_path):
    """A run that a jump makes due is on file when the jump is answered."""
    store = Store(tmp_path / "state.sqlite", organisation.SCHEMA)
    with store.transaction() as connection:
        definition = insert(connection, DEFINITION, {"statecode": 0, "statuscode": 723270000})
        content = {"msdynmkt_sourcesegmentuid": definition, "statecode": 0, "statuscode": ACTIVE}
        segment = insert(connection, SEGMENT, content)
        connection.execute("INSERT INTO schedule VALUES (?, ?, 0, 0, NULL)", (segment, definition))
    organisation.Organisation(store, 0, Behaviours(), b"", Privileges(lambda *_: False)).background.catch_up()
    found = store.reader().execute("SELECT msdynmkt_segmentdefinitionid FROM msdynmkt_segmentexecution").fetchall()
    assert [row[0] for row in found] == [definition]
    store.reader().close()


@pytest.mark.parametrize("base", ["contact", "lead"])
def test_a_refresh_finds_who_has_come_meanwhile(moving, base):
    """A row that matches now, and an id added to a group, are members after the next refresh."""
    name = uuid.uuid4().hex
    row_id, stranger = str(uuid.uuid4()), str(uuid.uuid4())
    segment, definition = moving.segment(
        f"PROFILE({base}).FILTER(lastname == '{name}' && createdon < DATETIMEUTCNOW())", ((GROUP, "Include"),), base
    )
    assert moving.publish(segment) == ACTIVE
    assert moving.members(segment) == []
    moving.post(f"{base}s", {f"{base}id": row_id, "lastname": name})
    moving.post("msdynmkt_AddStaticMembers", {"SegmentId": segment, "GroupId": GROUP, "EntityIds": [stranger]})
    assert moving.members(segment) == []
    moving.advance(hours=1)
    assert len(moving.runs(definition)) == 2
    assert sorted(moving.members(segment)) == sorted([row_id, stranger])
    result = moving.post("msdynmkt_MembersList", {"SegmentId": segment}, 200).json()["ResultText"]
    assert json.loads(result)["primaryKeyColumnName"] == f"{base}id"


def test_a_static_snapshot_is_frozen_until_it_is_published_again(moving):
    """With automatic refresh disabled the members stay those of the last publish."""
    one, two = str(uuid.uuid4()), str(uuid.uuid4())
    segment, definition = moving.segment(groups=((GROUP, "Include"),), msdynmkt_disablesegmentrefresh=True)
    body = {"SegmentId": segment, "GroupId": GROUP}
    moving.post("msdynmkt_AddStaticMembers", {**body, "EntityIds": [one]})
    assert moving.publish(segment) == ACTIVE
    moving.post("msdynmkt_AddStaticMembers", {**body, "EntityIds": [two]})
    moving.advance(days=3)
    assert moving.runs(definition) == [ON_DEMAND]
    assert moving.members(segment) == [one]
    assert moving.publish(segment) == ACTIVE
    assert sorted(moving.members(segment)) == sorted([one, two])


def test_a_segment_in_use_is_refreshed_half_hourly(moving):
    """A live journey or a live segment that uses a segment makes its refresh half-hourly again."""
    segment, definition = moving.segment("PROFILE(contact)")
    assert moving.publish(segment) == ACTIVE
    moving.advance(hours=25)
    assert len(moving.runs(definition)) == 2
    journey = moving.journey(segment)
    for count in (3, 4):
        moving.advance(minutes=31)
        assert len(moving.runs(definition)) == count
    moving.web.patch(f"msdynmkt_journeys({journey})", json={"statecode": 2, "statuscode": 3})
    moving.advance(minutes=31)
    assert len(moving.runs(definition)) == 4
    user, _ = moving.segment("PROFILE(contact)", msdynmkt_targetedsegmentids=json.dumps([segment]))
    moving.advance(minutes=31)
    assert len(moving.runs(definition)) == 4
    assert moving.publish(user) == ACTIVE
    moving.advance()
    assert len(moving.runs(definition)) == 5
    moving.advance(minutes=31)
    assert len(moving.runs(definition)) == 6
    assert moving.web.delete(f"msdynmkt_segments({user})").status_code == 204
    moving.advance(minutes=31)
    assert len(moving.runs(definition)) == 6


def test_a_segment_expires_after_120_unused_days(moving):
    """A segment expires 120 days after its last journey stopped, and lives again when it is published."""
    segment, definition = moving.segment("PROFILE(contact)")
    journey = moving.journey(segment)
    assert moving.publish(segment) == ACTIVE
    moving.advance(days=200)
    assert len(moving.runs(definition)) == 2
    assert moving.status(segment) == ACTIVE
    moving.web.patch(f"msdynmkt_journeys({journey})", json={"statecode": 2, "statuscode": 3})
    moving.advance(days=119)
    assert len(runs := moving.runs(definition)) == 3
    assert moving.status(segment) == ACTIVE
    moving.advance(days=1)
    row = moving.get(f"msdynmkt_segments({segment})")
    assert (row["statecode"], row["statuscode"]) == (1, EXPIRED)
    assert moving.get(f"msdynmkt_segmentdefinitions({definition})")["statuscode"] == 723270006
    moving.advance(days=2)
    assert moving.runs(definition) == runs
    assert moving.publish(segment) == ACTIVE
    moving.advance(days=119)
    assert moving.status(segment) == ACTIVE


def test_to_publish_a_live_segment_is_no_use_of_it(moving):
    """The 120 days of an unused segment go on when it is published again, and its row says when it was used last."""
    segment, definition = moving.segment("PROFILE(contact)")
    journey = moving.journey(segment)
    assert moving.publish(segment) == ACTIVE
    assert moving.get(f"msdynmkt_segments({segment})")["msdynmkt_publishedjourneycount"] == 1
    stopped = moving.advance(days=1)
    moving.web.patch(f"msdynmkt_journeys({journey})", json={"statecode": 2, "statuscode": 3})
    row = moving.get(f"msdynmkt_segments({segment})")
    assert row["msdynmkt_publishedjourneycount"] == 0
    assert row["msdynmkt_lastusedinjourney"] >= f"{stopped:%Y-%m-%dT%H:%M:%SZ}"
    moving.runs(definition)  # the refresh of the first day has ended: the next jump's one is on file at once
    moving.advance(days=100)
    runs = len(moving.runs(definition))
    assert moving.publish(segment) == ACTIVE
    assert len(moving.runs(definition)) == runs + 1
    moving.advance(days=19)
    assert len(moving.runs(definition)) == runs + 2
    assert moving.status(segment) == ACTIVE
    moving.advance(days=1)
    assert moving.status(segment) == EXPIRED


def test_a_publish_overtakes_a_refresh(moving):
    """Publishing while a refresh is under way skips it: the segment is computed anew and the log says so."""
    segment, definition = moving.segment("PROFILE(contact)")
    assert moving.publish(segment) == ACTIVE
    moving.advance(hours=1)
    assert moving.publish(segment) == ACTIVE
    assert sorted(moving.runs(definition)) == sorted([ON_DEMAND, ON_DEMAND, (723270001, 723270005)])


def test_a_refresh_that_fails_ends_in_error(moving):
    """A live query that became invalid fails at the next refresh, which is the last."""
    segment, definition = moving.segment("PROFILE(contact)")
    assert moving.publish(segment) == ACTIVE
    change = {"msdynmkt_segmentquery": "PROFILE(contact).FILTER(shoesize > 3)"}
    assert moving.web.patch(f"msdynmkt_segmentdefinitions({definition})", json=change).status_code == 204
    moving.advance(hours=1)
    assert moving.runs(definition) == [ON_DEMAND, (723270001, 723270003)]
    assert moving.status(segment) == 3
    moving.advance(days=2)
    assert len(moving.runs(definition)) == 2


def test_a_run_under_way_at_a_restart_goes_on(tmp_path):
    """A refresh that was on file when the sandbox stopped is carried out after the next start."""
    state = str(tmp_path / "state.sqlite")
    with running_organisation("--state", state, "--contacts", "5", "--compute-seconds", "0.9") as organisation:
        segment, definition = organisation.segment("PROFILE(contact)")
        assert organisation.publish(segment) == ACTIVE
        organisation.advance(hours=1)
    with running_organisation("--state", state, "--compute-seconds", "0.3") as organisation:
        assert organisation.runs(definition) == [ON_DEMAND, SCHEDULED]
        organisation.advance(minutes=31)
        assert organisation.runs(definition) == [ON_DEMAND, SCHEDULED, SCHEDULED]
