"""Static groups and computed members ("Add / Remove / View Static Segment Members", "View members")."""

from __future__ import annotations

import sqlite3

from cij_sandbox.core import assumptions, errors, guid
from cij_sandbox.core.assumptions import assumed
from cij_sandbox.core.store import Store
from cij_sandbox.dataverse.rows import fetch
from cij_sandbox.dataverse.tables import CONTACT, LEAD
from cij_sandbox.segments.definitions import definition_of, find_segment
from cij_sandbox.segments.tables import DEFINITION, SEGMENT

MAXIMUM_ADD = 1000
MAXIMUM_GROUP = 200_000
PAGE = 5000


class Members:
    """Reads and changes members."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, segment_id: str, group_id: str, ids: list[bytes]) -> None:
        """Add ids to a group, all or none."""
        if len(ids) > MAXIMUM_ADD and assumed("segments.add-too-many") != "accepted":
            reason = f"EntityIds has {len(ids):,} ids, at most {MAXIMUM_ADD:,} are allowed in one call"
            raise assumptions.refusal("segments.add-too-many", reason)
        if not ids:
            assumptions.check("segments.add-none", "EntityIds is empty")
        with self._store.transaction() as connection:
            group = _group(connection, segment_id, group_id, "segments.add-unknown-group")
            if group is None:
                return
            ids = _addable(connection, segment_id, group["number"], ids)
            added = connection.executemany(
                "INSERT OR IGNORE INTO static_member VALUES (?, ?)", [(group["number"], member) for member in ids]
            ).rowcount
            if group["members"] + max(added, 0) > MAXIMUM_GROUP:
                raise errors.plug_in(f"Group {group_id} would exceed {MAXIMUM_GROUP:,} entity ids")
            if assumed("segments.list-order") == "as added":
                connection.executemany(
                    "INSERT OR IGNORE INTO static_added (group_number, member) VALUES (?, ?)",
                    [(group["number"], member) for member in ids],
                )
            _count(connection, group["number"], max(added, 0))

    def remove(self, segment_id: str, group_id: str, ids: list[bytes]) -> None:
        """Remove ids from a group."""
        if len(ids) > MAXIMUM_ADD:
            assumptions.check("segments.remove-many", f"EntityIds has {len(ids):,} ids")
        with self._store.transaction() as connection:
            group = _group(connection, segment_id, group_id, "segments.remove-unknown-group")
            if group is None:
                return
            lenient = assumed("segments.remove-not-member") == "accepted"
            if not lenient and len(_known(connection, group["number"], ids)) < len(set(ids)):
                assumptions.check("segments.remove-not-member", "EntityIds has an id that is not in the group")
            removed = connection.executemany(
                "DELETE FROM static_member WHERE group_number = ? AND member = ?",
                [(group["number"], member) for member in ids],
            ).rowcount
            connection.executemany(
                "DELETE FROM static_added WHERE group_number = ? AND member = ?",
                [(group["number"], member) for member in ids],
            )
            _count(connection, group["number"], -max(removed, 0))

    def group_page(self, segment_id: str, group_id: str, page: int, size: int) -> dict[str, object]:
        """Return one page of a group."""
        connection = self._store.reader()
        group = _group(connection, segment_id, group_id, "segments.list-unknown-group")
        if group is None:
            return {"entityIds": [], "additionalProperties": {}}
        offset = (page - 1) * size
        if page > 1 and offset >= group["members"]:
            assumptions.check("segments.list-beyond-end", f"Page {page} is after the last one")
        query = _LISTED[assumed("segments.list-order")]
        parameters = (group["number"], min(size, MAXIMUM_GROUP), offset)
        rows = connection.execute(query, parameters) if offset < group["members"] else ()
        return {"entityIds": [guid.from_bytes(row[0]) for row in rows], "additionalProperties": {}}

    def computed_page(self, segment_id: str, page: int, size: int) -> dict[str, object]:
        """Return one page of the last finished evaluation, an empty one before the first."""
        connection = self._store.reader()
        pages = assumed("segments.members-keys") == "paged" and assumed("segments.members-text") == "JSON"
        if not pages or assumed("segments.members-paging") == "none":  # all members are on the first one
            page, size = 1, 2**31 - 1
        if assumed("segments.unknown-segment") == "empty" and not fetch(connection, SEGMENT, segment_id):
            return _shown(page, size, 0, "contact", []) if pages else _documented("contact", [])
        segment = find_segment(connection, segment_id)
        base = segment["msdynmkt_baseentitylogicalname"] or "contact"
        found = connection.execute(
            "SELECT number, members FROM evaluation WHERE segment_id = ?", (segment_id,)
        ).fetchone()
        total = found["members"] if found else 0
        start = (page - 1) * size
        stop = min(start + size, total)
        listed = _slice(connection, found["number"], start, stop) if found and start < stop else []
        if found and assumed("segments.add-when-live") == "at once":
            evaluated = _slice(connection, found["number"], 0, total) if total else []
            everyone = sorted({*evaluated, *_static(connection, segment)})
            total, listed = len(everyone), everyone[start : start + size]
        if not found:
            assumptions.check("segments.members-before-run", f"Segment {segment_id} has not been evaluated")
            if assumed("segments.members-before-run") == "static members":
                listed = _static(connection, segment)
                total = len(listed)
        return _shown(page, size, total, base, listed) if pages else _documented(base, listed)


_OF_GROUP = "SELECT member FROM static_member WHERE group_number = ?"
# How a group may be listed, by what is assumed of it.
_LISTED = {
    "by id": f"{_OF_GROUP} ORDER BY member LIMIT ? OFFSET ?",
    "as added": "SELECT member FROM static_member LEFT JOIN static_added AS added USING (group_number, member) "
    "WHERE group_number = ? ORDER BY added.number LIMIT ? OFFSET ?",
    # Of ids that are random, this is no order.
    "unordered": f"{_OF_GROUP} ORDER BY substr(member, 6) LIMIT ? OFFSET ?",
}


def _documented(base: str, members: list[str]) -> dict[str, object]:
    names = {"baseEntityLogicalName": base, "primaryKeyColumnName": f"{base}id"}
    return {**names, "members": members, "additionalProperties": {}}


def _shown(page: int, size: int, total: int, base: str, members: list[str]) -> dict[str, object]:
    paging = {"totalCount": total, "pageNumber": page, "pageSize": size, "hasNextPage": page * size < total}
    return {**paging, **_documented(base, members)}


def _static(connection: sqlite3.Connection, segment: sqlite3.Row) -> list[str]:
    query = (
        "SELECT DISTINCT member FROM static_member JOIN static_group ON group_number = number "
        "WHERE definition_id = ? AND include = 1 ORDER BY member"
    )
    definition = definition_of(connection, segment)
    return [guid.from_bytes(row[0]) for row in connection.execute(query, (definition[DEFINITION.key],))]


def _known(connection: sqlite3.Connection, group_number: int, ids: list[bytes]) -> set[bytes]:
    query = "SELECT 1 FROM static_member WHERE group_number = ? AND member = ?"
    return {member for member in ids if connection.execute(query, (group_number, member)).fetchone()}


def _addable(connection: sqlite3.Connection, segment_id: str, group_number: int, ids: list[bytes]) -> list[bytes]:
    """Return the ids to add, or raise the refusal for those that the group has or that are no rows."""
    if assumed("segments.add-twice") != "nothing" and _known(connection, group_number, ids):
        assumptions.check("segments.add-twice", "EntityIds has an id that is in the group")
    if assumed("segments.add-unknown-id") == "kept":
        return ids
    base = find_segment(connection, segment_id)["msdynmkt_baseentitylogicalname"]
    table = LEAD if base == LEAD.logical_name else CONTACT
    known = [member for member in ids if fetch(connection, table, guid.from_bytes(member))]
    if len(known) < len(ids):
        assumptions.check("segments.add-unknown-id", f"EntityIds has an id of no {table.logical_name}")
    return known


def _group(connection: sqlite3.Connection, segment_id: str, group_id: str, unknown: str) -> sqlite3.Row | None:
    """Return a group; None for an unknown one if ``unknown``, the assumption, does not refuse it."""
    definition = definition_of(connection, find_segment(connection, segment_id))
    row: sqlite3.Row | None = connection.execute(
        "SELECT number, members FROM static_group WHERE definition_id = ? AND group_id = ?",
        (definition["msdynmkt_segmentdefinitionid"], group_id),
    ).fetchone()
    if row is None:
        assumptions.check(unknown, f"Segment {segment_id} has no static group {group_id}")
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
