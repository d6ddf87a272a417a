"""The actions of outbound marketing, and what precedes each request for it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace

from cij_sandbox.core import errors, guid
from cij_sandbox.core.assumptions import ASSUMED, assumed
from cij_sandbox.core.background import Background
from cij_sandbox.core.schema import Column, Kind
from cij_sandbox.core.store import Store
from cij_sandbox.core.web import Request
from cij_sandbox.dataverse.actions import BOOLEAN, INTEGER, STRING, Action, Parameter, compact
from cij_sandbox.dataverse.expressions import MismatchError, QueryError
from cij_sandbox.dataverse.privileges import READ, WRITE
from cij_sandbox.dataverse.rows import fetch
from cij_sandbox.dataverse.tables import CONTACT, USER_ID
from cij_sandbox.outbound.definitions import contacts_of, problem_of, read_ids
from cij_sandbox.outbound.fetching import by_query
from cij_sandbox.outbound.journeys import FIELDS, validate
from cij_sandbox.outbound.tables import (
    CONTENT_SETTINGS,
    ONE_BUSINESS_UNIT,
    OUTBOUND_JOURNEY,
    OUTBOUND_SEGMENT,
    STATIC,
    WHOLE_ORGANIZATION,
)
from cij_sandbox.outbound.transitions import Tasks, add_task

_PATH = re.compile(r"/*(msdyncrm_\w+)")
_TABLES = {table.set_name: table for table in (OUTBOUND_SEGMENT, OUTBOUND_JOURNEY, CONTENT_SETTINGS)}
_VERBS = {"GET": "Read", "POST": "Create", "PATCH": "Write", "DELETE": "Delete"}
_CHANGES = ("addByIds", "removeByIds", "addByQuery", "removeByQuery")
# Far above the "batches of up to 20.000" of the document, which is a recommendation, no limit.
_MAXIMUM_IDS = 100_000


class Outbound:
    """The actions, which are gone where outbound marketing is, as in every organisation since May 2026."""

    def __init__(self, store: Store, background: Background) -> None:
        self._store = store
        self._tasks = Tasks(store, background)

    def actions(self) -> tuple[Action, ...]:
        """Return the actions, there or not as is assumed."""
        there = not ASSUMED.can_play("outbound.marketing") or assumed("outbound.marketing") == "there"
        return tuple(replace(action, available=there, assumes="outbound.marketing") for action in self._all_actions())

    def enter(self, request: Request) -> None:
        """Carry out due tasks before a request for outbound rows, or raise the error when they are removed."""
        linked = OUTBOUND_SEGMENT.logical_name in request.query
        named = _PATH.match(request.path)
        if named is None and not linked:
            return
        table = OUTBOUND_SEGMENT if linked else _TABLES.get(named[1] if named else "")
        if assumed("outbound.marketing") == "there":
            self._tasks.settle()
        # Assumption: the roles lost their privileges on segments; other rows can still be read and no longer written.
        elif table is not None and (table is OUTBOUND_SEGMENT or request.method != "GET"):
            raise errors.no_privilege(table.logical_name, _VERBS.get(request.method, "Read"), USER_ID)

    def _all_actions(self) -> tuple[Action, ...]:
        optional = [Parameter(name, STRING, True) for name in ("msdyncrm_memberids", "msdyncrm_query")]
        fetching = (
            Parameter("Query", STRING),
            Parameter("FetchXml", STRING),
            Parameter("OwningBusinessUnit", STRING, True),
            Parameter("Scope", INTEGER, True),
            Parameter("TimeZone", INTEGER, True),
        )
        names = {
            column.name: column for column in OUTBOUND_SEGMENT.columns if not column.target and not column.read_only
        }
        segment = {**names, "msdyncrm_query": names["msdyncrm_segmentquery"]}
        result = {"ValidationResult": STRING}
        return (
            Action(
                "msdyncrm_SegmentMembersUpdate",
                (Parameter("msdyncrm_segmentid", STRING), Parameter("msdyncrm_operation", STRING), *optional),
                {"SegmentState": STRING},
                self._update_members,
                needs=(OUTBOUND_SEGMENT, WRITE),
                answer="outbound.change-answer",
            ),
            Action(
                "msdyncrm_FetchContactsByQuery",
                fetching,
                {"Result": STRING},
                self._fetch_contacts,
                needs=(CONTACT, READ),
            ),
            Action(
                "msdyncrm_ValidateSegment",
                _parameters(segment),
                result,
                self._validate_segment,
                needs=(OUTBOUND_SEGMENT, READ),
            ),
            Action(
                "msdyncrm_CustomerJourneyValidate",
                _parameters(FIELDS),
                result,
                self._validate_journey,
                needs=(OUTBOUND_JOURNEY, READ),
            ),
        )

    def _update_members(self, given: dict[str, object]) -> Mapping[str, object]:
        operation = str(given["msdyncrm_operation"])
        segment_id = guid.parse(given["msdyncrm_segmentid"])
        with self._store.transaction() as connection:
            segment = fetch(connection, OUTBOUND_SEGMENT, segment_id)
            if segment is None or segment_id is None:
                raise errors.plug_in(f"Segment {given['msdyncrm_segmentid']!s:.100} was not found")
            if segment["msdyncrm_segmenttype"] != STATIC:
                raise errors.plug_in(f"Segment {segment_id} is not static: its members are those its query finds")
            if operation == "getState":
                waiting = "SELECT count(*) FROM outbound_task WHERE row_id = ? AND kind LIKE '%By%'"
                pending = connection.execute(waiting, (segment_id,)).fetchone()[0]
                word = "Pending" if pending else "Completed"
                _, output, shape = assumed("outbound.get-state").split(" ", 2)
                state = {"state": word, "pendingOperations": pending}
                return {output: word if shape == "text" else compact(state)}
            if operation not in _CHANGES:
                raise errors.plug_in(f"msdyncrm_operation is none of {', '.join(_CHANGES)}, getState")
            if operation.endswith("ByIds"):
                add_task(connection, segment_id, operation, json.dumps(_ids(given.get("msdyncrm_memberids"))))
            else:
                query = str(given.get("msdyncrm_query") or "")
                try:
                    contacts_of(connection, query)
                except QueryError as problem:
                    raise errors.plug_in(f"msdyncrm_query cannot be parsed. {problem.message}") from None
                except MismatchError as problem:
                    raise errors.plug_in(f"msdyncrm_query cannot be run. {problem}") from None
                add_task(connection, segment_id, operation, query)
        return {}

    def _fetch_contacts(self, given: dict[str, object]) -> Mapping[str, object]:
        unit = None
        scope = given.get("Scope", WHOLE_ORGANIZATION)
        if scope == ONE_BUSINESS_UNIT:
            unit = guid.parse(given.get("OwningBusinessUnit"))
            if unit is None:
                raise errors.plug_in("The scope of a business unit needs its id in OwningBusinessUnit")
        elif scope != WHOLE_ORGANIZATION:
            raise errors.plug_in(f"Scope {scope} is neither {WHOLE_ORGANIZATION} nor {ONE_BUSINESS_UNIT}")
        found = by_query(self._store.reader(), str(given["Query"]), str(given["FetchXml"]), unit)
        _, output, shape = assumed("outbound.fetch").split(" ", 2)
        return {output: compact(found["entities"] if shape == "[entities]" else found)}

    def _validate_segment(self, given: dict[str, object]) -> Mapping[str, object]:
        query = given.get("msdyncrm_segmentquery") or given.get("msdyncrm_query")
        problem = problem_of(self._store.reader(), {**given, "msdyncrm_segmentquery": query})
        return {"ValidationResult": compact(problem.as_json() if problem else [])}

    def _validate_journey(self, given: dict[str, object]) -> Mapping[str, object]:
        return {"ValidationResult": validate(self._store.reader(), given).text}


def _parameters(columns: Mapping[str, Column]) -> tuple[Parameter, ...]:
    types = {Kind.INTEGER: INTEGER, Kind.BOOLEAN: BOOLEAN}
    return tuple(Parameter(name, types.get(column.kind, STRING), True) for name, column in columns.items())


def _ids(text: object) -> list[str]:
    ids = read_ids(text)
    if ids is None:
        raise errors.plug_in("msdyncrm_memberids is not a JSON array of ids, written in a string, without a prefix")
    if len(ids) > _MAXIMUM_IDS:
        raise errors.plug_in(f"msdyncrm_memberids has {len(ids):,} ids, at most {_MAXIMUM_IDS:,} are taken at once")
    return ids
