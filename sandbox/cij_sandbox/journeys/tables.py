"""The tables around journeys: templates, e-mails, custom triggers, consent."""

from __future__ import annotations

from cij_sandbox.core.columns import choice, lookup, moment, text
from cij_sandbox.core.schema import Table

_LONG = 1_048_576
_FIRST = 534120000
READY_TO_SEND = (2, 3)
DRAFT_TRIGGER, READY_TRIGGER, STOPPED_TRIGGER = _FIRST, _FIRST + 2, _FIRST + 4
EMAIL_POINT, FOR_PURPOSE, OPTED_IN, OPTED_OUT, INTERNAL = _FIRST, _FIRST, _FIRST + 1, _FIRST + 2, _FIRST
NO_REASON = _FIRST - 1
COMMERCIAL, TRANSACTIONAL, TRACKING = range(_FIRST, _FIRST + 3)
_ACTIVE_OR_NOT = {1: (0, "Active"), 2: (1, "Inactive")}

TEMPLATE = Table(
    "msdynmkt_journeytemplate",
    "msdynmkt_journeytemplates",
    "msdynmkt_journeytemplateid",
    "msdynmkt_name",
    (
        text("msdynmkt_name", 150),
        text("msdynmkt_uniquename", 100),
        text("msdynmkt_description", 2000),
        text("msdynmkt_journeytemplatejson", _LONG),
        choice("msdynmkt_triggertype", "Recurring", "Ongoing", "OneTime", "Event", first=0),
    ),
    # Assumption: public typings have the numbers without their labels; these are those of journeys.
    {1: (0, "Draft"), 2: (1, "Live"), 6: (4, "Deleted")},
    "msdynmkt_JourneyTemplate",
    states={0: "Draft", 1: "Live", 4: "Deleted"},
)

EMAIL = Table(
    "msdynmkt_email",
    "msdynmkt_emails",
    "msdynmkt_emailid",
    "msdynmkt_name",
    (text("msdynmkt_name", 100), text("msdynmkt_subject", 400)),
    # Assumption: a row may be given any of them; the real service looks into an e-mail that is to be ready.
    {1: (0, "Draft"), 2: (0, "Ready to send"), 3: (0, "Ready to send, editing")},
    "msdynmkt_Email",
)

TRIGGER = Table(
    "msdynmkt_eventmetadata",
    "msdynmkt_eventmetadataset",
    "msdynmkt_eventmetadataid",
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
    _ACTIVE_OR_NOT,
    "msdynmkt_EventMetadata",
    writable=False,
)

PURPOSE = Table(
    "msdynmkt_purpose",
    "msdynmkt_purposes",
    "msdynmkt_purposeid",
    "msdynmkt_name",
    (
        text("msdynmkt_name", 100),
        text("msdynmkt_description", 2000),
        choice(
            "msdynmkt_type", "Commercial Communication", "Transactional Communication", "Tracking", first=COMMERCIAL
        ),
    ),
    _ACTIVE_OR_NOT,
    "msdynmkt_Purpose",
)

TOPIC = Table(
    "msdynmkt_topic",
    "msdynmkt_topics",
    "msdynmkt_topicid",
    "msdynmkt_name",
    (text("msdynmkt_name", 100), lookup("msdynmkt_purposeid", "msdynmkt_purpose", "msdynmkt_purposeId")),
    _ACTIVE_OR_NOT,
    "msdynmkt_Topic",
)

CONSENT = Table(
    "msdynmkt_contactpointconsent4",
    "msdynmkt_contactpointconsent4s",
    "msdynmkt_contactpointconsent4id",
    "msdynmkt_contactpointvalue",
    (
        text("msdynmkt_contactpointvalue", 400),
        choice("msdynmkt_contactpointtype", "Email", "Text Message", "Custom", "Voice", first=EMAIL_POINT),
        choice("msdynmkt_contactpointconsenttype", "Purpose", "Topic", first=FOR_PURPOSE),
        choice("msdynmkt_value", "Not Set", "Opted In", "Opted Out", first=_FIRST),
        choice(
            "msdynmkt_source",
            "Internal",
            "Preference page",
            "Text message",
            "Loaded",
            "Preference Center",
            "Realtime Marketing Form",
            "Subscription Center",
            "Email - list-unsubscribe",
            first=INTERNAL,
        ),
        choice(
            "msdynmkt_logicalreason",
            "No reasons",
            "Opt-in - Advertisement",
            "Opt-in - Landing page",
            "Opt-in - Events",
            "Opt-out - Content was irrelevant",
            "Opt-out - Received too frequently",
            "Opt-out - Didn't recall signing up",
            "Opt-out - Privacy concerns",
            "Opt-out - One-click unsubscribe",
            first=NO_REASON,
        ),
        text("msdynmkt_reason", 500),
        text("msdynmkt_modifiedonbehalf", 500),
        moment("msdynmkt_migrationtimestamp"),
        lookup("msdynmkt_purposeid", "msdynmkt_purpose", "msdynmkt_purposeId"),
        lookup("msdynmkt_topicid", "msdynmkt_topic", "msdynmkt_topicId"),
    ),
    _ACTIVE_OR_NOT,
    "msdynmkt_ContactPointConsent4",
)

# What is no table of Dataverse: work on journeys that is under way, those that were ever live (Live, Stopped,
# Draining, Completing, Completed, Stopping), and the events that were raised.
STATE = """
CREATE TABLE IF NOT EXISTS journey_live (journey_id TEXT PRIMARY KEY);
CREATE TRIGGER IF NOT EXISTS journey_made_live AFTER INSERT ON msdynmkt_journey
    WHEN NEW.statuscode IN (2, 3, 5, 7, 8, 9)
    BEGIN INSERT OR IGNORE INTO journey_live VALUES (NEW.msdynmkt_journeyid); END;
CREATE TRIGGER IF NOT EXISTS journey_went_live AFTER UPDATE OF statuscode ON msdynmkt_journey
    WHEN NEW.statuscode IN (2, 3, 5, 7, 8, 9)
    BEGIN INSERT OR IGNORE INTO journey_live VALUES (NEW.msdynmkt_journeyid); END;
CREATE TABLE IF NOT EXISTS journey_job (journey_id TEXT PRIMARY KEY, asked REAL NOT NULL, due REAL NOT NULL);
CREATE TABLE IF NOT EXISTS raised_event (
    number INTEGER PRIMARY KEY AUTOINCREMENT, trigger_name TEXT NOT NULL, profile_id TEXT NOT NULL, time REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS consent_by_value ON msdynmkt_contactpointconsent4 (fold(msdynmkt_contactpointvalue));
"""
