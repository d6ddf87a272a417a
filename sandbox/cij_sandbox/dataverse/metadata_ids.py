"""The ids of tables, columns and keys in the metadata."""

from __future__ import annotations

import uuid


def stable_id(name: str) -> str:
    """Return the MetadataId of a table, a column or a key, which is the same in every sandbox."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"cij-sandbox:table:{name}"))
