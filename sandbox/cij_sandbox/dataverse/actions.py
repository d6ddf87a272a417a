"""The unbound actions of real-time journeys: what each takes, what it answers."""

from __future__ import annotations

import json
import re
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from cij_sandbox.core import errors, guid
from cij_sandbox.core.behaviours import Switches
from cij_sandbox.core.store import Store
from cij_sandbox.core.values import SqlValue, read_moment
from cij_sandbox.core.web import Answer, Request
from cij_sandbox.dataverse.rows import fetch, insert
from cij_sandbox.dataverse.tables import CUSTOM_API, CUSTOM_API_PARAMETER, CUSTOM_API_PROPERTY
from cij_sandbox.segments.definitions import segments_of
from cij_sandbox.segments.members import PAGE, Members
from cij_sandbox.segments.publishing import Publisher

# Type codes of the customapirequestparameter and customapiresponseproperty tables.
BOOLEAN, DATETIME, DECIMAL, ENTITY, ENTITY_COLLECTION, ENTITY_REFERENCE, FLOAT, INTEGER = 0, 1, 2, 3, 4, 5, 6, 7
STRING, STRING_ARRAY, GUID = 10, 11, 12
_MEMBERS, _STOP = "msdynmkt_MembersList", "msdynmkt_StopSegments"
_GUID_NAMES = ("SegmentId", "GroupId")
# Actions the product has (documented or seen on a live organisation) and the sandbox has not.
_NOT_HERE = re.compile(r"msdynmkt_(CreateDraftJourneyVersion|EmailRetrieveExactMessages)")


@dataclass(frozen=True)
class Parameter:
    """One input of an action."""

    name: str
    type: int
    optional: bool = False


@dataclass(frozen=True)
class Action:
    """One action: its inputs, its outputs and what it does. Without outputs the answer is 204."""

    name: str
    parameters: tuple[Parameter, ...]
    outputs: Mapping[str, int]
    run: Callable[[dict[str, object]], Mapping[str, object]]


