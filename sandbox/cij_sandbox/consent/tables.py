"""The tables of consent: purposes, topics, compliance profiles, and the consent of contact points."""

from __future__ import annotations

from cij_sandbox.core.columns import choice, lookup, moment, text
from cij_sandbox.core.schema import ACTIVE_OR_INACTIVE, Column, Kind, Table

_FIRST = 534120000
EMAIL_POINT, FOR_PURPOSE, OPTED_IN, OPTED_OUT, INTERNAL = _FIRST, _FIRST, _FIRST + 1, _FIRST + 2, _FIRST
NO_REASON = _FIRST - 1
FOR_TOPIC = _FIRST + 1
COMMERCIAL, TRANSACTIONAL, TRACKING = range(_FIRST, _FIRST + 3)
RESTRICTIVE, NON_RESTRICTIVE, DISABLED = range(_FIRST, _FIRST + 3)
# The column of a purpose that holds its enforcement model, by channel.
MODELS = {
    EMAIL_POINT: "msdynmkt_enforcementmodel",
    EMAIL_POINT + 1: "msdynmkt_smsenforcementmodel",
    EMAIL_POINT + 2: "msdynmkt_customenforcementmodel",
    EMAIL_POINT + 3: "msdynmkt_voiceenforcementmodel",
}

PURPOSE = Table(
    "msdynmkt_purpose",
    "msdynmkt_name",
    (
        text("msdynmkt_name", 100),
        text("msdynmkt_description", 2000),
        choice(
            "msdynmkt_type", "Commercial Communication", "Transactional Communication", "Tracking", first=COMMERCIAL
        ),
        *(choice(name, "Restrictive", "Non-restrictive", "Disabled", first=RESTRICTIVE) for name in MODELS.values()),
    ),
    ACTIVE_OR_INACTIVE,
    "msdynmkt_Purpose",
)

TOPIC = Table(
    "msdynmkt_topic",
    "msdynmkt_name",
    (text("msdynmkt_name", 100), lookup("msdynmkt_purposeid", "msdynmkt_purpose", "msdynmkt_purposeId")),
    ACTIVE_OR_INACTIVE,
    "msdynmkt_Topic",
)

CONSENT = Table(
    "msdynmkt_contactpointconsent4",
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
        lookup("msdynmkt_messageid", "msdynmkt_email", "msdynmkt_messageId"),
        moment("overriddencreatedon"),
    ),
    ACTIVE_OR_INACTIVE,
    "msdynmkt_ContactPointConsent4",
)

PROVIDER = Table(
    "msdynmkt_consentprovider",
    "msdynmkt_name",
    (text("msdynmkt_name", 100),),
    ACTIVE_OR_INACTIVE,
    "msdynmkt_ConsentProvider",
)

PROFILE = Table(
    "msdynmkt_compliancesettings4",
    "msdynmkt_name",
    (
        text("msdynmkt_name", 100),
        text("msdynmkt_legaladdress", 4000),
        choice(
            "msdynmkt_consentlinktype",
            "Preference page",
            "Subscription center",
            "External link",
            "Preference center",
            first=_FIRST,
        ),
        lookup("msdynmkt_trackingconsentpurpose", "msdynmkt_purpose", "msdynmkt_TrackingConsentPurpose"),
        lookup("msdynmkt_consentproviderid", "msdynmkt_consentprovider", "msdynmkt_ConsentProviderId"),
    ),
    ACTIVE_OR_INACTIVE,
    "msdynmkt_ComplianceSettings4",
)

# Assumption: rows are posted to the set; the real service makes them by associating the two with $ref.
PROFILE_PURPOSE = Table(
    "msdynmkt_msdynmkt_purpose_msdynmkt_compliancev4",
    "msdynmkt_purposeid",
    (Column("msdynmkt_purposeid", Kind.GUID), Column("msdynmkt_compliancesettings4id", Kind.GUID)),
    schema_name="msdynmkt_msdynmkt_purpose_msdynmkt_compliancev4",
    set_name="msdynmkt_msdynmkt_purpose_msdynmkt_compliancev4set",
)

# Assumption: a column of these holds logical names, several of them with commas between.
POINT_SETTINGS = Table(
    "msdynmkt_contactpointsettings",
    "msdynmkt_entityname",
    (
        text("msdynmkt_entityname", 100),
        text("msdynmkt_emailaddressfields", 4000),
        text("msdynmkt_phonenumberfields", 4000),
        text("msdynmkt_contactablefields", 4000),
    ),
    ACTIVE_OR_INACTIVE,
    "msdynmkt_ContactPointSettings",
    set_name="msdynmkt_contactpointsettingses",
)

# State outside of Dataverse: what journeys have mailed, and whom they have left out.
TABLES = (PURPOSE, TOPIC, CONSENT, PROVIDER, PROFILE, PROFILE_PURPOSE, POINT_SETTINGS)
STATE = """
CREATE INDEX IF NOT EXISTS consent_by_value ON msdynmkt_contactpointconsent4 (fold(msdynmkt_contactpointvalue));
CREATE INDEX IF NOT EXISTS consent_by_change ON msdynmkt_contactpointconsent4 (modifiedon);
CREATE TABLE IF NOT EXISTS mailing (journey_id TEXT PRIMARY KEY, time REAL NOT NULL);
CREATE TABLE IF NOT EXISTS mail (
    number INTEGER PRIMARY KEY AUTOINCREMENT, journey_id TEXT NOT NULL, message_id TEXT NOT NULL,
    person_id TEXT NOT NULL, address TEXT NOT NULL, sent INTEGER NOT NULL, reason TEXT NOT NULL, time REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS mail_by_journey ON mail (journey_id, sent);
"""
