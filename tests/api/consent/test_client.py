"""Reading and writing consent, and finding the people who have opted out."""

from __future__ import annotations

import asyncio
import json
import uuid
from urllib.parse import unquote

import pytest

from airflow_provider_cij.api.consent.client import Consents
from airflow_provider_cij.api.consent.rules import COMMERCIAL, Channel, ConsentTo, ConsentValue
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.errors import CijError, CijForbiddenError, CijInputError
from tests.scripted import Answer

ROW, OTHER, TOPIC = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "abc")
ADDRESS = "Ada+o'test@contoso.test"
OUT, IN = ConsentValue.OPTED_OUT, ConsentValue.OPTED_IN


def rows(*values: int, address: str = ADDRESS) -> Answer:
    """Return a response with rows of consent."""
    return Answer(
        body={
            "value": [
                {
                    "msdynmkt_contactpointconsent4id": row,
                    "msdynmkt_contactpointvalue": address,
                    "msdynmkt_value": value,
                }
                for row, value in zip((ROW, OTHER), values, strict=False)
            ]
        }
    )


@pytest.fixture
def run(scripted):
    """Return a function that runs a coroutine function on the consent client of the scripted server."""

    def go(work, *answers: Answer):
        scripted.script = list(answers)

        async def main():
            async with DataverseClient(scripted.settings()) as client:
                return await work(Consents(client))

        return asyncio.run(main())

    return go


def changes(scripted) -> list[tuple[str, dict]]:
    """Return the requests that wrote something, as method and body."""
    return [(request.method, json.loads(request.body)) for request in scripted.requests if request.method != "GET"]


@pytest.mark.parametrize(
    ("values", "message"), [([], ConsentValue.NOT_SET), ([IN], IN), ([OUT], OUT), ([IN, OUT], OUT), ([5], 534120000)]
)
def test_get_reads_consent_and_a_no_outweighs_a_yes(run, scripted, values, message):
    """``get`` asks for an address and the commercial purpose; where rows disagree, an opt-out counts."""
    assert run(lambda consents: consents.get(ADDRESS), rows(*values)) == message
    path = unquote(scripted.requests[0].path)
    assert "msdynmkt_contactpointvalue eq 'Ada+o''test@contoso.test'" in path
    assert f"msdynmkt_contactpointconsenttype eq 534120000 and _msdynmkt_purposeid_value eq {COMMERCIAL}" in path


def test_get_filters_by_topic_and_channel(run, scripted):
    """``get`` with a topic and a channel filters by both."""
    run(lambda consents: consents.get("+49 1", ConsentTo(topic_id=TOPIC), Channel.TEXT), rows())
    path = unquote(scripted.requests[0].path)
    assert "msdynmkt_contactpointtype eq 534120001" in path
    assert f"msdynmkt_contactpointconsenttype eq 534120001 and _msdynmkt_topicid_value eq {TOPIC}" in path


def test_a_row_that_matches_only_without_accents_is_ignored(run):
    """A row whose address equals the requested one only when accents are ignored is not counted."""
    assert run(lambda consents: consents.get("ada@x"), rows(OUT, address="adá@x")) == ConsentValue.NOT_SET


def test_set_creates_a_row_with_a_derived_id(run, scripted):
    """``set`` creates a missing row under a derived id, so a retry sends the same row again."""
    work = lambda consents: consents.set(f" {ADDRESS} ", OUT, ConsentTo(topic_id=TOPIC), reason="by phone")  # noqa: E731
    assert run(work, rows(), Answer(204)) is True
    assert run(work, rows(), Answer(204)) is True
    (_, row), again = changes(scripted)
    assert again == ("POST", row)
    assert uuid.UUID(row.pop("msdynmkt_contactpointconsent4id")).version == 5
    assert row == {
        "msdynmkt_contactpointvalue": ADDRESS,
        "msdynmkt_contactpointtype": 534120000,
        "msdynmkt_contactpointconsenttype": 534120001,
        "msdynmkt_value": 534120002,
        "msdynmkt_reason": "by phone",
        "msdynmkt_purposeId@odata.bind": f"/msdynmkt_purposes({COMMERCIAL})",
        "msdynmkt_topicId@odata.bind": f"/msdynmkt_topics({TOPIC})",
    }


def test_set_changes_only_rows_that_differ(run, scripted):
    """``set`` patches the row whose value differs and no other."""
    assert run(lambda consents: consents.set(ADDRESS, OUT), rows(OUT, IN), Answer(204)) is True
    assert changes(scripted) == [("PATCH", {"msdynmkt_value": 534120002})]
    assert OTHER in scripted.requests[-1].path
    assert run(lambda consents: consents.set(ADDRESS, OUT), rows(OUT)) is False
    assert len(changes(scripted)) == 1


def test_a_concurrent_create_becomes_an_update(run, scripted):
    """A create that meets a row made at the same moment updates that row instead."""
    there = Answer(412, {"error": {"code": "0x80040237", "message": f"A record for {ADDRESS} exists"}})
    assert run(lambda consents: consents.set(ADDRESS, IN), rows(), there, Answer(204)) is True
    assert [method for method, _ in changes(scripted)] == ["POST", "PATCH"]


@pytest.mark.parametrize("before", [[], [rows()], [rows(IN)]])
def test_errors_hold_no_address(run, before):
    """Messages of the service that repeat an address are withheld from the error and from its traceback."""
    no = Answer(400, {"error": {"code": "0x80048d19", "message": f"Can't take {ADDRESS}."}})
    with pytest.raises(CijError) as error:
        run(lambda consents: consents.set(ADDRESS, OUT), *before, no)
    assert "withheld" in str(error.value)
    assert error.value.code == "0x80048d19"
    assert (error.value.__cause__, error.value.__context__) == (None, None)


def test_a_missing_privilege_is_named(run):
    """A 403 keeps the service's message, which names the missing privilege."""
    no = Answer(403, {"error": {"code": "0x80040220", "message": "missing prvReadmsdynmkt_contactpointconsent4"}})
    with pytest.raises(CijForbiddenError, match="prvReadmsdynmkt_contactpointconsent4"):
        run(lambda consents: consents.get(ADDRESS), no)


def test_an_empty_contact_point_is_refused(run, scripted):
    """An empty contact point is refused before any request is sent."""
    with pytest.raises(CijInputError, match="is empty"):
        run(lambda consents: consents.get(" "), rows())
    assert scripted.requests == []
