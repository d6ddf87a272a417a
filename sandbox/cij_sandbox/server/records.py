"""The pages behind ``/main.aspx``, where links "open in Dynamics 365" lead: a row, the rows of a table, members."""

# ruff: noqa: S608 - the names are those of the tables, every value is a parameter

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from cij_sandbox.core import guid, values
from cij_sandbox.core.schema import Column, Table
from cij_sandbox.core.store import Store
from cij_sandbox.dataverse.rows import fetch
from cij_sandbox.segments.definitions import find_definition
from cij_sandbox.segments.members import Members
from cij_sandbox.segments.tables import DEFINITION, EXECUTION, SEGMENT
from cij_sandbox.server.html import (
    Html,
    block,
    document,
    facts,
    link,
    list_link,
    moment,
    pages,
    paragraph,
    record_link,
    section,
    table,
)

_ROWS = 50
_LONG = 200
_MOST_PAGES = 1_000_000


def render(store: Store, query: Mapping[str, str]) -> tuple[int, str]:
    """Return the status and the HTML for the query of ``/main.aspx``."""
    entity = store.schema.by_name.get(query.get("etn", ""))
    if entity is None:
        return _missing(f"There is no table with the logical name '{query.get('etn', '')}'.")
    page = _page(query.get("page", "1"))
    if query.get("pagetype") == "entitylist":
        return 200, _rows(store, entity, page)
    row_id = guid.parse(query.get("id", ""))
    row = fetch(store.reader(), entity, row_id)
    if row is None or row_id is None:
        return _missing(f"There is no {entity.logical_name} with the id '{query.get('id', '')}'.")
    if entity is SEGMENT:
        return 200, _members(store, row, page) if query.get("pagetype") == "members" else _segment(store, row)
    return 200, document(_name(entity, row), *_columns(store, entity, row))


def _missing(why: str) -> tuple[int, str]:
    return 404, document("Not found", paragraph(why))


