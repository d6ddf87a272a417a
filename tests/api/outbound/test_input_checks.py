"""Outbound segments, journeys and workflows that the service would reject are refused before anything is sent."""

from __future__ import annotations

import json
import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.api.outbound.journeys import OutboundJourneySpec, journey_row
from airflow_provider_cij.api.outbound.models import (
    OutboundSegment,
)
from airflow_provider_cij.api.outbound.segments import OutboundSegmentSpec, member_ids_text
from airflow_provider_cij.api.outbound.workflow import Tile, compact, segment_email_workflow, workflow_text
from airflow_provider_cij.dataverse.guids import pack_guids
from airflow_provider_cij.errors import (
    CijInputError,
    CijReplyError,
)
from tests.api.outbound.documents import EMAIL
from tests.api.outbound.numbered_workflow import numbered
from tests.outbound_responses import GONE, ID, MADE


def test_ids_are_sent_in_calls_of_20_000(sent_by):
    """Ids are sent to a static segment in calls of 20,000; a dynamic one is refused before anything is sent."""
    ids = IdSet()
    ids.update(pack_guids([str(uuid.UUID(int=number)) for number in range(45_000)])[0])
    of = OutboundSegment(ID, "x", 192350001, "*", 192350001, "S")
    sent = sent_by(lambda outbound: outbound.members.update(of, "add", ids), MADE)
    calls = [json.loads(body["msdyncrm_memberids"]) for _, _, body in sent]
    assert [len(call) for call in calls] == [20_000, 20_000, 5_000]
    assert len({member_id for call in calls for member_id in call}) == 45_000
    dynamic = OutboundSegment(ID, "x", 192350001, "*", 192350000, "S")
    with pytest.raises(CijInputError, match="is not static"):
        sent_by(lambda outbound: outbound.members.update(dynamic, "add", ids), MADE)
    with pytest.raises(CijInputError, match="operation is 'addByIds'"):
        sent_by(lambda outbound: outbound.members.update(of, "addByIds", ids), MADE)


@pytest.mark.parametrize(("scope", "warned"), [(270100001, True), (None, True), (270100000, False)])
def test_a_business_unit_scope_is_warned_about(sent_by, caplog, scope, warned):
    """A change by query logs a warning unless the segment's scope is the whole organisation."""
    of = OutboundSegment(ID, "x", 192350001, "*", 192350001, "S", scope=scope)
    sent_by(lambda outbound: outbound.members.update_by_query(of, "add", "PROFILE(contact)"), MADE)
    assert ("makes it hang forever" in caplog.text) == warned


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (OutboundSegmentSpec(" ", "n"), "an empty key"),
        (OutboundSegmentSpec("k", ""), "1 to 100 characters"),
        (OutboundSegmentSpec("k", "n", "frozen"), "segment_type is 'frozen'"),
        (OutboundSegmentSpec("k", "n", "static", "PROFILE(contact)"), "is static and has a query"),
        (OutboundSegmentSpec("k", "n", "dynamic"), "is dynamic and has no query"),
        (OutboundSegmentSpec("k", "n", "compound", "SEGMENT(a", ()), "never closed"),
        (OutboundSegmentSpec("k", "n", "dynamic", "PROFILE(contact)", (ID,)), "can't be given members"),
        (OutboundSegmentSpec("k", "n", "static", "", (ID,) * 24_000), "more than fit into its row"),
        (OutboundSegmentSpec("k", "n", "static", "", ("nobody",)), "a member is 'nobody', which is no GUID"),
    ],
)
def test_an_invalid_segment_is_refused(sent_by, scripted, spec, message):
    """An invalid segment spec is refused before anything is sent."""
    with pytest.raises(CijInputError, match=re.escape(message)):
        sent_by(lambda outbound: outbound.segments.create(spec), GONE)
    assert scripted.requests == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "n" * 101}, "1 to 100 characters"),
        ({"starts_at": "soon"}, "starts_at is 'soon'. Give a datetime"),
        ({"ends_at": "2019-02-08T11:48:00"}, "without a time zone"),
        ({"starts_at": "2019-02-08T11:48Z", "ends_at": "2019-02-08T12:48+01:00"}, "not after its start"),
        ({"required_consent": "all"}, "required_consent is 'all'. Use consent, transactional"),
        ({"target": "lead"}, "target is 'lead'"),
        ({"journey_type": "x"}, "journey_type is 'x'"),
        ({"recurrence_count": -1}, "recurrence_count is -1"),
        ({"recurrence_interval_days": -1}, "recurrence_interval_days is -1"),
        ({"owner_id": "me"}, "which is no GUID"),
        ({"workflow": "[{"}, "The workflow is no JSON"),
        ({"workflow": '{"a": 1}'}, "The workflow is no list of activities"),
    ],
)
def test_an_invalid_journey_is_refused(arguments, message):
    """An invalid journey spec is refused with the argument's name."""
    with pytest.raises(CijInputError, match=re.escape(message)):
        journey_row(OutboundJourneySpec(**arguments))


def _workflow(*changes) -> list[dict]:
    workflow = segment_email_workflow([Tile(ID, "a"), Tile(ID, "b")], EMAIL)
    for place, change in changes:
        workflow[place] = workflow[place] | change
    return workflow


@pytest.mark.parametrize(
    ("workflow", "message"),
    [
        (_workflow((2, {"ActivityId": "01_0"})), "the same ActivityId more than once: 01_0"),
        (_workflow((2, {"ParentActivityId": "01_9"})), "activity '01_0_1' is under '01_9', which is not there"),
        (_workflow((2, {"ParentActivityId": "01_0_1"})), "which is not there"),
        (_workflow((0, {"ActivityTypeId": "Email"})), "0 activities of the type bpf_root"),
        (_workflow((2, {"ActivityTypeId": "bpf_root"})), "2 activities of the type bpf_root"),
        (_workflow((1, {"ActivityId": ""})), "without ActivityId or ActivityTypeId"),
        (
            numbered([Tile(ID, "a")], EMAIL, (5, 6, 5)),
            "the same ActivityItemId more than once: 5",
        ),
        (_workflow((2, {"Properties": {"Items": [{"Name": "x" * 1_048_576}]}})), "the service takes 1,048,576"),
        ([], "0 activities of the type bpf_root"),
        ([1], "is no list of activities"),
    ],
)
def test_an_invalid_workflow_is_refused(workflow, message):
    """A workflow with duplicate ids, missing parents or no root is refused, as text and as Python."""
    for form in (workflow, compact(workflow)):
        with pytest.raises(CijInputError, match=message):
            workflow_text(form)


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4), st.text(max_size=20))
def test_a_built_workflow_is_valid(names, mail):
    """A workflow from the builder is valid whatever its segments and e-mail are called."""
    text = workflow_text(segment_email_workflow([Tile(ID, name) for name in names], Tile(ID, mail)))
    assert workflow_text(text) is text
    assert [item["Name"] for item in json.loads(text)[1]["Properties"]["Items"]][1:] == names


@given(st.lists(st.uuids()))
def test_initial_members_have_the_crm_prefix(ids):
    """Initial members are JSON text of ids with the prefix ``crm``."""
    assert json.loads(member_ids_text([str(one).upper() for one in ids])) == [f"crm{one}" for one in ids]


def test_a_row_without_required_columns_is_unreadable():
    """A row without the required columns is an unreadable response."""
    with pytest.raises(CijReplyError, match="A row of msdyncrm_segments can't be read"):
        OutboundSegment.of({"msdyncrm_segmentid": ID, "statuscode": 192350001})
