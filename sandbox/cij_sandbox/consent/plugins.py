"""The plug-ins of consent: the owner of a row, and the enforcement models of a new purpose."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from cij_sandbox.consent.tables import CONSENT, MODELS, PURPOSE, RESTRICTIVE
from cij_sandbox.core import assumptions
from cij_sandbox.core.values import SqlValue
from cij_sandbox.dataverse.plugins import Plugin, Row
from cij_sandbox.dataverse.rows import fetch


class _Consent(Plugin):
    def before_write(self, connection: sqlite3.Connection, row: Row | None, content: dict[str, SqlValue]) -> None:
        """Give a new row to the owner of its purpose, whoever writes it ("Consent management for business units")."""
        if row is None and (purpose := fetch(connection, PURPOSE, _text(content.get("msdynmkt_purposeid")))):
            content |= {name: purpose[name] for name in ("owningbusinessunit", "ownerid")}
        names = ("msdynmkt_contactpointvalue", "msdynmkt_contactpointtype", "msdynmkt_purposeid", "msdynmkt_topicid")
        same = " AND ".join(f"{name} IS ?" for name in names)
        # The folded value is indexed.
        query = f"SELECT 1 FROM {CONSENT.logical_name} WHERE fold({names[0]}) = fold(?) AND {same}"  # noqa: S608 - constants
        given = [content.get(name) for name in names]
        if row is None and connection.execute(query, [given[0], *given]).fetchone():
            assumptions.check("consent.same-address", "The address has a consent for this purpose and channel")
        if row is None and content.get("overriddencreatedon") is not None:
            content["createdon"] = content["overriddencreatedon"]


class _Purpose(Plugin):
    def before_write(self, connection: sqlite3.Connection, row: Row | None, content: dict[str, SqlValue]) -> None:
        """Set the enforcement models that a new purpose lacks.

        Assumption: restrictive for e-mail as well; the table reference has that default for the other channels only.
        """
        if row is None:
            content |= {name: RESTRICTIVE for name in MODELS.values() if content.get(name) is None}


def _text(value: SqlValue) -> str | None:
    return value if isinstance(value, str) else None


PLUGINS: Mapping[str, Plugin] = {CONSENT.logical_name: _Consent(), PURPOSE.logical_name: _Purpose()}
