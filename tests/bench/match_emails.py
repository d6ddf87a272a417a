"""100,000 e-mail addresses against 200,000 contacts of the sandbox: queries over what the URL limit allows, seconds."""

from __future__ import annotations

import itertools
import math
import os
import time
from urllib.parse import quote

from cij_sandbox.testing import running_sandbox

from airflow_provider_cij.api.members.match import match
from airflow_provider_cij.dataverse.odata import URL_LIMIT
from airflow_provider_cij.hooks.cij import Cij, CijHook
from airflow_provider_cij.sources import FromValues

CONTACTS, KNOWN, UNKNOWN = 200_000, 90_000, 10_000


def main() -> None:
    """Match them."""
    with running_sandbox("--contacts", str(CONTACTS)) as sandbox:
        os.environ["AIRFLOW_CONN_CIJ_DEFAULT"] = sandbox.airflow_conn_uri
        CijHook().run(_match)


async def _match(cij: Cij) -> None:
    pages = cij.dataverse.pages("contacts?$select=emailaddress1")
    there = {row["emailaddress1"].lower() async for page in pages for row in page if row["emailaddress1"]}
    emails = [*itertools.islice(there, KNOWN), *(f"Nobody.{number}@contoso.com" for number in range(UNKNOWN))]
    told: list[int] = []
    started = time.monotonic()
    found = await match(
        cij.dataverse,
        FromValues(emails).chunks(cij.dataverse),
        table="contact",
        column="emailaddress1",
        on_progress=lambda queries, *_: told.append(queries),
    )
    seconds = time.monotonic() - started
    assert (found.not_found, found.duplicate) == (UNKNOWN, 0)
    # Nothing but values in the URL, which no client could do.
    ideal = math.ceil(sum(len(quote(f'"{email}",', safe=",@'")) for email in emails) / URL_LIMIT)
    print(f"{len(emails):,} e-mail addresses against {CONTACTS:,} contacts: {seconds:.1f} s")
    print(f"  {told[-1]} queries = {told[-1] / ideal:.3f} x ideal; {len(found.ids):,} contacts found")
