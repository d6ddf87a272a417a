"""The rows of consent in a new organisation: purposes, topics, and the consent of contacts."""

from __future__ import annotations

import sqlite3

from cij_sandbox.consent.tables import (
    COMMERCIAL,
    CONSENT,
    DISABLED,
    EMAIL_POINT,
    FOR_PURPOSE,
    INTERNAL,
    MODELS,
    NO_REASON,
    NON_RESTRICTIVE,
    OPTED_IN,
    OPTED_OUT,
    POINT_SETTINGS,
    PROFILE,
    PROFILE_PURPOSE,
    PURPOSE,
    RESTRICTIVE,
    TOPIC,
    TRACKING,
    TRANSACTIONAL,
)
from cij_sandbox.core.store import fold
from cij_sandbox.core.values import SqlValue
from cij_sandbox.dataverse.rows import insert, insert_many
from cij_sandbox.dataverse.seeding import insert_named, stable_id
from cij_sandbox.dataverse.tables import BUSINESS_UNIT_ID, USER_ID

# The only id that is the same in every organisation. The others are the sandbox's own.
COMMERCIAL_ID = "10000000-0000-0000-0000-000000000003"
_TOPICS = ("Newsletter", "Product news")


def seed(connection: sqlite3.Connection) -> None:
    """Insert the rows. One contact in ten has opted out of commercial e-mail, one in ten has opted in."""
    _purpose(connection, "Commercial", COMMERCIAL, NON_RESTRICTIVE, msdynmkt_purposeid=COMMERCIAL_ID)
    _purpose(connection, "Transactional", TRANSACTIONAL, DISABLED)
    _purpose(connection, "Tracking", TRACKING, NON_RESTRICTIVE)
    profile = stable_id(PROFILE.logical_name, "Default")
    insert_named(connection, PROFILE, "Default", msdynmkt_legaladdress="1 Main Street, Redmond")
    for (purpose,) in connection.execute("SELECT msdynmkt_purposeid FROM msdynmkt_purpose").fetchall():
        pair: dict[str, SqlValue] = {"msdynmkt_purposeid": purpose, "msdynmkt_compliancesettings4id": profile}
        insert(connection, PROFILE_PURPOSE, {PROFILE_PURPOSE.key: stable_id("profile of", purpose), **pair})
    for table in ("contact", "lead"):
        fields = {"msdynmkt_emailaddressfields": "emailaddress1", "msdynmkt_phonenumberfields": "mobilephone"}
        key = {POINT_SETTINGS.key: stable_id(POINT_SETTINGS.logical_name, table), "msdynmkt_entityname": table}
        insert(connection, POINT_SETTINGS, {"statecode": 0, "statuscode": 1, **key, **fields})
    for name in _TOPICS:
        insert_named(connection, TOPIC, name, msdynmkt_purposeid=COMMERCIAL_ID)
    people = connection.execute(
        "SELECT rowid, contactid, emailaddress1, createdon FROM contact "
        "WHERE rowid % 10 IN (0, 5) AND emailaddress1 IS NOT NULL ORDER BY rowid"
    ).fetchall()
    # People who share an address share its consent.
    points = {fold(person["emailaddress1"]): person for person in reversed(people)}
    fixed: dict[str, SqlValue] = {
        "msdynmkt_contactpointtype": EMAIL_POINT,
        "msdynmkt_contactpointconsenttype": FOR_PURPOSE,
        "msdynmkt_source": INTERNAL,
        "msdynmkt_logicalreason": NO_REASON,
        "msdynmkt_purposeid": COMMERCIAL_ID,
        "statecode": 0,
        "statuscode": 1,
        "owningbusinessunit": BUSINESS_UNIT_ID,
        "ownerid": USER_ID,
    }
    rows = (
        {
            **fixed,
            CONSENT.key: stable_id(CONSENT.logical_name, person["contactid"]),
            "msdynmkt_contactpointvalue": person["emailaddress1"],
            "msdynmkt_value": OPTED_OUT if person["rowid"] % 10 == 0 else OPTED_IN,
            "createdon": person["createdon"],
            "modifiedon": person["createdon"],
        }
        for person in points.values()
    )
    insert_many(connection, CONSENT, rows, len(points))


def _purpose(connection: sqlite3.Connection, name: str, kind: int, for_email: int, **content: SqlValue) -> None:
    models = {column: for_email if point == EMAIL_POINT else RESTRICTIVE for point, column in MODELS.items()}
    insert_named(connection, PURPOSE, name, msdynmkt_type=kind, **models, **content)
