"""Responses of outbound marketing, documented or not: which are understood and which are errors."""

from __future__ import annotations

import json
import re
import uuid
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.outbound.journeys import validation_of
from airflow_provider_cij.api.outbound.models import OutboundSegment
from airflow_provider_cij.api.outbound.responses import contacts_of, state_of
from airflow_provider_cij.api.outbound.segments import validation_of as segment_validation_of
from airflow_provider_cij.errors import CijIncompleteError, CijInputError, CijReplyError
from airflow_provider_cij.hooks.cij import CijHook
from tests.scripted import Answer

PEOPLE = [str(uuid.UUID(int=number)) for number in range(1, 100)]
SEGMENT = OutboundSegment(PEOPLE[-1], "VIP", 192350001, "*", 192350001, "SEGMENT_CRM_ID_x")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ({}, "unknown"),
        ({"@odata.context": "https://x/$metadata#done"}, "unknown"),
        ({"State": '{"state":"Completed","pendingOperations":0}'}, "finished"),
        ({"State": '{"state":"Pending","pendingOperations":2}'}, "pending"),
        ({"State": {"Status": "In Progress"}}, "pending"),
        ({"HasPendingOperations": False}, "finished"),
        ({"HasPendingOperations": True}, "pending"),
        ({"PendingOperations": []}, "finished"),
        ({"PendingOperations": [{"operation": "addByIds"}]}, "pending"),
        ({"pending": {"adds": 0, "removes": "2"}}, "pending"),
        ({"Operations": [{"Status": "Succeeded"}, {"Status": "Queued"}]}, "pending"),
        ({"Operations": [{"Status": "Succeeded"}]}, "finished"),
        ({"Operations": [{"Status": "Succeeded"}, {"Status": "Failed"}]}, "failed"),
        ({"Status": "Success"}, "unknown"),  # of the question, perhaps
        ({"Status": "Success", "pendingCount": 0}, "finished"),
        ({"Status": "Wibble", "pendingCount": 0}, "unknown"),
        ({"StatusCode": 200}, "unknown"),
        ({"ErrorMessage": "It hangs.", "pendingCount": 0}, "failed"),
        ({"Error": None, "failedCount": 0, "pendingCount": "0"}, "finished"),
        ({"failedOperations": 1, "pendingOperations": 3}, "failed"),
        ({"State": "{broken"}, "unknown"),
        ({"DefaultLanguage": "en", "queuedOperations": False}, "finished"),
    ],
)
def test_member_operation_states(answer, verdict):
    """Failures outweigh pending work, pending work outweighs completion, and an empty state is unknown."""
    state = state_of(answer)
    assert state.verdict == verdict
    assert state.raw == {name: value for name, value in answer.items() if not name.startswith("@")}


@given(st.dictionaries(st.text(max_size=10), JSON))
def test_a_state_without_known_fields_is_never_finished(answer):
    """A state is finished only when a field says so, whatever other JSON there is."""
    text = json.dumps(answer).lower()
    named = any(word in text for word in ("stat", "pend", "queue", "progress", "run", "unproc", "wait", "outst"))
    assert state_of(answer).verdict != "finished" or named


@given(JSON, st.integers(1, 9), st.booleans())
def test_pending_work_outweighs_completion(other, left, first):
    """Pending work anywhere in the state means that the changes are not finished."""
    work = {"d": {"queuedOperations": left}}
    end = {"a": {"state": "Completed"}, "b": [other]}
    assert state_of(work | end if first else end | work).verdict in ("pending", "failed")


def test_the_logged_state_shows_no_people():
    """The state in the log shows its shape and no ids of people."""
    state = state_of({"State": json.dumps({"state": "Odd", "ids": PEOPLE[:2], "by": "ada@contoso.test"})})
    assert state.verdict == "unknown"
    assert "Odd" in state.shown
    assert not any(word in state.shown for word in (PEOPLE[0], "contoso"))


