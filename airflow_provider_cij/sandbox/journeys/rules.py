"""What Dataverse rows of journeys may not do."""

from __future__ import annotations

import sqlite3

from .. import errors
from ..tables import JOURNEY

# Live, Publishing, Draining, Completing, Stopping.
_AT_WORK = (2, 4, 5, 7, 9)


def check_deletable(journey: sqlite3.Row) -> None:
    """Refuse to delete a journey that is at work; one that was stopped or is completed may go."""
    if journey["statuscode"] in _AT_WORK:
        label = JOURNEY.statuses[journey["statuscode"]][1]
        raise errors.plug_in(f"Journey {journey['msdynmkt_journeyid']} is {label} and cannot be deleted; stop it first")
