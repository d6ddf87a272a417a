"""Definitions of custom triggers, checks of attribute values, and raising a trigger for one person."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.api.custom_triggers.client import CustomTrigger, CustomTriggers, attributes_of
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.errors import (
    CijInputError,
    CijNotFoundError,
)
from tests.custom_trigger_responses import API, PERSON, STANDARD, trigger_definition
from tests.scripted import Answer

KINDS = {
    "flag": (0, ["true", True], ["maybe", 2, ""]),
    "moment": (1, ["2026-12-01T10:00:00+01:00", datetime(2026, 12, 1, 9, tzinfo=UTC)], ["soon", "2026-12-01"]),
    "decimal": (2, ["1.5", 1.5], ["much", "nan", True, ""]),
    "reference": (5, [{"@odata.type": "x", "id": 1}], ["x", {}]),
    "whole": (7, ["12", 12], ["1.5", "", "a"]),
    "choice": (9, ["534120001"], ["red"]),
    "text": (10, ["hello", 7], ["", [], {}]),
    "texts": (11, [["a", "b"]], ["a", 1]),
    "id": (12, [PERSON.upper()], ["x", ""]),
}
TRIGGER = CustomTrigger(
    "msdynmkt_order",
    "msdynmkt_order",
    534120002,
    STANDARD | {f"msdynmkt_{name}": kind for name, (kind, _, _) in KINDS.items()},
)
GOOD = {name: good[0] for name, (_, good, _) in KINDS.items()}


def test_texts_are_converted_to_the_attributes_type():
    """Texts, as templates render them, are converted to the type of the attribute."""
    assert attributes_of(TRIGGER, GOOD) == {
        "msdynmkt_flag": True,
        "msdynmkt_moment": "2026-12-01T09:00:00Z",
        "msdynmkt_decimal": 1.5,
        "msdynmkt_reference": {"@odata.type": "x", "id": 1},
        "msdynmkt_whole": 12,
        "msdynmkt_choice": 534120001,
        "msdynmkt_text": "hello",
        "msdynmkt_texts": ["a", "b"],
        "msdynmkt_id": PERSON,
    }
    for name, (_, values, _) in KINDS.items():
        assert all(
            attributes_of(TRIGGER, GOOD | {name: value}) == attributes_of(TRIGGER, GOOD)
            for value in values
            if name != "text"
        )


@given(
    st.dictionaries(
        st.sampled_from(sorted(KINDS)), st.sampled_from(["good", "bad", "null", "prefixed", "missing"]), min_size=9
    ),
    st.booleans(),
)
def test_one_error_names_every_wrong_attribute(how, unknown):
    """Attributes that are missing, null, unknown or of another type are all named in one error, and no others."""
    values = {
        ("msdynmkt_" if way == "prefixed" else "") + name: {"bad": KINDS[name][2][0], "null": None}.get(way, GOOD[name])
        for name, way in how.items()
        if way != "missing"
    }
    values |= {"colour": "red"} if unknown else {}
    wrong = {name for name, way in how.items() if way in ("bad", "null", "missing")} | (
        {"colour"} if unknown else set()
    )
    if not wrong:
        assert attributes_of(TRIGGER, values) == attributes_of(TRIGGER, GOOD)
        return
    with pytest.raises(CijInputError) as refused:
        attributes_of(TRIGGER, values)
    assert {part.split()[0] for part in refused.value.message.partition(": ")[2].split("; ")} == wrong


@pytest.mark.parametrize(("kind", "value"), [(name, bad) for name, (_, _, bads) in KINDS.items() for bad in bads])
def test_a_value_of_another_type_is_refused(kind, value):
    """A value of the wrong type is refused by the attribute's name and type, without showing the value."""
    with pytest.raises(CijInputError, match=f"{kind} must be "):
        attributes_of(TRIGGER, GOOD | {kind: value})


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"state": 534120000}, "is draft"),
        ({"state": 534120004}, "is stopped"),
        ({"state": 7}, "is in state 7"),
        ({"inputs": {}}, "can't be read"),
        ({"action": ""}, "can't be read"),
    ],
)
def test_a_trigger_that_is_not_ready_or_not_readable_is_refused(others, message):
    """A trigger is refused unless it is ready to use and its inputs are known."""
    with pytest.raises(CijInputError, match=message):
        attributes_of(replace(TRIGGER, **others), GOOD)


def run_on_triggers(scripted, work, *answers: Answer):
    """Run a coroutine function on the trigger client of the scripted server."""
    scripted.script = list(answers)

    async def main():
        async with DataverseClient(scripted.settings()) as client:
            return await work(CustomTriggers(client))

    return asyncio.run(main())


@pytest.mark.parametrize("name", ["order", "msdynmkt_order"])
def test_a_trigger_is_raised_for_a_person(scripted, name):
    """A raised trigger carries its own attributes and the timestamps and ids that every trigger needs."""

    async def work(events):
        trigger = await events.get(name)
        await events.raise_trigger(trigger, PERSON, attributes_of(trigger, {"text": "hello"}), "lead")

    run_on_triggers(scripted, work, *trigger_definition(), Answer(204))
    assert "msdynmkt_uniquename eq 'msdynmkt_order'" in unquote(scripted.requests[0].path)
    assert API in unquote(scripted.requests[1].path)
    assert scripted.requests[2].path.endswith("/msdynmkt_order")
    body = json.loads(scripted.requests[2].body)
    assert body["msdynmkt_profileid"] == body["msdynmkt_signaluserauthid"] == PERSON
    assert body["bindingid"] == f"lead/{PERSON}"
    assert body["msdynmkt_text"] == "hello"
    assert abs(datetime.fromisoformat(body["msdynmkt_signaltimestamp"]).timestamp() - datetime.now().timestamp()) < 60
    assert set(body) == {*STANDARD, "msdynmkt_text"}


@pytest.mark.parametrize(("rows", "message"), [(0, "There is no custom trigger 'order'"), (2, "There are 2")])
def test_a_missing_or_ambiguous_trigger_name_is_an_error(scripted, rows, message):
    """A name that belongs to no trigger, or to two, is an error."""
    row = {"msdynmkt_uniquename": "msdynmkt_order"}
    with pytest.raises(CijNotFoundError, match=message):
        run_on_triggers(scripted, lambda events: events.get("order"), Answer(body={"value": [row] * rows}))
