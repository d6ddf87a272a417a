"""Lists, 52 calls at once and many processes: seconds over the ideal, and how many requests were refused."""

from __future__ import annotations

import asyncio
import json
import math
import multiprocessing
import ssl
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from cij_sandbox.testing import running_sandbox
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_provider_cij.api.concurrency import for_each
from airflow_provider_cij.api.members.client import Members
from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.api.members.sync_plan import GROUP_LIMIT
from airflow_provider_cij.api.segments.models import MemberGroup, Segment
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.dataverse.settings import Settings
from tests.bench.https_service import TENANT, HttpsService
from tests.bench.table import note
from tests.throttled_calls import run_processes

PAGE = 5000
# Seconds in which a call that is in flight arrives.
_AT_ONCE = 0.3
_GOALS = {8: 0.95, 16: 0.95, 32: 0.90, 52: 0.72}


def serve(folder: str, seconds: float, total: int, ready: multiprocessing.SimpleQueue[str]) -> None:
    """Serve pages of members and a WhoAmI, each after some time; put the address."""
    service = HttpsService(Path(folder))
    last = math.ceil(total / PAGE)
    tail = [f"-0000-0000-0000-{number:012}" for number in range(PAGE)]
    pages = {number: [f"{number:08x}{end}" for end in tail] for number in range(1, last + 1)}
    texts = {
        number: json.dumps(
            {
                "totalCount": total,
                "pageNumber": number,
                "pageSize": PAGE,
                "hasNextPage": number < last,
                "members": members,
            }
        )
        for number, members in pages.items()
    }
    groups = {number: json.dumps({"entityIds": members}) for number, members in pages.items()}

    async def inputs(_: Request) -> Response:
        names = [{"uniquename": name} for name in ("SegmentId", "PageNo", "PageSize")]
        await asyncio.sleep(seconds)
        return JSONResponse({"value": [{"CustomAPIRequestParameters": names}]})

    async def segment(request: Request) -> Response:
        number = (await request.json()).get("PageNo", 1)
        await asyncio.sleep(seconds)
        return JSONResponse({"StatusCode": 200, "ResultText": texts[number]})

    async def group(request: Request) -> Response:
        number = (await request.json())["PageNo"]
        await asyncio.sleep(seconds)
        return JSONResponse({"Response": groups.get(number, '{"entityIds": []}')})

    async def who(_: Request) -> Response:
        await asyncio.sleep(seconds)
        return JSONResponse({})

    routes = [
        Route("/api/data/v9.2/customapis", inputs),
        Route("/api/data/v9.2/msdynmkt_MembersList", segment, methods=["POST"]),
        Route("/api/data/v9.2/msdynmkt_ListGroupMembers", group, methods=["POST"]),
        Route("/api/data/v9.2/WhoAmI", who),
    ]
    ready.put(service.url)
    service.run(routes)


def _settings(url: str, ca: str, client_id: str, at_once: int) -> Settings:
    return Settings(
        *(url, TENANT, client_id),
        client_secret="s",
        authority=f"{url}/{TENANT}",
        ca_bundle=ca,
        max_concurrency=at_once,
    )


async def _listed(pages: AsyncIterator[list[str]]) -> int:
    return sum([len(page) async for page in pages])


def _wanted(total: int) -> IdSet:
    """Return the ids that the service lists."""
    ids = IdSet()
    ends = [bytes(6) + bytes.fromhex(f"{number:012}") for number in range(PAGE)]
    ids.update(b"".join(number.to_bytes(4) + end for number in range(1, math.ceil(total / PAGE) + 1) for end in ends))
    return ids


async def _compared(members: Members, where: str, wanted: IdSet) -> int:
    """Do what a mirror does before it changes anything, and again to verify that it has."""
    plan = await members.plan(where, [MemberGroup("VIP", group_id=where)], wanted)
    assert plan.done
    return plan.there


async def _by_hand(url: str, ca: str, pages: int, at_once: int) -> int:
    """Do with httpx what a careful user would write: the first page, then all others side by side, into a set."""
    found, slots = set[str](), asyncio.Semaphore(at_once)
    context = ssl.create_default_context(cafile=ca)
    async with httpx.AsyncClient(verify=context, limits=httpx.Limits(max_connections=at_once), timeout=60) as client:

        async def read(number: int) -> None:
            async with slots:
                body = {"SegmentId": str(uuid.UUID(int=1)), "PageNo": number, "PageSize": PAGE}
                response = await client.post(f"{url}/api/data/v9.2/msdynmkt_MembersList", json=body)
            found.update(json.loads(response.json()["ResultText"])["members"])

        await read(1)
        await asyncio.gather(*map(read, range(2, pages + 1)))
    return len(found)


