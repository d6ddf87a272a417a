"""Small pages without scripts: text is escaped where it is put into one."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlencode

from cij_sandbox.core import values

# Nothing is loaded, nothing runs, and no other page may frame these.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "h2{margin:2rem 0 .4rem;font-size:1.15rem}"
    "th{text-align:left;font-weight:600}th,td{padding:.15rem 1.5rem .15rem 0;vertical-align:top}"
    "td{overflow-wrap:anywhere}table{border-spacing:0}tr+tr td{border-top:1px solid #eee}"
    "pre{background:#f4f4f4;padding:.8rem;white-space:pre-wrap;overflow-wrap:anywhere}a{color:#06c}"
    ".none{color:#777}"
)


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def escape(value: object) -> Html:
    """Return HTML as it is, any other value escaped, and nothing for None."""
    if isinstance(value, Html):
        return value
    return Html("" if value is None else html.escape(str(value)))


def document(title: str, *parts: Html) -> str:
    """Return a whole page."""
    names = {"contact": "Contacts", "lead": "Leads", "msdynmkt_segment": "Segments", "msdynmkt_journey": "Journeys"}
    ways = [Html('<a href="/">Organisation</a>'), *(list_link(*way) for way in names.items())]
    ways.append(Html('<a href="/mail">Mail</a>'))
    home = f"<p>Customer Insights - Journeys sandbox: {' &middot; '.join(ways)}</p>"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
        f"{home}<h1>{escape(title)}</h1>{''.join(parts)}</html>"
    )


def section(title: object, *parts: Html) -> Html:
    """Return a part of a page with a heading."""
    return Html(f"<h2>{escape(title)}</h2>{''.join(parts)}")


def paragraph(*parts: object) -> Html:
    """Return a paragraph."""
    return Html(f"<p>{''.join(escape(part) for part in parts)}</p>")


def block(text: str) -> Html:
    """Return text with its line ends."""
    return Html(f"<pre>{escape(text)}</pre>")


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    """Return a table, or "None." when there are no rows."""
    lines = ["".join(f"<td>{escape(cell)}" for cell in row) for row in rows]
    if not lines:
        return Html('<p class="none">None.</p>')
    head = "".join(f"<th>{escape(name)}" for name in heads)
    return Html(f"<table><tr>{head}{''.join(f'<tr>{line}' for line in lines)}</table>")


def facts(found: Mapping[str, object]) -> Html:
    """Return names with their values."""
    return Html(
        f"<table>{''.join(f'<tr><th>{escape(name)}<td>{escape(value)}' for name, value in found.items())}</table>"
    )


def link(text: object, **query: object) -> Html:
    """Return a link to a record, a list or the members of a segment, by the query of ``/main.aspx``."""
    return Html(f'<a href="/main.aspx?{html.escape(urlencode(query))}">{escape(text)}</a>')


def record_link(entity: str, row_id: object, text: object) -> Html:
    """Return a link to the page of a row."""
    return link(text, pagetype="entityrecord", etn=entity, id=row_id)


def list_link(entity: str, text: object, page: int = 1) -> Html:
    """Return a link to the rows of a table."""
    return link(text, pagetype="entitylist", etn=entity, **({"page": page} if page > 1 else {}))


def pages(previous: Html | None, here: str, following: Html | None) -> Html:
    """Return the way to the neighbouring pages."""
    return paragraph(previous or "", " ", here, " ", following or "")


def moment(seconds: object) -> str:
    """Write a time of the organisation."""
    return "never" if not isinstance(seconds, int | float) else values.write_moment(seconds)
