"""The tables of real-time segments: definition, segment and execution, and the state that is no Dataverse table."""

from __future__ import annotations

from typing import Any

from cij_sandbox.core.assumptions import ASSUMED, assumed
from cij_sandbox.core.columns import choice, flag, moment, number, text
from cij_sandbox.core.schema import Column, Kind, Table

DEFINITION = Table(
    "msdynmkt_segmentdefinition",
    "msdynmkt_name",
    (
        text("msdynmkt_name", 100),
        # The reference of 2024 says 4,000; the size was raised in 2026 to an unpublished number: apply_assumptions().
        text("msdynmkt_segmentquery", 1_048_576),
        text("msdynmkt_staticlistmembers", 1_048_576),
        text("msdynmkt_includedmembers", 1_048_576),
        text("msdynmkt_excludedmembers", 4_000),
        flag("msdynmkt_disablesegmentrefresh"),
        number("msdynmkt_segmentrefreshintervalminutes", 0),
        # "Create a segment using the Web API" lists these two here, the table reference on the segment: both take them.
        moment("msdynmkt_sourcesegmentcreatedon"),
        text("msdynmkt_sourcesegmentcreatedby", 100),
        choice("msdynmkt_computationstatus", "Running", "Finished", "Error", "NotStarted", first=723270000),
        moment("msdynmkt_computationstartedon"),
        moment("msdynmkt_computationfinishedon"),
        moment("msdynmkt_definitionmodifiedon"),
        text("msdynmkt_dependentsegmentids", 1_048_576),
        text("msdynmkt_targetedsegmentids", 1_048_576),
        moment("msdynmkt_stoprefreshafter"),
        number("msdynmkt_timezonecode", -1),
    ),
    {
        723270001: (0, "Draft"),
        723270000: (0, "Live"),
        723270002: (0, "Going live"),
        723270003: (1, "Deleted"),
        723270004: (0, "Live with warnings"),
        # Assumption: public typings list these two without their state.
        723270005: (0, "Stopping"),
        723270006: (0, "Stopped"),
    },
    "msdynmkt_SegmentDefinition",
)

SEGMENT = Table(
    "msdynmkt_segment",
    "msdynmkt_sourcesegmentuid",
    (
        text("msdynmkt_displayname", 100),
        text("msdynmkt_description", 1000),
        choice("msdynmkt_type", "Static", "Dynamic", "Expansion", first=10),
        choice("msdynmkt_source", "Marketing", "Customer Insights", "Customer Insights - Journeys", first=10),
        text("msdynmkt_baseentitylogicalname", 100),
        text("msdynmkt_sourcesegmentuid", 100),
        text("msdynmkt_cdmpartitionprimarykeycolumn", 100),
        Column("msdynmkt_scope", Kind.INTEGER, options={1: "Organization", 270100000: "Organization"}),
        number("msdynmkt_membercount", 0),
        moment("msdynmkt_membercount_date"),
        number("msdynmkt_membercount_state", 0),
        moment("msdynmkt_lastevaluated"),
        moment("msdynmkt_lastupdatedon"),
        moment("msdynmkt_lastexportedat"),
        moment("msdynmkt_lastusedinjourney"),
        number("msdynmkt_publishedjourneycount", 0),
        moment("msdynmkt_sourcesegmentcreatedon"),
        text("msdynmkt_sourcesegmentcreatedby", 100),
    ),
    {
        1: (0, "Active"),
        2: (1, "Inactive"),
        3: (1, "Error"),
        4: (1, "Deleted"),
        5: (1, "Exporting"),
        6: (1, "Computing"),
        7: (1, "Computed with warnings"),
        8: (1, "Stopping"),
        9: (1, "Stopped"),
        # Assumption: 10 is Expired; the references show only that the number is taken.
        10: (1, "Expired"),
        # Assumption: one field note names 11 without its state.
        11: (1, "Faulted"),
    },
    "msdynmkt_Segment",
)

