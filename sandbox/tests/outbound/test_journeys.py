"""Outbound journeys: their validation, and going live."""

import json
import time
import uuid

import pytest
from cij_sandbox.outbound import journeys, workflow
from hypothesis import given
from hypothesis import strategies as st

DRAFT, LIVE, STOPPED, EDITABLE, EXPIRED, ERROR, GOING_LIVE, STOPPING = range(192350000, 192350008)
UNKNOWN = "056bbe66-f025-e911-a9ba-000d3a1e689f"


def tile(name, kind, parent, *items, **more):
    """Make an activity with a header and more items."""
    activity = {"ActivityId": name, "ActivityTypeId": kind, "ParentBranchId": 0, "ParentRelationshipType": "Default"}
    header = {"ItemId": None, "ActivityTypeId": kind, "ActivityItemId": int(uuid.uuid4().int % 10**9)}
    parent = {} if parent is None else {"ParentActivityId": parent}
    return {**activity, **parent, "Properties": {"Items": [header, *items]}, "EntityTarget": "contact", **more}


def segment_item(segment):
    """Make the item that puts a segment into a tile."""
    return {"ItemId": segment, "ActivityTypeId": "SegmentItem", "ActivityItemId": f"of {segment} {uuid.uuid4()}"}


ROOT, MAIL = tile("01", "bpf_root", None), tile("01_0_2", "Email", "01_0")


def audience(*segments):
    """Make the tile of the segments a journey is for."""
    return tile("01_0", "Segment", "01", *map(segment_item, segments))


def segment(org, status=GOING_LIVE):
    """Create a static segment."""
    body = {"msdyncrm_segmentname": "For a journey", "msdyncrm_segmenttype": 192350001, "statuscode": status}
    segment_id = org.post("msdyncrm_segments", body).headers["OData-EntityId"][-37:-1]
    while org.get(f"msdyncrm_segments({segment_id})")["statuscode"] == GOING_LIVE:
        pass
    return segment_id


def fields(*activities, **changes):
    """Return the body of a validation of a sound journey, changed."""
    body = {
        "FieldValueName": "A journey",
        "FieldValueStatusCode": DRAFT,
        "FieldValueStartDateTime": "2030-02-08T11:48:00.000Z",
        "FieldValueEndDateTime": "2030-03-10T11:48:59.000Z",
        "FieldValueWorkflowDefinition": json.dumps(activities),
        "FieldValueIsRecurring": True,
        "FieldValueRecurrenceIntervalDays": 10,
        "FieldValueRecurrenceCount": 3,
        "FieldValueEntityTarget": 0,
        **changes,
    }
    return {name: value for name, value in body.items() if value is not None}


def check(org, body):
    """Validate; return the overall result and what it consists of."""
    reply = org.post("msdyncrm_CustomerJourneyValidate", body, 200).json()
    result = json.loads(reply["ValidationResult"])
    for entry in result["ActivityValidationResults"]:
        assert set(entry) == {"ActivityId", "Fault", "Result", "ErrorMessageArguments"}
        assert entry["Fault"].startswith(entry["Result"])
    return result["Result"], [(entry["ActivityId"], entry["Fault"]) for entry in result["ActivityValidationResults"]]


def test_a_sound_journey_is_valid(org):
    """A journey with a live segment has no faults."""
    assert check(org, fields(ROOT, audience(segment(org)), MAIL)) == ("Valid", [])


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"FieldValueName": None}, "ErrorNameMissing"),
        ({"FieldValueStartDateTime": None}, "ErrorStartDateMissing"),
        ({"FieldValueEndDateTime": None}, "ErrorEndDateMissing"),
        ({"FieldValueEndDateTime": "2030-02-08T11:48:59.000Z"}, "ErrorEndDateBeforeStartDate"),
        ({"FieldValueRecurrenceCount": 0}, "ErrorRecurrenceNotValid"),
        ({"FieldValueRecurrenceIntervalDays": None}, "ErrorRecurrenceNotValid"),
        (
            {"FieldValueEndDateTime": "2030-03-10T11:47:59.000Z"},
            "ErrorRecurringCampaignEndDateDoesNotFitRequestedIterations",
        ),
        ({"FieldValueEntityTarget": 2}, "ErrorFieldValueNotValid"),
        ({"FieldValueSuppressionSegmentId": "nobody"}, "ErrorFieldValueNotValid"),
        ({"FieldValueWorkflowDefinition": "[{"}, "ErrorWorkflowDefinitionNotValid"),
        ({"FieldValueWorkflowDefinition": "{}"}, "ErrorWorkflowDefinitionNotValid"),
        ({"FieldValueWorkflowDefinition": "[1]"}, "ErrorWorkflowDefinitionNotValid"),
        ({"FieldValueWorkflowDefinition": None}, "ErrorWorkflowDefinitionNotValid"),
    ],
)
def test_faults_of_the_journey_as_a_whole(org, changes, fault):
    """A fault of the journey's own properties has no activity."""
    body = fields(ROOT, audience(UNKNOWN), MAIL, **changes)
    assert check(org, body) == ("Error", [("", fault)])
    if "Recurr" in fault:
        result, faults = check(org, {**body, "FieldValueIsRecurring": False})
        assert (result, faults) == ("Error", [("01_0", "ErrorSegmentNotFound")])


