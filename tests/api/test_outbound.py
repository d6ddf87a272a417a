"""Every request that the two documents on outbound marketing show, as it goes over the wire; and what is refused."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.api.outbound.journeys import OutboundJourneySpec, check_request, journey_id_of, journey_row
from airflow_provider_cij.api.outbound.members import by_ids, by_query, fetch_by_query, fetchxml, get_state
from airflow_provider_cij.api.outbound.models import (
    JOURNEY,
    SEGMENT,
    OutboundSegment,
    OutboundStatus,
    check_move,
    status_name,
)
from airflow_provider_cij.api.outbound.segments import OutboundSegmentSpec, created_with
from airflow_provider_cij.api.outbound.wait import judge
from airflow_provider_cij.api.outbound.workflow import Tile, compact, segment_email_workflow, workflow_text
from airflow_provider_cij.dataverse.guids import pack_guids
from airflow_provider_cij.errors import (
    CijConflictError,
    CijForbiddenError,
    CijInputError,
    CijOutboundRemovedError,
    CijReplyError,
    CijServerError,
    CijUnavailableError,
)
from airflow_provider_cij.hooks.cij import CijHook
from tests.scripted import Answer

DOCUMENTS = json.loads((Path(__file__).parent / "outbound_documents.json").read_text())
ID = "ce97cb9d-bd75-ea11-a811-000d3a8e8fcc"
GOING_LIVE, STOPPING = OutboundStatus.GOING_LIVE, OutboundStatus.STOPPING
GONE = Answer(404, {"error": {"code": "0x80040217", "message": "Does Not Exist"}})
MADE = Answer(204)
OF_SPECS = {
    "create static": OutboundSegmentSpec(
        "k",
        "StaticSegmentApi1",
        member_ids=("1405f4ba-1ee9-e811-a99d-000d3a35f12f", "0604cdd1-1ee9-e811-a99d-000d3a35f12f"),
    ),
    "create dynamic": OutboundSegmentSpec(
        "k",
        "Customers with name and email",
        "dynamic",
        "PROFILE(contact, contact_1).FILTER(ISNOTNULL(contact_1.emailaddress1) && ISNOTNULL(contact_1.fullname))",
    ),
    "create dynamic with a condition": OutboundSegmentSpec(
        "k",
        "MySegment2",
        "dynamic",
        "PROFILE(contact).FILTER((address1_city == 'NewYork' || address1_city == 'NewJersey'))",
    ),
    "create compound": OutboundSegmentSpec(
        "k", "my_compound_segment1", "compound", "SEGMENT(segment1) UNION SEGMENT(segment2)"
    ),
}
OF_SPECS["create dynamic going live"] = OF_SPECS["create dynamic"]


def segment(status: int, kind: int = 192350001, **others) -> Answer:
    """Answer with an outbound segment in this status."""
    row = {"@odata.etag": 'W/"7"', "msdyncrm_segmentid": ID, "msdyncrm_segmentname": "VIP", "statuscode": status}
    return Answer(body=row | {"msdyncrm_segmenttype": kind} | others)


@pytest.fixture
def say(scripted, monkeypatch):
    """Run a verb against these answers; give what it sent, reads apart."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())

    def run(work, *answers: Answer) -> list[tuple[str, str, dict]]:
        scripted.script, scripted.asked = list(answers), []
        CijHook().run(lambda cij: work(cij.outbound))
        return [
            (asked.method, asked.path.removeprefix("/api/data/v9.2/"), json.loads(asked.body or "{}"))
            for asked in scripted.asked
            if asked.method != "GET"
        ]

    return run


@pytest.mark.parametrize("name", OF_SPECS)
def test_a_segment_is_created_as_the_document_shows(say, name):
    """To the letter, with an id of our own, and with one name for the query's column."""
    shown = dict(DOCUMENTS[name])
    shown |= {"msdyncrm_segmentquery": shown.pop("msdyncrm_query")} if "msdyncrm_query" in shown else {}
    publish = shown["statuscode"] == GOING_LIVE
    spec = OF_SPECS[name]
    (sent,) = say(
        lambda outbound: outbound.segments.create(spec, publish=publish), GONE, MADE, segment(shown["statuscode"])
    )
    assert sent == ("POST", "msdyncrm_segments", shown | {"msdyncrm_segmentid": spec.segment_id})