@pytest.mark.parametrize(
    ("answer", "count", "total", "more"),
    [
        (
            {
                "Result": json.dumps(
                    {"entities": [{"contactid": PEOPLE[0]}], "totalRecordCount": 1, "moreRecords": True}
                )
            },
            *(1, 1, True),
        ),
        ({"value": [{"ContactId": PEOPLE[0].upper()}, {"contactid": PEOPLE[1]}]}, 2, None, False),
        ({"Contacts": json.dumps(PEOPLE[:3])}, 3, None, False),
        ({"Entities": [{"LogicalName": "contact", "Id": PEOPLE[0], "Attributes": {"fullname": "A"}}]}, 1, None, False),
        ({"Entities": [{"Attributes": {"ContactId": PEOPLE[0]}}], "Columns": ["fullname"]}, 1, None, False),
        ({"Entities": [], "TotalRecordCount": -1}, 0, None, False),
    ],
)
def test_fetched_contacts_are_read_in_every_shape(answer, count, total, more):
    """Fetched contacts are read in each shape that Dataverse uses."""
    page = contacts_of(answer)
    assert page.ids == PEOPLE[:count]
    assert (page.total, page.has_next) == (total, more)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"Result": ""},
        {"Result": "[{"},
        {"entities": [{"fullname": "A"}]},
        {"entities": [{"contactid": PEOPLE[0]}, {"contactid": None}]},
        {"a": [{"contactid": PEOPLE[0]}], "b": [{"contactid": PEOPLE[1]}]},
        {"columns": ["fullname"]},
    ],
)
def test_an_unreadable_contact_list_is_an_error(answer):
    """A contact list of any other shape is an error, not an empty or partial list."""
    with pytest.raises(CijReplyError):
        contacts_of(answer)


@given(st.dictionaries(st.text(max_size=10), JSON))
def test_contact_ids_come_only_from_the_response(answer):
    """Any JSON gives ids that it holds, or a CijError."""
    try:
        page = contacts_of(answer)
    except CijReplyError:
        return
    assert all(contact_id.replace("-", "") in json.dumps(answer).replace("-", "").lower() for contact_id in page.ids)


def _page_place(request) -> int:
    """Return the place of the page that a request asks for: its number, from 0."""
    if request.method == "GET":
        return int(re.search(r'page="(\d+)"', unquote(request.path))[1]) - 1
    skip, take = re.search(r"SKIP\((\d+)\)\.TAKE\((\d+)\)", json.loads(request.body)["Query"]).groups()
    return int(skip) // int(take)


