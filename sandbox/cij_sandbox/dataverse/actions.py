"""Unbound actions: what each takes, what it answers, and how clients discover them."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from cij_sandbox.core import assumptions, errors, guid
from cij_sandbox.core.assumptions import assumed
from cij_sandbox.core.schema import Table
from cij_sandbox.core.store import Store
from cij_sandbox.core.values import SqlValue, read_moment
from cij_sandbox.core.web import Answer, Request
from cij_sandbox.dataverse.privileges import Privileges
from cij_sandbox.dataverse.rows import fetch, insert
from cij_sandbox.dataverse.tables import CUSTOM_API, CUSTOM_API_PARAMETER, CUSTOM_API_PROPERTY

# Type codes of the customapirequestparameter and customapiresponseproperty tables.
BOOLEAN, DATETIME, DECIMAL, ENTITY, ENTITY_COLLECTION, ENTITY_REFERENCE, FLOAT, INTEGER = 0, 1, 2, 3, 4, 5, 6, 7
STRING, STRING_ARRAY, GUID = 10, 11, 12


@dataclass(frozen=True)
class Parameter:
    """One input of an action. ``read`` converts its value or raises the error for it."""

    name: str
    type: int
    optional: bool = False
    read: Callable[[object], object] | None = None
    default: object = None


@dataclass(frozen=True)
class Action:
    """One action: its inputs, its outputs and what it does. Without outputs the answer is 204.

    An action that is not ``available`` answers 404. ``needs`` is the privilege that it asks for.
    ``write`` turns the body of an answer that is no JSON into bytes. ``answer`` is the assumption of an answer without
    outputs, ``assumes`` that of the action itself: what can't be played is refused.
    """

    name: str
    parameters: tuple[Parameter, ...]
    outputs: Mapping[str, int]
    run: Callable[[dict[str, object]], Mapping[str, object]]
    available: bool = True
    write: Callable[[Mapping[str, object]], object] | None = None
    needs: tuple[Table, str] | None = None
    answer: str = ""
    assumes: str = ""


class Actions:
    """The actions of all subjects.

    ``find_more`` finds those that are added at run time. Those ``elsewhere`` answer 501.
    """

    def __init__(
        self,
        store: Store,
        privileges: Privileges,
        actions: Iterable[Action],
        find_more: Callable[[str], Action | None],
        elsewhere: Collection[str],
    ) -> None:
        self._store = store
        self._privileges = privileges
        self._find_more = find_more
        self._elsewhere = elsewhere
        self.replace(actions)

    def replace(self, actions: Iterable[Action]) -> None:
        """Set the actions, and list them as custom APIs."""
        self._by_name = {action.name: action for action in actions if action.available}
        with self._store.transaction() as connection:
            for action in actions:  # it may be listed otherwise in the file of an earlier start
                unregister(connection, _stable_id(action.name))
                if action.available:
                    register(connection, action.name, action.parameters, action.outputs)

    def find(self, name: str) -> Action | None:
        """Return an action or None; raise the error for one that only the real service has."""
        if name in self._elsewhere:
            raise errors.not_implemented(f"the action '{name}'")
        return self._by_name.get(name) or self._find_more(name)

    def run(self, action: Action, request: Request) -> Answer:
        """Run an action."""
        if action.needs:
            self._privileges.require(*action.needs)
        if action.assumes:
            assumed(action.assumes)
        if action.answer:
            assumptions.check(action.answer, f"{action.name} is not allowed")
        outputs = action.run(_given(action, request))
        body = {"@odata.context": f"{request.context}Microsoft.Dynamics.CRM.{action.name}Response", **outputs}
        if not outputs:
            found = assumed(action.answer) if action.answer else "204"
            if found == "204":
                return Answer(204)
            body |= {"ResultText": "", "StatusCode": 200} if "ResultText" in found else {}
        return Answer(200, action.write(body) if action.write else body)


def register(connection: sqlite3.Connection, name: str, inputs: Iterable[Parameter], outputs: Mapping[str, int]) -> str:
    """Insert an action into the customapi tables unless it is there; return its id."""
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
    """Delete an action from the customapi tables."""
    for table in (CUSTOM_API, CUSTOM_API_PARAMETER, CUSTOM_API_PROPERTY):
        connection.execute(f'DELETE FROM "{table.logical_name}" WHERE customapiid = ?', (api_id,))  # noqa: S608


def _given(action: Action, request: Request) -> dict[str, object]:
    """Return the inputs of an action in the order of its parameters."""
    content = {name: value for name, value in request.json_object("").items() if "@" not in name}
    known = {parameter.name: parameter for parameter in action.parameters}
    for name in content:
        if name not in known:
            raise errors.bad_parameter(
                f"The parameter '{name}' in the request payload is not a valid parameter for the operation "
                f"'{action.name}'."
            )
    given: dict[str, object] = {}
    for parameter in action.parameters:
        if (value := content.get(parameter.name)) is not None:
            given[parameter.name] = _converted(parameter, value)
        elif not parameter.optional:
            raise errors.bad_parameter(
                f"The required parameter '{parameter.name}' of the operation '{action.name}' is missing in the request "
                "payload."
            )
        elif parameter.default is not None:
            given[parameter.name] = parameter.default
    return given


def _converted(parameter: Parameter, value: object) -> object:
    edm, read = _READERS[parameter.type]
    found = read(value)
    if found is None:
        raise errors.bad_parameter(
            f"Cannot convert the value of parameter '{parameter.name}' to the expected type '{edm}'."
        )
    if type(found) is int and not -(2**31) <= found < 2**31:
        raise errors.bad_parameter(f"'{parameter.name}' does not fit Edm.Int32.")
    return parameter.read(found) if parameter.read else found


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
    """Return a row or a reference to one; both name their table."""
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
    GUID: ("Edm.Guid", lambda value: guid.parse_strict(value) if isinstance(value, str) else None),
}


def compact(value: object) -> str:
    """Write JSON without spaces, as it stands in the outputs of actions."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _stable_id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"cij-sandbox:customapi:{name}"))
