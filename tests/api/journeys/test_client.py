"""Journeys against a service that says what the test wants."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

import pytest

from airflow_provider_cij.api.journeys import client as journeys
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
    """Answer as the action does."""
    errors = [{"ErrorCode": code, "ErrorMessage": f"{code} it is."} for code in codes]
    return Answer(
        body={"msdynmkt_journeyid": journey, "msdynmkt_isvalid": valid, "msdynmkt_errors": json.dumps(errors)}
    )


def row(status: int = 1, by: str = ME, at: datetime = RUN) -> dict:
    """Make a row of msdynmkt_journeys."""
    return {
        "msdynmkt_journeyid": ID,
        "msdynmkt_name": "Spring",
        "statuscode": status,
        "_createdby_value": by,
        "createdon": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "msdynmkt_journeyjson": "{}",
    }


def found(**others) -> Answer:
    """Answer with the journey of this name."""
    return Answer(body={"value": [row(**others)]})


@pytest.fixture
def run(scripted, monkeypatch):
    """Run a coroutine function on journeys of the scripted server."""
    monkeypatch.setattr(journeys, "LOOKS", (0.0, 0.01))

    def go(work, *answers: Answer):
        scripted.script = list(answers)

        async def main():
            async with DataverseClient(scripted.settings()) as client:
                return await work(Journeys(client))

        return asyncio.run(main())

    return go


@pytest.fixture
def create(run):
    """Create the journey against these answers."""
    return lambda *answers, spec=SPEC: run(lambda one: one.create(spec, RUN), *answers)


def posts(scripted, action: str = CREATE) -> list[dict]:
    """Give what was sent to an action."""
    return [json.loads(asked.body) for asked in scripted.asked if asked.path.endswith(action)]


def test_a_journey_is_created(create, scripted):
    """After a look by its name."""
    verdict = create(NONE, made())
    assert (verdict.valid, verdict.journey_id) == (True, ID)
    assert "msdynmkt_name eq 'Spring'" in unquote(scripted.asked[0].path)
    assert [body["msdynmkt_createmode"] for body in posts(scripted)] == ["Draft"]


def test_each_mistake_is_named(create, scripted):
    """With its code; nothing is sent again."""
    with pytest.raises(CijJourneyInvalidError) as error:
        create(NONE, made(False, "NonExistingSegment", "InvalidStartTime"))
    said = "not valid: NonExistingSegment: NonExistingSegment it is; InvalidStartTime: InvalidStartTime it is."
    assert said in str(error.value)
    assert f"A draft of it may be there, {ID}" in str(error.value)
    assert len(posts(scripted)) == 1


@pytest.mark.parametrize(
    "unclear",
    [LOST, GATEWAY, Answer(200, b"<html>a login page</html>"), made(False, "UnableToSaveJourneyEntityDueToTimeout")],
)
def test_an_unclear_end_is_looked_into(create, scripted, unclear):
    """The journey is there: nothing is sent twice."""
    verdict = create(NONE, unclear, NONE, found(), WHO, made())
    assert verdict.journey_id == ID
    assert len(posts(scripted)) == 1


@pytest.mark.parametrize(("unclear", "kind"), [(LOST, CijUnreachableError), (GATEWAY, CijServerError)])
def test_an_unclear_end_that_stays_so_is_an_error(create, scripted, unclear, kind):
    """That a retry may mend: it looks first. Nothing is sent again here."""
    with pytest.raises(kind) as error:
        create(NONE, unclear, NONE)
    assert "There is no journey 'Spring' yet: a retry looks for it first." in str(error.value)
    assert not error.value.permanent
    assert len(posts(scripted)) == 1


def test_a_retry_finds_what_the_first_try_made(create, scripted):
    """And returns it; what the first try did not live to tell is asked anew."""
    verdict = create(found(), WHO, made(False, "NotReadyToSendMessageState", journey=""))
    assert (verdict.valid, verdict.journey_id, verdict.codes) == (False, ID, {"NotReadyToSendMessageState"})
    assert posts(scripted) == []


def test_a_retry_finds_a_draft_that_is_wrong(create):
    """A cleared task does not pass it for a good one."""
    with pytest.raises(CijJourneyInvalidError, match="InvalidDefinition"):
        create(found(), WHO, made(False, "InvalidDefinition", journey=""))


def test_a_retry_on_an_organisation_that_cant_validate(create):
    """Valid is not known then."""
    assert create(found(), WHO, MISSING).valid is None


@pytest.mark.parametrize("others", [{"by": SEGMENT}, {"at": RUN - timedelta(minutes=6)}])
@pytest.mark.parametrize("first", [[], [NONE, made(False, "DuplicateJourneyName")]])
def test_somebody_elses_journey_is_not_ours(create, scripted, others, first):
    """Made by another user, or before the run was due; found before or after the service says so."""
    with pytest.raises(CijConflictError) as error:
        create(*first, found(**others), WHO)
    assert error.value.code == "DuplicateJourneyName"
    assert error.value.permanent
    assert len(posts(scripted)) == len(first) // 2


def test_a_duplicate_that_is_ours_is_the_one(create):
    """The first try was still at work when this one looked."""
    assert create(NONE, made(False, "DuplicateJourneyName"), found(), WHO, made()).journey_id == ID


def test_publishing_goes_on_with_what_is_there(create, scripted):
    """A draft of an earlier try is published, one on its way is left alone."""
    spec = JourneySpec(TEMPLATE, "Spring", publish=True)
    draft, inputs = Answer(body=row()), NONE
    assert create(found(), WHO, draft, inputs, Answer(204), Answer(body=row(4)), spec=spec).valid is True
    assert posts(scripted, PUBLISH) == [{"msdynmkt_journeyid": ID}]
    assert create(found(status=4), WHO, Answer(body=row(4)), spec=spec).valid is True
    assert len(posts(scripted, PUBLISH)) == 1


@pytest.mark.parametrize(("status", "word"), [(2, "draft"), (6, "computing"), (9, "stopped"), (99, "status 99")])
def test_the_audience_must_be_live(create, scripted, status, word):
    """It says so before the call."""
    segment = Answer(body={"msdynmkt_segmentid": SEGMENT, "msdynmkt_displayname": "VIP", "statuscode": status})
    with pytest.raises(CijInputError, match=f"segment 'VIP', is {word}"):
        create(NONE, segment, spec=JourneySpec(TEMPLATE, "Spring", audience_segment_id=SEGMENT))
    assert posts(scripted) == []


def test_times_are_checked_only_when_they_matter(create, scripted):
    """A retry finds its journey though the start has come meanwhile."""
    spec = JourneySpec(TEMPLATE, "Spring", starts_at=RUN)
    assert create(found(), WHO, made(), spec=spec).journey_id == ID
    with pytest.raises(CijInputError, match="has passed"):
        create(NONE, spec=spec)
    assert posts(scripted) == []


def test_an_organisation_too_old_says_what_it_needs(run, create):
    """By the name of the release."""
    with pytest.raises(CijUnavailableError, match=r"autumn 2025: update the app"):
        create(NONE, MISSING)
    with pytest.raises(CijUnavailableError, match=r"autumn 2025: update the app"):
        run(lambda one: one.validate("{}"), MISSING)


def test_an_answer_without_an_id_is_looked_into(create):
    """It was created all the same."""
    nothing = Answer(body={"msdynmkt_isvalid": True, "msdynmkt_errors": "null"})
    assert create(NONE, nothing, found(), WHO, made()).journey_id == ID
    with pytest.raises(CijReplyError, match="has no id"):
        create(NONE, nothing, NONE)


def test_a_privilege_that_lacks_is_named(create, scripted):
    """And nothing is looked for after a refusal."""
    no = Answer(403, {"error": {"code": "0x80040220", "message": "missing prvCreatemsdynmkt_journey"}})
    with pytest.raises(CijForbiddenError, match="prvCreatemsdynmkt_journey"):
        create(NONE, no)
    assert len(scripted.asked) == 2


DRAFT, ON_ITS_WAY, LIVE = (Answer(body=row(status)) for status in (1, 4, 2))


@pytest.fixture
def publish(run):
    """Publish the journey against these answers."""
    return lambda *answers: run(lambda one: one.publish(ID), *answers)


def test_a_draft_is_published_once(publish, scripted):
    """With what the organisation says that the action takes."""
    listed = {"uniquename": "JourneyId", "type": 12, "isoptional": False}
    inputs = Answer(body={"value": [{"CustomAPIRequestParameters": [listed]}]})
    assert publish(DRAFT, inputs, Answer(204), ON_ITS_WAY).status == 4
    assert posts(scripted, PUBLISH) == [{"JourneyId": ID}]


@pytest.mark.parametrize("status", [2, 4, 7, 8])
def test_what_is_on_its_way_is_not_published(publish, scripted, status):
    """Twice would be once too often."""
    assert publish(Answer(body=row(status))).status == status
    assert len(scripted.asked) == 1


@pytest.mark.parametrize("status", [3, 5, 6, 9, 99])
def test_only_a_draft_is_published(publish, scripted, status):
    """A stop is final, and a status nobody knows is no draft."""
    with pytest.raises(CijJourneyFailedError, match="only a draft is published"):
        publish(Answer(body=row(status)))
    assert posts(scripted, PUBLISH) == []


def test_a_lost_reply_to_publish_is_looked_into(publish, scripted):
    """And the journey is seen on its way."""
    assert publish(DRAFT, NONE, LOST, DRAFT, ON_ITS_WAY).status == 4
    assert len(posts(scripted, PUBLISH)) == 1


def test_a_lost_reply_that_stays_unclear_is_no_second_publish(publish, scripted):
    """A retry looks first."""
    with pytest.raises(CijUnreachableError, match="a draft still: a retry looks at it first"):
        publish(DRAFT, NONE, LOST, DRAFT)
    assert len(posts(scripted, PUBLISH)) == 1


def test_an_invalid_journey_is_not_published(publish):
    """Where the action says so."""
    with pytest.raises(CijJourneyInvalidError, match="was not published: NonExistingSegment"):
        publish(DRAFT, NONE, made(False, "NonExistingSegment"))


def test_the_inputs_may_be_hidden(publish, scripted):
    """Then the journey's id goes by the name that it has elsewhere."""
    no = Answer(403, {"error": {"code": "0x80040220", "message": "missing prvReadCustomAPI"}})
    publish(DRAFT, no, Answer(204), LIVE)
    assert posts(scripted, PUBLISH) == [{"msdynmkt_journeyid": ID}]