@pytest.mark.parametrize(
    ("verb", "before", "body"),
    [("publish", 192350000, {"statuscode": 192350006}), ("stop", 192350001, {"statuscode": 192350007})],
)
def test_a_status_is_written(say, scripted, verb, before, body):
    """With the version that was read, so that a repeated try can't publish again."""
    sent = say(lambda outbound: getattr(outbound.segments, verb)(ID), segment(before), MADE)
    assert sent == [("PATCH", f"msdyncrm_segments({ID})", body)]
    assert scripted.asked[-1].headers["if-match"] == 'W/"7"'


@pytest.mark.parametrize(
    ("ask", "path"),
    [
        (
            lambda outbound: outbound.segments.find(status=OutboundStatus.STOPPED),
            "msdyncrm_segments?$filter=statuscode eq 192350002",
        ),
        (
            lambda outbound: outbound.segments.find(
                select=("msdyncrm_segmentid", "msdyncrm_segmentname", "msdyncrm_segmentquery", "msdyncrm_description")
            ),
            "msdyncrm_segments?$select=msdyncrm_segmentid,msdyncrm_segmentname,msdyncrm_segmentquery,"
            "msdyncrm_description",
        ),
        (
            lambda outbound: outbound.journeys.find("statuscode eq 192350001"),
            "msdyncrm_customerjourneys?$filter=statuscode eq 192350001",
        ),
        (
            lambda outbound: outbound.segments.find("a or b", status=OutboundStatus.LIVE),
            "msdyncrm_segments?$filter=statuscode eq 192350001 and (a or b)",
        ),
    ],
)
def test_reads_are_as_the_documents_show(say, scripted, ask, path):
    """Percent-encoded on the way."""
    say(ask, Answer(body={"value": []}))
    assert unquote(scripted.asked[0].path) == f"/api/data/v9.2/{path}"


def test_a_row_is_deleted(say):
    """A segment and a journey; one that is not there is no error."""
    assert say(lambda outbound: outbound.segments.delete(ID), MADE) == [("DELETE", f"msdyncrm_segments({ID})", {})]
    assert say(lambda outbound: outbound.journeys.delete(ID), GONE)[0][1] == f"msdyncrm_customerjourneys({ID})"


@pytest.mark.parametrize("operation", ["add", "remove"])
def test_members_change_as_the_document_shows(operation):
    """By ids, bare ones in a string of JSON, and by a query."""
    shown = DOCUMENTS[f"{operation} by ids"]
    ids = re.findall(r"[0-9A-F-]{36}", shown["msdyncrm_memberids"])
    assert by_ids("59AC8BBF-57E7-E811-A9A9-000D3A35F403", operation, ids) == shown
    shown = DOCUMENTS[f"{operation} by query"]
    assert by_query(shown["msdyncrm_segmentid"], operation, shown["msdyncrm_query"]) == shown


def test_the_other_questions_are_as_the_document_shows():
    """GetState, the recommended fetch and the deprecated one."""
    assert get_state("b5466fbb-2cef-e911-a81d-000d3a6d200c") == DOCUMENTS["get state"]
    of = OutboundSegment(
        *(ID, "x", 192350001, "*", 192350001, "SEGMENT_CRM_ID_e1fa7fdc5c78ea11a811000d3a8e8fcc"),
        business_unit_id="0b4b85cc-7f6c-ea11-a811-000d3a54d359",
    )
    columns = ("fullname", "emailaddress1", "company", "parentcustomerid", "contactid")
    assert fetch_by_query(of, 1, 15, order="fullname", columns=columns) == DOCUMENTS["fetch by query"]
    shown = DOCUMENTS["fetch by fetchxml"]
    read = fetchxml("bfc9d5d6-d6aa-e911-a859-000d3a3159df", 1, 5, order="fullname", columns=("fullname", "contactid"))
    assert read == shown


