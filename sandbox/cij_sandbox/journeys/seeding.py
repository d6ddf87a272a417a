"""The rows of journeys in a new organisation: e-mails, templates that use them, custom triggers."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from cij_sandbox.core.values import SqlValue
from cij_sandbox.dataverse.seeding import insert_named, stable_id
from cij_sandbox.journeys.definition import TRIGGER_TYPES
from cij_sandbox.journeys.tables import EMAIL, TEMPLATE
from cij_sandbox.journeys.triggers import define

_READY, _DRAFT = 2, 1
_EMAILS = {"Welcome": _READY, "Spring sale": _READY, "Order confirmation": _READY, "Summer sale": _DRAFT}
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


def seed(connection: sqlite3.Connection) -> None:
    """Insert the rows."""
    for name, status in _EMAILS.items():
        insert_named(connection, EMAIL, name, msdynmkt_subject=name, statuscode=status)
    for name, kind, document in _templates():
        content: dict[str, SqlValue] = {"msdynmkt_triggertype": kind, "statecode": 1, "statuscode": 2}
        insert_named(connection, TEMPLATE, name, msdynmkt_journeytemplatejson=json.dumps(document), **content)
    for trigger in _TRIGGERS:
        define(connection, *trigger)


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
    """Return the JSON of a journey with one e-mail, with only the properties that the actions read."""
    action_id = stable_id("action", name)
    action = {"type": "Email", "runAfter": {}, "parameters": {"contentId": stable_id(EMAIL.logical_name, email)}}
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
