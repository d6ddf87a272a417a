"""Every request that the two documents on outbound marketing show, as it is sent."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest

from airflow_provider_cij.api.outbound.journeys import OutboundJourneySpec, check_request, journey_id_of, journey_row
from airflow_provider_cij.api.outbound.members import by_ids, by_query, fetch_by_query, fetchxml, get_state
from airflow_provider_cij.api.outbound.models import (
    OutboundSegment,
    OutboundStatus,
)
from airflow_provider_cij.api.outbound.segments import OutboundSegmentSpec
from airflow_provider_cij.api.outbound.workflow import Tile
from tests.api.outbound.documents import DOCUMENTS, EMAIL, OF_SPECS
from tests.api.outbound.numbered_workflow import numbered
from tests.outbound_responses import GONE, ID, MADE, segment
from tests.scripted import Answer

GOING_LIVE, STOPPING = OutboundStatus.GOING_LIVE, OutboundStatus.STOPPING


@pytest.mark.parametrize("name", OF_SPECS)
def test_a_segment_is_created_as_the_document_shows(sent_by, name):
    """A create sends the documented body with a derived id and one name for the query's column."""
    shown = dict(DOCUMENTS[name])
    shown |= {"msdyncrm_segmentquery": shown.pop("msdyncrm_query")} if "msdyncrm_query" in shown else {}
    publish = shown["statuscode"] == GOING_LIVE
    spec = OF_SPECS[name]
    (sent,) = sent_by(
        lambda outbound: outbound.segments.create(spec, publish=publish), GONE, MADE, segment(shown["statuscode"])
    )
    assert sent == ("POST", "msdyncrm_segments", shown | {"msdyncrm_segmentid": spec.segment_id})


@pytest.mark.parametrize(
    ("verb", "before", "body"),
    [("publish", 192350000, {"statuscode": 192350006}), ("stop", 192350001, {"statuscode": 192350007})],
)
def test_a_status_change_sends_if_match(sent_by, scripted, verb, before, body):
    """A status change sends the version that was read, so a repeated request cannot publish twice."""
    sent = sent_by(lambda outbound: getattr(outbound.segments, verb)(ID), segment(before), MADE)
    assert sent == [("PATCH", f"msdyncrm_segments({ID})", body)]
    assert scripted.requests[-1].headers["if-match"] == 'W/"7"'


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
def test_reads_are_as_the_documents_show(sent_by, scripted, ask, path):
    """Reads send the documented paths, percent-encoded."""
    sent_by(ask, Answer(body={"value": []}))
    assert unquote(scripted.requests[0].path) == f"/api/data/v9.2/{path}"


def test_delete_treats_a_missing_row_as_deleted(sent_by):
    """Delete sends the documented request, and a missing row is no error."""
    assert sent_by(lambda outbound: outbound.segments.delete(ID), MADE) == [("DELETE", f"msdyncrm_segments({ID})", {})]
    assert sent_by(lambda outbound: outbound.journeys.delete(ID), GONE)[0][1] == f"msdyncrm_customerjourneys({ID})"


@pytest.mark.parametrize("operation", ["add", "remove"])
def test_members_change_as_the_document_shows(operation):
    """Members change by ids, as JSON text of bare ids, and by a query."""
    shown = DOCUMENTS[f"{operation} by ids"]
    ids = re.findall(r"[0-9A-F-]{36}", shown["msdyncrm_memberids"])
    assert by_ids("59AC8BBF-57E7-E811-A9A9-000D3A35F403", operation, ids) == shown
    shown = DOCUMENTS[f"{operation} by query"]
    assert by_query(shown["msdyncrm_segmentid"], operation, shown["msdyncrm_query"]) == shown


def _by_full_name(value, columns):
    """Return a request as the document orders it, by name, and with the columns that the document reads."""
    if not isinstance(value, str):
        return value
    attributes = "".join(f'<attribute name="{column}"/>' for column in columns)
    value = value.replace("ORDERBY(contactid ASC)", "ORDERBY(fullname ASC)")
    value = value.replace('<attribute name="contactid"/>', attributes)
    return value.replace('<order attribute="contactid"', '<order attribute="fullname"')


