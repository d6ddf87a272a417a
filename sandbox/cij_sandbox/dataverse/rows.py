"""Single rows: create, read, update, delete ("Create a table row", "Perform conditional operations")."""

# ruff: noqa: S608 - the names are those of tables.py, every value is a parameter

from __future__ import annotations

import re
import sqlite3
import uuid
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from cij_sandbox.core import assumptions, errors, guid, values
from cij_sandbox.core.assumptions import assumed
from cij_sandbox.core.schema import Column, Table
from cij_sandbox.core.store import Store, next_number
from cij_sandbox.core.values import SqlValue
from cij_sandbox.core.web import Answer, Request
from cij_sandbox.dataverse.annotations import Annotations
from cij_sandbox.dataverse.keys import Keys, Target, no_row_with_key, violated
from cij_sandbox.dataverse.plugins import Plugin
from cij_sandbox.dataverse.privileges import APPEND, APPEND_TO, CREATE, DELETE, READ, WRITE, Privileges
from cij_sandbox.dataverse.tables import BUSINESS_UNIT_ID, USER_ID

_ETAG = re.compile(r'(?:W/)?"(\d+)"')
_BIND_SUFFIX = "@odata.bind"
_IN_LINK = "=,'@-"
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_LINK = re.compile(r"(?:https://[^/]+/api/data/v9\.\d)?/?(\w+)\((.*)\)", re.DOTALL)
_DETECTION, _BYPASS = "mscrm.suppressduplicatedetection", "mscrm.bypassbusinesslogicexecution"


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


def fetch(connection: sqlite3.Connection, table: Table, row_id: str | None) -> sqlite3.Row | None:
    """Return a row, or None when there is none with this id."""
    query = f'SELECT * FROM "{table.logical_name}" WHERE "{table.key}" = ?'
    found: sqlite3.Row | None = connection.execute(query, (row_id,)).fetchone()
    return found


def insert(connection: sqlite3.Connection, table: Table, content: Mapping[str, SqlValue]) -> str:
    """Insert a row without its plug-ins; return its id."""
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
    except sqlite3.IntegrityError as problem:
        raise violated(problem, connection, table) from None
    return row_id


def insert_many(connection: sqlite3.Connection, table: Table, rows: Iterable[dict[str, SqlValue]], count: int) -> None:
    """Insert rows that lack only their version numbers; ``count`` is how many there are."""
    names = [column.name for column in table.columns]
    columns, marks = ", ".join(f'"{name}"' for name in names), ", ".join("?" * len(names))
    first = next_number(connection, "version", count) - count + 1
    numbered = ({**row, "versionnumber": number} for number, row in enumerate(rows, first))
    connection.executemany(
        f'INSERT INTO "{table.logical_name}" ({columns}) VALUES ({marks})',
        ([row.get(name) for name in names] for row in numbered),
    )


def change(connection: sqlite3.Connection, table: Table, row_id: str, content: Mapping[str, SqlValue]) -> None:
    """Update columns of a row without its plug-ins."""
    row = {**content, "modifiedon": values.now(), "versionnumber": next_number(connection, "version")}
    assignments = ", ".join(f'"{name}" = ?' for name in row)
    try:
        connection.execute(
            f'UPDATE "{table.logical_name}" SET {assignments} WHERE "{table.key}" = ?',
            [*row.values(), row_id],
        )
    except sqlite3.IntegrityError as problem:
        raise violated(problem, connection, table) from None


