"""Responses about outbound segments and journeys."""

from __future__ import annotations

import json

from tests.scripted import Answer

DRAFT, LIVE, STOPPED, EXPIRED, ERROR, GOING_LIVE, STOPPING = (
    *(192350000, 192350001, 192350002, 192350004, 192350005, 192350006, 192350007),
)
MADE = Answer(204)


def journey(status: int, **others) -> Answer:
    """Return a response with a journey in this status."""
    row = {"@odata.etag": 'W/"7"', "msdyncrm_customerjourneyid": ID, "msdyncrm_name": "VIP", "statuscode": status}
    return Answer(body=row | others)


def state(**fields) -> Answer:
    """Return a response to getState."""
    return Answer(body={"SegmentState": json.dumps(fields)})


ID = "ce97cb9d-bd75-ea11-a811-000d3a8e8fcc"
GONE = Answer(404, {"error": {"code": "0x80040217", "message": "Does Not Exist"}})


def segment(status: int, kind: int = 192350001, **others) -> Answer:
    """Return a response with an outbound segment in this status."""
    row = {"@odata.etag": 'W/"7"', "msdyncrm_segmentid": ID, "msdyncrm_segmentname": "VIP", "statuscode": status}
    return Answer(body=row | {"msdyncrm_segmenttype": kind} | others)


REMOVED = [
    Answer(403, {"error": {"code": "0x80040220", "message": "missing prvReadmsdyncrm_segment privilege"}}),
    Answer(404, {"error": {"code": "0x80060888", "message": "Resource not found for the segment 'msdyncrm_x'."}}),
]
