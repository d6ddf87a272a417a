"""Entity sets with ``fetchXml`` ("Page results using FetchXML", "Count rows", "Aggregate data")."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping

from cij_sandbox.core import errors
from cij_sandbox.core.schema import Kind, Table
from cij_sandbox.core.store import Store
from cij_sandbox.core.web import Answer, Request
from cij_sandbox.dataverse import fetchxml
from cij_sandbox.dataverse.annotations import FORMATTED, Annotations, formatted
from cij_sandbox.dataverse.expressions import MismatchError
from cij_sandbox.dataverse.fetchxml import Fetch
from cij_sandbox.dataverse.rows import show
from cij_sandbox.dataverse.selecting import MAXIMUM_PAGE, Selection
from cij_sandbox.dataverse.sql import ConditionSql, Sql

# Takes a link to another table out of FetchXML; returns the rest and the SQL condition for the link.
LinkHandler = Callable[[str, Table], tuple[str, Sql]]
_MAXIMUM_AGGREGATE = 50_000
_MAXIMUM_WITHOUT_COOKIE = 50_000


def rows(store: Store, table: Table, request: Request, options: Mapping[str, str], take_link: LinkHandler) -> Answer:
    """Answer a FetchXML query."""
    connection = store.reader()
    text, within = take_link(options["fetchXml"], table)
    fetch = fetchxml.parse(text, table)
    annotations = Annotations(request.headers, store)
    fields = f"({','.join(fetch.columns)})" if fetch.columns else ""
    body: dict[str, object] = {"@odata.context": f"{request.context}{table.set_name}{fields}"}
    try:
        where = ConditionSql(table, segment_query=False).compile(fetch.condition) if fetch.condition else ("1", [])
        position = fetchxml.read_cookie(fetch)
    except MismatchError as problem:
        raise errors.ODataError(400, "0x80041108", str(problem)) from None
    selection = Selection(table, (f"({where[0]}) AND {within[0]}", [*where[1], *within[1]]), fetch.order)
    if fetch.counts:
        body["value"] = [_counts(selection, connection, fetch, annotations)]
        return Answer(200, body, annotations.applied())
    size = fetch.top or min(fetch.size or MAXIMUM_PAGE, MAXIMUM_PAGE)
    offset = 0 if position else (fetch.page - 1) * size
    if offset + size > _MAXIMUM_WITHOUT_COOKIE:
        # Assumption: the limit is documented, the code is that of any bad argument.
        raise errors.ODataError(
            400, "0x80040203", f"Without a paging cookie only the first {_MAXIMUM_WITHOUT_COOKIE:,} rows can be paged."
        )
    found, more = selection.page(connection, size, position, offset)
    body |= selection.counted(connection, annotations, wanted=fetch.total or options.get("$count") == "true")
    cookie = fetchxml.write_cookie(fetch, found[0], found[-1]) if more and fetch.top is None else None
    body |= annotations.paging(cookie)
    # "Unlike queries using OData syntax", those of FetchXML show no property without a value.
    shown = (show(table, row, fetch.columns, annotations) for row in found)
    body["value"] = [{name: value for name, value in row.items() if value is not None} for row in shown]
    return Answer(200, body, annotations.applied())


def _counts(
    selection: Selection, connection: sqlite3.Connection, fetch: Fetch, annotations: Annotations
) -> dict[str, object]:
    number = selection.count(connection, _MAXIMUM_AGGREGATE)
    if number > _MAXIMUM_AGGREGATE:
        raise errors.ODataError(400, "0x8004E023", "AggregateQueryRecordLimit exceeded. Cannot perform this operation.")
    counts: dict[str, object] = {}
    for alias in fetch.counts:
        shown = annotations.only({FORMATTED: formatted(Kind.INTEGER, number)})
        counts |= {**{f"{alias}{term}": text for term, text in shown.items()}, alias: number}
    return counts
