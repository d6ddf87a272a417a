"""Keep the versions of a journey: an edit of a live journey creates a draft, which replaces it once published.

Sources: the columns of msdynmkt_journey; "Edit a live journey": people under way stay on their version. Assumptions:
what the rows hold, that the earlier version is Draining until its people are through and Stopped then, and that those
who entered one version do not enter another.
"""

from __future__ import annotations

import sqlite3

from cij_sandbox.core.values import SqlValue
from cij_sandbox.dataverse.rows import change, fetch, insert
from cij_sandbox.journeys.tables import JOURNEY

BASE = "coalesce(msdynmkt_baseversionjourneyid, msdynmkt_journeyid)"
IS_VERSION = f"{BASE} = ?"
_LIVE, _DRAINING, _STOPPED = 2, (2, 5), (2, 3)
_COPIED = (
    "msdynmkt_name",
    "msdynmkt_journeyjson",
    "msdynmkt_triggertype",
    "msdynmkt_journeystarttime",
    "msdynmkt_journeyendtime",
    "msdynmkt_frequencycaptype",
    "msdynmkt_templateid",
)


def base_of(connection: sqlite3.Connection, journey_id: str) -> str:
    """Return the id of a journey's first version, which may be the journey itself."""
    query = f"SELECT {BASE} FROM msdynmkt_journey WHERE msdynmkt_journeyid = ?"  # noqa: S608 - a constant of the code
    row = connection.execute(query, (journey_id,)).fetchone()
    return str(row[0]) if row else journey_id


def edit(connection: sqlite3.Connection, journey_id: str, description: str = "") -> str:
    """Create the draft of a live journey's next version, as an edit in the app does; return its id.

    Raise ValueError when there is no such journey, or it is not live.
    """
    journey = fetch(connection, JOURNEY, journey_id)
    if journey is None or journey["statuscode"] != _LIVE:
        raise ValueError(f"There is no live journey {journey_id}")
    base = base_of(connection, journey_id)
    newest = f"SELECT max(coalesce(msdynmkt_versionnumber, 1)) FROM msdynmkt_journey WHERE {IS_VERSION}"  # noqa: S608
    number = int(connection.execute(newest, (base,)).fetchone()[0]) + 1
    row: dict[str, SqlValue] = {name: journey[name] for name in _COPIED}
    row |= {"msdynmkt_baseversionjourneyid": base, "msdynmkt_versionnumber": number, "statecode": 0, "statuscode": 1}
    return insert(connection, JOURNEY, {**row, "msdynmkt_versiondescription": description or None})


def went_live(connection: sqlite3.Connection, journey_id: str) -> None:
    """Mark the previous version as superseded by one that went live."""
    query = f"SELECT msdynmkt_journeyid FROM msdynmkt_journey WHERE {IS_VERSION} AND statuscode = ? AND NOT "  # noqa: S608
    arguments = (base_of(connection, journey_id), _LIVE, journey_id)
    for (earlier,) in connection.execute(query + "msdynmkt_journeyid = ?", arguments).fetchall():
        status = {"statecode": _DRAINING[0], "statuscode": _DRAINING[1]}
        change(connection, JOURNEY, earlier, {**status, "msdynmkt_issupersededbylaterversion": 1})


def drained(connection: sqlite3.Connection, in_progress: int) -> bool:
    """Stop each superseded version whose participants have all completed it; return whether there was one.

    ``in_progress`` is the state of a participant who is not.
    """
    done = connection.execute(
        "SELECT msdynmkt_journeyid FROM msdynmkt_journey WHERE statuscode = ? "
        "AND msdynmkt_issupersededbylaterversion = 1 AND msdynmkt_journeyid NOT IN "
        "(SELECT msdynmkt_journeydefinitionid FROM msdynmkt_journeyinstance WHERE msdynmkt_journeyinstancestate = ?)",
        (_DRAINING[1], in_progress),
    ).fetchall()
    for (journey_id,) in done:
        change(connection, JOURNEY, journey_id, {"statecode": _STOPPED[0], "statuscode": _STOPPED[1]})
    return bool(done)
