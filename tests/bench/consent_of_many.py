"""200,000 people against 200,000 consents of the sandbox: requests over what the URL limit allows, seconds, memory."""

from __future__ import annotations

import math
import os
import resource
import time

from cij_sandbox.testing import Sandbox, running_sandbox

from airflow_provider_cij.api.consent.consent_to import COMMERCIAL, ConsentTo
from airflow_provider_cij.api.consent.screening import screen
from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.dataverse.guids import pack_guids
from airflow_provider_cij.dataverse.odata import URL_LIMIT, in_literal, quote_option
from airflow_provider_cij.hooks.cij import Cij, CijHook

PEOPLE = 200_000
_WRITTEN_AT_ONCE = 4_000


def main() -> None:
    """Screen them."""
    with running_sandbox("--contacts", str(PEOPLE)) as sandbox:
        os.environ["AIRFLOW_CONN_CIJ_DEFAULT"] = sandbox.airflow_conn_uri
        CijHook().run(lambda cij: _screen(cij, sandbox))


async def _screen(cij: Cij, sandbox: Sandbox) -> None:
    people = {}
    async for page in cij.dataverse.pages("contacts?$select=contactid,emailaddress1"):
        people |= {row["contactid"]: (row["emailaddress1"] or "").lower() for row in page}
    there = "msdynmkt_contactpointconsent4s?$select=msdynmkt_contactpointvalue"
    said = {row["msdynmkt_contactpointvalue"].lower() async for page in cij.dataverse.pages(there) for row in page}
    consents = await _fill(cij, [address for address in dict.fromkeys(people.values()) if address not in said], said)
    for count in (PEOPLE // 10, PEOPLE):
        ids, chosen = IdSet(), list(people)[:count]
        ids.update(pack_guids(chosen)[0])
        before = len(sandbox.requests())
        number = sandbox.requests()[-1]["number"] if before else 0
        started = time.monotonic()
        found = await screen(cij.dataverse, ids, "contact", ConsentTo())
        seconds = time.monotonic() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        requests = len(sandbox.requests(number))
        # Nothing but ids and addresses in the URLs, which no client could do.
        addresses = {people[person] for person in chosen} - {""}
        size = sum(len(quote_option(f"{in_literal(value)},")) for value in (*chosen, *addresses))
        ideal = math.ceil(size / URL_LIMIT)
        print(
            f"{count:,} people against {consents:,} consents: {seconds:.1f} s, {sum(found.counts.values()):,} left out"
        )
        print(f"  {requests} requests = {requests / ideal:.3f} x ideal, the process has had {peak} MiB at most")


async def _fill(cij: Cij, addresses: list[str], said: set[str]) -> int:
    action = "msdynmkt_contactpointconsent4s/Microsoft.Dynamics.CRM.CreateMultiple"
    targets = [
        {
            "@odata.type": "Microsoft.Dynamics.CRM.msdynmkt_contactpointconsent4",
            "msdynmkt_contactpointvalue": address,
            "msdynmkt_contactpointtype": 534120000,
            "msdynmkt_contactpointconsenttype": 534120000,
            "msdynmkt_value": 534120001,
            "msdynmkt_purposeId@odata.bind": f"/msdynmkt_purposes({COMMERCIAL})",
        }
        for address in (
            *addresses,
            *(f"nobody.{number}@x.test" for number in range(PEOPLE - len(addresses) - len(said))),
        )
        if address
    ]
    for start in range(0, len(targets), _WRITTEN_AT_ONCE):
        await cij.dataverse.action(action, {"Targets": targets[start : start + _WRITTEN_AT_ONCE]}, repeatable=False)
    return len(targets) + len(said)