@pytest.mark.parametrize(
    ("activities", "expected"),
    [
        ([audience(UNKNOWN)], [("", "ErrorWorkflowRootMissing"), ("01_0", "ErrorParentActivityNotFound")]),
        ([ROOT, tile("02", "bpf_root", None)], [("", "ErrorWorkflowHasSeveralRoots")]),
        (
            [tile("01", "bpf_root", "01")],
            [
                ("", "WarningWorkflowHasNoActivities"),
                ("01", "ErrorRootHasParent"),
                ("01", "ErrorActivityIsItsOwnAncestor"),
            ],
        ),
        ([ROOT, MAIL], [("01_0_2", "ErrorParentActivityNotFound")]),
        ([ROOT, audience()], [("01_0", "ErrorSegmentMissing")]),
        ([ROOT, tile("01_0", "Pigeon", "01")], [("01_0", "ErrorActivityTypeUnknown")]),
        ([ROOT, tile("01_0", "Event", "01"), tile("01_0", "Event", "01")], [("01_0", "ErrorActivityIdNotUnique")]),
        ([ROOT, tile("", "Event", "01")], [("", "ErrorActivityIdMissing")]),
        (
            [ROOT, tile("01_0", "Event", "01", {"ActivityItemId": 7}, {"ActivityItemId": 7})],
            [("01_0", "ErrorActivityItemIdNotUnique")],
        ),
        (
            [ROOT, tile("01_0", "Event", "01", ParentRelationshipType="yesBranch")],
            [("01_0", "ErrorParentRelationshipNotValid")],
        ),
        (
            [ROOT, tile("01_0", "Trigger", "01"), tile("01_1", "Email", "01_0")],
            [("01_1", "ErrorParentRelationshipNotValid")],
        ),
        ([ROOT, tile("01_0", "Event", "01", Properties={})], [("01_0", "ErrorActivityHasNoItems")]),
        (
            [ROOT, tile("a", "Event", "b"), tile("b", "Event", "a")],
            [("a", "ErrorActivityIsItsOwnAncestor"), ("b", "ErrorActivityIsItsOwnAncestor")],
        ),
    ],
)
def test_faults_of_activities(org, activities, expected):
    """A fault of an activity carries its id; references are checked only without such faults."""
    assert check(org, fields(*activities)) == ("Error", expected)


def test_warnings_do_not_block(org):
    """A tile for accounts in a journey for contacts, and a journey without tiles, pass with a warning."""
    assert check(org, fields(ROOT)) == ("Warning", [("", "WarningWorkflowHasNoActivities")])
    other = tile("01_0", "Event", "01", EntityTarget="account")
    assert check(org, fields(ROOT, other)) == ("Warning", [("01_0", "WarningEntityTargetDiffers")])
    assert check(org, fields(ROOT, other, FieldValueEntityTarget=1))[0] == "Valid"


def test_faults_of_references(org):
    """Segments must exist and be live, content settings must exist; e-mails are not checked."""
    draft, live = segment(org, DRAFT), segment(org)
    body = fields(
        ROOT,
        audience(live, draft, UNKNOWN, ""),
        MAIL,
        FieldValueSuppressionSegmentId=f"{{{UNKNOWN.upper()}}}",
        FieldValueContentSettingsId=f"{{{UNKNOWN.upper()}}}",
    )
    assert check(org, body) == (
        "Error",
        [
            ("", "ErrorSegmentNotFound"),
            ("", "ErrorContentSettingsNotFound"),
            ("01_0", "ErrorSegmentNotLive"),
            ("01_0", "ErrorSegmentNotFound"),
            ("01_0", "ErrorSegmentNotFound"),
        ],
    )


def journey(org, *activities, **changes):
    """Create a journey that is going live; return the statuses it goes through and the row at the end."""
    body = {
        "msdyncrm_name": "A journey",
        "msdyncrm_workflowdefinition": json.dumps(activities),
        "msdyncrm_startdatetime": "2030-02-08T11:48:31.123Z",
        "msdyncrm_enddatetime": "2030-03-08T11:48:00Z",
        "statuscode": GOING_LIVE,
        **changes,
    }
    link = org.post("msdyncrm_customerjourneys", body).headers["OData-EntityId"]
    return follow(org, link[-37:-1], GOING_LIVE)


