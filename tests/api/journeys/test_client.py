"""The journey client against a scripted service."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

import pytest

from airflow_provider_cij.api.journeys.client import Journeys, publish_inputs
from airflow_provider_cij.api.journeys.spec import JourneySpec
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.errors import (
    CijConflictError,
    CijForbiddenError,
    CijInputError,
    CijJourneyFailedError,
    CijJourneyInvalidError,
    CijReplyError,
    CijServerError,
    CijUnavailableError,
    CijUnreachableError,
)
from tests.scripted import Answer

ID, TEMPLATE, SEGMENT, ME = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "abcd")
SPEC = JourneySpec(TEMPLATE, "Spring")
RUN = datetime(2026, 11, 2, 3, tzinfo=UTC)
NONE, WHO = Answer(body={"value": []}), Answer(body={"UserId": ME.upper()})
LOST, GATEWAY = Answer(hang_up=True), Answer(502, b"<html><title>Bad Gateway</title></html>")
MISSING = Answer(404, {"error": {"code": "0x80060888", "message": "Resource not found for the segment 'x'."}})
CREATE, PUBLISH = "msdynmkt_CreateJourneyFromTemplate", "msdynmkt_PublishJourneyV2"


def made(valid: bool = True, *codes: str, journey: str = ID) -> Answer:
    """Return a response of the action that creates a journey."""
    errors = [{"ErrorCode": code, "ErrorMessage": f"{code} it is."} for code in codes]
    return Answer(
        body={"msdynmkt_journeyid": journey, "msdynmkt_isvalid": valid, "msdynmkt_errors": json.dumps(errors)}
    )


def row(status: int = 1, by: str = ME, at: datetime = RUN) -> dict:
    """Return a row of msdynmkt_journeys."""
    return {
        "msdynmkt_journeyid": ID,
        "msdynmkt_name": "Spring",
        "statuscode": status,
        "_createdby_value": by,
        "createdon": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "msdynmkt_journeyjson": "{}",
    }


def found(**others) -> Answer:
    """Return a response with the journey that has the requested name."""
    return Answer(body={"value": [row(**others)]})


@pytest.fixture
def run(scripted, short_sleeps):
    """Return a function that runs a coroutine function on the journey client of the scripted server."""

    def go(work, *answers: Answer):
        scripted.script = list(answers)

        async def main():
            async with DataverseClient(scripted.settings()) as client:
                return await work(Journeys(client))

        return asyncio.run(main())

    return go


@pytest.fixture
def create(run):
    """Return a function that creates the journey against these responses."""
    return lambda *answers, spec=SPEC: run(lambda client: client.create(spec, RUN), *answers)


def posts(scripted, action: str = CREATE) -> list[dict]:
    """Return the bodies that were sent to an action."""
    return [json.loads(request.body) for request in scripted.requests if request.path.endswith(action)]


def test_create_looks_for_the_name_first(create, scripted):
    """``create`` first looks for a journey with the same name and then sends the create action."""
    verdict = create(NONE, made())
    assert (verdict.valid, verdict.journey_id) == (True, ID)
    assert "msdynmkt_name eq 'Spring'" in unquote(scripted.requests[0].path)
    assert [body["msdynmkt_createmode"] for body in posts(scripted)] == ["Draft"]


def test_every_validation_error_is_named(create, scripted):
    """An invalid journey raises an error with every code, and the create is not repeated."""
    with pytest.raises(CijJourneyInvalidError) as error:
        create(NONE, made(False, "NonExistingSegment", "InvalidStartTime"))
    message = "not valid: NonExistingSegment: NonExistingSegment it is; InvalidStartTime: InvalidStartTime it is."
    assert message in str(error.value)
    assert f"A draft of it may be there, {ID}" in str(error.value)
    assert len(posts(scripted)) == 1


@pytest.mark.parametrize(
    "unclear",
    [LOST, GATEWAY, Answer(200, b"<html>a login page</html>"), made(False, "UnableToSaveJourneyEntityDueToTimeout")],
)
def test_a_lost_create_response_is_resolved_by_name(create, scripted, unclear):
    """After an unclear create the journey is found by its name and nothing is sent twice."""
    verdict = create(NONE, unclear, NONE, found(), WHO, made())
    assert verdict.journey_id == ID
    assert len(posts(scripted)) == 1


@pytest.mark.parametrize(("unclear", "kind"), [(LOST, CijUnreachableError), (GATEWAY, CijServerError)])
def test_a_lost_create_that_cannot_be_resolved_is_retryable(create, scripted, unclear, kind):
    """A create that stays unclear raises a retryable error and is not sent again in the same attempt."""
    with pytest.raises(kind) as error:
        create(NONE, unclear, NONE)
    assert "There is no journey 'Spring' yet: a retry looks for it first." in str(error.value)
    assert not error.value.permanent
    assert len(posts(scripted)) == 1


def test_a_retry_returns_the_existing_journey_and_revalidates_it(create, scripted):
    """A retry returns the journey of the first attempt and asks for its validation result again."""
    verdict = create(found(), WHO, made(False, "NotReadyToSendMessageState", journey=""))
    assert (verdict.valid, verdict.journey_id, verdict.codes) == (False, ID, {"NotReadyToSendMessageState"})
    assert posts(scripted) == []


def test_a_retry_refuses_an_invalid_draft(create):
    """A retry that finds an invalid draft raises an error instead of accepting it."""
    with pytest.raises(CijJourneyInvalidError, match="InvalidDefinition"):
        create(found(), WHO, made(False, "InvalidDefinition", journey=""))


def test_validity_is_unknown_without_the_validate_action(create):
    """Where the organisation has no validate action, the validity of a found journey is None."""
    assert create(found(), WHO, MISSING).valid is None


@pytest.mark.parametrize("others", [{"by": SEGMENT}, {"at": RUN - timedelta(minutes=6)}])
@pytest.mark.parametrize("first", [[], [NONE, made(False, "DuplicateJourneyName")]])
def test_a_journey_of_another_user_or_run_is_a_conflict(create, scripted, others, first):
    """A journey of the same name that another user or an earlier run made is a conflict, never adopted."""
    with pytest.raises(CijConflictError) as error:
        create(*first, found(**others), WHO)
    assert error.value.code == "DuplicateJourneyName"
    assert error.value.permanent
    assert len(posts(scripted)) == len(first) // 2


def test_a_duplicate_name_error_adopts_our_own_journey(create):
    """A duplicate-name error whose journey this run made returns that journey."""
    assert create(NONE, made(False, "DuplicateJourneyName"), found(), WHO, made()).journey_id == ID


def test_create_with_publish_continues_an_earlier_attempt(create, scripted):
    """With ``publish=True`` a draft of an earlier attempt is published, and one being published is left alone."""
    spec = JourneySpec(TEMPLATE, "Spring", publish=True)
    draft, inputs = Answer(body=row()), NONE
    assert create(found(), WHO, draft, inputs, Answer(204), Answer(body=row(4)), spec=spec).valid is True
    assert posts(scripted, PUBLISH) == [{"msdynmkt_journeyid": ID}]
    assert create(found(status=4), WHO, Answer(body=row(4)), spec=spec).valid is True
    assert len(posts(scripted, PUBLISH)) == 1


@pytest.mark.parametrize(("status", "word"), [(2, "draft"), (6, "computing"), (9, "stopped"), (99, "status 99")])
def test_an_audience_segment_that_is_not_live_is_refused(create, scripted, status, word):
    """An audience segment that is not live is refused before the create action is called."""
    segment = Answer(body={"msdynmkt_segmentid": SEGMENT, "msdynmkt_displayname": "VIP", "statuscode": status})
    with pytest.raises(CijInputError, match=f"segment 'VIP', is {word}"):
        create(NONE, segment, spec=JourneySpec(TEMPLATE, "Spring", audience_segment_id=SEGMENT))
    assert posts(scripted) == []


def test_a_past_start_is_refused_only_for_a_new_journey(create, scripted):
    """A start time in the past is refused for a new journey and ignored when the journey exists."""
    spec = JourneySpec(TEMPLATE, "Spring", starts_at=RUN)
    assert create(found(), WHO, made(), spec=spec).journey_id == ID
    with pytest.raises(CijInputError, match="has passed"):
        create(NONE, spec=spec)
    assert posts(scripted) == []


def test_a_missing_action_names_the_required_release(run, create):
    """On an organisation without the actions the error names the release that brings them."""
    with pytest.raises(CijUnavailableError, match=r"autumn 2025: update the app"):
        create(NONE, MISSING)
    with pytest.raises(CijUnavailableError, match=r"autumn 2025: update the app"):
        run(lambda client: client.validate("{}"), MISSING)


def test_a_response_without_an_id_is_resolved_by_name(create):
    """A create response without an id is resolved by looking for the journey's name."""
    nothing = Answer(body={"msdynmkt_isvalid": True, "msdynmkt_errors": "null"})
    assert create(NONE, nothing, found(), WHO, made()).journey_id == ID
    with pytest.raises(CijReplyError, match="has no id"):
        create(NONE, nothing, NONE)


