"""The page behind a link "open in Dynamics 365": one segment, read-only, without members."""

from __future__ import annotations

import html
import json

from cij_sandbox.core import guid, values
from cij_sandbox.core.store import Store
from cij_sandbox.segments.definitions import find_definition
from cij_sandbox.segments.tables import DEFINITION, EXECUTION, SEGMENT

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "th{text-align:left;font-weight:600;padding-right:1.5rem;vertical-align:top}table{border-spacing:0 .3rem}"
    "pre{background:#f4f4f4;padding:.8rem;white-space:pre-wrap;overflow-wrap:anywhere}"
)


def render(store: Store, table: str, row_id: str) -> tuple[int, str]:
    """Return the status and the HTML of a segment's page."""
    segment_id = guid.parse(row_id)
    if table != SEGMENT.logical_name or segment_id is None:
        return 404, _page(
            "Not found", "<p>The sandbox shows segments only: etn=msdynmkt_segment and id=&lt;guid&gt;.</p>"
        )
    connection = store.reader()
    query = "SELECT * FROM msdynmkt_segment WHERE msdynmkt_segmentid = ?"
    segment = connection.execute(query, (segment_id,)).fetchone()
    if segment is None:
        return 404, _page("Not found", f"<p>There is no segment {segment_id}.</p>")
    definition = find_definition(connection, segment)
    facts = {
        "Status": SEGMENT.statuses[segment["statuscode"]][1],
        "Members": "not computed yet"
        if segment["msdynmkt_membercount"] is None
        else f"{segment['msdynmkt_membercount']:,}",
        "Last evaluated": _moment(segment["msdynmkt_lastevaluated"]),
        "Base table": segment["msdynmkt_baseentitylogicalname"],
        "Segment id": segment_id,
    }
    runs = ""
    groups = ""
    text = ""
    if definition is not None:
        definition_id = definition["msdynmkt_segmentdefinitionid"]
        facts["Definition"] = f"{definition_id} ({DEFINITION.statuses[definition['statuscode']][1]})"
        text = definition["msdynmkt_segmentquery"] or ""
        names = _group_names(definition["msdynmkt_staticlistmembers"])
        found = connection.execute(
            "SELECT * FROM static_group WHERE definition_id = ? ORDER BY number", (definition_id,)
        )
        groups = _table(
            ["Group", "Type", "Ids"],
            [
                [
                    names.get(row["group_id"], row["group_id"]),
                    "Include" if row["include"] else "Exclude",
                    f"{row['members']:,}",
                ]
                for row in found
            ],
        )
        last = connection.execute(
            "SELECT * FROM msdynmkt_segmentexecution WHERE msdynmkt_segmentdefinitionid = ? "
            "ORDER BY versionnumber DESC LIMIT 10",
            (definition_id,),
        )
        runs = _table(
            ["Started", "Finished", "Result", "Members"],
            [
                [
                    _moment(row["msdynmkt_startedon"]),
                    _moment(row["msdynmkt_finishedon"]),
                    EXECUTION.statuses[row["statuscode"]][1],
                    row["msdynmkt_membershipcount"],
                ]
                for row in last
            ],
        )
    shown = "".join(f"<tr><th>{_escape(name)}<td>{_escape(value)}" for name, value in facts.items())
    return 200, _page(
        segment["msdynmkt_displayname"] or segment_id,
        f"<table>{shown}</table><h2>Query</h2><pre>{_escape(text) or '(none: static groups only)'}</pre>"
        f"<h2>Static groups</h2>{groups or '<p>None.</p>'}<h2>Last runs</h2>{runs or '<p>None.</p>'}",
    )


def _page(title: str, content: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_escape(title)}</title><style>{_STYLE}</style>'
        f"<p>Customer Insights - Journeys sandbox</p><h1>{_escape(title)}</h1>{content}</html>"
    )


def _table(heads: list[str], rows: list[list[object]]) -> str:
    if not rows:
        return ""
    lines = ["".join(f"<th>{_escape(head)}" for head in heads)]
    lines += ["".join(f"<td>{_escape(cell)}" for cell in row) for row in rows]
    return f"<table>{''.join(f'<tr>{line}' for line in lines)}</table>"


def _group_names(text: str | None) -> dict[str, str]:
    entries = json.loads(text) if text and text.strip() else []
    return {guid.parse(entry["groupId"]) or "": str(entry.get("name") or entry["groupId"]) for entry in entries}


def _moment(seconds: int | None) -> str:
    return "never" if seconds is None else values.write_moment(seconds)


def _escape(value: object) -> str:
    return "" if value is None else html.escape(str(value))