@pytest.mark.parametrize("kind", [3, 5])
def test_the_journey_may_be_wanted_as_a_row(kind):
    """With its type."""
    wanted = {"@odata.type": "Microsoft.Dynamics.CRM.msdynmkt_journey", "msdynmkt_journeyid": ID}
    assert publish_inputs([{"uniquename": "Journey", "type": kind}], ID) == {"Journey": wanted}


@pytest.mark.parametrize("names", [["x"], ["journeyid", "JourneyId2", "x"], ["journey", "msdynmkt_journeyid"]])
def test_what_nobody_knows_is_not_guessed(names):
    """It is named, and nothing is sent."""
    with pytest.raises(CijInputError, match=", ".join(names)):
        publish_inputs([{"uniquename": name, "type": 12} for name in names], ID)


def test_optional_inputs_are_left_out():
    """The journey's is enough."""
    inputs = [{"uniquename": "journeyid", "type": 12}, {"uniquename": "x", "type": 10, "isoptional": True}]
    assert publish_inputs(inputs, ID) == {"journeyid": ID}


def test_many_are_read_at_once(run, scripted):
    """With one question."""
    assert list(run(lambda one: one.get_many([ID]), found())) == [ID]
    assert unquote(scripted.asked[0].path).count(ID) == 1


def test_a_row_that_cant_be_read(run):
    """Is no journey."""
    with pytest.raises(CijReplyError, match="can't be read"):
        run(lambda one: one.get(ID), Answer(body={"msdynmkt_journeyid": ID}))


def test_last_words_are_optional(run):
    """In whatever casing, or not at all."""
    for name in ("msdynmkt_errorDetails", "msdynmkt_errordetails"):
        assert run(lambda one: one.last_words(ID), Answer(body={name: "No."})) == "No."
    assert run(lambda one: one.last_words(ID), Answer(body={})) == ""
    assert run(lambda one: one.last_words(ID), MISSING) == ""
