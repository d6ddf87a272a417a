"""Whom a journey mails: when it has gone live and its start has come, its audience, as far as consent allows.

Nothing leaves the sandbox: who would get the message, and who was left out and why, is written down.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cij_sandbox.consent.decisions import Decisions
from cij_sandbox.consent.seeding import COMMERCIAL_ID
from cij_sandbox.consent.tables import EMAIL_POINT
from cij_sandbox.core import guid
from cij_sandbox.core.clock import CLOCK

# Assumption: the audience is mailed once, as of its last evaluation, whatever the type of the journey's trigger; each
# message of the journey is sent at its start; one without a purpose is of the commercial one.
_DUE = """
SELECT msdynmkt_journeyid, msdynmkt_journeyjson, msdynmkt_journeystarttime FROM msdynmkt_journey
WHERE statuscode IN (2, 7, 8) AND msdynmkt_journeyid NOT IN (SELECT journey_id FROM mailing)
"""
_MEMBERS = """
SELECT ids FROM evaluation_page JOIN evaluation ON evaluation.number = evaluation_page.evaluation
WHERE segment_id = ? ORDER BY page
"""
_BY_EARLIER_VERSIONS = """
SELECT person_id FROM mail
JOIN msdynmkt_journey AS earlier ON earlier.msdynmkt_journeyid = journey_id
JOIN msdynmkt_journey AS journey ON journey.msdynmkt_journeyid = ?
WHERE journey.msdynmkt_baseversionjourneyid IN (earlier.msdynmkt_journeyid, earlier.msdynmkt_baseversionjourneyid)
"""
_LISTED = "SELECT * FROM mail WHERE (:journey = '' OR journey_id = :journey) AND number > :since ORDER BY number"


@dataclass(frozen=True)
class _Message:
    """An e-mail of a journey, and what it needs consent to."""

    message_id: str
    purpose_id: str
    topic_id: str | None
    profile_id: str | None


class Mailings:
    """The step that mails the audiences of live journeys."""

    def __init__(self, *, scoped: bool) -> None:
        self._scoped = scoped

    def wait(self, connection: sqlite3.Connection, now: float) -> float:
        """Return the real seconds until the start of a live journey."""
        starts = [row["msdynmkt_journeystarttime"] or 0 for row in connection.execute(_DUE)]
        return CLOCK.until(min(starts)) if starts else math.inf

    def carry_out(self, connection: sqlite3.Connection, now: float) -> None:
        """Mail the journeys that have begun."""
        for journey in connection.execute(_DUE).fetchall():
            if (journey["msdynmkt_journeystarttime"] or 0) <= CLOCK.now():
                connection.execute("INSERT INTO mailing VALUES (?, ?)", (journey["msdynmkt_journeyid"], CLOCK.now()))
                _mail(connection, journey, scoped=self._scoped)


def listed(connection: sqlite3.Connection, journey_id: str, since: int) -> list[dict[str, object]]:
    """Return what journeys have mailed or left out, after a number; of one journey, or of all for ``""``."""
    rows = connection.execute(_LISTED, {"journey": journey_id, "since": since})
    return [{**dict(row), "sent": bool(row["sent"])} for row in rows]


def _mail(connection: sqlite3.Connection, journey: sqlite3.Row, *, scoped: bool) -> None:
    document = _document(journey["msdynmkt_journeyjson"])
    trigger, exits = _object(document.get("trigger")), _object(document.get("exitCriteria"))
    audience = guid.parse(trigger.get("audience"))
    if audience is None:
        return  # of an event, or no journey that could have gone live
    others = {*_ids(trigger.get("exclusionSegments")), *_ids(exits.get("suppressionSegments"))}
    left_out = {person for segment in others for person in _members(connection, segment)}
    # Those whom an earlier version of the journey mailed, or left out, are not mailed again.
    left_out |= {person for (person,) in connection.execute(_BY_EARLIER_VERSIONS, (journey["msdynmkt_journeyid"],))}
    table = _table(connection, audience)
    column = _column(connection, table)
    for message in _messages(connection, document.get("actions")):
        decisions = Decisions(
            connection, EMAIL_POINT, message.purpose_id, message.topic_id, message.profile_id, scoped=scoped
        )
        for person in _members(connection, audience):
            if person not in left_out:
                address = _address(connection, table, column, person)
                sent, reason = decisions.of(address) if address else (False, f"no {column}")
                connection.execute(
                    "INSERT INTO mail (journey_id, message_id, person_id, address, sent, reason, time) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (journey["msdynmkt_journeyid"], message.message_id, person, address, sent, reason, CLOCK.now()),
                )


def _messages(connection: sqlite3.Connection, actions: object) -> Iterator[_Message]:
    """Yield the e-mails of all actions, including those in branches."""
    for value in actions.values() if isinstance(actions, dict) else ():
        given = _object(value).get("parameters")
        if isinstance(given, dict) and (message_id := guid.parse(given.get("contentId"))):
            query = "SELECT * FROM msdynmkt_email WHERE msdynmkt_emailid = ?"
            email = connection.execute(query, (message_id,)).fetchone()
            kept = dict(email) if email else {}
            yield _Message(
                message_id,
                guid.parse(given.get("purposeId")) or kept.get("msdynmkt_purpose") or COMMERCIAL_ID,
                guid.parse(given.get("topicId")) or kept.get("msdynmkt_topic"),
                guid.parse(given.get("complianceSettingsId")) or kept.get("msdynmkt_compliancesettings4"),
            )
        yield from _messages(connection, value)


def _members(connection: sqlite3.Connection, segment_id: str) -> Iterator[str]:
    for (ids,) in connection.execute(_MEMBERS, (segment_id,)).fetchall():
        yield from (guid.from_bytes(ids[at : at + 16]) for at in range(0, len(ids), 16))


def _table(connection: sqlite3.Connection, segment_id: str) -> str:
    query = "SELECT msdynmkt_baseentitylogicalname FROM msdynmkt_segment WHERE msdynmkt_segmentid = ?"
    row = connection.execute(query, (segment_id,)).fetchone()
    return "lead" if row and row[0] == "lead" else "contact"


def _column(connection: sqlite3.Connection, table: str) -> str:
    """Return the column of the address. Assumption: the first one of the audience configuration."""
    query = "SELECT msdynmkt_emailaddressfields FROM msdynmkt_contactpointsettings WHERE msdynmkt_entityname = ?"
    row = connection.execute(query, (table,)).fetchone()
    name = (row[0] or "" if row else "").partition(",")[0].strip()
    return name if name in ("emailaddress2", "emailaddress3") else "emailaddress1"


def _address(connection: sqlite3.Connection, table: str, column: str, person_id: str) -> str:
    query = f'SELECT "{column}" FROM "{table}" WHERE "{table}id" = ?'  # noqa: S608 - names of the schema
    row = connection.execute(query, (person_id,)).fetchone()
    return str(row[0] or "").strip() if row else ""


def _document(text: str | None) -> dict[str, object]:
    try:
        return _object(json.loads(text or ""))
    except (ValueError, RecursionError):
        return {}


def _object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _ids(value: object) -> Iterator[str]:
    for text in value if isinstance(value, list) else ():
        if found := guid.parse(text):
            yield found


def totals(connection: sqlite3.Connection, journey_id: str) -> Mapping[str, int]:
    """Return how many messages of a journey were sent (``""``), and how many were not, by reason."""
    query = "SELECT CASE sent WHEN 1 THEN '' ELSE reason END AS why, count(*) FROM mail WHERE journey_id = ? GROUP BY 1"
    return {row[0]: row[1] for row in connection.execute(query, (journey_id,))}