EXECUTION = Table(
    "msdynmkt_segmentexecution",
    "msdynmkt_name",
    (
        text("msdynmkt_name", 100),
        Column("msdynmkt_segmentdefinitionid", Kind.GUID, target="msdynmkt_segmentdefinition"),
        choice("msdynmkt_type", "OnDemand", "Scheduled", first=723270000),
        moment("msdynmkt_startedon"),
        moment("msdynmkt_finishedon"),
        number("msdynmkt_membershipcount", 0),
    ),
    {
        723270000: (0, "NotStarted"),
        723270001: (0, "InProgress"),
        723270002: (0, "Succeeded"),
        723270003: (0, "Failed"),
        723270004: (0, "TimedOut"),
        723270005: (0, "Skipped"),
        2: (1, "Inactive"),
    },
    "msdynmkt_SegmentExecution",
)

TABLES = (DEFINITION, SEGMENT, EXECUTION)
STATE = """
CREATE TABLE IF NOT EXISTS static_group (
    number INTEGER PRIMARY KEY AUTOINCREMENT, definition_id TEXT NOT NULL, group_id TEXT NOT NULL,
    include INTEGER NOT NULL, members INTEGER NOT NULL DEFAULT 0, UNIQUE (definition_id, group_id)
);
CREATE TABLE IF NOT EXISTS static_member (
    group_number INTEGER NOT NULL, member BLOB NOT NULL, PRIMARY KEY (group_number, member)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS static_added (
    number INTEGER PRIMARY KEY AUTOINCREMENT, group_number INTEGER NOT NULL, member BLOB NOT NULL,
    UNIQUE (group_number, member)
);
CREATE TABLE IF NOT EXISTS evaluation (segment_id TEXT PRIMARY KEY, number INTEGER NOT NULL, members INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS evaluation_page (
    evaluation INTEGER NOT NULL, page INTEGER NOT NULL, ids BLOB NOT NULL, PRIMARY KEY (evaluation, page)
);
CREATE TABLE IF NOT EXISTS job (
    execution_id TEXT PRIMARY KEY, segment_id TEXT NOT NULL, definition_id TEXT NOT NULL,
    started INTEGER NOT NULL, due REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS schedule (
    segment_id TEXT PRIMARY KEY, definition_id TEXT NOT NULL,
    published_at REAL NOT NULL, evaluated_at REAL NOT NULL, unused_since REAL
);
CREATE TABLE IF NOT EXISTS stopping (segment_id TEXT PRIMARY KEY, definition_id TEXT NOT NULL, due REAL NOT NULL);
CREATE TABLE IF NOT EXISTS outcome (segment_id TEXT PRIMARY KEY, ended_at INTEGER NOT NULL, failure TEXT);
CREATE INDEX IF NOT EXISTS segment_by_definition ON msdynmkt_segment (fold(msdynmkt_sourcesegmentuid));
CREATE INDEX IF NOT EXISTS execution_by_definition
    ON msdynmkt_segmentexecution (msdynmkt_segmentdefinitionid, msdynmkt_startedon);
"""


def apply_assumptions() -> None:
    """Set the assumed lengths and labels of the tables."""
    if ASSUMED.can_play("segments.query-length"):
        length = int(assumed("segments.query-length"))
        object.__setattr__(DEFINITION.by_name["msdynmkt_segmentquery"], "max_length", length)
    options = SEGMENT.by_name["statuscode"].options
    for labels in (options, SEGMENT.statuses):
        if isinstance(labels, dict):
            labels.update(_labels(labels is options))


def expired_status() -> int:
    """Return the status of a segment that is assumed to be Expired."""
    return int(assumed("segments.expired-status"))


def _labels(bare: bool) -> dict[int, Any]:
    expired = expired_status() if ASSUMED.can_play("segments.expired-status") else 10
    return {code: (name if bare else (1, name)) for code, name in ((expired, "Expired"), (21 - expired, "Faulted"))}