class Rows:
    """Creates, reads, updates and deletes the rows of any table; ``plugins`` are keyed by logical name."""

    def __init__(self, store: Store, keys: Keys, privileges: Privileges, plugins: Mapping[str, Plugin]) -> None:
        self._store = store
        self._privileges = privileges
        self._keys = keys
        self._plugins = plugins

    def create(self, table: Table, request: Request, selected: tuple[str, ...]) -> Answer:
        """Create a row."""
        self.check_writable(table)
        content = self.content(table, request.json_object(table.logical_name))
        with self._store.transaction() as connection:
            row_id = self.save(connection, table, None, content, request)
            return self._written(table, request, row_id, str(row_id), connection, selected, created=True)

    def read(self, table: Table, target: Target, request: Request, selected: tuple[str, ...]) -> Answer:
        """Return a row."""
        self._privileges.require(table, READ)
        row = fetch(self._store.reader(), table, target.row_id)
        if row is None:
            raise _missing(table, target)
        annotations = Annotations(request.headers, self._store)
        body = show(table, row, selected, annotations)
        etag = {"ETag": str(body["@odata.etag"])}
        # "Conditional retrievals": not with annotations, which may change while the row does not.
        if not annotations and _names_version(request.headers.get("if-none-match", ""), row["versionnumber"]):
            return Answer(304, None, etag)
        fields = f"({','.join(selected)})" if selected else ""
        context = {"@odata.context": f"{request.context}{table.set_name}{fields}/$entity"}
        return Answer(200, {**context, **body}, {**etag, **annotations.applied()})

    def update(self, table: Table, target: Target, request: Request, selected: tuple[str, ...]) -> Answer:
        """Update a row or create it, unless a condition forbids one of the two."""
        self.check_writable(table)
        content = self.content(table, request.json_object(table.logical_name))
        with self._store.transaction() as connection:
            row = fetch(connection, table, target.row_id)
            self._check_conditions(table, target, row, request)
            row_id = self.upsert(connection, table, target, row, content, request)
            return self._written(table, request, row_id, target.link, connection, selected, created=row is None)

    def upsert(
        self,
        connection: sqlite3.Connection,
        table: Table,
        target: Target,
        row: sqlite3.Row | None,
        content: dict[str, SqlValue],
        request: Request,
    ) -> str:
        """Update the row that a URL names, or create it; return its id.

        A value of the alternate key in the body is dropped on update, and on create it wins over the URL ("Upsert a
        table row").
        """
        if not target.key and content.get(table.key) not in (None, target.row_id):
            raise errors.bad_payload(
                table.logical_name, f"System.ArgumentException: The key property '{table.key}' cannot be changed."
            )
        if row is not None:
            kept = {name: value for name, value in content.items() if name not in (table.key, *target.key)}
            return self.save(connection, table, row, kept, request)
        own = {} if target.key else {table.key: target.row_id}
        return self.save(connection, table, None, {**target.key, **content, **own}, request)

    def delete(self, table: Table, target: Target, request: Request) -> Answer:
        """Delete a row."""
        self.check_writable(table)
        self._privileges.require(table, DELETE)
        with self._store.transaction() as connection:
            row = fetch(connection, table, target.row_id)
            if row is None:
                raise _missing(table, target)
            self._check_conditions(table, target, row, request)
            plugin = self._plugin(table)
            plugin.before_delete(connection, dict(row))
            row_id = str(row[table.key])
            if mark := plugin.mark_of_deleted():
                change(connection, table, row_id, mark)
            else:
                connection.execute(f'DELETE FROM "{table.logical_name}" WHERE "{table.key}" = ?', (row_id,))
            plugin.after_delete(connection, row_id)
        return Answer(204)

    def _plugin(self, table: Table) -> Plugin:
        return self._plugins.get(table.logical_name, Plugin())

    def check_writable(self, table: Table) -> None:
        """Raise the error for a table that the sandbox does not write to on request."""
        if not table.writable:
            raise errors.not_implemented(f"writing to '{table.set_name}'")

    def _check_conditions(self, table: Table, target: Target, row: sqlite3.Row | None, request: Request) -> None:
        if_match = request.headers.get("if-match", "").strip()
        if if_match and row is None:
            raise _missing(table, target)
        if if_match and if_match != "*" and row is not None and not _names_version(if_match, row["versionnumber"]):
            raise errors.version_mismatch()
        if request.headers.get("if-none-match", "").strip() == "*" and row is not None and request.method == "PATCH":
            raise errors.duplicate_row()

    def content(self, table: Table, body: Mapping[str, object]) -> dict[str, SqlValue]:
        """Check the properties of a row in JSON and convert them to column values."""
        content: dict[str, SqlValue] = {}
        for name, value in body.items():
            if name.endswith(_BIND_SUFFIX):
                column, row_id = self._bound(table, name.removesuffix(_BIND_SUFFIX), value)
                content[column.name] = row_id
            elif "@" in name:
                continue  # control information and annotations: read, never written
            elif name in table.aliases:
                assumptions.check("outbound.query-column", f"'{name}' is no column")
                column = table.by_name[table.aliases[name]]
                content[column.name] = values.from_json(table, column, value)
            elif (found := table.by_property.get(name)) is None:
                raise errors.undeclared_in_payload(table.logical_name, name)
            elif found.target:
                raise errors.bad_payload(
                    table.logical_name,
                    f"Microsoft.Crm.CrmException: '{name}' is read-only; bind its navigation property instead.",
                )
            elif found.read_only:
                assumptions.check("platform.kept-columns", f"'{name}' is kept by the platform")
                if name == "createdon" and assumed("platform.kept-columns") == "written":
                    content[found.name] = values.from_json(table, found, value)
            else:
                content[found.name] = values.from_json(table, found, value)
        return content

    def _bound(self, table: Table, name: str, value: object) -> tuple[Column, SqlValue]:
        """Return the lookup that a body binds and the id of the row, or None for null."""
        # Assumption: this name is not case-sensitive; all others are.
        column = table.by_navigation.get(name.lower() if name.lower() == "owningbusinessunit" else name)
        if column is None:
            raise errors.undeclared_in_payload(table.logical_name, name)
        if value is None and not column.target.startswith(("businessunit", "systemuser")):
            return column, None
        target = self._store.schema.by_name[column.target]
        self._privileges.require(table, APPEND)
        self._privileges.require(target, APPEND_TO)
        link = _LINK.fullmatch(value) if isinstance(value, str) else None
        if link is None or link[1] != target.set_name or not (guid.parse_strict(link[2]) or "=" in link[2]):
            kind = _CAPITAL.sub(" ", target.schema_name).lower()
            raise errors.bad_payload(
                table.logical_name, f"Microsoft.OData.ODataException: '{value}' is not a reference to a {kind}."
            )
        bound = self._keys.locate(target, link[2])
        if fetch(self._store.reader(), target, bound.row_id) is None:
            raise _missing(target, bound)
        return column, bound.row_id

    def save(
        self,
        connection: sqlite3.Connection,
        table: Table,
        row: sqlite3.Row | None,
        content: dict[str, SqlValue],
        request: Request,
    ) -> str:
        """Create a row, or update the given one; return its id."""
        self._privileges.require(table, CREATE if row is None else WRITE)
        before: dict[str, SqlValue] | None = None if row is None else dict(row)
        _check_required(table, content if before else {**dict.fromkeys(table.required), **content})
        whole = {**(before or {}), **content}
        if table.statuses and (before is None or "statecode" in content or "statuscode" in content):
            state = int(whole.get("statecode") or 0)
            if content.get("statuscode") is None and (before is None or state != before["statecode"]):
                whole["statuscode"] = table.default_status(state)
            content.update(statecode=state, statuscode=whole["statuscode"])
            _check_status(table, content)
        _full_name(table, content, whole)
        _check_headers(connection, table, row, content, request)
        plugin = self._plugin(table)
        plugin.before_write(connection, before, content)
        if before is None:
            row_id = insert(connection, table, content)
        else:
            row_id = str(before[table.key])
            change(connection, table, row_id, content)
        plugin.after_write(connection, row_id, before, content)
        return row_id

    def _written(
        self,
        table: Table,
        request: Request,
        row_id: str,
        key: str,
        connection: sqlite3.Connection,
        selected: tuple[str, ...],
        *,
        created: bool,
    ) -> Answer:
        link = f"{request.root}/{table.set_name}({quote(key, safe=_IN_LINK)})"
        headers = {"OData-EntityId": link, **({"Location": link} if created else {})}
        if request.preference("return") != "representation":
            return Answer(204, None, headers)
        self._privileges.require(table, READ)
        row = fetch(connection, table, row_id)
        assert row is not None  # noqa: S101 - written a moment ago in this transaction
        annotations = Annotations(request.headers, self._store)
        body = {
            "@odata.context": f"{request.context}{table.set_name}/$entity",
            **show(table, row, selected, annotations),
        }
        headers |= {"ETag": str(body["@odata.etag"]), **annotations.applied("return=representation")}
        return Answer(201 if created else 200, body, headers)


