"""The sandbox's own endpoints under ``/sandbox``: faults, and a log of requests. No part of the real service."""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import asdict, dataclass

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from . import faults

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

    def __init__(self, rules: faults.Faults, log: RequestLog) -> None:
        self._rules = rules
        self._log = log

    async def faults(self, http: HttpRequest) -> Response:
        """Show the fault rules, add some, or forget all."""
        if http.method == "DELETE":
            self._rules.clear()
            return Response(None, 204)
        if http.method == "POST":
            # A page of another site can send a form here, but not this type: the browser would ask first.
            if http.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
                return _refusal(415, "Content-Type: application/json is expected")
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


def _refusal(status: int, problem: str) -> Response:
    return JSONResponse({"error": problem}, status)
