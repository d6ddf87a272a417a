"""The status transitions of a journey: published, refused, live, completed."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from ..organisation import running_organisation
from .helpers import CREATE, content_path, create, email, live_segment, named, row, template, walk

NOBODY = "00000000-0000-4000-8000-00000000beef"
V2 = "msdynmkt_PublishJourneyV2"
PUBLISHING, LIVE, DRAFT = (3, 4), (1, 2), (0, 1)


def refusal(reply):
    """Return the message of an error."""
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "0x80040265")
    return reply.json()["error"]["message"]


def details(org, journey):
    """Return the codes in the error details of a journey."""
    return [error["ErrorCode"] for error in json.loads(row(org, journey)["msdynmkt_errorDetails"])]


def at(now, **later):
    """Return a time some time after another."""
    return (now + timedelta(**later)).isoformat()


def test_a_draft_is_published(org):
    """PublishJourneyV2 answers 204; the journey is Publishing, then Live, and its segment is in use and kept."""
    segment = live_segment(org)
    journey, _, _ = create(org, None, {"$.trigger.audience": segment})
    assert org.get(f"msdynmkt_segments({segment})")["msdynmkt_publishedjourneycount"] in (0, None)
    assert org.post(V2, {"msdynmkt_journeyid": journey}).content == b""
    assert "Publishing" in refusal(org.web.delete(f"msdynmkt_journeys({journey})"))
    assert "only a Draft" in refusal(org.web.post(V2, json={"msdynmkt_journeyid": journey}))
    assert walk(org, journey, 2) == [PUBLISHING, LIVE]
    assert row(org, journey)["msdynmkt_errorDetails"] is None
    assert org.get(f"msdynmkt_segments({segment})")["msdynmkt_publishedjourneycount"] == 1
    (result,) = org.post("msdynmkt_StopSegments", {"SegmentIdList": [segment]}, 200).json()["stopSingleSegmentResults"]
    assert (result["WasStopped"], result["DependentJourneys"]) == (False, [journey])
    assert journey in refusal(org.web.delete(f"msdynmkt_segments({segment})"))
    assert "Live" in refusal(org.web.delete(f"msdynmkt_journeys({journey})"))
    assert "is Live" in refusal(org.web.post(V2, json={"msdynmkt_journeyid": journey}))


def test_a_journey_is_created_and_published_at_once(org):
    """In Publish mode the answer has the id of a journey that is Publishing, not yet Live."""
    journey, errors, _ = create(org, None, {"$.trigger.audience": live_segment(org)}, createmode="Publish")
    assert errors == []
    assert walk(org, journey, 2) == [PUBLISHING, LIVE]


def test_what_is_wrong_brings_a_journey_back_to_draft(org):
    """A segment or an e-mail that is not ready makes the journey a draft again, with reasons, until it is ready."""
    _, document = template(org)
    segment, _ = org.segment("PROFILE(contact).FILTER(ISNULL(lastname))")
    changes = {"$.trigger.audience": segment, content_path(document): email(org, 1)}
    journey, _, _ = create(org, None, changes)
    org.post(V2, {"msdynmkt_journeyid": journey})
    assert walk(org, journey, 1) == [PUBLISHING, DRAFT]
    assert details(org, journey) == ["SegmentNotInLiveState", "NotReadyToSendMessageState"]
    assert org.publish(segment) == 1
    text = row(org, journey)["msdynmkt_journeyjson"].replace(email(org, 1), email(org, 2))
    assert org.web.patch(f"msdynmkt_journeys({journey})", json={"msdynmkt_journeyjson": text}).status_code == 204
    org.post(V2, {"msdynmkt_journeyid": journey})
    assert walk(org, journey, 2) == [PUBLISHING, LIVE]
    assert row(org, journey)["msdynmkt_errorDetails"] is None


@pytest.mark.parametrize(("text", "code"), [(None, "InvalidJson"), ("{}", "InvalidDefinition")])
def test_rows_of_any_kind_may_be_asked_to_publish(org, text, code):
    """A row that a client inserted is validated like any other; its name must be unique."""
    name = f"journey {uuid.uuid4()}"
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    for row_id in (first, second):
        body = {"msdynmkt_journeyid": row_id, "msdynmkt_name": name, "msdynmkt_journeyjson": text}
        org.post("msdynmkt_journeys", body)
    org.post(V2, {"msdynmkt_journeyid": second})
    walk(org, second, 1)
    assert details(org, second) == ["DuplicateJourneyName", code]


def test_publishing_nothing(org):
    """An unknown journey is refused by the action, an id that is no GUID by OData."""
    assert "was not found" in refusal(org.web.post(V2, json={"msdynmkt_journeyid": NOBODY}))
    for body in ({}, {"msdynmkt_journeyid": "x"}, {"msdynmkt_journeyid": NOBODY, "x": 1}):
        assert org.post(V2, body, 400).json()["error"]["code"] == "0x80048d19"
    assert org.web.get(V2).status_code == 404


def test_a_name_is_taken_once(org):
    """Of concurrent requests for the same name only one gets a journey."""
    segment, name = live_segment(org), f"journey {uuid.uuid4()}"

    def ask(_):
        return create(org, None, {"$.trigger.audience": segment}, journeyname=name)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    made = [journey for journey, _, _ in answers if journey]
    assert [errors for _, errors, _ in answers].count(["DuplicateJourneyName"]) == 7
    assert named(org, answers[0][2]) == made


def test_a_journey_ends_by_the_clock(moving):
    """A journey is Live until its end time, then Completing and Completed, and its segment is unused again."""
    segment = live_segment(moving)
    now = moving.advance()
    times = {"journeystarttime": at(now, hours=1), "journeyendtime": at(now, days=3)}
    journey, errors, _ = create(moving, None, {"$.trigger.audience": segment}, createmode="Publish", **times)
    assert errors == []
    walk(moving, journey, 2)
    moving.advance(days=2)
    assert row(moving, journey)["statuscode"] == 2
    moving.advance(days=1)
    assert walk(moving, journey, 8) == [(5, 7), (6, 8)]
    assert moving.get(f"msdynmkt_segments({segment})")["msdynmkt_publishedjourneycount"] == 0
    (result,) = moving.post("msdynmkt_StopSegments", {"SegmentIdList": [segment]}, 200).json()[
        "stopSingleSegmentResults"
    ]
    assert result["WasStopped"] is True
    assert "is Completed and cannot be deleted; it has been live" in refusal(
        moving.web.delete(f"msdynmkt_journeys({journey})")
    )


def test_a_draft_whose_time_has_passed(moving):
    """The times of a draft must still be in the future when it is published."""
    now = moving.advance()
    times = {"journeystarttime": at(now, hours=1), "journeyendtime": at(now, days=30)}
    journey, errors, _ = create(moving, None, {"$.trigger.audience": live_segment(moving)}, **times)
    assert errors == []
    moving.advance(hours=2)
    moving.post(V2, {"msdynmkt_journeyid": journey})
    walk(moving, journey, 1)
    assert details(moving, journey) == ["InvalidStartTime"]
    copied, errors, _ = create(moving, journey)
    assert (errors, row(moving, copied)["statuscode"]) == (["InvalidStartTime"], 1)
    later = {"journeystarttime": at(now, days=1)}
    assert create(moving, journey, createmode="Publish", **later)[1] == []


def test_publishing_goes_on_after_a_restart(tmp_path):
    """A journey that was Publishing when the sandbox stopped goes live in the next one."""
    state = ("--state", str(tmp_path / "state.sqlite"), "--contacts", "5")
    with running_organisation(*state, "--compute-seconds", "0") as organisation:
        segment = live_segment(organisation)
    with running_organisation(*state, "--compute-seconds", "2") as organisation:
        assert len(organisation.get("msdynmkt_journeytemplates")["value"]) == 3
        journey, _, _ = create(organisation, None, {"$.trigger.audience": segment}, createmode="Publish")
    with running_organisation(*state) as organisation:
        assert walk(organisation, journey, 2)[-1] == LIVE


@pytest.mark.parametrize("processed", [True, False])
def test_saving_times_out_on_demand(org, processed):
    """The save timeout answers with its documented code, whether or not a journey was created."""
    segment = live_segment(org)
    org.sandbox.faults.add("save_timeout", processed=processed, count=1)
    try:
        journey, errors, body = create(org, None, {"$.trigger.audience": segment})
        assert (journey, errors) == (None, ["UnableToSaveJourneyEntityDueToTimeout"])
        assert len(named(org, body)) == int(processed)
        reply = org.post(CREATE, body, 200).json()
        assert ("DuplicateJourneyName" in reply["msdynmkt_errors"]) is processed
        assert len(named(org, body)) == 1
        assert org.sandbox.faults.struck() == [1]
    finally:
        org.sandbox.faults.clear()


def test_errors_as_a_live_organisation_has_them(tmp_path):
    """Options rename the errors, make none null, and remove the undocumented actions."""
    state = ("--state", str(tmp_path / "state.sqlite"), "--compute-seconds", "0")
    unsaved = ("msdynmkt_CreateJourneyJsonFromTemplate", "msdynmkt_ValidateJourneyJson")
    listed = "customapis?$filter=uniquename eq '{}'"
    with running_organisation(*state) as organisation:
        assert [len(organisation.get(listed.format(name))["value"]) for name in unsaved] == [1, 1]
    with running_organisation(*state, "--journey-errors", "live", "--without-journey-json") as organisation:
        body = {"msdynmkt_journeytemplateid": NOBODY, "msdynmkt_journeyname": "Spring"}
        reply = organisation.post(CREATE, body, 200).json()
        (error,) = json.loads(reply["msdynmkt_errors"])
        assert error.keys() == {"errorCode", "errorMessage"}
        source, _ = template(organisation, "Order confirmation")
        reply = organisation.post(CREATE, {**body, "msdynmkt_journeytemplateid": source}, 200).json()
        assert (reply["msdynmkt_isvalid"], reply["msdynmkt_errors"]) == (True, "null")
        for name in unsaved:
            assert organisation.post(name, {}, 404).json()["error"]["code"] == "0x80060888"
            assert organisation.get(listed.format(name))["value"] == []
        assert len(organisation.get(listed.format("msdynmkt_orderplaced"))["value"]) == 1
