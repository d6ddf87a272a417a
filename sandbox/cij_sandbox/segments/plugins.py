"""The plug-ins of segments: checks of the two rows, and the groups, members and runs that depend on them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from cij_sandbox.core import assumptions, errors, guid, values
from cij_sandbox.core.assumptions import assumed
from cij_sandbox.core.values import SqlValue
from cij_sandbox.dataverse.plugins import Plugin, Row
from cij_sandbox.segments.definitions import BASE_TABLES, LIVE_STATUSES, segments_of
from cij_sandbox.segments.dependents import usage_changed, users
from cij_sandbox.segments.tables import DEFINITION, SEGMENT

MAXIMUM_GROUPS = 10
_NOT_STARTED = 723270003
_DRAFT, _LIVE = 723270001, (723270000, 723270004)
# Columns that newer versions may lack, by the assumption that they are there.
_COLUMNS = {
    "segments.former-member-columns": ("msdynmkt_includedmembers", "msdynmkt_excludedmembers"),
    "segments.created-columns": ("msdynmkt_sourcesegmentcreatedon", "msdynmkt_sourcesegmentcreatedby"),
}
# The columns that decide which segments are in use.
_USE = ("statuscode", "msdynmkt_sourcesegmentuid", "msdynmkt_targetedsegmentids")


class _Segment(Plugin):
    def before_write(self, connection: sqlite3.Connection, row: Row | None, content: dict[str, SqlValue]) -> None:
        """Refuse a base table other than those of the document's note, which wins over the comment in its example."""
        base = {**(row or {}), **content}.get("msdynmkt_baseentitylogicalname")
        if base is not None and base not in BASE_TABLES and assumed("segments.base-table") != "accepted":
            reason = f"Base table '{base!s}' is not supported: only contact and lead are"
            raise assumptions.refusal("segments.base-table", reason)
        if row is not None and content.get("statuscode") in LIVE_STATUSES:
            assumptions.check("segments.patch-status", "The status is written by the service")
        if row is None and "msdynmkt_type" in content and assumed("segments.type") == "11":
            content["msdynmkt_type"] = 11

    def after_write(self, connection: sqlite3.Connection, row_id: str, row: Row | None, content: Row) -> None:
        """Record which segments are unused now."""
        _use_written(connection, content)

    def before_delete(self, connection: sqlite3.Connection, row: Row) -> None:
        """Refuse to delete a segment that is in a live journey."""
        if row["statuscode"] in LIVE_STATUSES:
            assumptions.check("segments.delete-live", "The segment is live")
        _check_unused(connection, str(row["msdynmkt_segmentid"]))
        definition_id = guid.parse(row["msdynmkt_sourcesegmentuid"])
        if definition_id and assumed("segments.delete-segment") == "definition goes":
            query = "DELETE FROM msdynmkt_segmentdefinition WHERE msdynmkt_segmentdefinitionid = ?"
            connection.execute(query, (definition_id,))
            _Definition().after_delete(connection, definition_id)

    def mark_of_deleted(self) -> dict[str, SqlValue]:
        """Return the status Deleted, if rows of segments are assumed to stay."""
        return {"statecode": 1, "statuscode": 4} if assumed("segments.deleted-row") == "status 4" else {}

    def after_delete(self, connection: sqlite3.Connection, row_id: str) -> None:
        """Delete the computed members and skip the pending run."""
        connection.execute(
            "DELETE FROM evaluation_page WHERE evaluation IN (SELECT number FROM evaluation WHERE segment_id = ?)",
            (row_id,),
        )
        connection.execute(
            "UPDATE msdynmkt_segmentexecution SET statuscode = 723270005 "
            "WHERE msdynmkt_segmentexecutionid IN (SELECT execution_id FROM job WHERE segment_id = ?)",
            (row_id,),
        )
        for table in ("evaluation", "outcome", "schedule", "stopping", "job"):
            connection.execute(f"DELETE FROM {table} WHERE segment_id = ?", (row_id,))  # noqa: S608
        usage_changed(connection)


