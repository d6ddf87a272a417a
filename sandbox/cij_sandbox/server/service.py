"""The Web API as one function from request to answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace

from cij_sandbox.core import errors
from cij_sandbox.core.schema import Table
from cij_sandbox.core.store import Store
from cij_sandbox.core.web import Answer, Request
from cij_sandbox.dataverse import messages, metadata
from cij_sandbox.dataverse.actions import Action, Actions
from cij_sandbox.dataverse.batch import Batch
from cij_sandbox.dataverse.keys import Keys, Target
from cij_sandbox.dataverse.multiple import MULTIPLE, Multiple
from cij_sandbox.dataverse.privileges import Privileges
from cij_sandbox.dataverse.query import Queries
from cij_sandbox.dataverse.rows import Rows

MAXIMUM_BODY = 16 * 1024 * 1024
MAXIMUM_URL = 32_768
_WITH_KEY = re.compile(r"([^/()]+)\((.*)\)", re.DOTALL)


class Service:
    """Routes requests. ``enter`` is called first, and may raise the error for one."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        rows: Rows,
        multiple: Multiple,
        queries: Queries,
        actions: Actions,
        privileges: Privileges,
        enter: Callable[[Request], None],
        committed: Callable[[], None],
        *,
        lf_batches: bool,
    ) -> None:
        self._schema = store.schema
        self._keys = keys
        self._rows = rows
        self._multiple = multiple
        self._queries = queries
        self._actions = actions
        self._privileges = privileges
        self._enter = enter
        self._batch = Batch(store, self.answer, committed, lf_lines=lf_batches)

    def answer(self, request: Request) -> Answer:
        """Return the answer to a request, or raise ODataError."""
        path = request.path.strip("/")
        if path == "$batch":
            return self._batch.answer(request)
        if path == "$metadata":
            raise errors.not_implemented(path)
        described = metadata.answer(path, request, self._schema, self._keys, self._privileges)
        if described is not None:
            return described
        if path == messages.SET:
            return messages.answer(request, self._schema)
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
        if rest in MULTIPLE and not keyed:
            return self._multiple.answer(table, rest, request)
        if keyed and rest:
            return self._property(table, self._keys.locate(table, keyed[2]), rest, request)
        if keyed is None:
            raise errors.not_implemented(f"'{rest}' on '{head}'")
        return self._row(table, self._keys.locate(table, keyed[2]), request)

    def _property(self, table: Table, target: Target, rest: str, request: Request) -> Answer:
        """Answer for one property of a row ("Retrieve, update and delete a single property value")."""
        name, _, more = rest.partition("/")
        if name not in table.by_property or more not in ("", "$value") or request.query:
            raise errors.not_implemented(f"'{rest}' on a row of '{table.set_name}'")
        if request.method == "GET":
            row = self._rows.read(table, target, replace(request, headers={}), (name,)).body
            value = row[name] if isinstance(row, dict) else None
            if value is None:
                return Answer(204)
            if more:
                return Answer(200, str(value).encode(), {"Content-Type": "text/plain"})
            context = f"{request.context}{table.set_name}({target.link})/{name}"
            return Answer(200, {"@odata.context": context, "value": value})
        if request.method not in ("PUT", "DELETE") or more:
            raise errors.wrong_method(request.method, "GET, PUT, DELETE")
        given = request.json_object(table.logical_name) if request.method == "PUT" else {}
        headers = {"if-match": "*", **request.headers}
        content = json.dumps({name: given.get("value")}).encode()
        self._rows.update(table, target, replace(request, method="PATCH", headers=headers, body=content), ())
        return Answer(204)

    def _act(self, action: Action, request: Request) -> Answer:
        if request.method != "POST":
            raise errors.no_such_operation(f"{request.root}/{request.path}")
        if request.query:
            raise errors.not_implemented(f"query options on the action '{action.name}'")
        return self._actions.run(action, request)

    def _set(self, table: Table, request: Request) -> Answer:
        if request.method == "GET":
            return self._queries.rows(table, request)
        if request.method == "POST":
            return self._rows.create(table, request, self._queries.selected(table, request))
        raise errors.wrong_method(request.method, "GET, POST")

    def _row(self, table: Table, target: Target, request: Request) -> Answer:
        if request.method == "GET":
            answer = self._rows.read(table, target, request, self._queries.selected(table, request))
            related = self._queries.related(table, target.row_id, request)
            return replace(answer, body={**answer.body, **related}) if isinstance(answer.body, dict) else answer
        if request.method == "PATCH":
            return self._rows.update(table, target, request, self._queries.selected(table, request))
        if request.method == "DELETE":
            if request.query:
                raise errors.not_implemented(f"query options on {request.method}")
            return self._rows.delete(table, target, request)
        raise errors.wrong_method(request.method, "GET, PATCH, DELETE")
