"""The tables of outbound marketing, and their status transitions."""

from __future__ import annotations

from collections.abc import Mapping

from cij_sandbox.core.columns import choice, flag, lookup, moment, number, text
from cij_sandbox.core.schema import ACTIVE_OR_INACTIVE, Column, Kind, Table

DRAFT, LIVE, STOPPED, LIVE_EDITABLE, EXPIRED, ERROR, GOING_LIVE, STOPPING = range(192350000, 192350008)
DYNAMIC, STATIC, COMPOUND = range(192350000, 192350003)
WHOLE_ORGANIZATION, ONE_BUSINESS_UNIT = 270100000, 270100001
CONTACT_TARGET, ACCOUNT_TARGET = 0, 1

_STATUSES: Mapping[int, tuple[int, str]] = {
    DRAFT: (0, "Draft"),
    LIVE: (0, "Live"),
    STOPPED: (0, "Stopped"),
    LIVE_EDITABLE: (0, "Live, Editable"),
    EXPIRED: (1, "Expired"),
    ERROR: (0, "Error"),
    GOING_LIVE: (0, "Going Live"),
    STOPPING: (0, "Stopping"),
}
_SCOPE = Column(
    "msdyncrm_scope", Kind.INTEGER, options={WHOLE_ORGANIZATION: "Organization", ONE_BUSINESS_UNIT: "Business Unit"}
)


def _kept(column: Column) -> Column:
    """Return the column as one that only the service writes."""
    return Column(column.name, column.kind, column.max_length, read_only=True)


OUTBOUND_SEGMENT = Table(
    "msdyncrm_segment",
    "msdyncrm_segmentname",
    (
        text("msdyncrm_segmentname", 100),
        text("msdyncrm_description", 2000),
        choice("msdyncrm_segmenttype", "Dynamic", "Static", "Compound", first=DYNAMIC),
        text("msdyncrm_segmentquery", 1_048_576),
        text("msdyncrm_segmentmemberids", 1_000_000),
        _SCOPE,
        number("msdyncrm_segmentrefreshrateintervalminutes", 0),
        _kept(text("msdyncrm_segmentqueryname", 100)),
        _kept(number("msdyncrm_segmentsize")),
        _kept(flag("msdyncrm_islive")),
        _kept(moment("msdyncrm_lastevaluationtime")),
        _kept(moment("msdyncrm_nextevaluation")),
        _kept(number("msdyncrm_segmentevaluationstate")),
    ),
    _STATUSES,
    "msdyncrm_segment",
    required=("msdyncrm_segmentname", "msdyncrm_segmenttype", "statuscode"),
    # Assumption: both names work. One document uses both, the older one as a column in one example only.
    aliases={"msdyncrm_query": "msdyncrm_segmentquery"},
)

OUTBOUND_JOURNEY = Table(
    "msdyncrm_customerjourney",
    "msdyncrm_name",
    (
        text("msdyncrm_name", 100),
        text("msdyncrm_description", 2000),
        choice("msdyncrm_type", "Automated", "LinkedIn", first=192350000),
        choice("msdyncrm_entitytarget", "Contact", "Account", first=CONTACT_TARGET),
        choice(
            "msgdpr_requiredconsent",
            "(1) Consent",
            "(2) Transactional",
            "(3) Subscriptions",
            "(4) Marketing",
            "(5) Profiling",
            first=587030001,
        ),
        text("msdyncrm_workflowdefinition", 1_048_576),
        text("msdyncrm_customerjourneydesignerstate", 1_048_576),
        number("msdyncrm_customerjourneytimezone", -1),
        moment("msdyncrm_startdatetime"),
        moment("msdyncrm_enddatetime"),
        flag("msdyncrm_isrecurring"),
        number("msdyncrm_recurrenceintervaldays", 0),
        number("msdyncrm_recurrencecount", 0),
        lookup("msdyncrm_suppressionsegmentid", "msdyncrm_segment", "msdyncrm_SuppressionSegmentId"),
        lookup("msdyncrm_contentsettingsid", "msdyncrm_contentsettings", "msdyncrm_contentsettingsId"),
        _SCOPE,
        _kept(text("msdyncrm_validationresults", 1_048_576)),
    ),
    _STATUSES,
    "msdyncrm_customerjourney",
    required=("msdyncrm_name",),
)

CONTENT_SETTINGS = Table(
    "msdyncrm_contentsettings",
    "msdyncrm_name",
    (text("msdyncrm_name", 100),),
    ACTIVE_OR_INACTIVE,
    "msdyncrm_contentsettings",
)

# The TransitionData of the two tables; what is not listed is refused. They differ in what a draft may become.
_TRANSITIONS: Mapping[int, tuple[int, ...]] = {
    DRAFT: (GOING_LIVE, EXPIRED),
    LIVE: (STOPPING, STOPPED, GOING_LIVE, LIVE_EDITABLE, ERROR),
    STOPPED: (EXPIRED, GOING_LIVE),
    LIVE_EDITABLE: (LIVE, ERROR, GOING_LIVE),
    ERROR: (GOING_LIVE, STOPPING),
    GOING_LIVE: (LIVE, ERROR),
    STOPPING: (STOPPED, ERROR),
    EXPIRED: (),
}
TRANSITIONS: Mapping[str, Mapping[int, tuple[int, ...]]] = {
    OUTBOUND_SEGMENT.logical_name: {**_TRANSITIONS, DRAFT: (GOING_LIVE, LIVE, EXPIRED)},
    OUTBOUND_JOURNEY.logical_name: _TRANSITIONS,
}

TABLES = (OUTBOUND_SEGMENT, OUTBOUND_JOURNEY, CONTENT_SETTINGS)
# The members of segments (of a static one also before it is live), and tasks that are not done yet.
STATE = """
CREATE TABLE IF NOT EXISTS outbound_member (
    segment_id TEXT NOT NULL, member TEXT NOT NULL, PRIMARY KEY (segment_id, member)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbound_task (
    number INTEGER PRIMARY KEY AUTOINCREMENT, row_id TEXT NOT NULL, kind TEXT NOT NULL, content TEXT NOT NULL,
    since REAL NOT NULL
);
"""
