"""CreateMultiple, UpdateMultiple and UpsertMultiple: many rows of a table, all or none ("Use bulk operation messages").

Assumptions: a target of UpdateMultiple may name its row in ``@odata.id`` too; of several failing targets the first one
is answered; a target of UpsertMultiple without an id is created; no targets at all is an error.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from cij_sandbox.core import assumptions, errors, guid
from cij_sandbox.core.assumptions import assumed
from cij_sandbox.core.schema import Table
from cij_sandbox.core.store import Store
from cij_sandbox.core.values import SqlValue
from cij_sandbox.core.web import Answer, Request
from cij_sandbox.dataverse.keys import Keys, Target
from cij_sandbox.dataverse.rows import Rows, fetch

_NAMESPACE = "Microsoft.Dynamics.CRM."
CREATE, UPDATE, UPSERT = (f"{_NAMESPACE}{verb}Multiple" for verb in ("Create", "Update", "Upsert"))
MULTIPLE = (CREATE, UPDATE, UPSERT)
_LINK = re.compile(r"(?:https?://[^/]+)?(?:/api/data/v9\.\d)?/?(\w+)\((.*)\)", re.DOTALL)


class Multiple:
    """Carries out the three actions on any table that can be written to."""

    def __init__(self, store: Store, keys: Keys, rows: Rows) -> None:
        self._store = store
        self._keys = keys
        self._rows = rows
        self._in_flight: set[Hashable] = set()
        self._turn = threading.Lock()

    def answer(self, table: Table, action: str, request: Request) -> Answer:
        """Write all targets in one transaction."""
        if request.method != "POST":
            raise errors.wrong_method(request.method, "POST")
        if request.query:
            raise errors.not_implemented(f"query options on the action '{action}'")
        self._rows.check_writable(table)
        bodies = _targets(table, request)
        named = [self._named(table, action, body) for body in bodies]
        with self._locked(table, named), self._store.transaction() as connection:
            ids: list[str] = []
            for body, target in zip(bodies, named, strict=True):
                content = self._rows.content(table, body)
                if target is None:
                    ids.append(self._rows.save(connection, table, None, content, request))
                    continue
                if target.key:  # an earlier target of this request may have created it
                    target = self._keys.locate(table, target.text)
                row = fetch(connection, table, target.row_id)
                if row is None and action == UPDATE:
                    name = table.logical_name.capitalize()
                    raise errors.ODataError(404, "0x80040217", f"{name} With Ids = {target.row_id} Do Not Exist")
                if row is None and target.key.keys() & content.keys():
                    raise errors.ODataError(400, "0x80040216", "An unexpected error occurred.")
                ids.append(self._rows.upsert(connection, table, target, row, content, request))
        if action != CREATE:
            return Answer(204)
        return Answer(200, {"@odata.context": f"{request.context}{action}Response", "Ids": ids})

    def _named(self, table: Table, action: str, body: dict[str, object]) -> Target | None:
        """Return the row that a target names, None for one that is created under an id of its own."""
        if action == CREATE:
            return None
        link = body.get("@odata.id")
        if link is not None and action == UPDATE:
            assumptions.check("platform.update-by-link", "A target of UpdateMultiple has no id column")
        match = _LINK.fullmatch(link) if isinstance(link, str) else None
        if match is not None and match[1] == table.set_name:
            return self._keys.locate(table, match[2])
        if link is not None:
            raise _bad(table, f"'{link}' is not the id of a row of '{table.set_name}'.")
        row_id = body.get(table.key)
        if row_id is None and action == UPSERT:
            assumptions.check("platform.upsert-without-id", "A target of UpsertMultiple names no row")
            return None
        found = guid.parse_strict(row_id) if isinstance(row_id, str) else None
        if found is None:
            raise _bad(table, f"A target has no valid '{table.key}'.")
        return Target(found, {}, found)

    @contextmanager
    def _locked(self, table: Table, named: list[Target | None]) -> Iterator[None]:
        """Hold the rows while the block lasts; the second one that wants a row loses the deadlock."""
        if assumed("platform.same-row-twice") == "accepted":
            yield
            return
        names = [_identity(table, target) for target in named if target is not None]
        wanted = set(names)
        with self._turn:
            if len(wanted) < len(names) or wanted & self._in_flight:
                message = "Generic SQL error. Sql Number: 1205"
                raise errors.ODataError(*assumptions.status_and_code("platform.same-row-twice"), message)
            self._in_flight |= wanted
        try:
            yield
        finally:
            with self._turn:
                self._in_flight -= wanted


def _identity(table: Table, target: Target) -> Hashable:
    if target.row_id is not None:
        return table.logical_name, target.row_id
    return table.logical_name, tuple(sorted((name, _folded(value)) for name, value in target.key.items()))


def _folded(value: SqlValue) -> str:
    return str(value).casefold()


def _targets(table: Table, request: Request) -> list[dict[str, object]]:
    content = request.json_object(table.logical_name)
    targets = content.get("Targets")
    if not isinstance(targets, list) or not targets or len(content) > 1:
        raise _bad(table, "The parameter 'Targets' is a collection of rows, and the only one.")
    for target in targets:
        named = target.get("@odata.type") if isinstance(target, dict) else None
        if not isinstance(named, str) or named.removeprefix("#") != f"{_NAMESPACE}{table.logical_name}":
            raise _bad(
                table, f"A target lacks the annotation '@odata.type' with the value '{_NAMESPACE}{table.logical_name}'."
            )
    return targets


def _bad(table: Table, message: str) -> errors.ODataError:
    return errors.bad_payload(table.logical_name, f"Microsoft.OData.ODataException: {message}")