def test_a_query_names_the_segment_as_the_document_says():
    """By its id, where the row does not say."""
    row = {"msdyncrm_segmentid": ID, "msdyncrm_segmenttype": 192350001, "statuscode": 192350001}
    assert OutboundSegment.of(row).query_name == "SEGMENT_CRM_ID_ce97cb9dbd75ea11a811000d3a8e8fcc"


def test_pages_of_the_query_and_of_its_fetchxml_agree():
    """The third page of 5000."""
    body = fetch_by_query(OutboundSegment(ID, "x", 1, "*", 1, "S"), 3)
    assert ".SKIP(10000).TAKE(5000)." in body["Query"]
    assert ' count="5000" page="3" ' in body["FetchXml"]


def test_validation_is_asked_for_as_the_document_shows(say):
    """For a draft and for going live; the answer is JSON in a string."""
    for name, query, publish in (
        ("validate", "PROFILE(contact)", False),
        ("validate invalid", "PROFILE(UnknownEntity)", True),
    ):
        spec = OutboundSegmentSpec("k", "NewSegment", "dynamic", query)
        (sent,) = say(
            lambda outbound, spec=spec, publish=publish: outbound.segments.validate(spec, publish=publish),
            Answer(body={"ValidationResult": "[]"}),
        )
        assert sent == ("POST", "msdyncrm_ValidateSegment", DOCUMENTS[name])


EMAIL = Tile("15bd0ab8-c12a-e911-a9b6-000d3a1e6c14", "Relationship test")


def test_a_journey_is_created_as_the_document_shows(say):
    """To the letter, its workflow from the builder."""
    name = "TC407937_DynamicSegment_2KZQ1p"
    spec = OutboundJourneySpec(
        name="Simple Email Sample",
        workflow=segment_email_workflow(
            [Tile("24db2671-1529-e911-a9b7-000d3a1e6adc", name)], EMAIL, item_ids=(23, 24, 32), email_activity=2
        ),
        content_settings_id="1922b1d8-0523-e911-a9ba-000d3a1e689f",
        starts_at="2019-02-09T11:29:00.000Z",
        ends_at="2019-03-09T12:29:31+01:00",
        time_zone=92,
        required_consent="consent",
        recurring=False,
        target="contact",
        journey_type="automated",
        designer_state={"NextActivityID": 8, "NextActivityItemID": 42},
        owner_id="{D0E20C01-D6C6-480F-AAB5-0FA6749565A5}",
    )
    born = Answer(body={"msdyncrm_customerjourneyid": journey_id_of("k"), "statuscode": 192350000})
    (sent,) = say(lambda outbound: outbound.journeys.create("k", spec), GONE, MADE, born)
    shown = DOCUMENTS["create journey"] | {"msdyncrm_customerjourneyid": journey_id_of("k")}
    assert sent == ("POST", "msdyncrm_customerjourneys", shown)


def test_a_journey_is_checked_as_the_document_shows():
    """From the same arguments as it is created from; ids in capitals and braces."""
    shown = DOCUMENTS["validate journey"]
    name = "TC407937_DynamicSegment_bmkX5u"
    spec = OutboundJourneySpec(
        name="Sample Customer Journey",
        workflow=segment_email_workflow(
            [Tile("056bbe66-f025-e911-a9ba-000d3a1e689f", name)], EMAIL, item_ids=(52, 53, 61), email_activity=3
        ),
        content_settings_id="1922b1d8-0523-e911-a9ba-000d3a1e689f",
        suppression_segment_id="544a3e20-9b23-e911-a9b6-000d3a1e6c14",
        starts_at="2019-02-08T11:48Z",
        ends_at="2019-03-08T11:48Z",
        time_zone=92,
        required_consent="consent",
        recurring=True,
        recurrence_interval_days=30,
        recurrence_count=3,
        target="contact",
        journey_type="automated",
    )
    built = check_request("6628bbf7-c52a-e911-a9b7-000d3a1e6adc", journey_row(spec))
    assert (built, list(built)) == (shown, list(shown))


