"""What journeys have mailed: a page for people, and a list for tests. The real service has neither."""

from __future__ import annotations

import html
from collections.abc import Sequence

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, JSONResponse, Response

from cij_sandbox.consent import mailing
from cij_sandbox.core import guid, values
from cij_sandbox.core.store import Store

_SHOWN = 500
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "th,td{text-align:left;padding-right:1.5rem;vertical-align:top}"
)


class Mail:
    """The endpoints ``/mail`` and ``/sandbox/mail``."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def listed(self, http: HttpRequest) -> Response:
        """Return the messages sent and not sent after a number, of one journey or of all."""
        since, journey = http.query_params.get("since", "0"), http.query_params.get("journey", "")
        journey_id = guid.parse(journey) or ""
        if not (since.isascii() and since.isdigit() and len(since) < 19) or (journey and not journey_id):
            return JSONResponse({"error": '"since" is a number, "journey" a GUID'}, 400)
        found = await run_in_threadpool(lambda: mailing.listed(self._store.reader(), journey_id, int(since)))
        return JSONResponse({"mail": found})

    async def page(self, http: HttpRequest) -> Response:
        """Show the mailed journeys; with ``?journey=`` whom one of them mailed, and whom it left out and why."""
        journey_id = guid.parse(http.query_params.get("journey", ""))
        body = await run_in_threadpool(self._journey if journey_id else self._journeys, journey_id or "")
        return HTMLResponse(body, headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"})

    def _journeys(self, _: str) -> str:
        connection = self._store.reader()
        found = connection.execute(
            "SELECT mailing.journey_id, mailing.time, msdynmkt_name FROM mailing "
            "LEFT JOIN msdynmkt_journey ON msdynmkt_journeyid = mailing.journey_id ORDER BY mailing.time DESC LIMIT ?",
            (_SHOWN,),
        ).fetchall()
        lines = []
        for row in found:
            totals = dict(mailing.totals(connection, row["journey_id"]))
            name = _escape(row["msdynmkt_name"] or row["journey_id"])
            link = f'<a href="/mail?journey={row["journey_id"]}">{name}</a>'
            sent = totals.pop("", 0)
            left_out = "; ".join(f"{count:,} {_escape(reason)}" for reason, count in totals.items())
            lines.append(f"<tr><td>{link}<td>{values.write_moment(row['time'])}<td>{sent:,}<td>{left_out}")
        return _page("Mail of journeys", _table(("Journey", "Time", "Sent", "Left out"), lines))

    def _journey(self, journey_id: str) -> str:
        found = self._store.reader().execute(
            "SELECT address, person_id, sent, reason FROM mail WHERE journey_id = ? ORDER BY sent, number LIMIT ?",
            (journey_id, _SHOWN),
        )
        lines = [
            f"<tr><td>{_escape(row['address'])}<td>{row['person_id']}<td>{'sent' if row['sent'] else 'left out'}"
            f"<td>{_escape(row['reason'])}"
            for row in found
        ]
        note = f"<p>Those left out come first; at most {_SHOWN} are shown.</p>"
        return _page(f"Mail of journey {journey_id}", note + _table(("Address", "Person", "", "Why"), lines))


def _table(heads: Sequence[str], lines: Sequence[str]) -> str:
    return f"<table><tr>{''.join(f'<th>{head}' for head in heads)}{''.join(lines)}</table>" if lines else "<p>None.</p>"


def _page(title: str, content: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_escape(title)}</title><style>{_STYLE}</style>'
        f"<p>Customer Insights - Journeys sandbox</p><h1>{_escape(title)}</h1>{content}</html>"
    )


def _escape(value: object) -> str:
    return html.escape(str(value))
