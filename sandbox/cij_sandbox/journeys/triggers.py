"""Provide custom triggers: each published one is an action, and each raised event is recorded."""

from __future__ import annotations

import re
import sqlite3
import uuid
from collections.abc import Mapping

from cij_sandbox.core import errors, values
from cij_sandbox.core.clock import CLOCK
from cij_sandbox.core.store import Store
from cij_sandbox.core.values import SqlValue
from cij_sandbox.dataverse.actions import (
    BOOLEAN,
    DATETIME,
    DECIMAL,
    ENTITY_REFERENCE,
    FLOAT,
    INTEGER,
    STRING,
    Action,
    Parameter,
    register,
    unregister,
)
from cij_sandbox.dataverse.rows import change, fetch, insert
from cij_sandbox.journeys.tables import DRAFT_TRIGGER, READY_TRIGGER, STOPPED_TRIGGER, TRIGGER

MAXIMUM_ATTRIBUTES = 29
_BAD_NAME = '"name" is msdynmkt_ and then lower-case letters, digits and _; it is no entity set'
_SHOWN = 10_000
_NAME = re.compile(r"msdynmkt_[a-z0-9_]{1,90}")
TYPES = {
    "boolean": BOOLEAN,
    "datetime": DATETIME,
    "decimal": DECIMAL,
    "float": FLOAT,
    "integer": INTEGER,
    "reference": ENTITY_REFERENCE,
    "string": STRING,
}
# The state of a trigger and the matching status.
STATES = {"Draft": (DRAFT_TRIGGER, 0), "Ready to use": (READY_TRIGGER, 1), "Stopped": (STOPPED_TRIGGER, 2)}
_PROFILE = "msdynmkt_profileid"
_ALWAYS = (
    Parameter("msdynmkt_signaltimestamp", DATETIME),
    Parameter("msdynmkt_signalingestiontimestamp", DATETIME),
    Parameter("msdynmkt_signaluserauthid", STRING),
    Parameter(_PROFILE, STRING),
    Parameter("bindingid", STRING, True),
)


class Triggers:
    """The custom triggers of the organisation."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, name: str) -> Action | None:
        """Return the action of a trigger, None for a draft."""
        if not name.startswith("msdynmkt_"):
            return None
        connection = self._store.reader()
        query = "SELECT * FROM msdynmkt_eventmetadata WHERE msdynmkt_uniquename = ? AND msdynmkt_customapiid <> ''"
        trigger = connection.execute(query, (name,)).fetchone()
        if trigger is None:
            return None
        query = "SELECT * FROM customapirequestparameter WHERE customapiid = ? ORDER BY rowid"
        inputs = connection.execute(query, (trigger["msdynmkt_customapiid"],)).fetchall()
        parameters = tuple(Parameter(row["uniquename"], row["type"], bool(row["isoptional"])) for row in inputs)

        def run(given: dict[str, object]) -> Mapping[str, object]:
            if trigger["msdynmkt_state"] != READY_TRIGGER:
                # Assumption: the action of a stopped trigger still exists.
                raise errors.plug_in(f"Trigger {name} is not ready to use")
            with self._store.transaction() as writer:
                writer.execute(
                    "INSERT INTO raised_event (trigger_name, profile_id, time) VALUES (?, ?, ?)",
                    (name, given[_PROFILE], CLOCK.now()),
                )
            return {}

        return Action(name, parameters, {}, run)

    def define(self, content: object) -> None:
        """Add or change a trigger, in the format of ``/sandbox/triggers``; raise ValueError for an invalid one."""
        name, attributes, state = _read(content)
        if name in self._store.schema.by_set:
            raise ValueError(_BAD_NAME)
        with self._store.transaction() as connection:
            define(connection, name, attributes, state)

    def shown(self) -> list[dict[str, object]]:
        """Return all triggers as they were defined."""
        connection = self._store.reader()
        codes = {code: name for name, code in TYPES.items()}
        states = {state: name for name, (state, _) in STATES.items()}
        own = {parameter.name for parameter in _ALWAYS}
        found: list[dict[str, object]] = []
        for row in connection.execute("SELECT * FROM msdynmkt_eventmetadata ORDER BY msdynmkt_uniquename").fetchall():
            action = self.find(row["msdynmkt_uniquename"])
            inputs = action.parameters if action else ()
            attributes = {given.name: codes[given.type] for given in inputs if given.name not in own}
            name, state = row["msdynmkt_uniquename"], states[row["msdynmkt_state"]]
            found.append({"name": name, "attributes": attributes, "state": state})
        return found

    def raised(self, since: int, name: str | None) -> list[dict[str, object]]:
        """Return the events after a number, of one trigger or of all, without the values of attributes."""
        query = "SELECT * FROM raised_event WHERE number > ? AND ? IN (trigger_name, '') ORDER BY number LIMIT ?"
        return [
            {
                "number": row["number"],
                "trigger": row["trigger_name"],
                "profile_id": row["profile_id"],
                "time": values.write_moment(row["time"]),
            }
            for row in self._store.reader().execute(query, (since, name or "", _SHOWN))
        ]


def define(connection: sqlite3.Connection, name: str, attributes: Mapping[str, str], state: str) -> None:
    """Insert or update a trigger, with its action when it has been published."""
    row_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"cij-sandbox:trigger:{name}"))
    number, status = STATES[state]
    row: dict[str, SqlValue] = {
        "msdynmkt_name": name.removeprefix("msdynmkt_"),
        "msdynmkt_uniquename": name,
        "msdynmkt_state": number,
        "msdynmkt_eventmetadatastatus": DRAFT_TRIGGER + status,
        "msdynmkt_customapiid": None,
        "statecode": 0,
        "statuscode": 1,
    }
    before = fetch(connection, TRIGGER, row_id)
    if before and before["msdynmkt_customapiid"]:
        unregister(connection, before["msdynmkt_customapiid"])
    if state != "Draft":
        inputs = (*_ALWAYS, *(Parameter(attribute, TYPES[kind]) for attribute, kind in attributes.items()))
        row["msdynmkt_customapiid"] = register(connection, name, inputs, {})
    if before:
        change(connection, TRIGGER, row_id, row)
    else:
        insert(connection, TRIGGER, {**row, "msdynmkt_eventmetadataid": row_id})


def _read(content: object) -> tuple[str, dict[str, str], str]:
    """Read ``{"name": "msdynmkt_...", "attributes": {"msdynmkt_...": "string"}, "state": "Ready to use"}``."""
    if not isinstance(content, dict) or not content.keys() <= {"name", "attributes", "state"}:
        raise ValueError('A trigger is a JSON object with "name", "attributes" and "state"')
    name, attributes = content.get("name"), content.get("attributes", {})
    state = content.get("state", "Ready to use")
    if not _is_name(name):
        raise ValueError(_BAD_NAME)
    if not isinstance(attributes, dict) or len(attributes) > MAXIMUM_ATTRIBUTES:
        raise ValueError(f'"attributes" is an object of {MAXIMUM_ATTRIBUTES:,} attributes at most')
    taken = {parameter.name for parameter in _ALWAYS}
    for attribute, kind in attributes.items():
        if not _is_name(attribute) or attribute in taken or kind not in tuple(TYPES):
            raise ValueError(
                f"An attribute has a name as triggers have and one of the types {', '.join(TYPES)}; every trigger has "
                f"{', '.join(sorted(taken))} besides"
            )
    if state not in tuple(STATES):
        raise ValueError(f'"state" is one of {", ".join(STATES)}')
    return str(name), attributes, str(state)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None