class Actions:
    """All actions of the sandbox, by name."""

    def __init__(
        self,
        store: Store,
        members: Members,
        publisher: Publisher,
        switches: Switches,
        more: tuple[Action, ...] = (),
    ) -> None:
        segment, group = Parameter("SegmentId", STRING), Parameter("GroupId", STRING)
        ids = Parameter("EntityIds", STRING_ARRAY)
        result = {"StatusCode": INTEGER, "ResultText": STRING}

        def add(given: dict[str, object]) -> Mapping[str, object]:
            members.add(*_group_and_ids(given))
            return {}

        # Assumption: Remove answers 204 as Add does.
        def remove(given: dict[str, object]) -> Mapping[str, object]:
            members.remove(*_group_and_ids(given))
            return {}

        def list_group(given: dict[str, object]) -> Mapping[str, object]:
            page, size = _positive(given, "PageNo"), _positive(given, "PageSize")
            found = members.group_page(str(given["SegmentId"]), str(given["GroupId"]), page, size)
            return {"Response": _compact({"entityIds": found, "additionalProperties": {}})}

        def publish(given: dict[str, object]) -> Mapping[str, object]:
            publisher.publish(str(given["SegmentId"]))
            return {}

        def list_members(given: dict[str, object]) -> Mapping[str, object]:
            # What is printed has no pages, so in that form everybody is on the first.
            default = 2**31 - 1 if switches.malformed_members else PAGE
            page, size = _positive(given, "PageNumber", 1), _positive(given, "PageSize", default)
            text = _compact(members.computed_page(str(given["SegmentId"]), page, size))
            return {"StatusCode": 200, "ResultText": text}

        def status(given: dict[str, object]) -> Mapping[str, object]:
            return {"StatusCode": 200, "ResultText": _compact(publisher.status(str(given["SegmentId"])))}

        def stop(given: dict[str, object]) -> Mapping[str, object]:
            return publisher.stop_segments(_texts(given["SegmentIdList"]))

        # Assumption: MembersList is paged by these two; its answer shows pages, no document shows its inputs.
        paging = (Parameter("PageNumber", INTEGER, True), Parameter("PageSize", INTEGER, True))
        one_based = (Parameter("PageNo", INTEGER), Parameter("PageSize", INTEGER))
        actions = (
            Action("msdynmkt_AddStaticMembers", (segment, group, ids), {}, add),
            Action("msdynmkt_RemoveStaticMembers", (segment, group, ids), {}, remove),
            Action("msdynmkt_ListGroupMembers", (segment, group, *one_based), {"Response": STRING}, list_group),
            Action("msdynmkt_PublishSegmentDefinition", (segment,), {}, publish),
            Action(_MEMBERS, (segment, *paging), result, list_members),
            Action("msdynmkt_SegmentStatus", (segment,), result, status),
            Action(
                _STOP,
                (Parameter("SegmentIdList", STRING_ARRAY),),
                {"summary": STRING, "stopSingleSegmentResults": ENTITY_COLLECTION},
                stop,
            ),
            *more,
        )
        self._store = store
        self._switches = switches
        self._by_name = {
            action.name: action for action in actions if action.name != _STOP or not switches.without_stop_segments
        }
        self._register(store)

    def find(self, name: str) -> Action | None:
        """Return an action of this list."""
        return self._by_name.get(name)

    def refuse_unimplemented(self, name: str) -> None:
        """Say so when an action exists elsewhere and not here."""
        if _NOT_HERE.fullmatch(name):
            raise errors.not_implemented(f"the action '{name}'")

    def run(self, action: Action, request: Request) -> Answer:
        """Run an action."""
        given = _given(action, request)
        if self._switches.segment_id_is_definition_id and "SegmentId" in given:
            of_definition = segments_of(self._store.reader(), str(given["SegmentId"]))
            given["SegmentId"] = of_definition[0] if of_definition else given["SegmentId"]
        outputs = action.run(given)
        if not outputs:
            return Answer(204)
        body = {"@odata.context": f"{request.context}Microsoft.Dynamics.CRM.{action.name}Response", **outputs}
        if self._switches.malformed_members and action.name == _MEMBERS:
            return Answer(200, _as_printed(body))
        return Answer(200, body)

    def _register(self, store: Store) -> None:
        """List the actions in the customapi tables, where clients discover them; triggers see to themselves."""
        own = (
            "SELECT customapiid, uniquename FROM customapi WHERE customapiid NOT IN "
            "(SELECT msdynmkt_customapiid FROM msdynmkt_eventmetadata WHERE msdynmkt_customapiid IS NOT NULL)"
        )
        with store.transaction() as connection:
            for row in connection.execute(own).fetchall():
                if row["uniquename"] not in self._by_name:  # in a file of before it was switched off
                    unregister(connection, row["customapiid"])
            for action in self._by_name.values():
                register(connection, action.name, action.parameters, action.outputs)


def register(connection: sqlite3.Connection, name: str, inputs: Iterable[Parameter], outputs: Mapping[str, int]) -> str:
    """List an action in the customapi tables, if it is not there; return its id."""
    api_id = _stable_id(name)
    if fetch(connection, CUSTOM_API, api_id):
        return api_id
    api: dict[str, SqlValue] = {"uniquename": name, "name": name, "displayname": name, "isfunction": 0}
    insert(connection, CUSTOM_API, {"customapiid": api_id, **api, "bindingtype": 0})
    for given in inputs:
        child: dict[str, SqlValue] = {"uniquename": given.name, "name": given.name, "type": given.type}
        key = {"customapirequestparameterid": _stable_id(f"{name} < {given.name}"), "customapiid": api_id}
        insert(connection, CUSTOM_API_PARAMETER, {**key, **child, "isoptional": int(given.optional)})
    for output, type_code in outputs.items():
        child = {"uniquename": output, "name": output, "type": type_code}
        key = {"customapiresponsepropertyid": _stable_id(f"{name} > {output}"), "customapiid": api_id}
        insert(connection, CUSTOM_API_PROPERTY, {**key, **child})
    return api_id


def unregister(connection: sqlite3.Connection, api_id: str) -> None:
    """Take an action off the customapi tables."""
    for table in (CUSTOM_API, CUSTOM_API_PARAMETER, CUSTOM_API_PROPERTY):
        connection.execute(f'DELETE FROM "{table.logical_name}" WHERE customapiid = ?', (api_id,))  # noqa: S608


def _as_printed(body: Mapping[str, object]) -> bytes:
    """Write a reply of MembersList the way the documents print it: all ids in one string, one quote not escaped."""
    result = json.loads(str(body["ResultText"]))
    names = ("baseEntityLogicalName", "primaryKeyColumnName", "members", "additionalProperties")
    printed = {name: result[name] for name in names}
    printed["members"] = [", ".join(result["members"])] if result["members"] else []
    text = _compact({**body, "ResultText": _compact(printed)})
    return text.replace('\\"],', '"],', 1).encode()