def _page(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 1
    return min(max(number, 1), _MOST_PAGES)


def _name(entity: Table, row: sqlite3.Row) -> str:
    return str(row[entity.name_column] or row[entity.key])


def status_of(entity: Table, row: sqlite3.Row) -> str:
    """Return the label of a row's status reason."""
    return entity.statuses[row["statuscode"]][1] if entity.statuses and row["statuscode"] is not None else ""


def _rows(store: Store, entity: Table, page: int) -> str:
    """Show a page of rows, in the order of their keys, which needs no sorting."""
    connection = store.reader()
    total = connection.execute(f'SELECT count(*) FROM "{entity.logical_name}"').fetchone()[0]
    start = (page - 1) * _ROWS
    found = connection.execute(
        f'SELECT * FROM "{entity.logical_name}" ORDER BY "{entity.key}" LIMIT ? OFFSET ?', (_ROWS, start)
    ).fetchall()
    more = [name for name in ("emailaddress1", "msdynmkt_displayname") if name in entity.by_name]
    shown = table(
        ["Name", *more, "Status", "Modified"],
        [
            [
                record_link(entity.logical_name, row[entity.key], _name(entity, row)),
                *(row[name] for name in more),
                status_of(entity, row),
                moment(row["modifiedon"]),
            ]
            for row in found
        ],
    )
    around = pages(
        list_link(entity.logical_name, "Previous", page - 1) if page > 1 else None,
        f"{start + 1:,} to {start + len(found):,} of {total:,}" if found else f"{total:,} rows",
        list_link(entity.logical_name, "Next", page + 1) if start + len(found) < total else None,
    )
    return document(entity.set_name, shown, around)


def _columns(store: Store, entity: Table, row: sqlite3.Row) -> list[Html]:
    """Show all columns of a row that have a value; long texts come last."""
    short: dict[str, object] = {"Id": row[entity.key]}
    long: list[Html] = []
    for column in entity.columns:
        value = row[column.name]
        if value is None or column.name == entity.key:
            continue
        if isinstance(value, str) and len(value) > _LONG:
            long.append(section(column.name, block(_pretty(value))))
        else:
            short[column.name] = _shown(store, column, value)
    return [facts(short), *long, paragraph(list_link(entity.logical_name, f"All {entity.set_name}"))]


def _shown(store: Store, column: Column, value: object) -> object:
    if column.target in store.schema.by_name:
        target = store.schema.by_name[column.target]
        row = fetch(store.reader(), target, str(value))
        return record_link(column.target, value, _name(target, row)) if row else value
    if isinstance(value, int) and value in column.options:
        return f"{column.options[value]} ({value})"
    return values.to_json(column, value) if isinstance(value, int | float | str) else value


def _pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _segment(store: Store, segment: sqlite3.Row) -> str:
    connection, segment_id = store.reader(), segment["msdynmkt_segmentid"]
    definition = find_definition(connection, segment)
    count = segment["msdynmkt_membercount"]
    members = link(f"{count or 0:,}", pagetype="members", etn=SEGMENT.logical_name, id=segment_id)
    found: dict[str, object] = {
        "Status": status_of(SEGMENT, segment),
        "Members": "not computed yet" if count is None else members,
        "Last evaluated": moment(segment["msdynmkt_lastevaluated"]),
        "Base table": segment["msdynmkt_baseentitylogicalname"],
        "Segment id": segment_id,
    }
    title = segment["msdynmkt_displayname"] or segment_id
    if definition is None:
        return document(title, facts({**found, "Definition": "none"}))
    definition_id = definition["msdynmkt_segmentdefinitionid"]
    found["Definition"] = record_link(
        DEFINITION.logical_name, definition_id, f"{definition_id} ({status_of(DEFINITION, definition)})"
    )
    names = _group_names(definition["msdynmkt_staticlistmembers"])
    groups = connection.execute("SELECT * FROM static_group WHERE definition_id = ? ORDER BY number", (definition_id,))
    runs = connection.execute(
        "SELECT * FROM msdynmkt_segmentexecution WHERE msdynmkt_segmentdefinitionid = ? "
        "ORDER BY versionnumber DESC LIMIT 10",
        (definition_id,),
    )
    return document(
        title,
        facts(found),
        section("Query", block(definition["msdynmkt_segmentquery"] or "(none: static groups only)")),
        section(
            "Static groups",
            table(
                ["Group", "Type", "Ids"],
                [
                    [
                        names.get(row["group_id"], row["group_id"]),
                        "Include" if row["include"] else "Exclude",
                        f"{row['members']:,}",
                    ]
                    for row in groups
                ],
            ),
        ),
        section("Last runs", runs_table([(None, row) for row in runs])),
    )


def runs_table(found: list[tuple[Html | None, sqlite3.Row]]) -> Html:
    """Show evaluations, each with its segment when it is given."""
    of_segments = any(segment for segment, _ in found)
    return table(
        [*(["Segment"] if of_segments else []), "Started", "Finished", "Result", "Members"],
        [
            [
                *([segment] if of_segments else []),
                moment(run["msdynmkt_startedon"]),
                moment(run["msdynmkt_finishedon"]),
                status_of(EXECUTION, run),
                run["msdynmkt_membershipcount"],
            ]
            for segment, run in found
        ],
    )


def _members(store: Store, segment: sqlite3.Row, page: int) -> str:
    """Show a page of the members of the last evaluation; an id that is no row is shown as it is."""
    segment_id = segment["msdynmkt_segmentid"]
    found = Members(store).computed_page(segment_id, page, _ROWS)
    base = store.schema.by_name[str(found["baseEntityLogicalName"])]
    ids = found["members"] if isinstance(found["members"], list) else []
    rows = {row_id: fetch(store.reader(), base, row_id) for row_id in ids}
    shown = table(
        ["Name", "E-mail"],
        [
            [
                record_link(base.logical_name, row_id, _name(base, row)) if row else row_id,
                row["emailaddress1"] if row else f"no {base.logical_name} has this id",
            ]
            for row_id, row in rows.items()
        ],
    )

    def to(text: str, number: int) -> Html:
        return link(text, pagetype="members", etn=SEGMENT.logical_name, id=segment_id, page=number)

    previous = to("Previous", page - 1) if page > 1 else None
    following = to("Next", page + 1) if found["hasNextPage"] else None
    title = segment["msdynmkt_displayname"] or segment_id
    return document(
        f"Members of {title}",
        paragraph(record_link(SEGMENT.logical_name, segment_id, title), f", {found['totalCount']:,} members"),
        shown,
        pages(previous, f"page {page:,}", following),
    )


def _group_names(text: str | None) -> dict[str, str]:
    entries = json.loads(text) if text and text.strip() else []
    return {guid.parse(entry["groupId"]) or "": str(entry.get("name") or entry["groupId"]) for entry in entries}
