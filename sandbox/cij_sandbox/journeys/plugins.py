"""What Dataverse rows of journeys may not do."""

from __future__ import annotations

import sqlite3

from cij_sandbox.core import errors
from cij_sandbox.dataverse.tables import JOURNEY

_PUBLISHING = 4


def check_deletable(connection: sqlite3.Connection, journey: sqlite3.Row) -> None:
    """Refuse to delete a journey that was ever live, stopped and completed ones included, or is on its way to it.

    Assumption: the rule is documented, code and words are not.
    """
    journey_id, status = journey["msdynmkt_journeyid"], journey["statuscode"]
    was_live = connection.execute("SELECT 1 FROM journey_live WHERE journey_id = ?", (journey_id,)).fetchone()
    if was_live or status == _PUBLISHING:
        label = JOURNEY.statuses[status][1]
        why = "it has been live" if was_live else "it is about to be live"
        raise errors.plug_in(f"Journey {journey_id} is {label} and cannot be deleted; {why}")
