"""Create, read, update and delete one row ("Create a table row", "Perform conditional operations")."""

# ruff: noqa: S608 - the names are those of tables.py, every value is a parameter

from __future__ import annotations

import re
import sqlite3
import uuid
from collections.abc import Mapping

from cij_sandbox.core import errors, guid, values
from cij_sandbox.core.schema import Column, Table
from cij_sandbox.core.store import Store, next_number
from cij_sandbox.core.values import SqlValue
from cij_sandbox.core.web import Answer, Request
from cij_sandbox.dataverse.annotations import Annotations
from cij_sandbox.dataverse.tables import BY_LOGICAL_NAME, DEFINITION, JOURNEY, SEGMENT
from cij_sandbox.journeys.plugins import check_deletable
from cij_sandbox.outbound import plugins as outbound
from cij_sandbox.segments.definitions import (
    check_definition,
    check_segment,
    definition_deleted,
    definition_written,
    segment_deleted,
    segments_of,
)
from cij_sandbox.segments.dependents import check_change, check_unused, journeys_changed, usage_changed

ORGANIZATION_ID = "0b7a2f6e-51c3-4d28-8e9a-3f1c0d5b7a10"
BUSINESS_UNIT_ID = "1c8b3a7f-62d4-4e39-9fab-402d1e6c8b20"
USER_ID = "2d9c4b80-73e5-4f4a-80bc-513e2f7d9c30"
_ETAG = re.compile(r'(?:W/)?"(\d+)"')
_BIND_SUFFIX = "@odata.bind"
_USE = ("statuscode", "msdynmkt_sourcesegmentuid", "msdynmkt_targetedsegmentids")
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_LINK = re.compile(r"(?:https://[^/]+/api/data/v9\.\d)?/?(\w+)\(([^)]*)\)")


def show(
    table: Table, row: sqlite3.Row, selected: tuple[str, ...] = (), annotations: Annotations | None = None
) -> dict[str, object]:
    """Return a row as the Web API shows it; the key is always shown."""
    body: dict[str, object] = {"@odata.etag": f'W/"{row["versionnumber"]}"'}
    annotated = annotations if annotations else None  # asked once a row, not once a column
    for column in table.columns:
        if not selected or column.property_name in selected or column.name == table.key:
            if annotated is not None:
                body.update(annotated.of(column, row[column.name]))
            body[column.property_name] = values.to_json(column, row[column.name])
    return body


def fetch(connection: sqlite3.Connection, table: Table, row_id: str) -> sqlite3.Row | None:
    """Return a row or None."""
    found: sqlite3.Row | None = connection.execute(
        f'SELECT * FROM "{table.logical_name}" WHERE "{table.key}" = ?',
        (row_id,),
    ).fetchone()
    return found


def insert(connection: sqlite3.Connection, table: Table, content: Mapping[str, SqlValue]) -> str:
    """Insert a row that has been checked; return its id."""
    row_id = str(content.get(table.key) or uuid.uuid4())
    now = values.now()
    row: dict[str, SqlValue] = {
        "createdon": now,
        **content,
        table.key: row_id,
        "modifiedon": now,
        "versionnumber": next_number(connection, "version"),
    }
    if "owningbusinessunit" in table.by_name:
        row = {"owningbusinessunit": BUSINESS_UNIT_ID, "ownerid": USER_ID, **row}
    names = ", ".join(f'"{name}"' for name in row)
    try:
        connection.execute(
            f'INSERT INTO "{table.logical_name}" ({names}) VALUES ({", ".join("?" * len(row))})',
            list(row.values()),
        )
    except sqlite3.IntegrityError:
        raise errors.duplicate_row() from None
    return row_id


def change(connection: sqlite3.Connection, table: Table, row_id: str, content: Mapping[str, SqlValue]) -> None:
    """Write columns of a row that exists."""
    row = {**content, "modifiedon": values.now(), "versionnumber": next_number(connection, "version")}
    assignments = ", ".join(f'"{name}" = ?' for name in row)
    connection.execute(
        f'UPDATE "{table.logical_name}" SET {assignments} WHERE "{table.key}" = ?',
        [*row.values(), row_id],
    )


