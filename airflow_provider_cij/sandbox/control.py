"""The sandbox's own endpoints under ``/sandbox``: faults, a log of requests, the clock. No part of the real service."""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import asdict, dataclass

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from . import faults, values
from .clock import CLOCK
from .publishing import Publisher

_REMEMBERED = 10_000


@dataclass
class Entry:
    """One request: no query, no body and no token, because people are in them."""

    number: int
    time: float
    method: str
    path: str
    client_request_id: str | None
    status: int | None = None
    fault: str | None = None


class RequestLog:
    """The last requests, in the order they came."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=_REMEMBERED)
        self._number = 0

    def begin(self, method: str, path: str, client_request_id: str | None) -> Entry:
        """Write a request down; its status follows when it has one."""
        self._number += 1
        entry = Entry(self._number, time.time(), method, path, client_request_id)
        self._entries.append(entry)
        return entry

    def since(self, number: int) -> list[dict[str, object]]:
        """Return the requests after the one with this number."""
        return [asdict(entry) for entry in self._entries if entry.number > number]


class Control:
    """The endpoints."""

    def __init__(self, rules: faults.Faults, log: RequestLog, publisher: Publisher) -> None:
        self._rules = rules
        self._log = log
        self._publisher = publisher

    async def faults(self, http: HttpRequest) -> Response:
        """Show the fault rules, add some, or forget all."""
        if http.method == "DELETE":
            self._rules.clear()
            return Response(None, 204)
        if http.method == "POST":
            if not _is_json(http):
                return _NOT_JSON
            try:
                self._rules.add(faults.read(json.loads(await http.body())))
            except (ValueError, RecursionError) as problem:
                return _refusal(400, str(problem))
        return JSONResponse({"faults": self._rules.shown()})

    async def requests(self, http: HttpRequest) -> Response:
        """Show the requests since a number."""
        since = http.query_params.get("since", "0")
        if not (since.isascii() and since.isdigit() and len(since) < 20):
            return _refusal(400, '"since" is the number of a request')
        return JSONResponse({"requests": self._log.since(int(since))})

    async def clock(self, http: HttpRequest) -> Response:
        """Show what time the organisation has; POST ``{"advance_seconds": N}`` moves it on."""
        if http.method == "POST":
            if not _is_json(http):
                return _NOT_JSON
            try:
                CLOCK.advance(float(json.loads(await http.body())["advance_seconds"]))
            except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
                return _refusal(400, '{"advance_seconds": N} is expected, N from 0 to what is left until the year 9987')
            await run_in_threadpool(self._publisher.catch_up)
        return JSONResponse({"now": values.write_moment(values.now())}, headers={"Cache-Control": "no-store"})


def _is_json(http: HttpRequest) -> bool:
    # A page of another site can send a form here, but not this type: the browser would ask first.
    return http.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def _refusal(status: int, problem: str) -> Response:
    return JSONResponse({"error": problem}, status)


_NOT_JSON = _refusal(415, "Content-Type: application/json is expected")
