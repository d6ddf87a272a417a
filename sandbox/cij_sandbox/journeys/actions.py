"""The actions of journeys: create from a template, create the JSON only, validate, publish."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence

from cij_sandbox.core import assumptions, errors, values
from cij_sandbox.core.assumptions import ASSUMED, assumed
from cij_sandbox.core.background import Background
from cij_sandbox.core.clock import CLOCK
from cij_sandbox.core.schema import Table
from cij_sandbox.core.store import Store
from cij_sandbox.core.values import SqlValue
from cij_sandbox.dataverse.actions import BOOLEAN, DATETIME, ENTITY, GUID, STRING, Action, Parameter
from cij_sandbox.dataverse.privileges import CREATE, READ, WRITE
from cij_sandbox.dataverse.rows import fetch, insert
from cij_sandbox.dataverse.tables import BUSINESS_UNIT
from cij_sandbox.journeys import transitions
from cij_sandbox.journeys.checks import IGNORED_IN_DRAFTS, name_problems, problems
from cij_sandbox.journeys.definition import (
    TRIGGER_TYPES,
    Definition,
    Problem,
    RefusedError,
    as_text,
    document_of,
    moment,
    read,
    set_given,
)
from cij_sandbox.journeys.modifications import modify
from cij_sandbox.journeys.tables import JOURNEY, TEMPLATE

_ID, _NAME, _JSON = "msdynmkt_journeyid", "msdynmkt_journeyname", "msdynmkt_journeyjson"
_TEMPLATE, _CHANGES = "msdynmkt_journeytemplateid", "msdynmkt_jsonpathmodifications"
_START, _END, _MODE = "msdynmkt_journeystarttime", "msdynmkt_journeyendtime", "msdynmkt_createmode"
_UNIT, _MERGED = "msdynmkt_owningbusinessunitid", "msdynmkt_mergesourcejourney"
_VALID, _ERRORS = "msdynmkt_isvalid", "msdynmkt_errors"
_MODES = ("Draft", "Publish")
_NO_UNIT = "00000000-0000-0000-0000-000000000000"
# Assumption: these columns are not copied from the merged journey.
_NOT_MERGED = (_ID, _JSON, "statecode", "statuscode", "msdynmkt_errorDetails")


# Actions that a document or a live organisation names, and the sandbox does not implement.
ELSEWHERE = ("msdynmkt_CreateDraftJourneyVersion", "msdynmkt_EmailRetrieveExactMessages")


class JourneyActions:
    """The actions of journeys."""

    def __init__(self, store: Store, background: Background) -> None:
        self._store = store
        self._background = background
        background.steps.append(transitions.Transitions(background))

    def actions(self) -> tuple[Action, ...]:
        """Return the actions, as documented and assumed."""
        source = (Parameter(_TEMPLATE, GUID), Parameter(_CHANGES, STRING, True))
        times = (Parameter(_START, DATETIME, True), Parameter(_END, DATETIME, True))
        own = (Parameter(_MODE, STRING, True), Parameter(_UNIT, GUID, True), Parameter(_MERGED, ENTITY, True))
        checked = {_VALID: BOOLEAN, _ERRORS: STRING}
        # Assumption: the inputs and outputs of these two. Some of them were observed on one live organisation.
        text = (
            Parameter("msdynmkt_conversationid", STRING, True),
            Parameter("msdynmkt_shouldvalidatecontract", BOOLEAN, True),
            Parameter(_JSON, STRING),
        )
        stored = ASSUMED.is_there("journeys.json-actions")
        publish = assumed("journeys.publish-input") if ASSUMED.can_play("journeys.publish-input") else _ID
        unsaved = (
            Action(
                "msdynmkt_CreateJourneyJsonFromTemplate",
                (*source, Parameter(_NAME, STRING, True), *times),
                {_JSON: STRING, **checked},
                self._create_json,
                available=stored,
                assumes="journeys.json-actions",
                needs=(TEMPLATE, READ),
            ),
            Action(
                "msdynmkt_ValidateJourneyJson",
                text,
                checked,
                self._validate,
                available=stored,
                assumes="journeys.json-actions",
                needs=(JOURNEY, READ),
            ),
        )
        return (
            Action(
                "msdynmkt_CreateJourneyFromTemplate",
                (*source, Parameter(_NAME, STRING), *times, *own),
                {_ID: GUID, **checked},
                self._create,
                needs=(JOURNEY, CREATE),
            ),
            # Assumption: unbound, with the id alone, and without outputs; a document gives only its name.
            Action(
                *("msdynmkt_PublishJourneyV2", (Parameter(publish, GUID),), {}, self._publish),
                available=publish != "missing",
                assumes="journeys.publish-input",
                needs=(JOURNEY, WRITE),
            ),
            *unsaved,
        )

    def _create(self, given: dict[str, object]) -> Mapping[str, object]:
        if given.get(_MODE, "Draft") not in _MODES and assumed("journeys.unknown-mode") != "a draft":
            raise assumptions.refusal("journeys.unknown-mode", f"{_MODE} is neither {' nor '.join(_MODES)}")
        draft = given.get(_MODE, "Draft") != "Publish"
        try:
            with self._store.transaction() as connection:
                journey_id, found = self._save(connection, given, draft=draft)
                if not draft:
                    transitions.begin(connection, journey_id, self._background.done())
        except RefusedError as refusal:
            return self._result(refusal.problems, **{_ID: None})
        self._background.notify()
        return self._result(found, **{_ID: journey_id})

    def _save(
        self, connection: sqlite3.Connection, given: Mapping[str, object], *, draft: bool
    ) -> tuple[str, list[Problem]]:
        """Insert the row of a journey; return its id, and the problems that a draft may have."""
        name, merged = str(given[_NAME]), _merged(given.get(_MERGED))
        fatal = [*name_problems(connection, name), *_unit_problems(connection, given.get(_UNIT))]
        try:
            source, document = self._built(connection, given)
        except RefusedError as refusal:
            raise RefusedError(*fatal, *refusal.problems) from None
        text, journey = json.dumps(document), read(document)
        for column, value in (("msdynmkt_name", name), (_JSON, text)):
            if len(value) > (limit := JOURNEY.by_name[column].max_length):
                fatal.append(Problem("UnableToSaveJourneyEntity", f"{column} is longer than {limit:,} characters."))
        if fatal:
            raise RefusedError(*fatal)
        found = _problems(connection, journey, draft=draft)
        if found and draft:
            assumptions.check("journeys.draft-with-errors", "The journey has errors")
        if found and (not draft or assumed("journeys.draft-with-errors") == "not created"):
            raise RefusedError(*found)
        row: dict[str, SqlValue] = {**merged, **_columns(journey), "msdynmkt_name": name, _JSON: text}
        if source is TEMPLATE:
            row["msdynmkt_templateid"] = str(given[_TEMPLATE])
        if _UNIT in given:
            row["owningbusinessunit"] = str(given[_UNIT])
        return insert(connection, JOURNEY, {**row, "statecode": 0, "statuscode": 1}), found

    def _create_json(self, given: dict[str, object]) -> Mapping[str, object]:
        assumptions.check("journeys.json-answer", "The JSON can't be made")
        connection = self._store.reader()
        try:
            _, document = self._built(connection, given)
        except RefusedError as refusal:
            return self._result(refusal.problems, **{_JSON: None})
        found = _problems(connection, read(document), draft=True)
        return self._result(found, **{_JSON: json.dumps(document)})

    def _validate(self, given: dict[str, object]) -> Mapping[str, object]:
        # Assumption: the name is not checked, because the JSON may be that of an existing journey.
        try:
            journey = read(document_of(str(given[_JSON])))
        except RefusedError as refusal:
            return self._result(refusal.problems)
        return self._result(_problems(self._store.reader(), journey, draft=False))

    def _publish(self, given: dict[str, object]) -> Mapping[str, object]:
        with self._store.transaction() as connection:
            transitions.publish(connection, str(next(iter(given.values()))), self._background.done())
        self._background.notify()
        return {}

    def _built(self, connection: sqlite3.Connection, given: Mapping[str, object]) -> tuple[Table, dict[str, object]]:
        """Return the table of the source, and its JSON with all modifications."""
        source_id = str(given[_TEMPLATE])
        if template := fetch(connection, TEMPLATE, source_id):
            table, text = TEMPLATE, template["msdynmkt_journeytemplatejson"]
        elif source := fetch(connection, JOURNEY, source_id):
            table, text = JOURNEY, source[_JSON]
        else:
            assumptions.check("journeys.unknown-template", f"Journey template {source_id} does not exist")
            code = assumed("journeys.unknown-template").removeprefix("200 ")
            raise RefusedError(Problem(code, f"Journey template with ID: {source_id} does not exist."))
        document = document_of(text or "", "InvalidJourneyJsonInTemplate")
        if _CHANGES in given:
            modify(document, str(given[_CHANGES]))
        read(document)
        name = given.get(_NAME)
        set_given(document, None if name is None else str(name), _time(given, _START), _time(given, _END))
        return table, document

    def _result(self, found: Sequence[Problem], **more: object) -> Mapping[str, object]:
        nothing = {"nothing": ""}.get(given := assumed("journeys.no-errors"), given)
        return {**more, _VALID: not found, _ERRORS: as_text(found, assumed("journeys.errors"), nothing)}


def _problems(connection: sqlite3.Connection, journey: Definition, *, draft: bool) -> list[Problem]:
    found = problems(connection, journey, CLOCK.now())
    return [problem for problem in found if not (draft and problem.code in IGNORED_IN_DRAFTS)]


def _unit_problems(connection: sqlite3.Connection, unit: object) -> Iterator[Problem]:
    if unit == _NO_UNIT:
        yield Problem("InvalidBusinessUnit", "The owning business unit cannot be empty.")
    elif isinstance(unit, str) and fetch(connection, BUSINESS_UNIT, unit) is None:
        yield Problem("NonExistingBusinessUnit", f"Business unit with ID: {unit} does not exist.")


def _merged(source: object) -> dict[str, SqlValue]:
    """Return the columns to copy from ``msdynmkt_mergesourcejourney``."""
    content: dict[str, SqlValue] = {}
    for name, value in source.items() if isinstance(source, dict) else ():
        if "@" in name:
            continue
        column = JOURNEY.by_property.get(name)
        if column is None:
            raise errors.undeclared_in_payload(JOURNEY.logical_name, name)
        if not (column.read_only or column.target or name in _NOT_MERGED):
            content[name] = values.from_json(JOURNEY, column, value)
    return content


def _columns(journey: Definition) -> dict[str, SqlValue]:
    """Return the columns of a row that repeat parts of its JSON."""
    found = {
        "msdynmkt_triggertype": TRIGGER_TYPES.get(journey.trigger_type),
        _START: moment(journey.start),
        _END: moment(journey.end),
    }
    return {name: int(value) for name, value in found.items() if value is not None}


def _time(given: Mapping[str, object], name: str) -> float | None:
    value = given.get(name)
    return value if isinstance(value, float) else None
