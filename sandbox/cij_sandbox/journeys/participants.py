"""Write the participants of live journeys (msdynmkt_journeyinstance) and the segments they use (msdynmkt_segmentusage).

Sources: the table references of both. When rows appear, and when a person completes a journey, is not documented.
"""

from __future__ import annotations

import math
import sqlite3
import uuid
from collections.abc import Iterator

from cij_sandbox.core import guid, values
from cij_sandbox.core.clock import CLOCK
from cij_sandbox.core.store import next_number
from cij_sandbox.core.values import SqlValue
from cij_sandbox.dataverse.rows import fetch, insert, insert_many
from cij_sandbox.journeys.definition import Definition, RefusedError, document_of, read
from cij_sandbox.journeys.tables import INSTANCE, JOURNEY, USAGE
from cij_sandbox.journeys.versions import base_of

# Assumption: a person completes a journey a day after entering it.
DURATION = 86_400
IN_PROGRESS, COMPLETED, STOPPED = 534121000, 534121001, 534121004
_LIVE = (2, 7)
_SCHEDULED = 534120001
_AUDIENCE, _SUPPRESSION, _EXCLUSION = 1, 2, 3
_WEEKS = 90 * 86_400


def journeys_moved(connection: sqlite3.Connection) -> None:
    """Update the participants and usages of all journeys to the journeys' states.

    Assumptions: people enter once, when the journey goes live: the members of the audience's last evaluation without
    those of exclusion and suppression segments. Usages are there while the journey is live.
    """
    used = {row[0] for row in connection.execute("SELECT DISTINCT msdynmkt_journeyid FROM msdynmkt_segmentusage")}
    live = {
        row[0]
        for row in connection.execute(
            "SELECT msdynmkt_journeyid FROM msdynmkt_journey WHERE statuscode IN (?, ?)", _LIVE
        )
    }
    for journey_id in sorted(live - used):
        _enter(connection, journey_id)
    for journey_id in sorted(used - live):
        connection.execute("DELETE FROM msdynmkt_segmentusage WHERE msdynmkt_journeyid = ?", (journey_id,))
    stopped = (
        "SELECT msdynmkt_journeyid FROM msdynmkt_journey WHERE statuscode IN (3, 5, 9) "
        "AND coalesce(msdynmkt_issupersededbylaterversion, 0) = 0"
    )
    _end(connection, f"msdynmkt_journeydefinitionid IN ({stopped})", STOPPED)
    ended = "SELECT msdynmkt_journeyid FROM msdynmkt_journey WHERE statuscode = 8"
    _end(connection, f"msdynmkt_journeydefinitionid IN ({ended})", COMPLETED)


def people_moved(connection: sqlite3.Connection) -> None:
    """End the participation of all people who have completed their journey."""
    _end(connection, f"createdon <= {math.floor(CLOCK.now()) - DURATION}", COMPLETED)


def next_move(connection: sqlite3.Connection) -> float:
    """Return when the next participant completes a journey, in seconds since 1970."""
    query = "SELECT min(createdon) FROM msdynmkt_journeyinstance WHERE msdynmkt_journeyinstancestate = ?"
    first: float | None = connection.execute(query, (IN_PROGRESS,)).fetchone()[0]
    return math.inf if first is None else first + DURATION


def _enter(connection: sqlite3.Connection, journey_id: str) -> None:
    journey = fetch(connection, JOURNEY, journey_id)
    try:
        definition = read(document_of(journey["msdynmkt_journeyjson"] or "")) if journey else None
    except RefusedError:
        return  # a client wrote the row with the status Live, so its definition is unchecked
    if definition is None:
        return
    for segment_id, usage in _usages(definition):
        row: dict[str, SqlValue] = {
            "msdynmkt_segmentid": segment_id,
            "msdynmkt_journeyid": journey_id,
            "msdynmkt_targetsegmentid": segment_id,
            "msdynmkt_dependententityid": journey_id,
            "msdynmkt_usage": usage,
            "msdynmkt_dependencysource": 10,
            "statecode": 0,
            "statuscode": 1,
        }
        insert(connection, USAGE, row)
    out = {member for segment_id in definition.other_segments for member in _members(connection, segment_id.lower())}
    base = base_of(connection, journey_id)
    entered = "SELECT msdynmkt_targetid FROM msdynmkt_journeyinstance WHERE msdynmkt_baseversionjourneyid = ?"
    out |= {uuid.UUID(person).bytes for (person,) in connection.execute(entered, (base,))}
    people = [person for person in _members(connection, definition.audience.lower()) if person not in out]
    now = values.now()
    rows: Iterator[dict[str, SqlValue]] = (
        {
            INSTANCE.key: str(uuid.uuid4()),
            "msdynmkt_targetentity": definition.tables[0],
            "msdynmkt_targetid": guid.from_bytes(person),
            "msdynmkt_journeydefinitionid": journey_id,
            "msdynmkt_baseversionjourneyid": base,
            "msdynmkt_journeyinstancetype": _SCHEDULED,
            "msdynmkt_journeyinstancestate": IN_PROGRESS,
            "partitionid": journey_id,
            "ttlinseconds": _WEEKS,
            "createdon": now,
            "modifiedon": now,
        }
        for person in people
    )
    if people:
        insert_many(connection, INSTANCE, rows, len(people))


def _usages(definition: Definition) -> list[tuple[str, int]]:
    found = [(definition.audience, _AUDIENCE)] if definition.audience else []
    found += [(segment_id, _EXCLUSION) for segment_id in definition.exclusions]
    found += [(segment_id, _SUPPRESSION) for segment_id in definition.suppressions]
    return [(segment_id.lower(), usage) for segment_id, usage in found]


def _members(connection: sqlite3.Connection, segment_id: str) -> list[bytes]:
    pages = connection.execute(
        "SELECT ids FROM evaluation_page WHERE evaluation = (SELECT number FROM evaluation WHERE segment_id = ?)",
        (segment_id,),
    )
    return [page[at : at + 16] for (page,) in pages for at in range(0, len(page), 16)]


def _end(connection: sqlite3.Connection, condition: str, state: int) -> None:
    query = f"SELECT count(*) FROM msdynmkt_journeyinstance WHERE msdynmkt_journeyinstancestate = ? AND {condition}"  # noqa: S608 - constants of the code
    if connection.execute(query, (IN_PROGRESS,)).fetchone()[0]:
        connection.execute(
            "UPDATE msdynmkt_journeyinstance SET msdynmkt_journeyinstancestate = ?, modifiedon = ?, versionnumber = ? "  # noqa: S608
            f"WHERE msdynmkt_journeyinstancestate = ? AND {condition}",
            (state, values.now(), next_number(connection, "version"), IN_PROGRESS),
        )