def follow(org, journey_id, first):
    """Watch a journey leave a status; return the statuses and the row."""
    seen = []
    end = time.monotonic() + 10
    while (not seen or seen[-1] == first) and time.monotonic() < end:
        row = org.get(f"msdyncrm_customerjourneys({journey_id})")
        if not seen or seen[-1] != row["statuscode"]:
            seen.append(row["statuscode"])
    return seen, row


def test_a_journey_goes_live_and_stops(org):
    """A valid journey is going live, live, stopping and stopped; its times have no seconds."""
    seen, row = journey(org, ROOT, audience(segment(org)), MAIL)
    assert seen == [GOING_LIVE, LIVE]
    assert row["msdyncrm_startdatetime"] == "2030-02-08T11:48:00Z"
    path = f"msdyncrm_customerjourneys({row['msdyncrm_customerjourneyid']})"
    assert org.web.patch(path, json={"statuscode": STOPPING}).status_code == 204
    assert follow(org, row["msdyncrm_customerjourneyid"], STOPPING)[0] == [STOPPING, STOPPED]


def test_a_journey_with_errors_ends_in_error(org):
    """The errors of a journey that fails to go live are on its row."""
    seen, row = journey(org, ROOT, audience(UNKNOWN), MAIL)
    assert seen == [GOING_LIVE, ERROR]
    result = json.loads(row["msdyncrm_validationresults"])
    assert [entry["Fault"] for entry in result["ActivityValidationResults"]] == ["ErrorSegmentNotFound"]


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"msdyncrm_contentsettingsid@odata.bind": f"/msdyncrm_contentsettingss({UNKNOWN})"}, 400, "0x80048d19"),
        ({"msdyncrm_contentsettingsId@odata.bind": f"/msdyncrm_segments({UNKNOWN})"}, 400, "0x80048d19"),
        ({"msdyncrm_contentsettingsId@odata.bind": f"/msdyncrm_contentsettingss({UNKNOWN})"}, 404, "0x80040217"),
        ({"ownerid@odata.bind": None}, 400, "0x80048d19"),
        ({"_msdyncrm_contentsettingsid_value": UNKNOWN}, 400, "0x80048d19"),
        ({"msdyncrm_recurrencecount": -1}, 400, "0x8004432F"),
        ({"msgdpr_requiredconsent": 1}, 400, "0x8004431a"),
        ({"msdyncrm_name": "x" * 101}, 400, "0x80044331"),
    ],
)
def test_columns_of_a_journey(org, change, status, code):
    """References are bound by their schema name, to rows that exist; numbers and choices have their limits."""
    reply = org.post("msdyncrm_customerjourneys", {"msdyncrm_name": "A journey", **change}, status)
    assert reply.json()["error"]["code"] == code


@given(parents=st.lists(st.integers(0, 30), max_size=12), gone=st.integers(0, 11))
def test_a_tree_is_sound_until_a_parent_goes(parents, gone):
    """Any tree of activities is valid; without one of them exactly its children lack their parent."""
    tiles = [ROOT, *(tile(f"t{n}", "Email", "01" if p >= n else f"t{p}") for n, p in enumerate(parents))]

    def faults(some):
        return [
            fault for fault in workflow.faults(workflow.read(json.dumps(some)), "contact") if fault.severity == "Error"
        ]

    assert faults(tiles) == []
    rest = [activity for activity in tiles if activity["ActivityId"] != f"t{gone}"]
    orphans = [activity["ActivityId"] for activity in rest if activity.get("ParentActivityId") == f"t{gone}"]
    assert [fault.activity for fault in faults(rest)] == orphans
    assert {fault.name for fault in faults(rest)} <= {"ErrorParentActivityNotFound"}


@given(
    st.text()
    | st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["ActivityId", "ActivityTypeId", "ParentActivityId", "Properties", "Items"]), inner
            )
        ),
    ).map(json.dumps)
)
def test_any_text_can_be_read(text):
    """Any text in place of a workflow gets a validation result."""
    activities = workflow.read(text)
    assert activities is None or list(workflow.faults(activities, "contact"))


@given(
    days=st.integers(1, 400), count=st.integers(1, 50), minutes=st.integers(1, 30_000_000), seconds=st.integers(0, 59)
)
def test_recurring_journeys_fit_or_do_not(days, count, minutes, seconds):
    """A recurring journey is valid exactly when all iterations end before it does, seconds aside."""
    journey = {
        "msdyncrm_name": "A journey",
        "msdyncrm_startdatetime": 1_893_456_000 + seconds,
        "msdyncrm_enddatetime": 1_893_456_000 + minutes * 60,
        "msdyncrm_isrecurring": True,
        "msdyncrm_recurrenceintervaldays": days,
        "msdyncrm_recurrencecount": count,
    }
    assert bool(list(journeys._faults_of_journey(journey))) == (minutes < days * count * 24 * 60)
