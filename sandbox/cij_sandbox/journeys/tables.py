"""The tables of journeys: journeys, templates, e-mails, custom triggers."""

from __future__ import annotations

from cij_sandbox.core.columns import choice, flag, lookup, moment, number, text
from cij_sandbox.core.schema import ACTIVE_OR_INACTIVE, Table

_LONG = 1_048_576
_FIRST = 534120000
READY_TO_SEND = (2, 3)
DRAFT_TRIGGER, READY_TRIGGER, STOPPED_TRIGGER = _FIRST, _FIRST + 2, _FIRST + 4

JOURNEY = Table(
    "msdynmkt_journey",
    "msdynmkt_name",
    (
        text("msdynmkt_name", 150),
        text("msdynmkt_journeyjson", 1_048_576),
        choice("msdynmkt_triggertype", "Recurring", "Ongoing", "One time", "Event", first=0),
        moment("msdynmkt_journeystarttime"),
        moment("msdynmkt_journeyendtime"),
        flag("msdynmkt_readytobetriggeredbysegmentrefresh"),
        text("msdynmkt_errorDetails", 1_048_576),
        choice(
            "msdynmkt_frequencycaptype",
            "Apply frequency cap by skipping messages",
            "Ignore frequency cap",
            first=0,
        ),
        lookup("msdynmkt_templateid", "msdynmkt_journeytemplate", "msdynmkt_templateid"),
        # Set for edited journeys (versions.py). Assumption: the first version has no base.
        text("msdynmkt_baseversionjourneyid", 100),
        number("msdynmkt_versionnumber", 0),
        flag("msdynmkt_issupersededbylaterversion"),
        text("msdynmkt_versiondescription", 2000),
    ),
    {
        1: (0, "Draft"),
        2: (1, "Live"),
        3: (2, "Stopped"),
        4: (3, "Publishing"),
        5: (2, "Draining"),
        6: (4, "Deleted"),
        7: (5, "Completing"),
        8: (6, "Completed"),
        9: (8, "Stopping"),
    },
    "msdynmkt_Journey",
    states={
        0: "Draft",
        1: "Live",
        2: "Stopped",
        3: "Publishing",
        4: "Deleted",
        5: "Completing",
        6: "Completed",
        8: "Stopping",
    },
)

TEMPLATE = Table(
    "msdynmkt_journeytemplate",
    "msdynmkt_name",
    (
        text("msdynmkt_name", 150),
        text("msdynmkt_uniquename", 100),
        text("msdynmkt_description", 2000),
        text("msdynmkt_journeytemplatejson", _LONG),
        choice("msdynmkt_triggertype", "Recurring", "Ongoing", "OneTime", "Event", first=0),
    ),
    # Assumption: public typings have the numbers without labels, so the labels are those of journeys.
    {1: (0, "Draft"), 2: (1, "Live"), 6: (4, "Deleted")},
    "msdynmkt_JourneyTemplate",
    states={0: "Draft", 1: "Live", 4: "Deleted"},
)

EMAIL = Table(
    "msdynmkt_email",
    "msdynmkt_name",
    (
        text("msdynmkt_name", 100),
        text("msdynmkt_subject", 400),
        lookup("msdynmkt_purpose", "msdynmkt_purpose", "msdynmkt_purpose"),
        lookup("msdynmkt_topic", "msdynmkt_topic", "msdynmkt_topic"),
        lookup("msdynmkt_compliancesettings4", "msdynmkt_compliancesettings4", "msdynmkt_compliancesettings4"),
    ),
    # Assumption: a row may be given any of them; the real service validates an e-mail that becomes ready.
    {1: (0, "Draft"), 2: (0, "Ready to send"), 3: (0, "Ready to send, editing")},
    "msdynmkt_Email",
)

