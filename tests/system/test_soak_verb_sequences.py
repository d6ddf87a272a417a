"""Random sequences of calls on one segment while the service fails, compared with plain sets."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest
from cij_sandbox.testing import Sandbox, running_sandbox
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from airflow_provider_cij.api.segments.models import AT_REST, MemberGroup, SegmentStatus
from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.api.segments.wait import SegmentWait, capture_baseline
from airflow_provider_cij.api.wait import wait_until
from airflow_provider_cij.dataverse.odata import query
from airflow_provider_cij.dataverse.retry import RetryPolicy
from airflow_provider_cij.errors import CijError
from airflow_provider_cij.hooks.cij import CijHook
from tests.member_ids import id_set

GROUPS = (MemberGroup("in"), MemberGroup("out", include=False))
# It soon gives up, so that whoever comes after often finds things half done.
TIRED = RetryPolicy(max_attempts=2, initial_wait=0.01)
TRIES = 20
FAULTS = ("502", "503", "html200", "lost", "reset", "truncated")
ODDS = 0.05

groups = st.sampled_from(GROUPS)
limits = st.sampled_from([None, 19_000, 19_900])
people = st.sets(st.integers(1, 25))


class SegmentModel(RuleBasedStateMachine):
    """One segment and its expected state."""

    numbers = itertools.count()

    def __init__(self, sandbox: Sandbox, rich: dict[str, float]) -> None:
        super().__init__()
        self.sandbox = sandbox
        self.rich = rich
        self.strangers = [str(uuid.UUID(int=number)) for number in range(1, 11)]
        self.everybody = [*self.strangers, *sorted(rich)[:15]]
        self.key = f"soak.{next(self.numbers)}"
        self.least: int | None = None
        self.reset()

    def reset(self) -> None:
        """Reset the model to a segment that does not exist."""
        self.status: SegmentStatus | None = None
        self.groups: dict[str, set[str]] = {group.name: set() for group in GROUPS}
        self.members: set[str] = set()

    @property
    def spec(self) -> SegmentSpec:
        """The expected spec of the segment."""
        text = f"PROFILE(contact).FILTER(creditlimit >= {self.least})" if self.least else ""
        return SegmentSpec(self.key, f"Segment {self.key}", text, GROUPS)

    def do(self, work) -> None:
        """Run one call and compare the organisation with the model."""
        self.until_done(work)
        expected = ([], [])
        if self.status is not None:
            groups = [sorted(self.groups[group.name]) for group in GROUPS]
            expected = ([self.status], [*groups, sorted(self.members)])
        assert self.until_done(self.read) == expected

    def until_done(self, work):
        """Repeat a call as Airflow's retries would."""
        for left in reversed(range(TRIES)):
            try:
                return CijHook().run(work, TIRED)
            except CijError as error:
                if error.permanent or not left:
                    raise
        raise AssertionError

    async def read(self, cij) -> tuple[list[int], list]:
        """Return the statuses of all segments with the name and all lists of the segment."""
        spec = self.spec
        where = f"msdynmkt_displayname eq '{spec.display_name}'"
        rows = (await cij.dataverse.get(query("msdynmkt_segments", select=("statuscode",), where=where)))["value"]
        if not rows:
            where = f"msdynmkt_segmentdefinitionid eq {spec.definition_id}"
            path = query("msdynmkt_segmentdefinitions", select=("statuscode",), where=where)
            return [], (await cij.dataverse.get(path))["value"]
        lists = [cij.members.of_group(spec.segment_id, (await self.group(cij, group)).group_id) for group in GROUPS]
        lists.append(cij.members.of_segment(spec.segment_id))
        # Lists, not sets: no member may be listed twice.
        members = [sorted([member async for page in pages for member in page]) for pages in lists]
        return [row["statuscode"] for row in rows], members

    async def group(self, cij, group: MemberGroup) -> MemberGroup:
        """Return a group as the service has it."""
        return await cij.segments.group(await cij.segments.get(self.spec.segment_id), group.name)

    def chosen(self, numbers: set[int]) -> set[str]:
        """Return the people with these numbers."""
        return {self.everybody[number - 1] for number in numbers}

    @initialize(least=limits, seed=st.integers(0, 1_000_000))
    def begin(self, least, seed):
        faults = self.sandbox.faults
        faults.clear()
        for number, fault in enumerate(FAULTS):
            faults.add(fault, probability=ODDS, seed=seed + number)
        faults.add("401", invalidate=True, after=9, count=1)
        faults.add("429", retry_after=0, after=60, count=1)
        self.create(least)

    @rule(least=limits)
    def create(self, least):
        self.least = least
        self.status = self.status or SegmentStatus.DRAFT
        self.do(lambda cij: cij.segments.create(self.spec))

    @precondition(lambda self: self.status)
    @rule(group=groups, numbers=people)
    def add(self, group, numbers):
        who = self.chosen(numbers)
        self.groups[group.name] |= who

        async def add(cij):
            found = await self.group(cij, group)
            await cij.members.add(self.spec.segment_id, found.group_id, id_set(who))

        self.do(add)

    @precondition(lambda self: self.status)
    @rule(group=groups, numbers=people)
    def remove(self, group, numbers):
        who = self.chosen(numbers)
        self.groups[group.name] -= who

        async def remove(cij):
            found = await self.group(cij, group)
            await cij.members.remove(self.spec.segment_id, found.group_id, id_set(who))

        self.do(remove)

    @precondition(lambda self: self.status)
    @rule(group=groups, numbers=people)
    def mirror(self, group, numbers):
        who = self.chosen(numbers)
        self.groups[group.name] = who

        async def mirror(cij):
            found = await self.group(cij, group)
            plan = await cij.members.plan(self.spec.segment_id, [found], id_set(who))
            await cij.members.mirror(self.spec.segment_id, plan)

        self.do(mirror)

    @precondition(lambda self: self.status)
    @rule()
    def publish(self):
        found = {member for member, limit in self.rich.items() if self.least and limit >= self.least}
        self.members = (found | self.groups["in"]) - self.groups["out"]
        self.status = SegmentStatus.LIVE

        async def publish(cij):
            segment = await cij.segments.get(self.spec.segment_id)
            goal = SegmentWait("", baseline=await capture_baseline(cij.segments, segment))
            await cij.segments.publish(segment.segment_id)
            await self._wait(cij, goal)

        self.do(publish)

    @precondition(lambda self: self.status)
    @rule()
    def stop(self):
        if self.status not in AT_REST:
            self.status = SegmentStatus.STOPPED

        async def stop(cij):
            await cij.segments.stop([self.spec.segment_id])
            if self.status == SegmentStatus.STOPPED:
                await self._wait(cij, SegmentWait("", "stopped"))

        self.do(stop)

    @rule()
    def delete(self):
        self.reset()
        self.do(lambda cij: cij.segments.delete(self.spec.segment_id))

    async def _wait(self, cij, goal):
        wait = replace(goal, segment_id=self.spec.segment_id)
        await wait_until(wait, cij, poll_interval=0.02, deadline=time.time() + 20)


@pytest.fixture
def sandbox(monkeypatch) -> Iterator[Sandbox]:
    """Run a sandbox that only these tests inject faults into."""
    with running_sandbox("--contacts", "300", "--compute-seconds", "0.03") as running:
        monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", running.airflow_conn_uri)
        yield running


@pytest.mark.soak
def test_any_sequence_of_calls_keeps_the_expected_state(sandbox):
    """Create, add, remove, mirror, publish, stop and delete in any order leave the state that plain sets have."""

    async def contacts(cij):
        pages = cij.dataverse.pages("contacts?$select=contactid,creditlimit&$filter=creditlimit ge 15000")
        return {row["contactid"]: row["creditlimit"] async for page in pages for row in page}

    rich = CijHook().run(contacts)
    few = settings(
        max_examples=20,
        stateful_step_count=7,
        deadline=None,
        derandomize=True,
        # To shrink what fails takes minutes: each try is a conversation.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(lambda: SegmentModel(sandbox, rich), settings=few)
    assert {request["fault"] for request in sandbox.requests()} >= {*FAULTS, "401"}
