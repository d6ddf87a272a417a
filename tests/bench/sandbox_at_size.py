"""The sandbox as large as the service allows a segment: 200,000 contacts, and 10 groups of 200,000 members."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator

from cij_sandbox.testing import running_sandbox

from airflow_provider_cij.api.members.id_list import read_member_ids
from airflow_provider_cij.api.segments.models import MemberGroup
from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.api.segments.wait import SegmentWait
from airflow_provider_cij.api.wait import wait_until
from airflow_provider_cij.dataverse.guids import unpack_guids
from airflow_provider_cij.hooks.cij import Cij, CijHook
from airflow_provider_cij.sources import FromValues

CONTACTS, GROUPS, IDS = 200_000, 10, 200_000


def main() -> None:
    """Fill it, publish it, list it."""
    started = time.monotonic()
    with running_sandbox("--contacts", str(CONTACTS), "--compute-seconds", "1") as sandbox:
        print(f"sandbox with {CONTACTS:,} contacts: up in {time.monotonic() - started:.1f} s")
        os.environ["AIRFLOW_CONN_CIJ_DEFAULT"] = sandbox.airflow_conn_uri
        CijHook().run(_fill_and_list)


async def _fill_and_list(cij: Cij) -> None:
    groups = tuple(MemberGroup(str(number)) for number in range(GROUPS))
    query = "PROFILE(contact).FILTER(creditlimit >= 18000)"
    made = await cij.segments.create(SegmentSpec("bench", "Bench", query, groups))
    started = time.monotonic()
    for group_id in made.groups.values():
        intake = await read_member_ids(FromValues(unpack_guids(os.urandom(16 * IDS))).chunks(cij.dataverse))
        await cij.members.add(made.segment_id, group_id, intake.ids)
    print(f"  {GROUPS} groups of {IDS:,} members in: {(time.monotonic() - started) / GROUPS:.1f} s a group")
    started = time.monotonic()
    await cij.segments.publish(made.segment_id)
    deadline = time.time() + 120
    found = await wait_until(SegmentWait(made.segment_id), cij, poll_interval=0.2, deadline=deadline)
    print(f"  published, {found.message}: {time.monotonic() - started:.1f} s")
    started = time.monotonic()
    listed = await _count(cij.members.of_segment(made.segment_id))
    print(f"  {listed:,} members listed: {time.monotonic() - started:.1f} s")


async def _count(pages: AsyncIterator[list[str]]) -> int:
    return sum([len(page) async for page in pages])
