"""The plug-in of journeys: updates the segments that they use, and refuses names and deletes."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from cij_sandbox.core import assumptions, errors
from cij_sandbox.core.values import SqlValue
from cij_sandbox.dataverse.plugins import Plugin, Row
from cij_sandbox.journeys.participants import journeys_moved
from cij_sandbox.journeys.tables import JOURNEY
from cij_sandbox.segments.dependents import journeys_changed

_PUBLISHING = 4


class _Journey(Plugin):
    def before_write(self, connection: sqlite3.Connection, row: Row | None, content: dict[str, SqlValue]) -> None:
        """Refuse a name that another journey has, where that is assumed."""
        name = content.get("msdynmkt_name")
        query = "SELECT 1 FROM msdynmkt_journey WHERE fold(msdynmkt_name) = fold(?)"
        if row is None and name and connection.execute(query, (name,)).fetchone():
            assumptions.check("journeys.same-name", f"A journey has the name {name!r}")

    def after_write(self, connection: sqlite3.Connection, row_id: str, row: Row | None, content: Row) -> None:
        """Update the segments' counts of live journeys, and the journeys' participants."""
        journeys_changed(connection)
        journeys_moved(connection)

    def before_delete(self, connection: sqlite3.Connection, row: Row) -> None:
        """Refuse to delete a journey that has been live (stopped and completed ones included) or is being published.

        Assumption: the rule is documented, code and message are not.
        """
        journey_id, status = str(row["msdynmkt_journeyid"]), int(row["statuscode"] or 0)
        was_live = connection.execute("SELECT 1 FROM journey_live WHERE journey_id = ?", (journey_id,)).fetchone()
        if was_live or status == _PUBLISHING:
            label = JOURNEY.statuses[status][1]
            why = "it has been live" if was_live else "it is about to be live"
            raise errors.plug_in(f"Journey {journey_id} is {label} and cannot be deleted; {why}")

    def after_delete(self, connection: sqlite3.Connection, row_id: str) -> None:
        """Update the segments' counts of live journeys."""
        journeys_changed(connection)


PLUGINS: Mapping[str, Plugin] = {JOURNEY.logical_name: _Journey()}