@pytest.fixture
def export(scripted, monkeypatch):
    """Return a function that lists a segment's members against these responses, in pages of three."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())

    def run(*answers: Answer, how: str = "query") -> list[str]:
        scripted.script, scripted.place_of = list(answers), _page_place

        async def read(cij):
            return [
                contact_id async for page in cij.outbound.members.of_segment(SEGMENT, how, 3) for contact_id in page
            ]

        return CijHook().run(read)

    return run


def page(*ids: str, **others) -> Answer:
    """Return a response with a page of contacts."""
    rows = [{"contactid": contact_id} for contact_id in ids]
    return Answer(body={"Result": json.dumps({"entities": rows, **others})})


def _rows(*ids: str, more: bool = False) -> Answer:
    rows = [{"contactid": contact_id} for contact_id in ids]
    return Answer(body={"value": rows, "@Microsoft.Dynamics.CRM.morerecords": more})


def test_a_list_ends_with_an_empty_page(export, scripted):
    """Pages are read until one is empty, each starting where the one before ended."""
    assert export(page(*PEOPLE[:3]), page(*PEOPLE[3:6]), page(PEOPLE[6]), page()) == PEOPLE[:7]
    queries = {json.loads(request.body)["Query"] for request in scripted.requests}
    assert len(scripted.requests) == len(queries)
    sent = {query[query.index(".SKIP") :] for query in queries}
    pages = [f".SKIP({3 * number}).TAKE(3).SELECT(contactid)" for number in range(10)]
    # Of the pages that are read ahead beyond the end some may not have been sent.
    assert set(pages[:4]) <= sent <= set(pages)


def test_smaller_pages_of_the_service_are_followed(export, scripted):
    """A first page smaller than requested sets the page size for the rest."""
    assert export(page(*PEOPLE[:2]), page(*PEOPLE[2:4]), page(PEOPLE[4]), page()) == PEOPLE[:5]
    queries = [json.loads(request.body)["Query"] for request in scripted.requests[1:]]
    assert ".SKIP(2).TAKE(2)." in queries[0]
    assert any(".SKIP(4).TAKE(2)." in query for query in queries)


@pytest.mark.parametrize(
    ("pages", "message"),
    [
        ([page(*PEOPLE[:3]), page(PEOPLE[3]), page(*PEOPLE[6:8])], "cut a page of 3 members short"),
        ([page(*PEOPLE[:3]), page(*PEOPLE[3:9]), page()], "cut a page of 3 members short"),
        ([page(*PEOPLE[:3]), page(*PEOPLE[:3])], "the same page of members twice"),
        ([page(*PEOPLE[:3]), page(*PEOPLE[2:5]), page()], "1 members came twice"),
        ([page(*PEOPLE[:3], totalRecordCount=5), page()], "counts 5 members and listed 3"),
        ([page(*PEOPLE[:3], moreRecords=True), page()], "says that there is more after page 1, and gives none"),
    ],
)
def test_an_incomplete_list_is_an_error(export, pages, message):
    """A list that ends before its total is an error."""
    with pytest.raises(CijIncompleteError, match=message):
        export(*pages)


def test_the_deprecated_fetch_is_opt_in(export, scripted):
    """The deprecated fetch is used only on request, reads page by page and reports an incomplete list."""
    assert export(_rows(*PEOPLE[:3], more=True), _rows(PEOPLE[3]), _rows(), how="fetchxml") == PEOPLE[:4]
    assert all(request.method == "GET" and "/contacts?fetchXml=" in request.path for request in scripted.requests)
    with pytest.raises(CijIncompleteError, match="says that there is more"):
        export(_rows(*PEOPLE[:3], more=True), _rows(), how="fetchxml")
    with pytest.raises(CijReplyError):
        export(Answer(body={"value": [{}]}), how="fetchxml")
    with pytest.raises(CijInputError, match="how is 'xml'"):
        export(_rows(), how="xml")


def test_segment_validation_errors_are_read():
    """Validation errors of a segment are read as documented, in other casings, and as an empty list."""
    shown = '[{"ErrorCode":"SegmentDciValidator_SegmentInvalid","FieldName":"msdyncrm_query"}]'
    (issue,) = segment_validation_of({"ValidationResult": shown}).errors
    assert (issue.code, issue.where) == ("SegmentDciValidator_SegmentInvalid", "msdyncrm_query")
    assert segment_validation_of({"ValidationResult": "[]"}).valid
    assert segment_validation_of({"ValidationResult": '[{"errorCode":"x"}]'}).codes == {"x"}


@pytest.mark.parametrize("answer", [{}, {"ValidationResult": None}, {"ValidationResult": "null"}, {"x": "[]"}])
def test_an_empty_validation_response_is_an_error(answer):
    """A validation response of a segment or a journey without a result is an error."""
    for read in (segment_validation_of, validation_of):
        with pytest.raises(CijReplyError):
            read(answer)


def test_journey_validation_results_are_read():
    """Validation results are read as documented, for the journey and for a tile."""
    shown = (
        '{"ActivityValidationResults":[{"ActivityId":"","Fault":"ErrorRecurringCampaignEndDateDoesNotFitRequested'
        'Iterations","Result":"Error","ErrorMessageArguments":[]}],"Result":"Error"}'
    )
    checked = validation_of({"ValidationResult": shown})
    assert not checked.valid
    assert checked.errors[0].message == "journey: ErrorRecurringCampaignEndDateDoesNotFitRequestedIterations"


@pytest.mark.parametrize(
    ("overall", "severity", "valid"),
    [
        ("Valid", "Valid", True),
        ("Warning", "Warning", True),
        ("Error", "Error", False),
        ("Valid", "Error", False),
        ("Error", "Warning", False),
        ("Wibble", "Valid", False),
        ("Valid", "Wibble", False),
    ],
)
def test_only_blocking_results_make_a_journey_invalid(overall, severity, valid):
    """Warnings leave a journey valid; errors and unknown results do not."""
    found = {"ActivityId": "01_0", "Fault": "F", "Result": severity, "ErrorMessageArguments": ["a", 1]}
    text = json.dumps({"Result": overall, "ActivityValidationResults": [found]})
    checked = validation_of({"ValidationResult": text}, {"01_0": "Email 'x'"})
    assert checked.valid == valid
    if severity != "Valid":
        assert checked.issues[0].message == "activity 01_0 (Email 'x'): F (a, 1)"
