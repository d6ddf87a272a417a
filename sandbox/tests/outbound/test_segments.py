"""Outbound segments among other rows, over restarts, and after the removal."""

import json
import sqlite3
import uuid

from cij_sandbox.testing import running_sandbox

from ..batches import answers, change_set, operation, send
from ..organisation import Organisation
from .helpers import (
    DYNAMIC,
    GOING_LIVE,
    LIVE,
    REQUIRED,
    create,
    people,
    prefixed,
    row_of,
    update,
)


def test_a_suppression_segment_cannot_be_deleted(quick):
    """A segment a journey refers to stays until the journey goes."""
    segment = create(quick)
    bind = {"msdyncrm_SuppressionSegmentId@odata.bind": f"/msdyncrm_segments({segment})"}
    reply = quick.post("msdyncrm_customerjourneys", {"msdyncrm_name": "A journey", **bind})
    refused = quick.web.delete(f"msdyncrm_segments({segment})")
    assert (refused.status_code, refused.json()["error"]["code"]) == (405, "0x80040227")
    assert quick.web.delete(reply.headers["OData-EntityId"]).status_code == 204
    assert quick.web.delete(f"msdyncrm_segments({segment})").status_code == 204


def test_outbound_actions_can_be_discovered(slow):
    """The four actions are listed among the custom APIs, with what they take and give."""
    rows = slow.get(
        "customapis?$filter=startswith(uniquename,'msdyncrm_')&$expand="
        "CustomAPIRequestParameters($select=uniquename),CustomAPIResponseProperties($select=uniquename)"
    )["value"]
    listed = {row["uniquename"]: row for row in rows}
    assert set(listed) == {
        "msdyncrm_SegmentMembersUpdate",
        "msdyncrm_FetchContactsByQuery",
        "msdyncrm_ValidateSegment",
        "msdyncrm_CustomerJourneyValidate",
    }
    given_ = {p["uniquename"] for p in listed["msdyncrm_CustomerJourneyValidate"]["CustomAPIRequestParameters"]}
    assert {"FieldValueIsRecurring", "FieldValueContentSettingsId"} <= given_
    assert [p["uniquename"] for p in listed["msdyncrm_ValidateSegment"]["CustomAPIResponseProperties"]] == [
        "ValidationResult"
    ]


def test_outbound_may_have_been_removed(tmp_path):
    """After the removal segments are forbidden, other rows can only be read, and the actions are unknown."""
    file = str(tmp_path / "state.sqlite")
    link = (
        "<fetch><entity name='contact'><link-entity name='msdyncrm_segment' from='msdyncrm_segmentid' "
        "to='msdyncrm_segmentmemberid'><filter><condition attribute='msdyncrm_segmentid' operator='eq' "
        f"value='{uuid.uuid4()}'/></filter></link-entity></entity></fetch>"
    )
    with running_sandbox("--state", file, "--contacts", "1", "--compute-seconds", "0") as sandbox:
        before = Organisation(sandbox)
        segment = create(before)
        journey = before.post("msdyncrm_customerjourneys", {"msdyncrm_name": "A journey"}).headers["OData-EntityId"]
        assert before.get(f"contacts?fetchXml={link}")["value"] == []
        before.close()
    with running_sandbox("--state", file, "--outbound-removed") as sandbox:
        after = Organisation(sandbox)
        for method, path, verb in (
            ("GET", "msdyncrm_segments", "Read"),
            ("GET", f"msdyncrm_segments({segment})", "Read"),
            ("GET", f"contacts?fetchXml={link}", "Read"),
            ("POST", "msdyncrm_segments", "Create"),
            ("PATCH", f"msdyncrm_segments({segment})", "Write"),
            ("DELETE", f"msdyncrm_segments({segment})", "Delete"),
            ("PATCH", f"msdyncrm_customerjourneys({journey[-37:-1]})", "Write"),
        ):
            reply = after.web.request(method, path, json={} if method != "GET" else None)
            assert (reply.status_code, reply.json()["error"]["code"]) == (403, "0x80040220")
            entity = "msdyncrm_customerjourney" if "journey" in path else "msdyncrm_segment"
            assert f"is missing prv{verb}{entity} privilege" in reply.json()["error"]["message"]
        assert [row["msdyncrm_name"] for row in after.get("msdyncrm_customerjourneys")["value"]] == ["A journey"]
        for action in ("SegmentMembersUpdate", "FetchContactsByQuery", "ValidateSegment", "CustomerJourneyValidate"):
            reply = after.post(f"msdyncrm_{action}", {}, 404)
            assert reply.json()["error"]["message"] == f"Resource not found for the segment 'msdyncrm_{action}'."
        assert after.get("customapis?$filter=startswith(uniquename,'msdyncrm_')")["value"] == []
        after.close()


