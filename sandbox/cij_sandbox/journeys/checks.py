"""Check that a journey can go live: live segments, messages and triggers that are ready, times in the future."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from cij_sandbox.core import guid
from cij_sandbox.core.store import fold
from cij_sandbox.dataverse.rows import fetch
from cij_sandbox.journeys.definition import TRIGGER_TYPES, Definition, Problem, moment
from cij_sandbox.journeys.tables import EMAIL, READY_TO_SEND, READY_TRIGGER
from cij_sandbox.journeys.versions import IS_VERSION, base_of
from cij_sandbox.segments.definitions import LIVE_STATUSES
from cij_sandbox.segments.tables import SEGMENT

MAXIMUM_DAYS = 365
# "Some validation errors are ignored" in drafts. The document names this one.
IGNORED_IN_DRAFTS = frozenset({"NotReadyToSendMessageState"})
_DELETED = 6


def name_problems(connection: sqlite3.Connection, name: str, own_id: str = "") -> Iterator[Problem]:
    """Yield the problems of a name, which must not be empty or that of another journey."""
    if not name.strip():
        yield Problem("EmptyJourneyName", "The journey name cannot be empty.")
        return
    # The versions of a journey share its name.
    query = "SELECT 1 FROM msdynmkt_journey WHERE fold(msdynmkt_name) = ? AND statuscode <> ? AND NOT " + IS_VERSION  # noqa: S608
    if connection.execute(query, (fold(name), _DELETED, base_of(connection, own_id))).fetchone():
        yield Problem("DuplicateJourneyName", "The journey name is already in use.")


def problems(connection: sqlite3.Connection, journey: Definition, now: float) -> Iterator[Problem]:
    """Yield all other problems of a journey that is requested now."""
    if journey.trigger_type not in TRIGGER_TYPES:
        yield Problem("InvalidDefinition", f"'{journey.trigger_type}' is not a type of trigger.")
    elif journey.trigger_type == "Event":
        yield from _event(connection, journey.event)
    elif not journey.audience:
        yield Problem("InvalidDefinition", "The journey has no audience.")
    for written in dict.fromkeys(journey.segments):
        yield from _segment(connection, written, journey.tables)
    for written in journey.messages:
        yield from _message(connection, written)
    yield from _times(journey, now)


def _segment(connection: sqlite3.Connection, written: str, tables: tuple[str, ...]) -> Iterator[Problem]:
    segment = fetch(connection, SEGMENT, guid.parse(written))
    if segment is None:
        yield Problem("NonExistingSegment", f"Segment with ID: {written} does not exist.")
        return
    if segment["statuscode"] not in LIVE_STATUSES:
        yield Problem("SegmentNotInLiveState", f"Segment with ID: {written} is not in Live state.")
    base = segment["msdynmkt_baseentitylogicalname"] or "contact"
    if base not in tables:
        yield Problem(
            "SegmentEntityMismatch",
            f"Segment with ID: {written} is of {base}, the journey of {', '.join(tables)}.",
        )


def _message(connection: sqlite3.Connection, written: str) -> Iterator[Problem]:
    email = fetch(connection, EMAIL, guid.parse(written))
    if email is None:
        yield Problem("NonExistingMessage", f"Message with ID: {written} does not exist.")
    elif email["statuscode"] not in READY_TO_SEND:
        yield Problem("NotReadyToSendMessageState", f"Message with ID: {written} is not in 'Ready to send' state.")


def _event(connection: sqlite3.Connection, name: str) -> Iterator[Problem]:
    query = "SELECT msdynmkt_state FROM msdynmkt_eventmetadata WHERE msdynmkt_uniquename = ?"
    found = connection.execute(query, (name,)).fetchone()
    if found is None:
        yield Problem("NonExistingEvent", f"Event '{name}' does not exist.")
    elif found["msdynmkt_state"] != READY_TRIGGER:
        yield Problem("EventNotInLiveState", f"Event '{name}' is not in live state.")


def _times(journey: Definition, now: float) -> Iterator[Problem]:
    start, end = moment(journey.start), moment(journey.end)
    if journey.start and (start is None or start < now):
        yield Problem("InvalidStartTime", "Journey start time cannot be in the past.")
    if journey.end and (end is None or end < now):
        yield Problem("InvalidEndTime", "Journey end time cannot be in the past.")
    if end is None:
        return
    if start is not None and end <= start:
        yield Problem("InvalidTimeRange", "Journey start time must be before its end time.")
    # Assumption: the limit is documented, its code is not.
    elif end - (now if start is None else start) > MAXIMUM_DAYS * 86_400:
        yield Problem("InvalidTimeRange", f"A journey may take {MAXIMUM_DAYS} days at most.")
