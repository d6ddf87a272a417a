"""Entity sets: system query options and paging ("Query data using the Web API", "Page results")."""

# ruff: noqa: S608 - the names are those of tables.py, every value is a parameter

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from cij_sandbox.core import errors
from cij_sandbox.core.assumptions import assumed
from cij_sandbox.core.schema import Column, Table
from cij_sandbox.core.store import Store
from cij_sandbox.core.values import SqlValue
from cij_sandbox.core.web import Answer, Request, options_of
from cij_sandbox.dataverse import fetching, filters
from cij_sandbox.dataverse.annotations import Annotations
from cij_sandbox.dataverse.expressions import MismatchError, QueryError
from cij_sandbox.dataverse.privileges import READ, Privileges
from cij_sandbox.dataverse.rows import fetch, show
from cij_sandbox.dataverse.selecting import MAXIMUM_PAGE, Order, Selection
from cij_sandbox.dataverse.sql import ConditionSql, Sql, UnknownColumnError
from cij_sandbox.dataverse.tables import CUSTOM_API, CUSTOM_API_PARAMETER, CUSTOM_API_PROPERTY

_ROW_OPTIONS = ("$select", "$expand")
_SET_OPTIONS = ("$select", "$expand", "$filter", "$orderby", "$top", "$count", "$skiptoken")
_FETCH_OPTIONS = ("fetchXml", "$count")
_COOKIE = re.compile(r'<cookie pagenumber="(\d+)" pagingcookie="([\w-]+)\.([0-9a-f]+)" istracking="False" />')
_EXPANSION = re.compile(r"(\w+)(?:\(\$select=([\w,]*)\))?")
# "Custom API tables": the only navigation to many rows that the sandbox follows: clients discover actions by it.
_COLLECTIONS = {"CustomAPIRequestParameters": CUSTOM_API_PARAMETER, "CustomAPIResponseProperties": CUSTOM_API_PROPERTY}


@dataclass(frozen=True)
class _Expansion:
    """A navigation property that a request expands: to the row of a lookup, or without ``lookup`` to many rows."""

    name: str
    table: Table
    selected: tuple[str, ...]
    lookup: Column | None = None


class Queries:
    """Reads entity sets."""

    def __init__(
        self, store: Store, privileges: Privileges, signing_key: bytes, take_link: fetching.LinkHandler
    ) -> None:
        self._store = store
        self._privileges = privileges
        self._take_link = take_link
        self._signing_key = signing_key

    def selected(self, table: Table, request: Request) -> tuple[str, ...]:
        """Return the properties that a request for one row selects; it takes no other options."""
        return _select(table, _checked_options(request, _ROW_OPTIONS))

    def related(self, table: Table, row_id: str | None, request: Request) -> dict[str, object]:
        """Return the rows that a request for one row expands."""
        expanded = self._expansions(table, options_of(request.query).get("$expand"))
        connection = self._store.reader()
        row = fetch(connection, table, row_id) if expanded else None
        if row is None:
            return {}
        return self._related(connection, row, expanded, Annotations(request.headers, self._store))

    def rows(self, table: Table, request: Request) -> Answer:
        """Return the rows of an entity set."""
        self._privileges.require(table, READ)
        if "fetchXml" in options_of(request.query):
            fetch_options = _checked_options(request, _FETCH_OPTIONS)
            return fetching.rows(self._store, table, request, fetch_options, self._take_link)
        options = _checked_options(request, _SET_OPTIONS)
        selected = _select(table, options)
        expanded = self._expansions(table, options.get("$expand"))
        selection = Selection(table, _where(table, options), _order(table, options.get("$orderby")))
        page, applied = _page_size(request)
        page_number, remaining = 1, _top(options)
        position: list[SqlValue] = []
        if "$skiptoken" in options:
            page_number, position, remaining = self._read_token(table, options)
        elif "$top" in options:
            # The documents contradict each other about which of the two wins.
            if page == MAXIMUM_PAGE or assumed("platform.top-and-page-size") == "$top":
                page, applied = MAXIMUM_PAGE, ()
            else:
                remaining = None
        if request.preference("odata.track-changes") is not None:
            raise errors.not_implemented("change tracking")
        connection = self._store.reader()
        annotations = Annotations(request.headers, self._store)
        rows, more = selection.page(connection, page if remaining is None else min(page, remaining), position)
        fields = f"({','.join(selected)})" if selected else ""
        body: dict[str, object] = {"@odata.context": f"{request.context}{table.set_name}{fields}"}
        body |= selection.counted(connection, annotations, wanted=options.get("$count") == "true")
        body["value"] = [
            {**show(table, row, selected, annotations), **self._related(connection, row, expanded, annotations)}
            for row in rows
        ]
        left = None if remaining is None else remaining - len(rows)
        if more and left != 0:
            body["@odata.nextLink"] = self._next_link(
                request, table, options, page_number + 1, selection.position(rows[-1]), left
            )
        return Answer(200, body, annotations.applied(*applied))

    def count(self, table: Table, request: Request) -> Answer:
        """Return the number of rows of an entity set, as text."""
        self._privileges.require(table, READ)
        options = _checked_options(request, ("$filter",))
        selection = Selection(table, _where(table, options), [])
        number = min(selection.count(self._store.reader(), MAXIMUM_PAGE), MAXIMUM_PAGE)
        return Answer(200, str(number).encode(), {"Content-Type": "text/plain"})

    def _related(
        self,
        connection: sqlite3.Connection,
        row: sqlite3.Row,
        expanded: list[_Expansion],
        annotations: Annotations,
    ) -> dict[str, object]:
        related: dict[str, object] = {}
        for each in expanded:
            if each.lookup:
                one = fetch(connection, each.table, row[each.lookup.name])
                related[each.name] = one and show(each.table, one, each.selected, annotations)
                continue
            found = connection.execute(
                f'SELECT * FROM "{each.table.logical_name}" WHERE customapiid = ? ORDER BY uniquename',
                (row["customapiid"],),
            )
            related[each.name] = [show(each.table, child, each.selected, annotations) for child in found]
        return related

    def _expansions(self, table: Table, text: str | None) -> list[_Expansion]:
        expanded: list[_Expansion] = []
        position = 0
        while text is not None and position <= len(text):
            match = _EXPANSION.match(text, position)
            name = match[1] if match else ""
            lookup = table.by_navigation.get(name)
            target = self._store.schema.by_name[lookup.target] if lookup else _COLLECTIONS.get(name)
            if lookup is None and table is not CUSTOM_API:
                target = None
            if match is None or target is None or text[match.end() : match.end() + 1] not in ("", ","):
                raise errors.not_implemented(f"$expand={text} on '{table.set_name}'")
            self._privileges.require(target, READ)
            expanded.append(_Expansion(name, target, _select(target, {"$select": match[2] or ""}), lookup))
            position = match.end() + 1
        return expanded

    def _next_link(
        self,
        request: Request,
        table: Table,
        options: Mapping[str, str],
        page_number: int,
        position: list[SqlValue],
        remaining: int | None,
    ) -> str:
        payload = base64.urlsafe_b64encode(json.dumps([position, remaining]).encode()).decode().rstrip("=")
        cookie = (
            f'<cookie pagenumber="{page_number}" pagingcookie="{payload}.{self._signature(table, options, payload)}" '
            'istracking="False" />'
        )
        kept = [part for part in request.query.split("&") if part and unquote(part.partition("=")[0]) != "$skiptoken"]
        return f"{request.root}/{table.set_name}?{'&'.join([*kept, '$skiptoken=' + quote(cookie, safe='')])}"

    def _read_token(self, table: Table, options: Mapping[str, str]) -> tuple[int, list[SqlValue], int | None]:
        cookie = _COOKIE.fullmatch(options["$skiptoken"])
        if cookie is None or not hmac.compare_digest(self._signature(table, options, cookie[2]), cookie[3]):
            raise errors.bad_query("The $skiptoken is malformed or does not belong to this query.")
        position, remaining = json.loads(base64.urlsafe_b64decode(cookie[2] + "=" * (-len(cookie[2]) % 4)))
        return int(cookie[1]), position, remaining

    def _signature(self, table: Table, options: Mapping[str, str], payload: str) -> str:
        query = sorted((name, value) for name, value in options.items() if name != "$skiptoken")
        text = json.dumps([table.set_name, query, payload])
        return hmac.new(self._signing_key, text.encode(), hashlib.sha256).hexdigest()


