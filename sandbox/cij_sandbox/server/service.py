"""The Web API as one function from request to answer."""

from __future__ import annotations

import re
from collections.abc import Callable

from cij_sandbox.core import errors, guid
from cij_sandbox.core.schema import Table
from cij_sandbox.core.store import Store
from cij_sandbox.core.web import Answer, Request
from cij_sandbox.dataverse import metadata
from cij_sandbox.dataverse.actions import Action, Actions
from cij_sandbox.dataverse.batch import Batch
from cij_sandbox.dataverse.query import Queries
from cij_sandbox.dataverse.rows import Rows

MAXIMUM_BODY = 16 * 1024 * 1024
MAXIMUM_URL = 32_768
_WITH_KEY = re.compile(r"([^/()]+)\((.*)\)", re.DOTALL)
_NAMED_KEY = re.compile(r"(\w+)\s*=\s*(.*)", re.DOTALL)


class Service:
    """Routes requests. ``enter`` is called first, and may raise the error for one."""

    def __init__(
        self,
        store: Store,
        rows: Rows,
        queries: Queries,
        actions: Actions,
        enter: Callable[[Request], None],
        committed: Callable[[], None],
    ) -> None:
        self._schema = store.schema
        self._rows = rows
        self._queries = queries
        self._actions = actions
        self._enter = enter
        self._batch = Batch(store, self.answer, committed)

    def answer(self, request: Request) -> Answer:
        """Return the answer to a request, or raise ODataError."""
        path = request.path.strip("/")
        if path == "$batch":
            return self._batch.answer(request)
        if path == "$metadata":
            raise errors.not_implemented(path)
        described = metadata.answer(path, request, self._schema)
        if described is not None:
            return described
        self._enter(request)
        if action := self._actions.find(path):
            return self._act(action, request)
        if path in self._schema.by_set:
            return self._set(self._schema.by_set[path], request)
        return self._below_set(path, request)

    def _below_set(self, path: str, request: Request) -> Answer:
        head, _, rest = path.partition("/")
        keyed = _WITH_KEY.fullmatch(head)
        table = self._schema.by_set.get(keyed[1] if keyed else head)
        if table is None:
            raise errors.no_such_resource(keyed[1] if keyed else head)
        if rest == "$count" and not keyed:
            if request.method != "GET":
                raise errors.wrong_method(request.method, "GET")
            return self._queries.count(table, request)
        if rest or keyed is None:
            raise errors.not_implemented(f"'{rest}' on '{head}'")
        return self._row(table, _key(table, keyed[2]), request)

    def _act(self, action: Action, request: Request) -> Answer:
        if request.method != "POST":
            raise errors.wrong_method(request.method, "POST")
        if request.query:
            raise errors.not_implemented(f"query options on the action '{action.name}'")
        return self._actions.run(action, request)

    def _set(self, table: Table, request: Request) -> Answer:
        if request.method == "GET":
            return self._queries.rows(table, request)
        if request.method == "POST":
            self._no_options_but_select(request)
            return self._rows.create(table, request)
        raise errors.wrong_method(request.method, "GET, POST")

    def _row(self, table: Table, row_id: str, request: Request) -> Answer:
        if request.method == "GET":
            return self._rows.read(table, row_id, request, self._queries.selected(table, request))
        if request.method in ("PATCH", "DELETE"):
            self._no_options_but_select(request)
            run = self._rows.update if request.method == "PATCH" else self._rows.delete
            return run(table, row_id, request)
        raise errors.wrong_method(request.method, "GET, PATCH, DELETE")

    def _no_options_but_select(self, request: Request) -> None:
        if request.query:
            raise errors.not_implemented(f"query options on {request.method}")


def _key(table: Table, text: str) -> str:
    named = _NAMED_KEY.fullmatch(text.strip())
    if named and named[1] != table.key:
        raise errors.ODataError(
            400, "0x80060890", f"The specified key attributes are not a defined key for the {table.logical_name} entity"
        )
    row_id = guid.parse_strict((named[2] if named else text).strip())
    if row_id is None:
        raise errors.bad_query(f"Bad Request - Error in query syntax. '{text[:100]}' is not a GUID.")
    return row_id