def test_state_and_fetch_requests_are_as_the_document_shows():
    """getState, the recommended fetch and the deprecated fetch send the documented bodies."""
    assert get_state("b5466fbb-2cef-e911-a81d-000d3a6d200c") == DOCUMENTS["get state"]
    of = OutboundSegment(
        *(ID, "x", 192350001, "*", 192350001, "SEGMENT_CRM_ID_e1fa7fdc5c78ea11a811000d3a8e8fcc"),
        business_unit_id="0b4b85cc-7f6c-ea11-a811-000d3a54d359",
    )
    columns = ("fullname", "emailaddress1", "company", "parentcustomerid", "contactid")
    body = {name: _by_full_name(value, columns) for name, value in fetch_by_query(of, 1, 15).items()}
    assert body == DOCUMENTS["fetch by query"]
    read = fetchxml("bfc9d5d6-d6aa-e911-a859-000d3a3159df", 1, 5)
    assert _by_full_name(read, ("fullname", "contactid")) == DOCUMENTS["fetch by fetchxml"]


def test_a_query_names_the_segment_as_the_document_says():
    """A segment without a query name gets the documented one, made from its id."""
    row = {"msdyncrm_segmentid": ID, "msdyncrm_segmenttype": 192350001, "statuscode": 192350001}
    assert OutboundSegment.of(row).query_name == "SEGMENT_CRM_ID_ce97cb9dbd75ea11a811000d3a8e8fcc"


def test_pages_of_the_query_and_of_its_fetchxml_agree():
    """The third page of 5,000 is the same in the query and in its FetchXML."""
    body = fetch_by_query(OutboundSegment(ID, "x", 1, "*", 1, "S"), 3)
    assert ".SKIP(10000).TAKE(5000)." in body["Query"]
    assert ' count="5000" page="3" ' in body["FetchXml"]


def test_validation_is_requested_as_the_document_shows(sent_by):
    """Validation sends the documented bodies for a draft and for going live."""
    for name, query, publish in (
        ("validate", "PROFILE(contact)", False),
        ("validate invalid", "PROFILE(UnknownEntity)", True),
    ):
        spec = OutboundSegmentSpec("k", "NewSegment", "dynamic", query)
        (sent,) = sent_by(
            lambda outbound, spec=spec, publish=publish: outbound.segments.validate(spec, publish=publish),
            Answer(body={"ValidationResult": "[]"}),
        )
        assert sent == ("POST", "msdyncrm_ValidateSegment", DOCUMENTS[name])


def test_a_journey_is_created_as_the_document_shows(sent_by):
    """A journey with a workflow from the builder is created with the documented body."""
    name = "TC407937_DynamicSegment_2KZQ1p"
    spec = OutboundJourneySpec(
        name="Simple Email Sample",
        workflow=numbered([Tile("24db2671-1529-e911-a9b7-000d3a1e6adc", name)], EMAIL, (23, 24, 32), 2),
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
    (sent,) = sent_by(lambda outbound: outbound.journeys.create("k", spec), GONE, MADE, born)
    shown = DOCUMENTS["create journey"] | {"msdyncrm_customerjourneyid": journey_id_of("k")}
    assert sent == ("POST", "msdyncrm_customerjourneys", shown)


def test_a_journey_is_checked_as_the_document_shows():
    """A check built from the arguments of a create has the documented body, with ids in capitals and braces."""
    shown = DOCUMENTS["validate journey"]
    name = "TC407937_DynamicSegment_bmkX5u"
    spec = OutboundJourneySpec(
        name="Sample Customer Journey",
        workflow=numbered([Tile("056bbe66-f025-e911-a9ba-000d3a1e689f", name)], EMAIL, (52, 53, 61), 3),
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


def test_an_existing_journey_is_checked_by_its_columns():
    """A check of an existing journey reads its columns, whose lookups have other names when read."""
    row = {"msdyncrm_name": "n", "_msdyncrm_suppressionsegmentid_value": ID, "_msdyncrm_contentsettingsid_value": None}
    assert check_request(ID, row, 192350001) == {
        "FieldValueCustomerJourneyId": f"{{{ID.upper()}}}",
        "FieldValueStatusCode": 192350001,
        "FieldValueName": "n",
        "FieldValueSuppressionSegmentId": f"{{{ID.upper()}}}",
    }
