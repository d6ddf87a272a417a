"""The page at ``/``: what the organisation holds, what happened last, and which faults are on."""

# ruff: noqa: S608 - the names are those of the tables

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence

from cij_sandbox.core import values
from cij_sandbox.core.clock import CLOCK
from cij_sandbox.core.schema import Table
from cij_sandbox.journeys.tables import JOURNEY
from cij_sandbox.segments.tables import EXECUTION, SEGMENT
from cij_sandbox.server.html import Html, document, facts, list_link, moment, record_link, section, table
from cij_sandbox.server.organisation import Organisation
from cij_sandbox.server.records import runs_table, status_of

_SHOWN = 20


def render(
    organisation: Organisation,
    base_url: str,
    faults: Sequence[Mapping[str, object]],
    requests: Sequence[Mapping[str, object]],
) -> str:
    """Return the HTML."""
    connection = organisation.store.reader()
    about = {
        "Address": base_url,
        "Time": f"{values.write_moment(values.now())}, {CLOCK.speed:g} s in each second",
        "Publishing takes": f"{organisation.background.compute_seconds:g} s",
    }
    return document(
        "Organisation",
        facts(about),
        section("Faults that are on", _faults(faults)),
        section("Segments", _segments(connection)),
        section("Last runs", _runs(connection)),
        section("Journeys", _journeys(connection)),
        section("Raised custom triggers", _events(connection)),
        section("Last requests", _requests(requests)),
        section("All tables", _tables(connection, organisation.store.schema.tables)),
    )


def _faults(rules: Sequence[Mapping[str, object]]) -> Html:
    rows = [[json.dumps(rule["rule"], ensure_ascii=False), rule["seen"], rule["struck"]] for rule in rules]
    return table(["Rule", "Seen", "Struck"], rows)


def _last(connection: sqlite3.Connection, entity: Table) -> list[sqlite3.Row]:
    return connection.execute(
        f'SELECT * FROM "{entity.logical_name}" ORDER BY versionnumber DESC LIMIT {_SHOWN}'
    ).fetchall()


def _segments(connection: sqlite3.Connection) -> Html:
    return table(
        ["Name", "Status", "Members", "Last evaluated"],
        [
            [
                _to_segment(row),
                status_of(SEGMENT, row),
                None if row["msdynmkt_membercount"] is None else f"{row['msdynmkt_membercount']:,}",
                moment(row["msdynmkt_lastevaluated"]),
            ]
            for row in _last(connection, SEGMENT)
        ],
    )


def _to_segment(row: sqlite3.Row) -> Html:
    segment_id = row["msdynmkt_segmentid"]
    return record_link(SEGMENT.logical_name, segment_id, row["msdynmkt_displayname"] or segment_id)


def _runs(connection: sqlite3.Connection) -> Html:
    found: list[tuple[Html | None, sqlite3.Row]] = []
    for run in _last(connection, EXECUTION):
        definition_id = run["msdynmkt_segmentdefinitionid"]
        segment = connection.execute(
            "SELECT * FROM msdynmkt_segment WHERE fold(msdynmkt_sourcesegmentuid) = ?", (definition_id,)
        ).fetchone()
        found.append((_to_segment(segment) if segment else Html("deleted"), run))
    return runs_table(found)


def _journeys(connection: sqlite3.Connection) -> Html:
    return table(
        ["Name", "Status", "Starts", "Ends"],
        [
            [
                record_link(JOURNEY.logical_name, row["msdynmkt_journeyid"], row["msdynmkt_name"]),
                status_of(JOURNEY, row),
                moment(row["msdynmkt_journeystarttime"]),
                moment(row["msdynmkt_journeyendtime"]),
            ]
            for row in _last(connection, JOURNEY)
        ],
    )


def _events(connection: sqlite3.Connection) -> Html:
    found = connection.execute(f"SELECT * FROM raised_event ORDER BY number DESC LIMIT {_SHOWN}")
    rows = [[row["trigger_name"], row["profile_id"], moment(row["time"])] for row in found]
    return table(["Trigger", "Profile", "Time"], rows)


def _requests(requests: Sequence[Mapping[str, object]]) -> Html:
    rows = [[entry[name] for name in ("method", "path", "status", "fault")] for entry in reversed(requests[-_SHOWN:])]
    return table(["Method", "Path", "Status", "Fault"], rows)


def _tables(connection: sqlite3.Connection, tables: Sequence[Table]) -> Html:
    rows = []
    for entity in tables:
        count = connection.execute(f'SELECT count(*) FROM "{entity.logical_name}"').fetchone()[0]
        rows.append([list_link(entity.logical_name, entity.set_name), f"{count:,}"])
    return table(["Table", "Rows"], rows)
