"""An organisation of thousands of segments and journeys, a part of which get ready at known moments."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.bench.https_service import HttpsService

KINDS = ("live", "refreshed", "members", "group", "journey", "outbound segment", "outbound journey", "operations")
SERVICE_SECONDS = 0.05
_GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_WANTED = 3


def id_of(kind: str, number: int) -> str:
    """Return the id of a row."""
    return f"{KINDS.index(kind) + 1:08x}-0000-4000-8000-{number:012x}"


def ready_after(row_id: str, first: float, last: float) -> float | None:
    """Return the seconds after which a row is as it is waited for; None for four of five rows, which never are."""
    number = int(row_id[-12:], 16)
    return None if number % 5 else first + number * 7919 % 1000 / 1000 * (last - first)


class Organisation:
    """Answers for all rows. A kind is told by the first digits of an id."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._began, self._first, self._last = time.monotonic(), 1e9, 1e9

    def begin(self, first: float, last: float) -> None:
        """Begin anew: rows get ready between two moments, in seconds from now."""
        self.counts, self._began, self._first, self._last = {}, time.monotonic(), first, last

    def ready(self, row_id: str) -> bool:
        """Return whether a row is as it is waited for."""
        after = ready_after(row_id, self._first, self._last)
        return after is not None and time.monotonic() >= self._began + after

    def evaluations(self, address: str) -> list[dict[str, Any]]:
        """Return the evaluations of those that were refreshed; of some only, where a query names them."""
        named = {row_id for row_id in _GUID.findall(address) if row_id[9:13] == "dddd"}
        numbers = range(0, 5_000, 5) if not named else [int(row_id[-12:], 16) for row_id in named]
        rows = [id_of("refreshed", number) for number in numbers]
        return [
            {
                "msdynmkt_segmentexecutionid": row_id.replace("0000-4000", "eeee-4000"),
                "_msdynmkt_segmentdefinitionid_value": row_id.replace("0000-4000", "dddd-4000"),
                "statuscode": 723270002,
                "msdynmkt_startedon": "2026-11-20T00:00:00Z",
                "msdynmkt_finishedon": "2026-11-20T00:01:00Z",
                "msdynmkt_membershipcount": 7,
                "modifiedon": "2026-11-20T00:01:00Z",
            }
            for row_id in rows
            if self.ready(row_id)
        ]

    def segment(self, row_id: str) -> dict[str, Any]:
        """Return a row of msdynmkt_segments."""
        kind, ready = KINDS[int(row_id[:8], 16) - 1], self.ready(row_id)
        return {
            "msdynmkt_segmentid": row_id,
            "msdynmkt_displayname": f"Segment {row_id}",
            "msdynmkt_sourcesegmentuid": row_id.replace("0000-4000", "dddd-4000"),
            "msdynmkt_baseentitylogicalname": "contact",
            "msdynmkt_membercount": _WANTED if ready else 1,
            "statecode": 0,
            "statuscode": 6 if kind == "live" and not ready else 1,
            "modifiedon": "2026-11-20T00:00:00Z",
        }

    def journey(self, row_id: str) -> dict[str, Any]:
        """Return a row of msdynmkt_journeys."""
        status = 2 if self.ready(row_id) else 4
        return {"msdynmkt_journeyid": row_id, "msdynmkt_name": f"Journey {row_id}", "statuscode": status}

    def outbound_segment(self, row_id: str) -> dict[str, Any]:
        """Return a row of msdyncrm_segments."""
        status = 192350001 if self.ready(row_id) else 192350006
        kind = {"msdyncrm_segmenttype": 192350001, "msdyncrm_segmentname": f"Segment {row_id}"}
        return {"msdyncrm_segmentid": row_id, "statuscode": status, **kind}

    def outbound_journey(self, row_id: str) -> dict[str, Any]:
        """Return a row of msdyncrm_customerjourneys."""
        status = 192350001 if self.ready(row_id) else 192350006
        return {"msdyncrm_customerjourneyid": row_id, "msdyncrm_name": f"Journey {row_id}", "statuscode": status}

    def definition(self, row_id: str) -> dict[str, Any]:
        """Return a row of msdynmkt_segmentdefinitions."""
        group = {"groupId": row_id, "includeType": "Include", "name": "in", "inputType": "manualSelect"}
        return {"msdynmkt_segmentdefinitionid": row_id, "msdynmkt_staticlistmembers": json.dumps([group])}

    def act(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the outputs of an action."""
        if name == "msdynmkt_ListGroupMembers":
            count = _WANTED if self.ready(body["SegmentId"]) else 1
            first = (body["PageNo"] - 1) * body["PageSize"]
            ids = [id_of("live", number) for number in range(count)][first : first + body["PageSize"]]
            return {"Response": json.dumps({"entityIds": ids})}
        return {"state": "Completed" if self.ready(body["msdyncrm_segmentid"]) else "InProgress"}

    def batch(self, content: bytes) -> tuple[bytes, int]:
        """Return the responses to the actions of a batch, and their number."""
        parts = []
        for request in re.finditer(
            rb"POST /api/data/v9.2/(\w+) HTTP/1.1\r\n.*?\r\n\r\n(.*?)\r\n--", content, re.DOTALL
        ):
            outputs = json.dumps(self.act(request[1].decode(), json.loads(request[2])))
            head = (
                "--b\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\nHTTP/1.1 200 OK\r\n"
            )
            parts.append(f"{head}Content-Type: application/json\r\n\r\n{outputs}\r\n")
        return f"{''.join(parts)}--b--\r\n".encode(), len(parts)


def main(folder: Path) -> None:
    """Serve on a free port; print the address."""
    service, organisation = HttpsService(folder), Organisation()
    tables: Mapping[str, Callable[[str], dict[str, Any]]] = {
        "msdynmkt_segments": organisation.segment,
        "msdynmkt_segmentdefinitions": organisation.definition,
        "msdynmkt_journeys": organisation.journey,
        "msdyncrm_segments": organisation.outbound_segment,
        "msdyncrm_customerjourneys": organisation.outbound_journey,
    }

    async def control(request: Request) -> Response:
        if request.method == "POST":
            organisation.begin(*await request.json())
            return JSONResponse({})
        return JSONResponse(organisation.counts)

    async def peer(request: Request) -> Response:
        organisation.counts["peer"] = organisation.counts.get("peer", 0) + 1
        await asyncio.sleep(SERVICE_SECONDS)
        return Response(status_code=200 if organisation.ready(request.path_params["row_id"]) else 404)

    async def data(request: Request) -> Response:
        path = request.path_params["path"]
        name = path.partition("(")[0]
        organisation.counts[name] = organisation.counts.get(name, 0) + 1
        await asyncio.sleep(SERVICE_SECONDS)
        if name == "$batch":
            content, count = organisation.batch(await request.body())
            organisation.counts["in batches"] = organisation.counts.get("in batches", 0) + count
            return Response(content, media_type="multipart/mixed; boundary=b")
        if request.method == "POST":
            return JSONResponse(organisation.act(name, await request.json()))
        options = unquote(request.url.query)
        if name == "msdynmkt_segmentexecutions":
            rows = organisation.evaluations(options)
            return JSONResponse({"value": rows[:1] if "$top=1" in options else rows})
        if "(" in path:
            return JSONResponse(tables[name](_GUID.findall(path)[0]))
        return JSONResponse({"value": [tables[name](row_id) for row_id in _GUID.findall(options)]})

    routes = [
        Route("/control", control, methods=["GET", "POST"]),
        Route("/peer/{row_id}", peer),
        Route("/api/data/v9.2/{path:path}", data, methods=["GET", "POST"]),
    ]
    print(service.url, flush=True)
    service.run(routes, backlog=4096, h11_max_incomplete_event_size=2**18)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
