"""The tables of consent: purposes, topics, and the consent of contact points."""

from __future__ import annotations

from cij_sandbox.core.columns import choice, lookup, moment, text
from cij_sandbox.core.schema import ACTIVE_OR_INACTIVE, Table

_FIRST = 534120000
EMAIL_POINT, FOR_PURPOSE, OPTED_IN, OPTED_OUT, INTERNAL = _FIRST, _FIRST, _FIRST + 1, _FIRST + 2, _FIRST
NO_REASON = _FIRST - 1
COMMERCIAL, TRANSACTIONAL, TRACKING = range(_FIRST, _FIRST + 3)

PURPOSE = Table(
    "msdynmkt_purpose",
    "msdynmkt_name",
    (
        text("msdynmkt_name", 100),
        text("msdynmkt_description", 2000),
        choice(
            "msdynmkt_type", "Commercial Communication", "Transactional Communication", "Tracking", first=COMMERCIAL
        ),
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
    ),
    ACTIVE_OR_INACTIVE,
    "msdynmkt_ContactPointConsent4",
)

TABLES = (PURPOSE, TOPIC, CONSENT)
STATE = """
CREATE INDEX IF NOT EXISTS consent_by_value ON msdynmkt_contactpointconsent4 (fold(msdynmkt_contactpointvalue));
"""
