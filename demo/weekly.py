"""Sixty segments, journeys that use them, and a list of people for each of twelve weeks: what ``make ui`` shows."""

from __future__ import annotations

import asyncio
import json
import math
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow.sdk import Connection

from airflow_provider_cij.api.cij import Cij
from airflow_provider_cij.api.concurrency import for_each
from airflow_provider_cij.api.journeys.spec import JourneySpec
from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.api.segments.models import MemberGroup
from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.api.segments.wait import SegmentWait
from airflow_provider_cij.api.wait import wait_until
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.dataverse.guids import pack_guids
from airflow_provider_cij.hooks.cij import settings_of

WEEKS = 12
GROUP = "people"
MOST_REMOVED = 0.2
"""The share of a segment's people that a list may remove: ``max_removals`` of the DAG."""
_COUNTRIES = (
    "Austria",
    "Belgium",
    "Denmark",
    "Finland",
    "France",
    "Germany",
    "Italy",
    "Netherlands",
    "Spain",
    "Sweden",
)
_PROGRAMMES = {
    "newsletters": [f"Newsletter {country}" for country in _COUNTRIES],
    "loyalty": [f"{tier} members {country}" for tier in ("Gold", "Silver", "Bronze") for country in _COUNTRIES],
    "win_back": [f"{state} {country}" for state in ("Lapsed", "Abandoned carts") for country in _COUNTRIES],
}
DAG_IDS = tuple(f"cij_weekly_{programme}" for programme in _PROGRAMMES)
# Segments by name, with the weeks in which their list is broken: it lacks half of the people.
_BROKEN = {"Lapsed Spain": (4,), "Gold members Italy": (WEEKS - 1,), "Newsletter France": (WEEKS - 1,)}
# The last week with a list.
_ENDED = {"Abandoned carts Finland": WEEKS - 4}
UNUSED = {"Abandoned carts Finland": 12, "Lapsed Austria": 120, "Bronze members Denmark": 120}
"""The segments that no journey uses, with the days until they expire."""
# The first week with a list.
_NEW = {"Bronze members Sweden": WEEKS - 4, "Newsletter Italy": WEEKS - 1}


def prepare(connection_uri: str, folder: Path) -> None:
    """Create the segments, with the members of the last week but one, and journeys; write their names and lists.

    :param connection_uri: the organisation
    :param folder: where the files go; it is made
    """
    asyncio.run(_prepare(connection_uri, folder))


async def _prepare(connection_uri: str, folder: Path) -> None:
    chance = random.Random(2026)  # noqa: S311  # the same people each time
    for week in range(WEEKS):
        (folder / str(week)).mkdir(parents=True)
    async with DataverseClient(settings_of(Connection.from_uri(connection_uri, conn_id="demo"))) as client:
        pages = client.pages("contacts?$select=contactid")
        everybody = [row["contactid"] async for page in pages for row in page]
        cij = Cij.on(client)
        specs = {
            name: SegmentSpec(f"demo.weekly.{name}", name, groups=(MemberGroup(GROUP),))
            for names in _PROGRAMMES.values()
            for name in names
        }
        for name, spec in specs.items():
            _write_lists(folder, name, spec.segment_id, everybody, chance)

        async def publish(spec: SegmentSpec) -> None:
            """Make a segment as the list of the last week but one would have left it."""
            made = await cij.segments.create(spec)
            if members := read_list(folder, WEEKS - 2, spec.segment_id):
                ids = IdSet()
                ids.update(pack_guids(members)[0])
                await cij.members.add(spec.segment_id, made.groups[GROUP], ids)
            await cij.segments.publish(spec.segment_id)
            await wait_until(SegmentWait(spec.segment_id), cij, poll_interval=0.2, deadline=math.inf)

        found = await client.get("msdynmkt_journeytemplates?$filter=msdynmkt_name eq 'One e-mail to a segment'")
        template_id = found["value"][0]["msdynmkt_journeytemplateid"]

        async def use(spec: SegmentSpec) -> None:
            """Create a live journey with a segment as its audience."""
            journey = JourneySpec(
                template_id=template_id,
                name=f"Weekly e-mail: {spec.display_name}",
                starts_at="2099-01-01T00:00:00Z",
                publish=True,
                audience_segment_id=spec.segment_id,
            )
            await cij.journeys.create(journey, datetime.now(UTC))

        await for_each(specs.values(), publish, 8)
        await for_each((spec for name, spec in specs.items() if name not in UNUSED), use, 8)
    programmes: dict[str, list[dict[str, Any]]] = {
        programme: [{"segment_id": specs[name].segment_id, "name": name} for name in names]
        for programme, names in _PROGRAMMES.items()
    }
    (folder / "segments.json").write_text(json.dumps(programmes, indent=1))


def write_dag(folder: Path, dags: Path) -> None:
    """Write the DAG file of the programmes, which reads its segments and lists from a folder."""
    text = (Path(__file__).parent / "dags" / "weekly_segments.py").read_text()
    (dags / "weekly_segments.py").write_text(text.replace('Path("/data/weekly")', f'Path("{folder}")'))


def read_list(folder: Path, week: int, segment_id: str) -> list[str]:
    """Return the people of a segment's list; none when there is no list."""
    path = folder / str(week) / f"{segment_id}.csv"
    return path.read_text().split()[1:] if path.exists() else []


def _write_lists(folder: Path, name: str, segment_id: str, everybody: list[str], chance: random.Random) -> None:
    """Write the lists of a segment: each week some people come and some go."""
    size = min(int(80 * math.exp(chance.uniform(0, 3))), len(everybody) // 3)
    trend = chance.uniform(0.98, 1.04)
    people = chance.sample(everybody, size)
    for week in range(WEEKS):
        goal = max(int(len(people) * trend * chance.uniform(0.96, 1.05)), 20)
        stay = chance.sample(people, min(len(people), int(goal * chance.uniform(0.94, 0.99))))
        people = list(dict.fromkeys([*stay, *chance.sample(everybody, max(goal - len(stay), 0))]))
        if not _NEW.get(name, 0) <= week <= _ENDED.get(name, WEEKS):
            continue
        listed = people[: len(people) // 2] if week in _BROKEN.get(name, ()) else people
        (folder / str(week) / f"{segment_id}.csv").write_text("\n".join(["contactid", *listed]) + "\n")