TRIGGER = Table(
    "msdynmkt_eventmetadata",
    "msdynmkt_name",
    (
        text("msdynmkt_name", 100),
        text("msdynmkt_uniquename", 100),
        lookup("msdynmkt_customapiid", "customapi", "msdynmkt_customapiid"),
        choice(
            "msdynmkt_state",
            "Draft",
            "Getting ready",
            "Ready to use",
            "Stopping",
            "Stopped",
            "Deleting",
            "Deleted",
            "Restarting",
            "Resetting",
            first=_FIRST,
        ),
        choice("msdynmkt_eventmetadatastatus", "Draft", "Published", "Stopped", first=_FIRST),
        text("msdynmkt_supportedtargetentities", 4000),
    ),
    ACTIVE_OR_INACTIVE,
    "msdynmkt_EventMetadata",
    writable=False,
    set_name="msdynmkt_eventmetadataset",
)

# An elastic table, owned by the organisation.
INSTANCE = Table(
    "msdynmkt_journeyinstance",
    "msdynmkt_targetid",
    (
        text("msdynmkt_targetentity", 100),
        text("msdynmkt_targetid", 100),
        text("msdynmkt_journeydefinitionid", 100),
        text("msdynmkt_baseversionjourneyid", 100),
        choice("msdynmkt_journeyinstancetype", "Event", "Scheduled", first=_FIRST),
        choice(
            "msdynmkt_journeyinstancestate",
            "In progress",
            "Completed",
            "Completed by exit event",
            "Completed by suppression segment",
            "Completed by journey stopped",
            "Completed by action failure",
            first=534121000,
        ),
        text("partitionid", 100),
        number("ttlinseconds", 0),
    ),
    schema_name="msdynmkt_JourneyInstance",
    writable=False,
)

USAGE = Table(
    "msdynmkt_segmentusage",
    "msdynmkt_targetsegmentid",
    (
        lookup("msdynmkt_segmentid", "msdynmkt_segment", "msdynmkt_segmentid"),
        lookup("msdynmkt_journeyid", "msdynmkt_journey", "msdynmkt_journeyid"),
        text("msdynmkt_targetsegmentid", 100),
        text("msdynmkt_dependententityid", 100),
        choice(
            "msdynmkt_usage",
            "NotApplicable",
            "Audience",
            "SuppressionSegment",
            "ExclusionSegment",
            "Branch",
            "Content",
            first=0,
        ),
        number("msdynmkt_dependencysource", 0),
    ),
    ACTIVE_OR_INACTIVE,
    "msdynmkt_SegmentUsage",
    writable=False,
)

# State outside of Dataverse: journeys in transition, those that have ever been live (Live, Stopped, Draining,
# Completing, Completed, Stopping), and raised events.
TABLES = (JOURNEY, TEMPLATE, EMAIL, TRIGGER, INSTANCE, USAGE)
STATE = """
CREATE TABLE IF NOT EXISTS journey_live (journey_id TEXT PRIMARY KEY);
CREATE TRIGGER IF NOT EXISTS journey_made_live AFTER INSERT ON msdynmkt_journey
    WHEN NEW.statuscode IN (2, 3, 5, 7, 8, 9)
    BEGIN INSERT OR IGNORE INTO journey_live VALUES (NEW.msdynmkt_journeyid); END;
CREATE TRIGGER IF NOT EXISTS journey_went_live AFTER UPDATE OF statuscode ON msdynmkt_journey
    WHEN NEW.statuscode IN (2, 3, 5, 7, 8, 9)
    BEGIN INSERT OR IGNORE INTO journey_live VALUES (NEW.msdynmkt_journeyid); END;
CREATE TABLE IF NOT EXISTS journey_job (journey_id TEXT PRIMARY KEY, asked REAL NOT NULL, due REAL NOT NULL);
CREATE INDEX IF NOT EXISTS instance_by_journey
    ON msdynmkt_journeyinstance (msdynmkt_journeydefinitionid, msdynmkt_journeyinstancestate);
CREATE TABLE IF NOT EXISTS raised_event (
    number INTEGER PRIMARY KEY AUTOINCREMENT, trigger_name TEXT NOT NULL, profile_id TEXT NOT NULL, time REAL NOT NULL
);
"""
