"""What journeys have mailed: a page for people, and a list for tests. The real service has neither."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, JSONResponse, Response

from cij_sandbox.consent import mailing
from cij_sandbox.core import guid
from cij_sandbox.core.store import Store
from cij_sandbox.server.html import HEADERS, Html, document, escape, moment, paragraph, table

_SHOWN = 500


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
        return HTMLResponse(body, headers=HEADERS)

    def _journeys(self, _: str) -> str:
        connection = self._store.reader()
        found = connection.execute(
            "SELECT mailing.journey_id, mailing.time, msdynmkt_name FROM mailing "
            "LEFT JOIN msdynmkt_journey ON msdynmkt_journeyid = mailing.journey_id ORDER BY mailing.time DESC LIMIT ?",
            (_SHOWN,),
        ).fetchall()
        rows = []
        for row in found:
            totals = dict(mailing.totals(connection, row["journey_id"]))
            name = escape(row["msdynmkt_name"] or row["journey_id"])
            sent = totals.pop("", 0)
            left_out = "; ".join(f"{count:,} {reason}" for reason, count in totals.items())
            link = Html(f'<a href="/mail?journey={row["journey_id"]}">{name}</a>')
            rows.append([link, moment(row["time"]), f"{sent:,}", left_out])
        return document("Mail of journeys", table(["Journey", "Time", "Sent", "Left out"], rows))

    def _journey(self, journey_id: str) -> str:
        found = self._store.reader().execute(
            "SELECT address, person_id, sent, reason FROM mail WHERE journey_id = ? ORDER BY sent, number LIMIT ?",
            (journey_id, _SHOWN),
        )
        rows = [
            [row["address"], row["person_id"], "sent" if row["sent"] else "left out", row["reason"]] for row in found
        ]
        note = paragraph(f"Those left out come first; at most {_SHOWN:,} are shown.")
        return document(f"Mail of journey {journey_id}", note, table(["Address", "Person", "", "Why"], rows))