def test_a_missing_privilege_is_named(create, scripted):
    """A refused create names the missing privilege, and no further request follows."""
    no = Answer(403, {"error": {"code": "0x80040220", "message": "missing prvCreatemsdynmkt_journey"}})
    with pytest.raises(CijForbiddenError, match="prvCreatemsdynmkt_journey"):
        create(NONE, no)
    assert len(scripted.requests) == 2


DRAFT, ON_ITS_WAY, LIVE = (Answer(body=row(status)) for status in (1, 4, 2))


@pytest.fixture
def publish(run):
    """Return a function that publishes the journey against these responses."""
    return lambda *answers: run(lambda client: client.publish(ID), *answers)


def test_publish_uses_the_inputs_that_the_organisation_lists(publish, scripted):
    """Publishing a draft sends its id under the input name that the organisation lists."""
    listed = {"uniquename": "JourneyId", "type": 12, "isoptional": False}
    inputs = Answer(body={"value": [{"CustomAPIRequestParameters": [listed]}]})
    publish(DRAFT, inputs, Answer(204))
    assert posts(scripted, PUBLISH) == [{"JourneyId": ID}]


@pytest.mark.parametrize("status", [2, 4, 7, 8])
def test_a_journey_being_published_or_live_is_not_published_again(publish, scripted, status):
    """A journey that is live, or being published, is left alone."""
    publish(Answer(body=row(status)))
    assert len(scripted.requests) == 1


