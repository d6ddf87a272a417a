"""The demo's audience: a list of invited contacts with some dirty rows, a list of staff, and who should come of it."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from pathlib import Path

from airflow.sdk import Connection

from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.hooks.cij import settings_of

_INVITED = 20_000
_STAFF = 1_500


@dataclass(frozen=True)
class Audience:
    """Who is who.

    :param found: contacts that the segment's query finds, asked of the organisation by ``$filter``
    :param invited: contacts in the invited file
    :param staff: contacts in the staff file
    :param parameters: for the DAG
    """

    found: set[str]
    invited: set[str]
    staff: set[str]
    parameters: dict[str, str]


def write_audience(connection_uri: str, folder: Path) -> Audience:
    """Draw people from the organisation's contacts, and write the two files.

    :param connection_uri: the organisation
    :param folder: where the files go; it is made
    """
    everybody = asyncio.run(_ids(connection_uri, "contacts?$select=contactid"))
    rich = "contacts?$select=contactid&$filter=creditlimit ge 18000 and emailaddress1 ne null"
    found = asyncio.run(_ids(connection_uri, rich))
    chance = random.Random(2026)  # noqa: S311  # the same people each time
    invited = chance.sample(everybody, min(_INVITED, len(everybody) // 2))
    staff = chance.sample(everybody, min(_STAFF, len(everybody) // 20))

    rows = [chance.choice([str, str.upper, "{{{}}}".format])(one) for one in invited]
    rows += chance.sample(invited, 60)  # twice
    rows += ["", "n/a", "ada@contoso.test", "0f5b0c7f-395d-447b", "#REF!"] * 5
    chance.shuffle(rows)
    folder.mkdir(parents=True, exist_ok=True)
    _write(
        folder / "invited.csv", [f'"Guest, No. {number}",{row}' for number, row in enumerate(rows)], "name,contactid"
    )
    _write(folder / "staff.csv", staff, "contactid")
    parameters = {
        "invited_file": str(folder / "invited.csv"),
        "staff_file": str(folder / "staff.csv"),
        "export_file": str(folder / "vip_members.csv"),
    }
    return Audience(set(found), set(invited), set(staff), parameters)


async def _ids(connection_uri: str, path: str) -> list[str]:
    async with DataverseClient(settings_of(Connection.from_uri(connection_uri, conn_id="demo"))) as client:
        return [row["contactid"] async for page in client.pages(path) for row in page]


def _write(path: Path, rows: list[str], header: str) -> None:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