def test_a_journey_that_is_there_is_checked_by_its_columns():
    """Lookups have another name when they are read."""
    row = {"msdyncrm_name": "n", "_msdyncrm_suppressionsegmentid_value": ID, "_msdyncrm_contentsettingsid_value": None}
    assert check_request(ID, row, 192350001) == {
        "FieldValueCustomerJourneyId": f"{{{ID.upper()}}}",
        "FieldValueStatusCode": 192350001,
        "FieldValueName": "n",
        "FieldValueSuppressionSegmentId": f"{{{ID.upper()}}}",
    }


@given(st.sampled_from((SEGMENT, JOURNEY)), st.sampled_from(OutboundStatus), st.sampled_from((GOING_LIVE, STOPPING)))
def test_only_what_the_service_allows_is_asked_of_it(kind, now, wanted):
    """The two tables of transitions, for the two statuses that are ever written."""
    allowed = {
        GOING_LIVE: {"DRAFT", "LIVE", "STOPPED", "LIVE_EDITABLE", "ERROR"},
        STOPPING: {"LIVE", "ERROR"},
    }[wanted]
    row = OutboundSegment(ID, "VIP", int(now), "*", 192350001, "S")
    if now.name in allowed:
        check_move(kind, row, wanted)
        return
    with pytest.raises(CijInputError, match=f"is {status_name(now)}: it can't become {status_name(wanted)}") as caught:
        check_move(kind, row, wanted)
    assert f"From {status_name(now)} it can become" in caught.value.hint


def test_a_status_that_nobody_knows_is_left_to_the_service():
    """And never taken for an end."""
    check_move(SEGMENT, OutboundSegment(ID, "VIP", 192350099, "*", 192350001, "S"), STOPPING)
    assert judge(192350099, "live") == judge(192350099, "stopped") == "waiting"


@given(st.sampled_from(OutboundStatus) | st.integers(192350000, 192350020), st.sampled_from(("live", "stopped")))
def test_only_these_statuses_are_an_end(status, until):
    """Live, editable is live; expired is stopped, and will never be live; error is an error."""
    done = {"live": {"LIVE", "LIVE_EDITABLE"}, "stopped": {"STOPPED", "EXPIRED"}}[until]
    failed = {"live": {"ERROR", "EXPIRED"}, "stopped": {"ERROR"}}[until]
    name = status_name(status).upper()
    assert judge(int(status), until) == ("done" if name in done else "failed" if name in failed else "waiting")


def test_a_forbidden_move_sends_nothing(say, scripted):
    """A draft can't be stopped."""
    with pytest.raises(CijInputError, match="is draft: it can't become stopping"):
        say(lambda outbound: outbound.segments.stop(ID), segment(192350000))
    assert [asked.method for asked in scripted.asked] == ["GET"]


@pytest.mark.parametrize(
    ("verb", "status"), [("publish", 192350006), ("stop", 192350007), ("stop", 192350002), ("stop", 192350004)]
)
def test_what_is_on_its_way_is_left_alone(say, verb, status):
    """A retry of the task asks for nothing a second time."""
    assert say(lambda outbound: getattr(outbound.segments, verb)(ID), segment(status)) == []


def test_a_live_journey_is_not_published_again_and_a_live_segment_is(say):
    """The one would mail people twice; the other is evaluated anew."""
    journey = Answer(body={"msdyncrm_customerjourneyid": ID, "statuscode": 192350001})
    assert say(lambda outbound: outbound.journeys.publish(ID), journey) == []
    assert len(say(lambda outbound: outbound.segments.publish(ID), segment(192350001), MADE)) == 1


def test_a_change_that_meets_the_services_own_is_tried_anew(say):
    """With what the row has become; for ever it is not."""
    met = Answer(412, {"error": {"code": "0x80060882", "message": "The version does not match."}})
    sent = say(lambda outbound: outbound.segments.publish(ID), segment(192350000), met, segment(192350002), MADE)
    assert len(sent) == 2
    assert say(lambda outbound: outbound.segments.publish(ID), segment(192350000), met, segment(192350006)) == sent[:1]
    with pytest.raises(CijConflictError):
        say(lambda outbound: outbound.segments.publish(ID), *[segment(192350000), met] * 3)


