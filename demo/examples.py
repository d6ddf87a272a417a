"""What the example DAGs run with as they are: files, a warehouse, segments, a template, an outbound segment."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from airflow.sdk import Connection

from airflow_provider_cij.api.journeys.spec import JourneySpec
from airflow_provider_cij.api.journeys.wait import JourneyWait
from airflow_provider_cij.api.outbound.segments import OutboundSegmentSpec
from airflow_provider_cij.api.outbound.wait import OutboundWait
from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.api.segments.wait import SegmentWait
from airflow_provider_cij.api.wait import wait_until
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.hooks.cij import Cij, settings_of
from demo.audience import Audience, write_audience
from demo.stack import Stack

EXAMPLES = Path(__file__).parent.parent / "example_dags"
_READERS = "PROFILE(contact).FILTER(creditlimit >= 10000)"
_NEWSLETTERS = ("Newsletter Europe", "Newsletter America", "Newsletter Asia")


@dataclass(frozen=True)
class Examples:
    """The example DAGs, with defaults that fit what was prepared.

    :param dags: the folder with their files
    :param audience: who is in the files of ``cij_vip_segment``
    :param warehouse: the SQLite file of the connection ``warehouse``
    """

    dags: Path
    audience: Audience
    warehouse: Path

    @property
    def ids(self) -> list[str]:
        """The ids of the DAGs."""
        return sorted(path.stem for path in self.dags.glob("cij_*.py"))

    def connect(self, airflow: Stack, connection_uri: str) -> None:
        """Store the connections of the DAGs in Airflow.

        :param connection_uri: the organisation
        """
        airflow.add_connection("cij_default", connection_uri)
        body = {"connection_id": "warehouse", "conn_type": "sqlite", "host": str(self.warehouse)}
        airflow.rest("POST", "connections", json=body)


def prepare(connection_uri: str, folder: Path) -> Examples:
    """Create what the example DAGs need, in the organisation and in a folder.

    :param connection_uri: the organisation
    :param folder: where files go; it is made
    """
    data = folder / "data"
    audience = write_audience(connection_uri, data)
    people = sorted(audience.found)
    (data / "abandoned_carts.csv").write_text("\n".join(["contactid", *people[:100]]) + "\n")
    for name in ("audience", "consent", "moved", "newsletter", "unclear"):
        (data / name).mkdir()
    for number, country in enumerate(("de", "nl")):
        (data / "newsletter" / f"{country}.csv").write_text("\n".join(["contactid", *people[number:100:2]]) + "\n")
    fill_warehouse(folder / "warehouse.db", people)
    defaults = asyncio.run(_prepare_organisation(connection_uri, people))
    dags = folder / "dags"
    shutil.copytree(EXAMPLES, dags, ignore=shutil.ignore_patterns("__pycache__"))
    for path in dags.glob("*.py"):
        path.write_text(_with_defaults(path.read_text(), data, defaults.get(path.stem, {})))
    return Examples(dags, audience, folder / "warehouse.db")


def fill_warehouse(path: Path, people: list[str]) -> None:
    """Write the tables of ``cij_weekly_refresh``, ``cij_nightly_consent`` and ``cij_warehouse_audience``.

    :param path: the database
    :param people: the audience; one more has unsubscribed
    """
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DROP TABLE IF EXISTS newsletter_audience")
        database.execute("CREATE TABLE newsletter_audience (contact_id TEXT, unsubscribed INTEGER)")
        rows = [*((person, 0) for person in people), ("0f5b0c7f-395d-447b-9b0e-000000000000", 1)]
        database.executemany("INSERT INTO newsletter_audience VALUES (?, ?)", rows)
        database.execute("DROP TABLE IF EXISTS consent")
        database.execute("CREATE TABLE consent (email TEXT, consent TEXT, given_at TEXT, reason TEXT)")
        said = [
            ("ada@example.org", "opted_in", "2026-11-01T09:00:00+00:00", "on the web site"),
            ("bob@example.org", "opted_out", "2026-11-02T09:00:00+00:00", "by phone"),
        ]
        database.executemany("INSERT INTO consent VALUES (?, ?, ?, ?)", said)
        for table in ("EmailSent", "EmailDelivered", "EmailOpened", "EmailClicked"):
            database.execute(f"DROP TABLE IF EXISTS {table}")
            columns = "Timestamp, IdempotencyId, ProfileId, CustomerJourneyId, DeliveredCount"
            database.execute(f"CREATE TABLE {table} ({columns})")
            now = datetime.now(UTC).isoformat()
            database.execute(f"INSERT INTO {table} VALUES (?, '1', '1', '', 1)", (now,))  # noqa: S608 - names above
        database.execute("DROP TABLE IF EXISTS audience")
        columns = "customer_no, first_name, last_name, email, country, company, consent, given_at"
        database.execute(f"CREATE TABLE audience ({columns})")
        # The first 100 are contacts already, by their customer number.
        new = [
            (
                *(f"{'C' if n < 100 else 'W'}{n:07d}", "Ada", f"Warehouse {n}", f"w{n}@warehouse.example", "DK"),
                *("Contoso", "opted_out" if n % 10 == 9 else "opted_in", "2026-11-01T09:00:00+00:00"),
            )
            for n in range(300)
        ]
        database.executemany("INSERT INTO audience VALUES (?, ?, ?, ?, ?, ?, ?, ?)", new)


async def _prepare_organisation(connection_uri: str, people: list[str]) -> dict[str, dict[str, str]]:
    """Publish the segments that DAGs begin with; return the ids for each DAG's parameters."""
    async with DataverseClient(settings_of(Connection.from_uri(connection_uri, conn_id="demo"))) as client:
        cij = Cij.on(client)
        readers = await _publish(cij, "Readers", _READERS)
        for number, name in enumerate(_NEWSLETTERS):
            await _publish(cij, name, f"PROFILE(contact).FILTER(creditlimit >= {12_000 + 2_000 * number})")
        spec = OutboundSegmentSpec("demo.outbound", "Loyal customers", "static", member_ids=tuple(people[:500]))
        outbound = (await cij.outbound.segments.create(spec, publish=True)).row_id
        await wait_until(OutboundWait("segment", outbound), cij, poll_interval=0.2, deadline=time.time() + 120)
        found = await client.get("msdynmkt_journeytemplates?$filter=msdynmkt_name eq 'One e-mail to a segment'")
        template = found["value"][0]["msdynmkt_journeytemplateid"]
        journey = JourneySpec(
            template_id=template,
            name="Welcome",
            starts_at="2099-01-01T00:00:00Z",
            publish=True,
            audience_segment_id=readers,
        )
        journey_id = (await cij.journeys.create(journey, datetime.now(UTC))).journey_id
        await wait_until(JourneyWait(journey_id), cij, poll_interval=0.2, deadline=time.time() + 120)
    return {
        "cij_approved_journey": {"segment_id": readers, "template_id": template},
        "cij_wait_for_segment": {"segment_id": readers},
        "cij_journey_results": {"journey_id": journey_id, "sql_conn_id": "warehouse"},
        "cij_move_outbound_segment": {"outbound_segment_id": outbound},
    }


async def _publish(cij: Cij, name: str, query: str) -> str:
    made = await cij.segments.create(SegmentSpec(f"demo.{name}", name, query))
    await cij.segments.publish(made.segment_id)
    await wait_until(SegmentWait(made.segment_id), cij, poll_interval=0.2, deadline=time.time() + 120)
    return made.segment_id


def _with_defaults(text: str, data: Path, parameters: Mapping[str, str]) -> str:
    """Return the text of a DAG file, with other defaults for the paths and ids among its parameters."""
    text = text.replace('"s3://store@marketing/', f'"{data.as_uri()}/')
    for name, value in parameters.items():
        text, count = re.subn(rf'("{name}": )(NOBODY|"[^"]*")', rf'\1"{value}"', text)
        if count != 1:
            raise ValueError(f"{name} is no parameter with a text as its default.")
    return text