class _Definition(Plugin):
    def before_write(self, connection: sqlite3.Connection, row: Row | None, content: dict[str, SqlValue]) -> None:
        """Refuse groups that cannot be read, and another query for a segment that is in a live journey."""
        for name, columns in _COLUMNS.items():
            if any(content.get(column) is not None for column in columns):
                assumptions.check(name, f"{' and '.join(columns)} are no columns of the definition")
        if row is None:
            if content.get("statuscode") in _LIVE:
                assumptions.check("segments.create-live", "A definition is created as a draft")
            content.setdefault("msdynmkt_computationstatus", _NOT_STARTED)
        # Assumption: the user interface refuses another query in a live journey; no document says whether the API does.
        elif content.get("msdynmkt_segmentquery", query := row["msdynmkt_segmentquery"]) != query:
            for segment_id in segments_of(connection, str(row["msdynmkt_segmentdefinitionid"])):
                _check_unused(connection, segment_id)
            if row["statuscode"] in _LIVE:  # the change shows with the next run
                assumptions.check("segments.patch-live", "The segment is live")
                if assumed("segments.patch-live") == "becomes draft":
                    content.update(statecode=0, statuscode=_DRAFT)
        _groups({**(row or {}), **content})
        content["msdynmkt_definitionmodifiedon"] = values.now()

    def after_write(self, connection: sqlite3.Connection, row_id: str, row: Row | None, content: Row) -> None:
        """Make the stored groups those of the definition. A group that is gone loses its members."""
        if row is None or "msdynmkt_staticlistmembers" in content:
            wanted = _groups(content)
            for group_id in _stored_groups(connection, row_id) - wanted.keys():
                _delete_group(connection, row_id, group_id)
            connection.executemany(
                "INSERT INTO static_group (definition_id, group_id, include) VALUES (?, ?, ?) "
                "ON CONFLICT (definition_id, group_id) DO UPDATE SET include = excluded.include",
                [(row_id, group_id, include) for group_id, include in wanted.items()],
            )
        _use_written(connection, content)

    def before_delete(self, connection: sqlite3.Connection, row: Row) -> None:
        """Refuse to delete the definition of a segment that is in a live journey."""
        assumptions.check("segments.delete-definition", "A definition can't be deleted")
        for segment_id in segments_of(connection, str(row["msdynmkt_segmentdefinitionid"])):
            _check_unused(connection, segment_id)

    def after_delete(self, connection: sqlite3.Connection, row_id: str) -> None:
        """Delete the groups, their members and the runs."""
        for group_id in _stored_groups(connection, row_id):
            _delete_group(connection, row_id, group_id)
        for table in ("job", "schedule", "stopping"):
            connection.execute(f"DELETE FROM {table} WHERE definition_id = ?", (row_id,))  # noqa: S608
        if assumed("segments.delete-definition") == "evaluations go":
            query = "DELETE FROM msdynmkt_segmentexecution WHERE msdynmkt_segmentdefinitionid = ?"
            connection.execute(query, (row_id,))
        usage_changed(connection)


PLUGINS: Mapping[str, Plugin] = {SEGMENT.logical_name: _Segment(), DEFINITION.logical_name: _Definition()}


def _use_written(connection: sqlite3.Connection, content: Row) -> None:
    if not content.keys().isdisjoint(_USE):
        usage_changed(connection)


def _check_unused(connection: sqlite3.Connection, segment_id: str) -> None:
    if journeys := users(connection)[segment_id].journeys:
        raise errors.plug_in(f"Segment {segment_id} is used by the live journey {journeys[0]}; stop the journey first")


def _groups(content: Row) -> dict[str, bool]:
    """Read ``msdynmkt_staticlistmembers``: JSON in a string, at most ten groups. Return whether each group includes."""
    text = content.get("msdynmkt_staticlistmembers")
    if not isinstance(text, str) or not text.strip():
        return {}
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        raise _bad_groups("it is not valid JSON") from None
    if not isinstance(entries, list):
        raise _bad_groups("it is not an array of groups")
    if len(entries) > MAXIMUM_GROUPS and assumed("segments.too-many-groups") != "accepted":
        reason = f"it has {len(entries):,} groups, at most {MAXIMUM_GROUPS:,} are allowed"
        raise assumptions.refusal("segments.too-many-groups", reason)
    groups = dict(_group(entry) for entry in entries)
    if len(groups) < len(entries):
        raise _bad_groups("a groupId is used twice")
    return groups


def _group(entry: object) -> tuple[str, bool]:
    if not isinstance(entry, dict):
        raise _bad_groups("an element is not an object")
    written = entry.get("groupId")
    group_id = guid.parse(written)
    if group_id is None:
        raise _bad_groups(f"groupId '{written}' is not a GUID")
    include = entry.get("includeType")
    if include not in ("Include", "Exclude"):
        raise _bad_groups(f"includeType '{include}' of group {group_id} is neither Include nor Exclude")
    return group_id, include == "Include"


def _bad_groups(why: str) -> errors.ODataError:
    return errors.plug_in(f"msdynmkt_staticlistmembers cannot be read: {why}")


def _stored_groups(connection: sqlite3.Connection, definition_id: str) -> set[str]:
    query = "SELECT group_id FROM static_group WHERE definition_id = ?"
    return {row["group_id"] for row in connection.execute(query, (definition_id,))}


def _delete_group(connection: sqlite3.Connection, definition_id: str, group_id: str) -> None:
    connection.execute(
        "DELETE FROM static_member WHERE group_number = "
        "(SELECT number FROM static_group WHERE definition_id = ? AND group_id = ?)",
        (definition_id, group_id),
    )
    connection.execute("DELETE FROM static_group WHERE definition_id = ? AND group_id = ?", (definition_id, group_id))
