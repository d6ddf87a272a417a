"""Counting a static group while it is waited for."""

from __future__ import annotations

import uuid

from airflow_provider_cij.api import IdSet, MemberGroup, SegmentSpec
from airflow_provider_cij.api.segments.wait import SegmentWait
from airflow_provider_cij.dataverse.guids import pack_guids
from airflow_provider_cij.hooks.cij import CijHook


def test_a_check_of_a_long_group_sends_two_requests_for_it(cij_sandbox, monkeypatch):
    """A check reads two pages of a group that is too small, and lists the group when it may be large enough."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", cij_sandbox.airflow_conn_uri)
    spec = SegmentSpec(uuid.uuid4().hex, "Test", groups=(MemberGroup("in"),))

    def ids(start: int, end: int) -> IdSet:
        made = IdSet()
        made.update(pack_guids([str(uuid.UUID(int=number)) for number in range(start, end)])[0])
        return made

    def lists(since: int) -> int:
        return sum("ListGroupMembers" in request["path"] for request in cij_sandbox.requests(since=since))

    async def main(cij):
        segment = await cij.segments.get((await cij.segments.create(spec)).segment_id)
        group = await cij.segments.group(segment, "in")
        await cij.members.add(segment, group, ids(1, 12_001))
        wait = SegmentWait(segment.segment_id, "members", min_members=17_000, group="in")
        before = cij_sandbox.requests()[-1]["number"]
        check = await wait.check(cij)
        assert (check.done, lists(before)) == (False, 2)
        assert "less than 17,000 members" in check.message
        await cij.members.add(segment, group, ids(12_001, 17_001))
        before = cij_sandbox.requests()[-1]["number"]
        check = await wait.check(cij)
        assert (check.done, check.result["member_count"]) == (True, 17_000)
        assert lists(before) <= 2 + 4

    CijHook().run(main)
