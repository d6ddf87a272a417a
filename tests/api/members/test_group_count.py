"""Counting a static group while it is waited for."""

from __future__ import annotations

import asyncio
import uuid

from airflow_provider_cij.api import IdSet, MemberGroup, SegmentSpec
from airflow_provider_cij.api.members.group_count import PagesOfOne
from airflow_provider_cij.api.segments.wait import SegmentWait
from airflow_provider_cij.api.shared import SharedCij
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


def test_waits_on_many_groups_share_batches_of_one_member_each(cij_sandbox, monkeypatch):
    """Waits on groups of many segments send one batch a look, and another for those that may have enough."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", cij_sandbox.airflow_conn_uri)
    specs = [SegmentSpec(f"many.{uuid.uuid4()}", "Test", groups=(MemberGroup("in"),)) for _ in range(5)]
    ids = [str(uuid.uuid4()) for _ in range(3)]

    async def main(cij):
        made = [await cij.segments.create(spec) for spec in specs]
        shared = SharedCij(cij.dataverse, 0.05)
        waits = [SegmentWait(one.segment_id, "members", min_members=3, group="in") for one in made]
        members = IdSet()
        members.update(pack_guids(ids)[0])

        async def look() -> tuple[list[bool], list[str]]:
            before = cij_sandbox.requests()[-1]["number"]
            checks = await asyncio.gather(*(wait.check(shared) for wait in waits))
            sent = [request["path"].rpartition("/")[2] for request in cij_sandbox.requests(since=before)]
            return [check.done for check in checks], sent

        done, sent = await look()
        assert (any(done), sent.count("$batch")) == (False, 1)
        for number in (0, 3):
            await cij.members.add(made[number].segment_id, made[number].groups["in"], members)
        done, sent = await look()
        assert done == [True, False, False, True, False]
        assert sent.count("$batch") == 2
        assert not any("segmentdefinitions" in name or "ListGroupMembers" in name for name in sent)

    CijHook().run(main)


def test_a_group_that_has_more_than_a_batch_lists_is_counted_in_full(organisation, key):
    """Waits that share batches count the members of a large group as a wait of its own does."""
    sizes, wanted = (5, 150, 150), (3, 3, 120)
    specs = [SegmentSpec(f"{key}.{number}", "Test", groups=(MemberGroup("in"),)) for number in range(3)]

    async def main(cij):
        for spec, size in zip(specs, sizes, strict=True):
            made, members = await cij.segments.create(spec), IdSet()
            members.update(pack_guids([str(uuid.UUID(int=number)) for number in range(1, size + 1)])[0])
            await cij.members.add(made.segment_id, made.groups["in"], members)
        shared = SharedCij(cij.dataverse, 0.1)
        for reader in (cij, shared):
            waits = [
                SegmentWait(spec.segment_id, "members", min_members=count, group="in")
                for spec, count in zip(specs, wanted, strict=True)
            ]
            checks = await asyncio.gather(*(wait.check(reader) for wait in waits))
            assert [check.result["member_count"] for check in checks] == list(sizes)

    organisation(main)


def test_a_group_whose_pages_keep_no_size_is_listed():
    """A service that ignores the size of a page is noticed, and its groups are counted by whole pages."""

    class Ignoring:
        async def group_page(self, *_) -> list[str]:
            return ["1", "2"]

    assert asyncio.run(PagesOfOne(Ignoring()).has(None, None, 2)) is None