async def _measure(url: str, ca: str, seconds: float, total: int) -> None:
    pages, calls, wanted = math.ceil(total / PAGE), 208, _wanted(total)
    assert len(wanted) == total
    for at_once in (8, 16):
        async with DataverseClient(_settings(url, ca, f"lists-{at_once}", at_once)) as client:
            await client.get("WhoAmI")
            members, where = Members(client), str(uuid.UUID(int=1))
            of_segment = members.of_segment(Segment(where, where, "VIP", "contact", 1, total))
            jobs = {
                "httpx by hand: segment of {:,}": _by_hand(url, ca, pages, at_once),
                "segment of {:,} listed": _listed(of_segment),
            }
            if total <= GROUP_LIMIT:
                jobs["group of {:,} listed"] = _listed(members.of_group(where, where))
                jobs["group of {:,} listed and compared with a list"] = _compared(members, where, wanted)
            for title, job in jobs.items():
                started = time.perf_counter()
                what = title.format(await job)
                spent, ideal = time.perf_counter() - started, (1 + math.ceil((pages - 1) / at_once)) * seconds
                print(f"  {what}, {at_once:>2} at once: {spent:.2f} s, ideal/wall {ideal / spent:.2f}")
                goal = "" if title.startswith("httpx") else "at least 0.85"
                note(f"{what}, {at_once} at once", "ideal", f"{ideal / spent:.2f}", goal)
    cpu = {}
    for at_once in (8, 16, 32, 52):
        async with DataverseClient(_settings(url, ca, f"calls-{at_once}", at_once)) as client:

            async def call(_: int, client: DataverseClient = client) -> None:
                await client.get("WhoAmI")

            await for_each(range(1, at_once + 1), call, at_once)
            started, before = time.perf_counter(), time.process_time()
            await for_each(range(1, calls + 1), call, at_once)
            spent, cpu[at_once] = time.perf_counter() - started, time.process_time() - before
        ideal = math.ceil(calls / at_once) * seconds
        print(
            f"  {calls} calls at {at_once:>2}: ideal/wall {ideal / spent:.2f}, CPU {cpu[at_once] / cpu[8]:.2f} x at 8"
        )
        if total == 200_000:
            note(f"{calls} calls, {at_once} at once", "ideal", f"{ideal / spent:.2f}", f"at least {_GOALS[at_once]}")
            note(f"CPU a call, {at_once} at once", "8 at once", f"{cpu[at_once] / cpu[8]:.2f}", "at most 1.3")


def _sent_early(requests: list[dict[str, Any]], window: float) -> int:
    """Return how many calls arrived while the service was closed, those that were in flight at its first 429 apart."""
    calls = [call for call in requests if call["path"].endswith("WhoAmI")]
    refused = next((call["time"] for call in calls if call["status"] == 429), None)
    # The first calls of the window leave it about together.
    opens = calls[0]["time"] + window
    return 0 if refused is None else sum(refused + _AT_ONCE < call["time"] < opens for call in calls)


def main() -> None:
    """Print all."""
    for seconds, total in ((0.1, 200_000), (0.1, 2_000_000)):
        with tempfile.TemporaryDirectory() as folder:
            context = multiprocessing.get_context("spawn")
            ready: multiprocessing.SimpleQueue[str] = context.SimpleQueue()
            server = context.Process(target=serve, args=(folder, seconds, total, ready))
            server.start()
            try:
                print(f"lists of {total:,} at {seconds * 1000:.0f} ms a page")
                asyncio.run(_measure(ready.get(), str(Path(folder) / "ca.pem"), seconds, total))
            finally:
                server.terminate()
                server.join()
    for count in (4, 16):
        with running_sandbox("--limit-requests", "200", "--limit-window", "10") as sandbox:
            spent, refused = run_processes(count, 400 // count, sandbox)
            print(f"{count:>2} processes, 400 calls against 200 in 10 s: {spent / 10:.2f} x ideal, {refused} refused")
            note(f"{count} processes, 400 calls, 200 in 10 s", "ideal", f"{spent / 10:.2f}", "at most 1.25")
            note(f"{count} processes, refusals", "none", str(refused), f"at most {4 if count == 4 else 8}")
            early = _sent_early(sandbox.requests(), window=10)
            print(f"   sent later than {_AT_ONCE} s after the first refusal, and before its Retry-After: {early}")
            note(f"{count} processes, sent before Retry-After", "none", str(early), "none")
    with running_sandbox("--limits") as sandbox:
        sandbox.faults.add("slow", path="WhoAmI", delay=0.1)
        spent, refused = run_processes(16, 52, sandbox)
        print(f"16 processes, 832 calls of 100 ms against 52 at once: {spent / 1.6:.2f} x ideal, {refused} refused")
        note("16 processes, 52 at once", "ideal", f"{spent / 1.6:.2f}", "at most 1.5")


if __name__ == "__main__":
    main()
