"""Responses about real-time journeys."""

from __future__ import annotations

import json

from tests.scripted import Answer

ID, TEMPLATE, SEGMENT = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "abc")
NONE, LOST, BLIP = Answer(body={"value": []}), Answer(hang_up=True), Answer(200, b"<html>a gateway's page</html>")
LINK = "_link_CijJourneyLink"


def journey(status: int, **others) -> Answer:
    """Return a response with a journey in this status."""
    return Answer(body={"msdynmkt_journeyid": ID, "msdynmkt_name": "Spring", "statuscode": status, **others})


def validation_result(valid: bool, *errors: dict) -> Answer:
    """Return a response of the actions that validate a journey."""
    body = {"msdynmkt_journeyid": ID, "msdynmkt_isvalid": valid, "msdynmkt_errors": json.dumps(errors)}
    return Answer(body=body)