def _given(action: Action, request: Request) -> dict[str, object]:
    content = {name: value for name, value in request.json_object("").items() if "@" not in name}
    known = {parameter.name: parameter for parameter in action.parameters}
    for name in content:
        if name not in known:
            raise errors.bad_payload(
                "",
                f"Microsoft.OData.ODataException: The parameter '{name}' in the request payload is not a valid "
                f"parameter for the operation '{action.name}'.",
            )
    for parameter in action.parameters:
        if content.get(parameter.name) is None:
            if parameter.optional:
                content.pop(parameter.name, None)
                continue
            raise errors.bad_payload(
                "",
                f"Microsoft.OData.ODataException: The required parameter '{parameter.name}' of the operation "
                f"'{action.name}' is missing in the request payload.",
            )
        content[parameter.name] = _converted(parameter, content[parameter.name])
    return content


def _converted(parameter: Parameter, value: object) -> object:
    edm, read = _READERS[parameter.type]
    found = read(value)
    if found is None:
        raise errors.bad_payload(
            "",
            f"Microsoft.OData.ODataException: Cannot convert the value of parameter '{parameter.name}' to the expected "
            f"type '{edm}'.",
        )
    if parameter.name in _GUID_NAMES:
        segment_or_group = guid.loose(str(value))
        if segment_or_group is None:
            raise errors.plug_in(f"{parameter.name} '{value!s:.100}' is not a GUID")
        return segment_or_group
    if type(found) is int and not -(2**31) <= found < 2**31:
        raise errors.bad_payload("", f"Microsoft.OData.ODataException: '{parameter.name}' does not fit Edm.Int32.")
    return found


def _only(*types: type) -> Callable[[object], object]:
    return lambda value: value if type(value) in types else None


def _text(value: object) -> str | None:
    try:
        return value if isinstance(value, str) and value.encode() is not None else None
    except UnicodeEncodeError:  # half a surrogate pair is JSON, but it is not text
        return None


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except OverflowError:
        return None


def _reference(value: object) -> object:
    """Return a row or a reference to one, which says of what table it is."""
    return value if isinstance(value, dict) and isinstance(value.get("@odata.type"), str) else None


_READERS: Mapping[int, tuple[str, Callable[[object], object]]] = {
    BOOLEAN: ("Edm.Boolean", _only(bool)),
    DATETIME: ("Edm.DateTimeOffset", lambda value: read_moment(value) if isinstance(value, str) else None),
    DECIMAL: ("Edm.Decimal", _number),
    ENTITY: ("Microsoft.Dynamics.CRM.crmbaseentity", _reference),
    ENTITY_REFERENCE: ("Microsoft.Dynamics.CRM.crmbaseentity", _reference),
    FLOAT: ("Edm.Double", _number),
    INTEGER: ("Edm.Int32", _only(int)),
    STRING: ("Edm.String", _text),
    STRING_ARRAY: ("Collection(Edm.String)", _only(list)),
    GUID: ("Edm.Guid", lambda value: guid.strict(value) if isinstance(value, str) else None),
}


def _group_and_ids(given: Mapping[str, object]) -> tuple[str, str, list[bytes]]:
    # Assumption: an id that is no GUID refuses the call as a whole, an empty list is a call that does nothing.
    packed = []
    written = given["EntityIds"]
    for value in written if isinstance(written, list) else ():
        found = guid.loose(value) if isinstance(value, str) else None
        if found is None:
            raise errors.plug_in(f"EntityIds contains {value!r:.100}, which is not a GUID")
        packed.append(guid.to_bytes(found))
    return str(given["SegmentId"]), str(given["GroupId"]), packed


def _texts(value: object) -> list[str]:
    texts = [text for text in value if isinstance(text, str)] if isinstance(value, list) else []
    if texts != value:
        raise errors.bad_payload("", "Microsoft.OData.ODataException: Cannot convert a value to 'Edm.String'.")
    return texts


def _positive(given: Mapping[str, object], name: str, default: int = 0) -> int:
    value = given.get(name, default)
    if not isinstance(value, int) or value < 1:
        raise errors.plug_in(f"{name} must be a number >= 1, it is {value}")
    return value


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _stable_id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"cij-sandbox:customapi:{name}"))