def test_a_lost_reply_publishes_once(say, scripted):
    """The second try meets the first one's change: the task's retry reads what came of it."""
    met = Answer(412, {"error": {"code": "0x80060882", "message": "The version does not match."}})
    with pytest.raises(CijServerError):
        say(lambda outbound: outbound.journeys.publish(ID), _journey(192350000), Answer(503), met)
    assert [asked.headers.get("if-match") for asked in scripted.asked] == [None, 'W/"3"', 'W/"3"']


def _journey(status: int) -> Answer:
    return Answer(body={"@odata.etag": 'W/"3"', "msdyncrm_customerjourneyid": ID, "statuscode": status})


def test_ids_go_twenty_thousand_a_call(say):
    """To a static segment; a dynamic one is refused before anything is sent."""
    ids = IdSet()
    ids.update(pack_guids([str(uuid.UUID(int=number)) for number in range(45_000)])[0])
    of = OutboundSegment(ID, "x", 192350001, "*", 192350001, "S")
    sent = say(lambda outbound: outbound.members.update(of, "add", ids), MADE)
    calls = [json.loads(body["msdyncrm_memberids"]) for _, _, body in sent]
    assert [len(call) for call in calls] == [20_000, 20_000, 5_000]
    assert len({one for call in calls for one in call}) == 45_000
    dynamic = OutboundSegment(ID, "x", 192350001, "*", 192350000, "S")
    with pytest.raises(CijInputError, match="is not static"):
        say(lambda outbound: outbound.members.update(dynamic, "add", ids), MADE)
    with pytest.raises(CijInputError, match="operation is 'addByIds'"):
        say(lambda outbound: outbound.members.update(of, "addByIds", ids), MADE)


@pytest.mark.parametrize(("scope", "warned"), [(270100001, True), (None, True), (270100000, False)])
def test_business_units_are_warned_of(say, caplog, scope, warned):
    """Unless the segment is for the whole organisation."""
    of = OutboundSegment(ID, "x", 192350001, "*", 192350001, "S", scope=scope)
    say(lambda outbound: outbound.members.update_by_query(of, "add", "PROFILE(contact)"), MADE)
    assert ("makes it hang for good" in caplog.text) == warned


REMOVED = [
    Answer(403, {"error": {"code": "0x80040220", "message": "missing prvReadmsdyncrm_segment privilege"}}),
    Answer(404, {"error": {"code": "0x80060888", "message": "Resource not found for the segment 'msdyncrm_x'."}}),
]


@pytest.mark.parametrize("answer", REMOVED)
@pytest.mark.parametrize(
    "work",
    [
        lambda outbound: outbound.segments.get(ID),
        lambda outbound: outbound.segments.find(),
        lambda outbound: outbound.segments.create(OF_SPECS["create static"]),
        lambda outbound: outbound.segments.update(ID, description="d"),
        lambda outbound: outbound.segments.validate(OF_SPECS["create dynamic"]),
        lambda outbound: outbound.segments.publish(ID),
        lambda outbound: outbound.segments.delete(ID),
        lambda outbound: outbound.members.state(ID),
        lambda outbound: anext(outbound.members.of_segment(OutboundSegment(ID, "x", 1, "*", 1, "S"))),
        lambda outbound: anext(outbound.members.of_segment(OutboundSegment(ID, "x", 1, "*", 1, "S"), "fetchxml")),
        lambda outbound: outbound.journeys.create("k", OutboundJourneySpec(name="n")),
        lambda outbound: outbound.journeys.columns(ID),
        lambda outbound: outbound.journeys.validate(ID, {}),
        lambda outbound: outbound.journeys.stop(ID),
    ],
)
def test_an_organisation_without_outbound_marketing_says_so(say, answer, work):
    """In one message for all verbs, with the service's words and what to use instead."""
    with pytest.raises(
        CijOutboundRemovedError, match=r"has no outbound marketing any more.*CijCreateSegment"
    ) as caught:
        say(work, answer)
    assert isinstance(caught.value, CijUnavailableError)
    assert answer.body["error"]["message"] in str(caught.value)
    assert ("lacks the privilege" in str(caught.value)) == (answer.status == 403)