def _checked_options(request: Request, known: tuple[str, ...]) -> dict[str, str]:
    options = options_of(request.query)
    if "$skip" in options:
        raise errors.bad_query("Skip Clause is not supported in CRM")
    for name in options:
        if name not in known and not (name.startswith("@") and "$filter" in known):
            raise errors.not_implemented(f"the query option '{name}' here")
    return options


def _select(table: Table, options: Mapping[str, str]) -> tuple[str, ...]:
    names = tuple(name.strip() for name in options.get("$select", "").split(",") if name.strip())
    if names == ("*",):
        return ()
    for name in names:
        if name not in table.by_property:
            raise errors.undeclared_in_query(table.logical_name, name)
    return tuple(dict.fromkeys(names))


def _where(table: Table, options: Mapping[str, str]) -> Sql:
    text = options.get("$filter")
    if text is None:
        return "1", []
    aliases = {name: value for name, value in options.items() if name.startswith("@")}
    try:
        return ConditionSql(table, segment_query=False).compile(filters.parse(text, aliases))
    except QueryError as problem:
        raise errors.bad_query(f"{problem.message} in '{text[:200]}'.") from None
    except UnknownColumnError as problem:
        raise errors.undeclared_in_query(table.logical_name, problem.name) from None
    except MismatchError as problem:
        raise errors.bad_query(str(problem)) from None


def _order(table: Table, text: str | None) -> Order:
    order: Order = []
    for part in text.split(",") if text else ():
        name, *way = part.split() or [""]
        if name not in table.by_property:
            raise errors.undeclared_in_query(table.logical_name, name)
        if way not in ([], ["asc"], ["desc"]):
            raise errors.bad_query(f"Syntax error in $orderby '{text}'.")
        order.append((table.by_property[name], (way or ["asc"])[0].upper()))
    # The key comes last, so that the order of rows is total and a page begins exactly after another.
    return [*order, (table.by_name[table.key], "ASC")]


def _top(options: Mapping[str, str]) -> int | None:
    if options.get("$count", "false") not in ("true", "false"):
        raise errors.bad_query(f"Invalid value '{options['$count']}' for $count query option found.")
    if "$top" not in options:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", options["$top"]):
        raise errors.bad_query(f"Invalid value '{options['$top']}' for $top query option found.")
    return int(options["$top"])


def _page_size(request: Request) -> tuple[int, tuple[str, ...]]:
    wanted = request.preference("odata.maxpagesize")
    if wanted is None or not re.fullmatch(r"[0-9]{1,9}", wanted) or int(wanted) < 1:
        return MAXIMUM_PAGE, ()
    return min(int(wanted), MAXIMUM_PAGE), (f"odata.maxpagesize={wanted}",)
