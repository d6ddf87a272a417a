"""What an organisation begins with: e-mails, templates that use them, custom triggers, purposes, topics, consent."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Mapping

from cij_sandbox.core.schema import Table
from cij_sandbox.core.store import Store, fold, next_number
from cij_sandbox.core.values import SqlValue
from cij_sandbox.dataverse.rows import BUSINESS_UNIT_ID, USER_ID, insert
from cij_sandbox.journeys.definition import TRIGGER_TYPES
from cij_sandbox.journeys.tables import (
    COMMERCIAL,
    CONSENT,
    EMAIL,
    EMAIL_POINT,
    FOR_PURPOSE,
    INTERNAL,
    NO_REASON,
    OPTED_IN,
    OPTED_OUT,
    PURPOSE,
    TEMPLATE,
    TOPIC,
    TRACKING,
    TRANSACTIONAL,
)
from cij_sandbox.journeys.triggers import define

# The one id that is the same in every organisation; the others are the sandbox's own.
COMMERCIAL_ID = "10000000-0000-0000-0000-000000000003"
_READY, _DRAFT = 2, 1
_EMAILS = {"Welcome": _READY, "Spring sale": _READY, "Order confirmation": _READY, "Summer sale": _DRAFT}
_TOPICS = ("Newsletter", "Product news")
_TRIGGERS: tuple[tuple[str, Mapping[str, str], str], ...] = (
    (
        "msdynmkt_orderplaced",
        {
            "msdynmkt_ordernumber": "string",
            "msdynmkt_total": "decimal",
            "msdynmkt_items": "integer",
            "msdynmkt_express": "boolean",
            "msdynmkt_deliveryon": "datetime",
        },
        "Ready to use",
    ),
    ("msdynmkt_cartabandoned", {"msdynmkt_carturl": "string"}, "Ready to use"),
    ("msdynmkt_birthday", {}, "Draft"),
)


def prepare(store: Store) -> None:
    """Write it all down, the first time; who deletes any of it is rid of it."""
    if store.setting("journeys_prepared"):
        return
    with store.transaction() as connection:
        for name, status in _EMAILS.items():
            _insert(connection, EMAIL, name, msdynmkt_subject=name, statuscode=status)
        for name, kind, document in _templates():
            content: dict[str, SqlValue] = {"msdynmkt_triggertype": kind, "statecode": 1, "statuscode": 2}
            _insert(connection, TEMPLATE, name, msdynmkt_journeytemplatejson=json.dumps(document), **content)
        for trigger in _TRIGGERS:
            define(connection, *trigger)
        _insert(connection, PURPOSE, "Commercial", msdynmkt_purposeid=COMMERCIAL_ID, msdynmkt_type=COMMERCIAL)
        _insert(connection, PURPOSE, "Transactional", msdynmkt_type=TRANSACTIONAL)
        _insert(connection, PURPOSE, "Tracking", msdynmkt_type=TRACKING)
        for name in _TOPICS:
            _insert(connection, TOPIC, name, msdynmkt_purposeid=COMMERCIAL_ID)
        _consents(connection)
        connection.execute("INSERT INTO setting VALUES ('journeys_prepared', 1)")


def _templates() -> list[tuple[str, int, dict[str, object]]]:
    segment: dict[str, object] = {"audience": "", "exclusionSegments": []}
    triggers: list[tuple[str, str, str, dict[str, object]]] = [
        ("One e-mail to a segment", "OneTime", "Spring sale", segment),
        ("One e-mail to a segment, every week", "Recurring", "Spring sale", {**segment, "frequency": "Weekly"}),
        ("Order confirmation", "Event", "Order confirmation", {"eventName": "msdynmkt_orderplaced"}),
    ]
    return [
        (name, TRIGGER_TYPES[kind], _document(name, kind, email, trigger)) for name, kind, email, trigger in triggers
    ]


def _document(name: str, kind: str, email: str, trigger: Mapping[str, object]) -> dict[str, object]:
    """Return the JSON of a journey with one e-mail, as little of it as the actions of journeys know."""
    action_id = _stable_id("action", name)
    action = {"type": "Email", "runAfter": {}, "parameters": {"contentId": _stable_id(EMAIL.logical_name, email)}}
    return {
        "type": 1,
        "typeName": "triggerBased" if kind == "Event" else "scheduled",
        "contentVersion": "1.0.0.0",
        "name": name,
        "targetEntityLogicalNames": ["contact"],
        "trigger": {"type": kind, "parameters": {"startTime": "", "endTime": ""}, **trigger},
        "exitCriteria": {"exitEvents": [], "suppressionSegments": []},
        "actions": {action_id: action},
        "timeZoneWindowsName": "UTC",
    }


def _insert(connection: sqlite3.Connection, table: Table, name: str, **content: SqlValue) -> None:
    state: dict[str, SqlValue] = {"statecode": 0, "statuscode": 1}
    key = {table.key: _stable_id(table.logical_name, name)}
    insert(connection, table, {**state, **key, "msdynmkt_name": name, **content})


def _consents(connection: sqlite3.Connection) -> None:
    """Have one contact in ten opt out of commercial e-mail, and one in ten opt in."""
    people = connection.execute(
        "SELECT rowid, contactid, emailaddress1, createdon FROM contact "
        "WHERE rowid % 10 IN (0, 5) AND emailaddress1 IS NOT NULL ORDER BY rowid"
    ).fetchall()
    # People who share an address share its consent.
    points = {fold(person["emailaddress1"]): person for person in reversed(people)}
    number = next_number(connection, "version", len(points)) - len(points)
    names = [column.name for column in CONSENT.columns]
    fixed: dict[str, SqlValue] = {
        "msdynmkt_contactpointtype": EMAIL_POINT,
        "msdynmkt_contactpointconsenttype": FOR_PURPOSE,
        "msdynmkt_source": INTERNAL,
        "msdynmkt_logicalreason": NO_REASON,
        "msdynmkt_purposeid": COMMERCIAL_ID,
        "statecode": 0,
        "statuscode": 1,
        "owningbusinessunit": BUSINESS_UNIT_ID,
        "ownerid": USER_ID,
    }
    rows = []
    for version, person in enumerate(points.values(), number + 1):
        row = {
            **fixed,
            CONSENT.key: _stable_id(CONSENT.logical_name, person["contactid"]),
            "msdynmkt_contactpointvalue": person["emailaddress1"],
            "msdynmkt_value": OPTED_OUT if person["rowid"] % 10 == 0 else OPTED_IN,
            "createdon": person["createdon"],
            "modifiedon": person["createdon"],
            "versionnumber": version,
        }
        rows.append([row.get(name) for name in names])
    columns, marks = ", ".join(f'"{name}"' for name in names), ", ".join("?" * len(names))
    statement = f'INSERT INTO "{CONSENT.logical_name}" ({columns}) VALUES ({marks})'  # noqa: S608 - names of ours
    connection.executemany(statement, rows)


def _stable_id(kind: str, name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"cij-sandbox:{kind}:{name}"))