def _names_version(header: str, version: int) -> bool:
    return any(found == str(version) for found in _ETAG.findall(header))


def _missing(table: Table, target: Target) -> errors.ODataError:
    return no_row_with_key(table) if target.key else errors.no_such_row(table.logical_name, str(target.row_id))


def _check_headers(
    connection: sqlite3.Connection,
    table: Table,
    row: sqlite3.Row | None,
    content: Mapping[str, SqlValue],
    request: Request,
) -> None:
    """Obey the headers that concern the platform's own logic ("Manage duplicate detection", "Bypass custom logic").

    Assumptions: the only rule is that of the address of contacts and leads; it applies to CreateMultiple and its
    siblings as well; the user has the privilege to bypass custom logic, of which the sandbox has none.
    """
    bypassed = {name.strip() for name in request.headers.get(_BYPASS, "").split(",")} - {""}
    if bypassed - {"CustomSync", "CustomAsync"}:
        raise errors.ODataError(400, "0x80040203", "Invalid value of 'MSCRM.BypassBusinessLogicExecution'.")
    email = content.get("emailaddress1")
    if request.headers.get(_DETECTION, "").lower() == "false" and email and table.logical_name in ("contact", "lead"):
        query = f'SELECT 1 FROM "{table.logical_name}" WHERE fold(emailaddress1) = fold(?) AND "{table.key}" IS NOT ?'
        known = connection.execute(query, (email, row[table.key] if row else None)).fetchone()
        if known and assumed("platform.duplicates") != "accepted":
            raise errors.duplicate_detected(*assumptions.status_and_code("platform.duplicates"))


def _check_status(table: Table, content: Mapping[str, SqlValue]) -> None:
    state, status = content["statecode"], content["statuscode"]
    if not isinstance(status, int) or not isinstance(state, int) or table.statuses[status][0] != state:
        raise errors.status_of_other_state(table.logical_name, int(status or 0), int(state or 0))


def _check_required(table: Table, content: Mapping[str, SqlValue]) -> None:
    for name in table.required:
        if name in content and content[name] in (None, ""):
            raise errors.missing_value(table.logical_name, name)


def _full_name(table: Table, content: dict[str, SqlValue], whole: Mapping[str, SqlValue]) -> None:
    if "fullname" in table.by_name and ("firstname" in content or "lastname" in content):
        parts = [str(whole[name]) for name in ("firstname", "lastname") if whole.get(name)]
        content["fullname"] = " ".join(parts) or None
