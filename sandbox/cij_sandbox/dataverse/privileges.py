"""What the application user's roles allow, by table and operation ("Security roles and privileges").

Assumptions: an action needs what it would need to write or read the rows itself, for which see the actions; the
privilege for an operation on a table has no depth; to bind a lookup needs Append on the row's table and AppendTo on the
other one.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

from cij_sandbox.core import errors
from cij_sandbox.core.schema import Schema, Table
from cij_sandbox.dataverse.tables import BUSINESS_UNIT_ID, USER_ID

CREATE, READ, WRITE, DELETE, APPEND, APPEND_TO = OPERATIONS = (
    "Create", "Read", "Write", "Delete", "Append", "AppendTo",
)  # fmt: skip


class Privileges:
    """The privileges of the user. ``is_missing`` tells by a table's logical name and an operation."""

    def __init__(self, is_missing: Callable[[str, str], bool]) -> None:
        self._is_missing = is_missing

    def require(self, table: Table, operation: str) -> None:
        """Raise the error for a privilege that is missing."""
        if self._is_missing(table.logical_name, operation):
            raise errors.no_privilege(_subject(table), operation, USER_ID)

    def listed(self, schema: Schema) -> list[dict[str, object]]:
        """Return all privileges of the user, as "RetrieveUserPrivileges" does."""
        names = [
            f"prv{operation}{_subject(table)}"
            for table in schema.tables
            for operation in OPERATIONS
            if not self._is_missing(table.logical_name, operation)
        ]
        return [
            {
                "Depth": "Global",
                "PrivilegeId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"cij-sandbox:privilege:{name}")),
                "BusinessUnitId": BUSINESS_UNIT_ID,
                "PrivilegeName": name,
            }
            for name in names
        ]


def _subject(table: Table) -> str:
    # prvReadContact, but prvCreatemsdynmkt_journey.
    return table.logical_name if "_" in table.logical_name else table.schema_name