def test_changes_that_are_pending_survive_a_restart(tmp_path):
    """Pending changes are made after a restart, in the order of the requests."""
    file = str(tmp_path / "state.sqlite")
    with running_sandbox("--state", file, "--contacts", "3", "--compute-seconds", "3600") as sandbox:
        first = Organisation(sandbox)
        everyone = people(first)
        segment = create(first)
        update(first, segment, "addByIds", msdyncrm_memberids=json.dumps(everyone))
        update(first, segment, "removeByIds", msdyncrm_memberids=json.dumps(everyone[:1]))
        first.close()
    with running_sandbox("--state", file, "--compute-seconds", "0") as sandbox:
        second = Organisation(sandbox)
        row = row_of(second, segment)
        assert (row["statuscode"], row["msdyncrm_segmentsize"]) == (LIVE, 2)
        second.close()


def test_a_file_from_before_outbound_is_brought_up_to_date(tmp_path):
    """A state file that lacks tables and columns gets them, and keeps its contacts."""
    file = tmp_path / "state.sqlite"
    with running_sandbox("--state", str(file), "--contacts", "3") as sandbox:
        first = Organisation(sandbox)
        everyone = people(first)
        first.close()
    old = sqlite3.connect(file)
    old.create_function("fold", 1, str, deterministic=True)
    old.executescript("DROP TABLE msdyncrm_segment; DROP TABLE account; DROP TABLE outbound_task")
    for column in ("parentcustomerid", "company"):
        old.execute(f"ALTER TABLE contact DROP COLUMN {column}")
    old.close()
    with running_sandbox("--state", str(file), "--compute-seconds", "0") as sandbox:
        second = Organisation(sandbox)
        assert people(second) == everyone
        assert second.get(f"contacts({everyone[0]})")["company"] is None
        segment = create(second, msdyncrm_segmentmemberids=prefixed(everyone))
        assert row_of(second, segment)["msdyncrm_segmentsize"] == 3
        second.close()


def test_a_change_set_makes_a_segment_and_its_journey_or_neither(quick):
    """A change set creates a segment and a journey bound to it, or neither."""
    due = create(quick, GOING_LIVE, DYNAMIC, msdyncrm_segmentquery="PROFILE(contact)")
    segment, name = str(uuid.uuid4()), f"j_{uuid.uuid4().hex}"
    body = {**REQUIRED["msdyncrm_segments"], "msdyncrm_segmentid": segment, "statuscode": GOING_LIVE}
    bind = {"msdyncrm_SuppressionSegmentId@odata.bind": "$1"}
    both = (
        operation("POST msdyncrm_segments", body, "1"),
        operation("POST msdyncrm_customerjourneys", {"msdyncrm_name": name, **bind}, "2"),
    )
    failing = operation("POST msdyncrm_customerjourneys", {"msdyncrm_name": None}, "3")
    assert send(quick, change_set(*both, failing)).status_code == 400
    journeys = f"msdyncrm_customerjourneys?$filter=msdyncrm_name eq '{name}'"
    assert quick.get(journeys)["value"] == []
    assert quick.web.get(f"msdyncrm_segments({segment})").status_code == 404
    assert row_of(quick, due)["statuscode"] == LIVE
    assert [status for status, _, _ in answers(send(quick, change_set(*both)))[0]] == [204, 204]
    [row] = quick.get(journeys, Prefer='odata.include-annotations="*"')["value"]
    lookup = "_msdyncrm_suppressionsegmentid_value"
    assert row[lookup] == segment
    assert row[f"{lookup}@Microsoft.Dynamics.CRM.associatednavigationproperty"] == "msdyncrm_SuppressionSegmentId"
    assert row_of(quick, segment)["statuscode"] == LIVE
