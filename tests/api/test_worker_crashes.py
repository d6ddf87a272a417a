"""A worker that dies at any of its requests, before or after the service has handled it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest
from cij_sandbox.testing import Sandbox, running_sandbox

from airflow_provider_cij.api.segments.models import MemberGroup
from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.api.segments.wait import SegmentWait, capture_baseline
from airflow_provider_cij.api.wait import wait_until
from airflow_provider_cij.dataverse.retry import RetryPolicy
from airflow_provider_cij.errors import CijError, CijNotFoundError
from airflow_provider_cij.hooks.cij import CijHook
from tests.member_ids import PEOPLE, id_set

QUERY = "PROFILE(contact).FILTER(creditlimit >= 18000)"
DIES = RetryPolicy(max_attempts=1)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Run a sandbox that only these tests inject faults into."""
    with running_sandbox("--contacts", "300", "--compute-seconds", "0.05") as running:
        yield running


@pytest.fixture
def hook(sandbox, monkeypatch):
    """Return a hook on the sandbox's connection."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", sandbox.airflow_conn_uri)
    return CijHook()


async def _live(cij, spec: SegmentSpec) -> None:
    await cij.segments.publish(spec.segment_id)
    await wait_until(SegmentWait(spec.segment_id), cij, poll_interval=0.05, deadline=time.time() + 20)


async def _nothing(cij, spec):
    pass


async def _made(cij, spec):
    await cij.segments.create(spec)


async def _filled(cij, spec):
    made = await cij.segments.create(spec)
    await cij.members.add(spec.segment_id, made.groups["in"], id_set(PEOPLE[:100]))


async def _published(cij, spec):
    await _filled(cij, spec)
    await _live(cij, spec)


async def _create(cij, spec):
    await cij.segments.create(spec)


async def _update(cij, spec):
    await cij.segments.create(replace(spec, display_name="Renamed", query="PROFILE(contact)"))


async def _group(cij, spec):
    return await cij.segments.group(await cij.segments.get(spec.segment_id), "in")


async def _add(cij, spec):
    group = await _group(cij, spec)
    for part in (PEOPLE[:60], PEOPLE[60:120]):
        await cij.members.add(spec.segment_id, group.group_id, id_set(part))


async def _remove(cij, spec):
    await cij.members.remove(spec.segment_id, (await _group(cij, spec)).group_id, id_set(PEOPLE[50:150]))


async def _mirror(cij, spec):
    plan = await cij.members.plan(spec.segment_id, [await _group(cij, spec)], id_set(PEOPLE[50:150]))
    await cij.members.mirror(spec.segment_id, plan)


async def _publish(cij, spec):
    segment = await cij.segments.get(spec.segment_id)
    wait = SegmentWait(segment.segment_id, baseline=await capture_baseline(cij.segments, segment))
    await cij.segments.publish(segment)
    await wait_until(wait, cij, poll_interval=0.05, deadline=time.time() + 20)


async def _stop(cij, spec):
    await cij.segments.stop([spec.segment_id])
    await wait_until(SegmentWait(spec.segment_id, "stopped"), cij, poll_interval=0.05, deadline=time.time() + 20)


async def _delete(cij, spec):
    await cij.segments.delete(spec.segment_id)


async def _state(cij, spec) -> dict:
    """Return all that the organisation holds of a segment."""
    rows = {}
    for where, names in (
        (f"msdynmkt_segments({spec.segment_id})", "msdynmkt_displayname,statuscode,msdynmkt_membercount"),
        (
            f"msdynmkt_segmentdefinitions({spec.definition_id})",
            "msdynmkt_segmentquery,msdynmkt_staticlistmembers,statuscode",
        ),
    ):
        try:
            row = await cij.dataverse.get(f"{where}?$select={names}")
            rows |= {name: row[name] for name in names.split(",")}
        except CijNotFoundError:
            rows[where.partition("(")[0]] = "missing"
    named = f"msdynmkt_displayname eq '{spec.display_name}' or msdynmkt_displayname eq 'Renamed'"
    of_name = await cij.dataverse.get(f"msdynmkt_segments?$select=msdynmkt_segmentid&$filter={named}")
    rows["segments"] = len(of_name["value"])
    rows["renamed"] = rows.pop("msdynmkt_displayname", None) == "Renamed"
    if "msdynmkt_staticlistmembers" in rows and "msdynmkt_segments" not in rows:
        rows["msdynmkt_staticlistmembers"] = rows["msdynmkt_staticlistmembers"].count("groupId")
        pages = cij.members.of_group(spec.segment_id, (await _group(cij, spec)).group_id)
        rows["members"] = sorted([member async for page in pages for member in page])
    return rows


@pytest.mark.parametrize("fault", ["reset", "lost"])
@pytest.mark.parametrize(
    ("before", "work"),
    [
        (_nothing, _create),
        (_made, _update),
        (_made, _add),
        (_filled, _remove),
        (_filled, _mirror),
        (_filled, _publish),
        (_published, _publish),
        (_published, _stop),
        (_filled, _delete),
        (_published, _delete),
    ],
    ids=lambda verb: verb.__name__,
)
def test_the_next_attempt_reaches_the_same_state(sandbox, hook, before, work, fault):
    """After a crash at each request in turn, the next attempt ends with one segment and each member once."""

    def spec() -> SegmentSpec:
        groups = (MemberGroup("in"), MemberGroup("out", include=False))
        return SegmentSpec(f"test.{uuid.uuid4()}", f"Test {uuid.uuid4()}", QUERY, groups)

    expected = None
    for request in range(40):
        own = spec()
        hook.run(lambda cij, own=own: before(cij, own))
        if expected is not None:
            sandbox.faults.add(fault, after=request - 1, count=1)
        try:
            hook.run(lambda cij, own=own: work(cij, own), DIES)
            died = False
        except CijError:
            died = True
        struck = expected is not None and sandbox.faults.struck() == [1]
        sandbox.faults.clear()
        if died:
            hook.run(lambda cij, own=own: work(cij, own))
        state = hook.run(lambda cij, own=own: _state(cij, own))
        expected = expected or state
        assert state == expected
        hook.run(lambda cij, own=own: cij.segments.delete(own.segment_id))
        if request and not struck:
            assert request > 1  # it did die at least once
            break
    else:
        pytest.fail("There is no end to its requests.")