@pytest.mark.parametrize("status", [3, 5, 6, 9, 99])
def test_publish_refuses_any_status_but_draft(publish, scripted, status):
    """A journey in any other status than draft, known or unknown, is refused."""
    with pytest.raises(CijJourneyFailedError, match="only a draft is published"):
        publish(Answer(body=row(status)))
    assert posts(scripted, PUBLISH) == []


def test_a_lost_publish_response_is_resolved_by_status(publish, scripted):
    """After a lost publish response the status shows that the publish was accepted."""
    publish(DRAFT, NONE, LOST, DRAFT, ON_ITS_WAY)
    assert len(posts(scripted, PUBLISH)) == 1


def test_a_lost_publish_that_stays_unclear_is_retryable(publish, scripted):
    """A publish that stays unclear raises a retryable error instead of sending a second one."""
    with pytest.raises(CijUnreachableError, match="a draft still: a retry looks at it first"):
        publish(DRAFT, NONE, LOST, DRAFT)
    assert len(posts(scripted, PUBLISH)) == 1


def test_an_invalid_journey_is_not_published(publish):
    """A publish that the service answers with validation errors raises those errors."""
    with pytest.raises(CijJourneyInvalidError, match="was not published: NonExistingSegment"):
        publish(DRAFT, NONE, made(False, "NonExistingSegment"))


def test_publish_falls_back_to_the_default_input_name(publish, scripted):
    """Where the action's inputs cannot be read, the id goes by its column name."""
    no = Answer(403, {"error": {"code": "0x80040220", "message": "missing prvReadCustomAPI"}})
    publish(DRAFT, no, Answer(204))
    assert posts(scripted, PUBLISH) == [{"msdynmkt_journeyid": ID}]


@pytest.mark.parametrize("kind", [3, 5])
def test_an_entity_input_gets_a_typed_row(kind):
    """An action whose input is an entity gets a row with its type."""
    wanted = {"@odata.type": "Microsoft.Dynamics.CRM.msdynmkt_journey", "msdynmkt_journeyid": ID}
    assert publish_inputs([{"uniquename": "Journey", "type": kind}], ID) == {"Journey": wanted}


@pytest.mark.parametrize("names", [["x"], ["journeyid", "JourneyId2", "x"], ["journey", "msdynmkt_journeyid"]])
def test_unknown_required_inputs_are_refused(names):
    """Required inputs that the client does not know are named in an error."""
    with pytest.raises(CijInputError, match=", ".join(names)):
        publish_inputs([{"uniquename": name, "type": 12} for name in names], ID)


def test_optional_inputs_are_left_out():
    """Optional inputs of the publish action are not sent."""
    inputs = [{"uniquename": "journeyid", "type": 12}, {"uniquename": "x", "type": 10, "isoptional": True}]
    assert publish_inputs(inputs, ID) == {"journeyid": ID}


def test_get_many_sends_one_query(run, scripted):
    """``get_many`` reads all journeys with one query."""
    assert list(run(lambda client: client.get_many([ID]), found())) == [ID]
    assert unquote(scripted.requests[0].path).count(ID) == 1


def test_a_row_without_a_status_is_an_error(run):
    """A row without a status is an unreadable response, not a journey."""
    with pytest.raises(CijReplyError, match="can't be read"):
        run(lambda client: client.get(ID), Answer(body={"msdynmkt_journeyid": ID}))


def test_the_failure_reason_is_optional(run):
    """The failure reason is read in either casing, and is empty where there is none."""
    for name in ("msdynmkt_errorDetails", "msdynmkt_errordetails"):
        assert run(lambda client: client.failure_reason(ID), Answer(body={name: "No."})) == "No."
    assert run(lambda client: client.failure_reason(ID), Answer(body={})) == ""
    assert run(lambda client: client.failure_reason(ID), MISSING) == ""
