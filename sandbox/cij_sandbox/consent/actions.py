"""``msdynmkt_checkconsent``.

Assumption: inputs and outputs are those that "Extend consent" documents for replacement consent providers; the action's
own signature is in no document.
"""

from __future__ import annotations

from collections.abc import Mapping

from cij_sandbox.consent.decisions import Decisions
from cij_sandbox.consent.tables import EMAIL_POINT, PROFILE, PURPOSE, TOPIC
from cij_sandbox.core import errors, guid
from cij_sandbox.core.assumptions import ASSUMED
from cij_sandbox.core.schema import Table
from cij_sandbox.core.store import Store
from cij_sandbox.dataverse.actions import (
    BOOLEAN,
    ENTITY_COLLECTION,
    ENTITY_REFERENCE,
    STRING,
    STRING_ARRAY,
    Action,
    Parameter,
)
from cij_sandbox.dataverse.rows import fetch

_CHANNELS = {"email": EMAIL_POINT, "sms": EMAIL_POINT + 1, "custom": EMAIL_POINT + 2}
# Assumption: no document gives a limit.
_MAXIMUM = 1000


class ConsentActions:
    """The action, there or not."""

    def __init__(self, store: Store, *, scoped: bool) -> None:
        self._store = store
        self._scoped = scoped

    def actions(self) -> tuple[Action, ...]:
        """Return the action, there or not as is assumed."""
        inputs = (
            Parameter("contactpoints", STRING_ARRAY),
            Parameter("channeltype", STRING),
            Parameter("purpose", ENTITY_REFERENCE),
            Parameter("topic", ENTITY_REFERENCE, True),
            Parameter("complianceprofile", ENTITY_REFERENCE, True),
            Parameter("owningbusinessunit", ENTITY_REFERENCE, True),
            Parameter("unsubscribeurlrequired", BOOLEAN, True),
            Parameter("oneclickunsubscribeurlrequired", BOOLEAN, True),
        )
        available = ASSUMED.is_there("consent.check-action")
        outputs = {"consents": ENTITY_COLLECTION}
        return (
            Action("msdynmkt_checkconsent", inputs, outputs, self._check, available, assumes="consent.check-action"),
        )

    def _check(self, given: dict[str, object]) -> Mapping[str, object]:
        points = given["contactpoints"]
        channel = _CHANNELS.get(str(given["channeltype"]))
        if not isinstance(points, list) or not all(isinstance(point, str) for point in points):
            raise errors.bad_parameter("contactpoints is not a list of strings.")
        if len(points) > _MAXIMUM:
            raise errors.plug_in(f"contactpoints has {len(points):,} entries, at most {_MAXIMUM:,} are allowed")
        if channel is None:
            raise errors.plug_in(f"channeltype is none of {', '.join(_CHANNELS)}")
        purpose = self._row(given, "purpose", PURPOSE)
        if purpose is None:
            raise errors.bad_parameter("purpose is not a reference to a purpose.")
        topic, profile = self._row(given, "topic", TOPIC), self._row(given, "complianceprofile", PROFILE)
        connection = self._store.reader()
        decisions = Decisions(connection, channel, purpose, topic, profile, scoped=self._scoped)
        found = [
            {
                "@odata.type": "#Microsoft.Dynamics.CRM.expando",
                "contactpoint": point,
                "consentformessage": decisions.of(point)[0],
            }
            for point in points
        ]
        return {"consents": found}

    def _row(self, given: Mapping[str, object], name: str, table: Table) -> str | None:
        reference = given.get(name)
        if not isinstance(reference, dict):
            return None
        row_id = guid.parse(str(reference.get(table.key)))
        if fetch(self._store.reader(), table, row_id) is None:
            raise errors.no_such_row(table.logical_name, str(row_id))
        return row_id
