"""Whether a message is sent to an address ("Manage consent for email, SMS (text), voice, and custom channel messages").

The record that counts is looked for in the business unit of the purpose, then in that of the compliance profile, and,
unless business-unit scoping is on, in any other ("Consent management for business units"). Of several there the most
recently modified one counts. Inactive records and inactive profiles count ("Manage user compliance settings").
"""

from __future__ import annotations

import sqlite3

from cij_sandbox.consent.tables import (
    DISABLED,
    FOR_PURPOSE,
    FOR_TOPIC,
    MODELS,
    OPTED_IN,
    OPTED_OUT,
    PROFILE,
    PURPOSE,
    RESTRICTIVE,
)
from cij_sandbox.core.store import fold
from cij_sandbox.dataverse.rows import fetch

_FIND = """
SELECT msdynmkt_value FROM msdynmkt_contactpointconsent4
WHERE fold(msdynmkt_contactpointvalue) = :address AND msdynmkt_contactpointtype = :channel
    AND msdynmkt_contactpointconsenttype = :kind
    AND CASE :kind WHEN :topic_kind THEN msdynmkt_topicid ELSE msdynmkt_purposeid END = :about
    AND (NOT :scoped OR owningbusinessunit IN (:first, :second))
ORDER BY CASE owningbusinessunit WHEN :first THEN 0 WHEN :second THEN 1 ELSE 2 END, modifiedon DESC, versionnumber DESC
LIMIT 1
"""


class Decisions:
    """Decides for one purpose, topic and compliance profile, on one channel."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        channel: int,
        purpose_id: str,
        topic_id: str | None,
        profile_id: str | None,
        *,
        scoped: bool,
    ) -> None:
        self._connection = connection
        self._about = [(FOR_PURPOSE, purpose_id), *([(FOR_TOPIC, topic_id)] if topic_id else [])]
        purpose = fetch(connection, PURPOSE, purpose_id)
        profile = fetch(connection, PROFILE, profile_id)
        self._model = purpose[MODELS[channel]] if purpose else None
        self._known = purpose is not None
        self._provided = bool(profile and profile["msdynmkt_consentproviderid"])
        self._given = {
            "channel": channel,
            "topic_kind": FOR_TOPIC,
            "scoped": scoped,
            "first": purpose["owningbusinessunit"] if purpose else None,
            "second": profile["owningbusinessunit"] if profile else None,
        }

    def of(self, address: str) -> tuple[bool, str]:
        """Return whether a message is sent to an address, and why."""
        if not self._known:
            return False, "the purpose does not exist"
        if self._provided:
            # Assumption: what an external provider decides is not played.
            return False, "the external consent provider is not there"
        if self._model == DISABLED:
            return True, "enforcement is disabled"
        reason = "opted in"
        for kind, about in self._about:
            given = {**self._given, "address": fold(address.strip()), "kind": kind, "about": about}
            row = self._connection.execute(_FIND, given).fetchone()
            value, name = row["msdynmkt_value"] if row else None, "purpose" if kind == FOR_PURPOSE else "topic"
            if value == OPTED_OUT:
                return False, f"opted out of the {name}"
            if value != OPTED_IN:
                if self._model in (RESTRICTIVE, None):
                    return False, f"not opted in to the {name}"
                reason = "not opted out"
        return True, reason
