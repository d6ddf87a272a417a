"""The sandbox's own endpoints under ``/sandbox``: faults, requests, the clock, triggers. The real service has none."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, JSONResponse, Response

from cij_sandbox.core import values
from cij_sandbox.core.assumptions import ASSUMED
from cij_sandbox.core.clock import CLOCK
from cij_sandbox.faults.limits import Usage
from cij_sandbox.faults.rules import Faults, read
from cij_sandbox.journeys import versions
from cij_sandbox.server import html, overview
from cij_sandbox.server.organisation import Organisation

_REMEMBERED = 10_000


@dataclass
class Entry:
    """One request, without query, body and token, which hold personal data and secrets."""

    number: int
    time: float
    method: str
    path: str
    client_request_id: str | None
    status: int | None = None
    fault: str | None = None


class RequestLog:
    """The last requests, in the order of arrival."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=_REMEMBERED)
        self._number = 0

    def begin(self, method: str, path: str, client_request_id: str | None) -> Entry:
        """Record a request; its status follows with the response."""
        self._number += 1
        entry = Entry(self._number, time.time(), method, path, client_request_id)
        self._entries.append(entry)
        return entry

    def since(self, number: int) -> list[dict[str, object]]:
        """Return the requests after a number."""
        return [asdict(entry) for entry in self._entries if entry.number > number]


class Control:
    """The endpoints under ``/sandbox``."""

    def __init__(self, rules: Faults, usage: Usage, log: RequestLog, organisation: Organisation) -> None:
        self._triggers = organisation.triggers
        self._rules = rules
        self._usage = usage
        self._log = log
        self._organisation = organisation
        self._background = organisation.background

    async def overview(self, http: HttpRequest) -> Response:
        """Return the page of the organisation."""
        base_url = f"https://{http.headers['host'].lower()}"
        shown = (self._organisation, base_url, self._rules.shown(), self._log.since(0))
        return HTMLResponse(await run_in_threadpool(overview.render, *shown), headers=html.HEADERS)

    async def faults(self, http: HttpRequest) -> Response:
        """Return the fault rules; POST adds some, DELETE deletes all."""
        if http.method == "DELETE":
            self._rules.clear()
            return Response(None, 204)
        if http.method == "POST" and (refusal := await _posted(http, lambda rules: self._rules.add(read(rules)))):
            return refusal
        return JSONResponse({"faults": self._rules.shown()})

    async def requests(self, http: HttpRequest) -> Response:
        """Return the requests after a number."""
        since = _since(http)
        return _NO_NUMBER if since is None else JSONResponse({"requests": self._log.since(since)})

    async def events(self, http: HttpRequest) -> Response:
        """Return the events after a number, of one trigger or of all."""
        since, name = _since(http), http.query_params.get("trigger")
        if since is None:
            return _NO_NUMBER
        return JSONResponse({"events": await run_in_threadpool(self._triggers.raised, since, name)})

    async def triggers(self, http: HttpRequest) -> Response:
        """Return the custom triggers; POST adds or changes one."""
        if http.method == "POST" and (refusal := await _posted(http, self._triggers.define)):
            return refusal
        return JSONResponse({"triggers": await run_in_threadpool(self._triggers.shown)})

    async def journeys(self, http: HttpRequest) -> Response:
        """Make the draft of a live journey's next version for a POST of ``{"edit": id}``, and return its id."""
        made: list[str] = []
        if refusal := await _posted(http, lambda content: made.append(self._edit(content))):
            return refusal
        return JSONResponse({"journey_id": made[0]})

    def _edit(self, content: Any) -> str:
        given = content if isinstance(content, dict) else {}
        with self._organisation.store.transaction() as connection:
            return versions.edit(connection, str(given.get("edit")).lower(), str(given.get("description") or ""))

    async def pace(self, http: HttpRequest) -> Response:
        """Return how fast the organisation is; POST changes what it names."""
        if http.method == "POST" and (refusal := await _posted(http, self._set_pace)):
            return refusal
        longest = self._rules.longest_retry_after
        pace = {
            "compute_seconds": self._background.compute_seconds,
            "longest_retry_after": None if longest == math.inf else longest,
            "speed": CLOCK.speed,
        }
        return JSONResponse(pace)

    def _set_pace(self, content: Any) -> None:
        if not isinstance(content, dict):
            raise ValueError(_PACE)
        for name, value in content.items():
            least, most = _PACES.get(name, (0, -1))
            if type(value) not in (int, float) or not least <= value <= most:
                raise ValueError(f"{_PACE}, not {json.dumps({name: value})[:100]}")
        if "compute_seconds" in content:
            self._background.compute_seconds = content["compute_seconds"]
        if "longest_retry_after" in content:
            self._rules.longest_retry_after = content["longest_retry_after"]
            self._usage.shorten(max(1, content["longest_retry_after"]))
        if "speed" in content:
            CLOCK.set_speed(content["speed"])
            self._background.notify()

    async def assumptions(self, http: HttpRequest) -> Response:
        """Return what is assumed and the alternatives; POST chooses ``{"segments.add-twice": "nothing"}``."""
        if http.method == "POST" and (refusal := await _posted(http, ASSUMED.choose)):
            return refusal
        return JSONResponse({"assumptions": ASSUMED.shown()})

    async def clock(self, http: HttpRequest) -> Response:
        """Return the organisation's time; POST ``{"advance_seconds": N}`` advances it."""
        if http.method == "POST":
            if refusal := await _posted(http, _advance, _ADVANCE):
                return refusal
            await run_in_threadpool(self._background.catch_up)
        return JSONResponse({"now": values.write_moment(values.now())}, headers={"Cache-Control": "no-store"})


def _since(http: HttpRequest) -> int | None:
    since = http.query_params.get("since", "0")
    return int(since) if since.isascii() and since.isdigit() and len(since) < 19 else None


async def _posted(http: HttpRequest, take: Callable[[Any], None], expected: str = "") -> Response | None:
    """Pass the JSON of a request on; return the response to an invalid one."""
    # A page of another site can send a form here, but not this type: the browser would ask first.
    if http.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return _refusal(415, "Content-Type: application/json is expected")
    try:
        await run_in_threadpool(take, json.loads(await http.body()))
    except (ValueError, RecursionError) as problem:
        return _refusal(400, expected or str(problem))
    return None


def _advance(content: Any) -> None:
    try:
        CLOCK.advance(float(content["advance_seconds"]))
    except (LookupError, TypeError, OverflowError):
        raise ValueError from None


def _refusal(status: int, problem: str) -> Response:
    return JSONResponse({"error": problem}, status)


_PACES = {"compute_seconds": (0, 86_400), "longest_retry_after": (0, 86_400), "speed": (0.001, 100_000)}
_PACE = "A pace is a JSON object of " + ", ".join(f'"{name}" ({a:,} to {b:,})' for name, (a, b) in _PACES.items())
_NO_NUMBER = _refusal(400, '"since" is the number of the last one that is known')
_ADVANCE = '{"advance_seconds": N} is expected, N from 0 to what is left until the year 9987'
