"""Responses about real-time segments and their evaluations."""

from __future__ import annotations

from tests.scripted import Answer

ID, DEFINITION = "0f5b0c7f-395d-447b-b14c-315a601f878e", "5f2e9d6c-2c5e-4e11-be6f-000d3a3e1f2a"
OLD, NEW = "00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b"
BEFORE, NOW = "2026-11-02T02:59:59Z", "2026-11-02T03:00:00Z"
PERSON = "11111111-395d-447b-b14c-315a601f878e"
LINK = "_link_CijSegmentLink"
NO_WORDS = Answer(404, {"error": {"code": "0x80060888", "message": "Resource not found for the segment 'x'."}})
BLIP = Answer(200, b"<html>a gateway's page</html>")
NONE = Answer(body={"value": []})


def segment(status: int, members: int | None = 3) -> Answer:
    """Return a response with a segment in this status."""
    return Answer(
        body={
            "msdynmkt_segmentid": ID,
            "msdynmkt_sourcesegmentuid": DEFINITION,
            "msdynmkt_displayname": "VIP",
            "msdynmkt_baseentitylogicalname": "contact",
            "statuscode": status,
            "msdynmkt_membercount": members,
        }
    )


def evaluation(status: int, began: str = NOW, execution: str = NEW) -> Answer:
    """Return a response with one evaluation of the segment."""
    row = {"msdynmkt_segmentexecutionid": execution, "statuscode": status, "msdynmkt_startedon": began}
    return Answer(body={"value": [row | {"_msdynmkt_segmentdefinitionid_value": DEFINITION}]})


SUCCEEDED, FAILED, IN_PROGRESS, NOT_STARTED = 723270002, 723270003, 723270001, 723270000