def test_other_refusals_are_not_taken_for_a_removal(say):
    """An application user that is none says nothing about outbound marketing; neither does 501."""
    nobody = Answer(403, {"error": {"code": "0x80072560", "message": "The user is not a member."}})
    with pytest.raises(CijForbiddenError):
        say(lambda outbound: outbound.segments.get(ID), nobody)
    with pytest.raises(CijUnavailableError) as caught:
        say(lambda outbound: outbound.segments.get(ID), Answer(501, {"error": {"code": "", "message": "no"}}))
    assert not isinstance(caught.value, CijOutboundRemovedError)


@pytest.mark.parametrize(
    ("spec", "said"),
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
def test_a_segment_that_cant_be_right_is_refused(say, scripted, spec, said):
    """Before anything is sent."""
    with pytest.raises(CijInputError, match=re.escape(said)):
        say(lambda outbound: outbound.segments.create(spec), GONE)
    assert scripted.asked == []


@pytest.mark.parametrize(
    ("arguments", "said"),
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
def test_a_journey_that_cant_be_right_is_refused(arguments, said):
    """In words that name the argument."""
    with pytest.raises(CijInputError, match=re.escape(said)):
        journey_row(OutboundJourneySpec(**arguments))


def _workflow(*changes) -> list[dict]:
    workflow = segment_email_workflow([Tile(ID, "a"), Tile(ID, "b")], EMAIL)
    for place, change in changes:
        workflow[place] = workflow[place] | change
    return workflow


@pytest.mark.parametrize(
    ("workflow", "said"),
    [
        (_workflow((2, {"ActivityId": "01_0"})), "the same ActivityId more than once: 01_0"),
        (_workflow((2, {"ParentActivityId": "01_9"})), "activity '01_0_1' is under '01_9', which is not there"),
        (_workflow((2, {"ParentActivityId": "01_0_1"})), "which is not there"),
        (_workflow((0, {"ActivityTypeId": "Email"})), "0 activities of the type bpf_root"),
        (_workflow((2, {"ActivityTypeId": "bpf_root"})), "2 activities of the type bpf_root"),
        (_workflow((1, {"ActivityId": ""})), "without ActivityId or ActivityTypeId"),
        (
            segment_email_workflow([Tile(ID, "a")], EMAIL, item_ids=(5, 6, 5)),
            "the same ActivityItemId more than once: 5",
        ),
        (_workflow((2, {"Properties": {"Items": [{"Name": "x" * 1_048_576}]}})), "the service takes 1048576"),
        ([], "0 activities of the type bpf_root"),
        ([1], "is no list of activities"),
    ],
)
def test_a_workflow_that_cant_be_right_is_refused(workflow, said):
    """Ids that come twice, parents that are missing, no root; as text and as Python."""
    for form in (workflow, compact(workflow)):
        with pytest.raises(CijInputError, match=said):
            workflow_text(form)


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4), st.text(max_size=20))
def test_what_the_builder_builds_is_right(names, mail):
    """Whatever things are called; a text stays as it is."""
    text = workflow_text(segment_email_workflow([Tile(ID, name) for name in names], Tile(ID, mail)))
    assert workflow_text(text) is text
    assert [item["Name"] for item in json.loads(text)[1]["Properties"]["Items"]][1:] == names


@given(st.lists(st.uuids()))
def test_first_members_have_the_prefix(ids):
    """In one line of JSON."""
    assert json.loads(created_with([str(one).upper() for one in ids])) == [f"crm{one}" for one in ids]


def test_rows_without_what_matters_are_no_rows():
    """Better no segment than one that is made up."""
    with pytest.raises(CijReplyError, match="A row of msdyncrm_segments can't be read"):
        OutboundSegment.of({"msdyncrm_segmentid": ID, "statuscode": 192350001})