class Rows:
    """Operations on the rows of any table."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, table: Table, request: Request) -> Answer:
        """POST to an entity set."""
        self._check_writable(table)
        content = self._content(table, request)
        with self._store.transaction() as connection:
            row_id = self._insert(connection, table, content)
            return self._written(table, request, row_id, connection, created=True)

    def read(self, table: Table, row_id: str, request: Request, selected: tuple[str, ...]) -> Answer:
        """GET one row."""
        row = fetch(self._store.reader(), table, row_id)
        if row is None:
            raise errors.no_such_row(table.logical_name, row_id)
        annotations = Annotations(request.headers, self._store.reader())
        body = show(table, row, selected, annotations)
        etag = {"ETag": str(body["@odata.etag"])}
        # "Conditional retrievals": not with annotations, which may change while the row does not.
        if not annotations and _names_version(request.headers.get("if-none-match", ""), row["versionnumber"]):
            return Answer(304, None, etag)
        fields = f"({','.join(selected)})" if selected else ""
        context = {"@odata.context": f"{request.context}{table.set_name}{fields}/$entity"}
        return Answer(200, {**context, **body}, {**etag, **annotations.applied()})

    def update(self, table: Table, row_id: str, request: Request) -> Answer:
        """PATCH one row: an upsert, unless a condition forbids one half of it."""
        self._check_writable(table)
        content = self._content(table, request)
        if content.get(table.key) not in (None, row_id):
            raise errors.bad_payload(
                table.logical_name, f"System.ArgumentException: The key property '{table.key}' cannot be changed."
            )
        content.pop(table.key, None)
        with self._store.transaction() as connection:
            row = fetch(connection, table, row_id)
            self._check_conditions(table, row_id, row, request)
            if row is None:
                self._insert(connection, table, {**content, table.key: row_id})
            else:
                self._change(connection, table, row_id, row, content)
            return self._written(table, request, row_id, connection, created=row is None)

    def delete(self, table: Table, row_id: str, request: Request) -> Answer:
        """DELETE one row."""
        self._check_writable(table)
        with self._store.transaction() as connection:
            row = fetch(connection, table, row_id)
            if row is None:
                raise errors.no_such_row(table.logical_name, row_id)
            self._check_conditions(table, row_id, row, request)
            if table is JOURNEY:
                check_deletable(connection, row)
            outbound.deleting(connection, table, row_id)
            used = [row_id] if table is SEGMENT else segments_of(connection, row_id) if table is DEFINITION else []
            for segment_id in used:
                check_unused(connection, segment_id)
            connection.execute(
                f'DELETE FROM "{table.logical_name}" WHERE "{table.key}" = ?',
                (row_id,),
            )
            # Assumption: a live segment no live journey uses may be deleted, and nothing of it outlives it.
            if table is SEGMENT:
                segment_deleted(connection, row_id)
            elif table is DEFINITION:
                definition_deleted(connection, row_id)
            _usage(connection, table, {"msdynmkt_targetedsegmentids": None})
        return Answer(204)

    def _check_writable(self, table: Table) -> None:
        if not table.writable:
            raise errors.not_implemented(f"writing to '{table.set_name}'")

    def _check_conditions(self, table: Table, row_id: str, row: sqlite3.Row | None, request: Request) -> None:
        if_match = request.headers.get("if-match", "").strip()
        if if_match and row is None:
            raise errors.no_such_row(table.logical_name, row_id)
        if if_match and if_match != "*" and row is not None and not _names_version(if_match, row["versionnumber"]):
            raise errors.version_mismatch()
        if request.headers.get("if-none-match", "").strip() == "*" and row is not None and request.method == "PATCH":
            raise errors.duplicate_row()

    def _content(self, table: Table, request: Request) -> dict[str, SqlValue]:
        content: dict[str, SqlValue] = {}
        for name, value in request.json_object(table.logical_name).items():
            if name.endswith(_BIND_SUFFIX):
                column, row_id = self._bound(table, name.removesuffix(_BIND_SUFFIX), value)
                content[column.name] = row_id
            elif "@" in name:
                continue  # control information and annotations: read, never written
            elif (found := table.by_property.get(table.aliases.get(name, name))) is None:
                raise errors.undeclared_in_payload(table.logical_name, name)
            elif found.target:
                raise errors.bad_payload(
                    table.logical_name,
                    f"Microsoft.Crm.CrmException: '{name}' is read-only; bind its navigation property instead.",
                )
            elif not found.read_only:
                # Assumption: what the platform keeps itself is ignored in a body rather than refused.
                content[found.name] = values.from_json(table, found, value)
        return content

    def _bound(self, table: Table, name: str, value: object) -> tuple[Column, SqlValue]:
        """Return the lookup a body binds and the id of the row it is bound to; null makes it refer to nothing."""
        # Assumption: the case of this one does not matter; it does in all others.
        column = table.by_navigation.get(name.lower() if name.lower() == "owningbusinessunit" else name)
        if column is None:
            raise errors.undeclared_in_payload(table.logical_name, name)
        if value is None and not column.target.startswith(("businessunit", "systemuser")):
            return column, None
        target = BY_LOGICAL_NAME[column.target]
        link = _LINK.fullmatch(value) if isinstance(value, str) else None
        row_id = guid.strict(link[2]) if link and link[1] == target.set_name else None
        if row_id is None:
            kind = _CAPITAL.sub(" ", target.schema_name).lower()
            raise errors.bad_payload(
                table.logical_name, f"Microsoft.OData.ODataException: '{value}' is not a reference to a {kind}."
            )
        if fetch(self._store.reader(), target, row_id) is None:
            raise errors.no_such_row(target.logical_name, row_id)
        return column, row_id

    def _insert(self, connection: sqlite3.Connection, table: Table, content: dict[str, SqlValue]) -> str:
        _check_required(table, {**dict.fromkeys(table.required), **content})
        if table.statuses:
            state = int(content.get("statecode") or 0)
            status = content.get("statuscode")
            content = {
                **content,
                "statecode": state,
                "statuscode": table.default_status(state) if status is None else status,
            }
            _check_status(table, content)
        _full_name(table, content, content)
        if table is DEFINITION:
            content.setdefault("msdynmkt_computationstatus", 723270003)
            content["msdynmkt_definitionmodifiedon"] = values.now()
            groups = check_definition(content)
        elif table is SEGMENT:
            check_segment(content)
        outbound.prepare(connection, table, None, content)
        row_id = insert(connection, table, content)
        outbound.written(connection, table, row_id, None, content)
        if table is DEFINITION:
            definition_written(connection, row_id, groups)
        _usage(connection, table, content)
        return row_id

    def _change(
        self, connection: sqlite3.Connection, table: Table, row_id: str, row: sqlite3.Row, content: dict[str, SqlValue]
    ) -> None:
        _check_required(table, content)
        whole: dict[str, SqlValue] = {**dict(row), **content}
        if table.statuses and ("statecode" in content or "statuscode" in content):
            state = int(whole.get("statecode") or 0)
            if content.get("statuscode") is None and state != row["statecode"]:
                whole["statuscode"] = table.default_status(state)
            content.update(statecode=state, statuscode=whole["statuscode"])
            _check_status(table, content)
        _full_name(table, content, whole)
        if table is DEFINITION:
            # Assumption: a live definition may be changed; the change shows with the next run.
            check_change(connection, row, content)
            groups = check_definition(whole)
            content["msdynmkt_definitionmodifiedon"] = values.now()
        elif table is SEGMENT:
            check_segment(whole)
        outbound.prepare(connection, table, dict(row), content)
        change(connection, table, row_id, content)
        outbound.written(connection, table, row_id, dict(row), content)
        if table is DEFINITION and "msdynmkt_staticlistmembers" in content:
            definition_written(connection, row_id, groups)
        _usage(connection, table, content)

    def _written(
        self, table: Table, request: Request, row_id: str, connection: sqlite3.Connection, *, created: bool
    ) -> Answer:
        link = f"{request.root}/{table.set_name}({row_id})"
        headers = {"OData-EntityId": link, **({"Location": link} if created else {})}
        if request.preference("return") != "representation":
            return Answer(204, None, headers)
        row = fetch(connection, table, row_id)
        assert row is not None  # noqa: S101 - written a moment ago in this transaction
        annotations = Annotations(request.headers, connection)
        body = {"@odata.context": f"{request.context}{table.set_name}/$entity", **show(table, row, (), annotations)}
        headers |= {"ETag": str(body["@odata.etag"]), **annotations.applied("return=representation")}
        return Answer(201 if created else 200, body, headers)


def _names_version(header: str, version: int) -> bool:
    return any(found == str(version) for found in _ETAG.findall(header))


def _check_status(table: Table, content: Mapping[str, SqlValue]) -> None:
    state, status = content["statecode"], content["statuscode"]
    if not isinstance(status, int) or not isinstance(state, int) or table.statuses[status][0] != state:
        raise errors.status_of_other_state(table.logical_name, int(status or 0), int(state or 0))


def _check_required(table: Table, content: Mapping[str, SqlValue]) -> None:
    for name in table.required:
        if name in content and content[name] in (None, ""):
            raise errors.missing_value(table.logical_name, name)


def _usage(connection: sqlite3.Connection, table: Table, written: Mapping[str, SqlValue]) -> None:
    """After a change that may be one of who uses which segment."""
    if table is JOURNEY:
        journeys_changed(connection)
    elif table in (SEGMENT, DEFINITION) and not written.keys().isdisjoint(_USE):
        usage_changed(connection)


def _full_name(table: Table, content: dict[str, SqlValue], whole: Mapping[str, SqlValue]) -> None:
    if "fullname" in table.by_name and ("firstname" in content or "lastname" in content):
        parts = [str(whole[name]) for name in ("firstname", "lastname") if whole.get(name)]
        content["fullname"] = " ".join(parts) or None
