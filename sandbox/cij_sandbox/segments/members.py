"""Static groups and computed members ("Add / Remove / View Static Segment Members", "View members")."""

from __future__ import annotations

import sqlite3

from cij_sandbox.core import errors, guid
from cij_sandbox.core.store import Store
from cij_sandbox.segments.definitions import definition_of, find_segment

MAXIMUM_ADD = 1000
MAXIMUM_GROUP = 200_000
PAGE = 5000


class Members:
    """Reads and changes members."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, segment_id: str, group_id: str, ids: list[bytes]) -> None:
        """Add ids to a group, all or none. The call is idempotent.

        Assumption: the ids are not checked against the contacts or leads.
        """
        if len(ids) > MAXIMUM_ADD:
            raise errors.plug_in(f"EntityIds has {len(ids)} ids, at most {MAXIMUM_ADD} are allowed in one call")
        with self._store.transaction() as connection:
            group = _group(connection, segment_id, group_id)
            added = connection.executemany(
                "INSERT OR IGNORE INTO static_member VALUES (?, ?)", [(group["number"], member) for member in ids]
            ).rowcount
            if group["members"] + max(added, 0) > MAXIMUM_GROUP:
                raise errors.plug_in(f"Group {group_id} would exceed {MAXIMUM_GROUP} entity ids")
            _count(connection, group["number"], max(added, 0))

    def remove(self, segment_id: str, group_id: str, ids: list[bytes]) -> None:
        """Remove ids from a group, without a limit per call. The call is idempotent."""
        with self._store.transaction() as connection:
            group = _group(connection, segment_id, group_id)
            removed = connection.executemany(
                "DELETE FROM static_member WHERE group_number = ? AND member = ?",
                [(group["number"], member) for member in ids],
            ).rowcount
            _count(connection, group["number"], -max(removed, 0))

    def group_page(self, segment_id: str, group_id: str, page: int, size: int) -> dict[str, object]:
        """Return one page of a group, sorted by id; beyond the end an empty one."""
        connection = self._store.reader()
        group = _group(connection, segment_id, group_id)
        offset = (page - 1) * size
        query = "SELECT member FROM static_member WHERE group_number = ? ORDER BY member LIMIT ? OFFSET ?"
        parameters = (group["number"], min(size, MAXIMUM_GROUP), offset)
        rows = connection.execute(query, parameters) if offset < group["members"] else ()
        return {"entityIds": [guid.from_bytes(row[0]) for row in rows], "additionalProperties": {}}

    def computed_page(self, segment_id: str, page: int, size: int) -> dict[str, object]:
        """Return one page of the last finished evaluation, an empty one before the first."""
        connection = self._store.reader()
        segment = find_segment(connection, segment_id)
        base = segment["msdynmkt_baseentitylogicalname"] or "contact"
        found = connection.execute(
            "SELECT number, members FROM evaluation WHERE segment_id = ?", (segment_id,)
        ).fetchone()
        total = found["members"] if found else 0
        start = (page - 1) * size
        stop = min(start + size, total)
        return {
            "totalCount": total,
            "pageNumber": page,
            "pageSize": size,
            "hasNextPage": stop < total,
            "baseEntityLogicalName": base,
            "primaryKeyColumnName": f"{base}id",
            "members": _slice(connection, found["number"], start, stop) if found and start < stop else [],
            "additionalProperties": {},
        }


def _group(connection: sqlite3.Connection, segment_id: str, group_id: str) -> sqlite3.Row:
    definition = definition_of(connection, find_segment(connection, segment_id))
    row: sqlite3.Row | None = connection.execute(
        "SELECT number, members FROM static_group WHERE definition_id = ? AND group_id = ?",
        (definition["msdynmkt_segmentdefinitionid"], group_id),
    ).fetchone()
    if row is None:
        raise errors.plug_in(f"Segment {segment_id} has no static group {group_id}")
    return row


def _count(connection: sqlite3.Connection, group_number: int, difference: int) -> None:
    connection.execute("UPDATE static_group SET members = members + ? WHERE number = ?", (difference, group_number))


def _slice(connection: sqlite3.Connection, evaluation: int, start: int, stop: int) -> list[str]:
    rows = connection.execute(
        "SELECT ids FROM evaluation_page WHERE evaluation = ? AND page BETWEEN ? AND ? ORDER BY page",
        (evaluation, start // PAGE, (stop - 1) // PAGE),
    )
    packed = b"".join(row[0] for row in rows)
    first = (start - start // PAGE * PAGE) * 16
    return [guid.from_bytes(packed[at : at + 16]) for at in range(first, first + (stop - start) * 16, 16)]
