"""Plans that make groups equal to a list of members."""

from __future__ import annotations

import uuid
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_cij.api.bounds import bound_of
from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.api.members.sync_plan import GROUP_LIMIT, GroupPlan, Plan, check_room
from airflow_provider_cij.api.members.upload import batches, number_of_batches
from airflow_provider_cij.api.segments.models import MemberGroup
from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.errors import CijInputError
from tests.member_ids import PEOPLE, id_set, id_texts


async def _in_group(cij, segment_id: str, group_id: str) -> list[str]:
    return [member async for page in cij.members.of_group(segment_id, group_id) for member in page]


people = st.sets(st.sampled_from(PEOPLE))


# Each example makes a segment of its own.
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lists=st.lists(people, min_size=1, max_size=3), wanted=people, include=st.booleans())
def test_a_mirrored_group_equals_the_list(organisation, lists, wanted, include):
    """Groups hold the list after a mirror whatever they held before, and the plan's counts agree with Python's sets."""
    groups = tuple(MemberGroup(f"g{number}", include) for number in range(len(lists)))
    spec = SegmentSpec(f"test.{uuid.uuid4()}", "Test", groups=groups)

    async def main(cij):
        made = await cij.segments.create(spec)
        for group, ids in zip(groups, lists, strict=True):
            await cij.members.add(spec.segment_id, made.groups[group.name], id_set(ids))
        named = [await cij.segments.group(await cij.segments.get(spec.segment_id), group.name) for group in groups]
        before = set().union(*lists)
        plan = await cij.members.plan(spec.segment_id, named, id_set(wanted))
        assert id_texts(plan.missing) == wanted - before
        assert plan.unchanged == len(wanted & before)
        assert plan.removals == sum(len(ids - wanted) for ids in lists)
        now = [await _in_group(cij, spec.segment_id, group.group_id) for group in named]
        assert [set(ids) for ids in now] == lists  # a plan changes nothing
        await cij.members.mirror(spec.segment_id, plan)
        now = [await _in_group(cij, spec.segment_id, group.group_id) for group in named]
        assert set().union(*now) == wanted
        # Nobody is in two groups who was not before.
        twice = {member for member, times in Counter(member for ids in now for member in ids).items() if times > 1}
        assert twice <= {
            member for member, times in Counter(member for ids in lists for member in ids).items() if times > 1
        }
        again = await cij.members.plan(spec.segment_id, named, id_set(wanted))
        assert (len(again.missing), again.removals) == (0, 0)
        assert await cij.members.mirror(spec.segment_id, again) == 0

    organisation(main)


def test_add_missing_removes_no_member(organisation, key):
    """``add_missing`` removes no member, and adds no one to a second group who is in another already."""
    groups = (MemberGroup("one"), MemberGroup("two"))
    spec = SegmentSpec(key, "Test", groups=groups)

    async def main(cij):
        made = await cij.segments.create(spec)
        await cij.members.add(spec.segment_id, made.groups["two"], id_set(PEOPLE[:10]))
        named = [await cij.segments.group(await cij.segments.get(spec.segment_id), group.name) for group in groups]
        plan = await cij.members.plan(spec.segment_id, named, id_set(PEOPLE[5:20]))
        assert await cij.members.add_missing(spec.segment_id, plan) == 1
        assert sorted(await _in_group(cij, spec.segment_id, made.groups["one"])) == sorted(PEOPLE[10:20])
        assert sorted(await _in_group(cij, spec.segment_id, made.groups["two"])) == sorted(PEOPLE[:10])

    organisation(main)


def test_including_and_excluding_groups_cannot_share_a_list(organisation, key):
    """A list over groups of which some include and some exclude is refused."""
    spec = SegmentSpec(key, "Test", groups=(MemberGroup("in"), MemberGroup("out", include=False)))

    async def main(cij):
        await cij.segments.create(spec)
        groups = (await cij.segments.definition(await cij.segments.get(spec.segment_id))).groups
        with pytest.raises(CijInputError, match="Some of the groups include"):
            await cij.members.plan(spec.segment_id, groups, id_set(PEOPLE[:1]))

    organisation(main)


def plan_of(sizes, removed, missing, include=True, limit=GROUP_LIMIT) -> Plan:
    """Return a plan for groups of these sizes."""
    parts = [
        GroupPlan(MemberGroup(str(number), include, f"g{number}"), size, id_set(PEOPLE[:gone]), limit)
        for number, (size, gone) in enumerate(zip(sizes, removed, strict=True))
    ]
    return Plan(tuple(parts), id_set(PEOPLE[:missing]), 0)


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=4),
    st.integers(0, 120),
    st.booleans(),
    st.integers(1, 7),
)
def test_new_members_are_allocated_to_groups_with_room(groups, missing, removing, size):
    """No group overflows, each id is sent once in full batches, and a list without enough room is refused."""
    sizes = [there for there, _ in groups]
    removed = [min(gone, there) for there, gone in groups]
    plan = plan_of(sizes, removed, missing, limit=50)
    room = [50 - there + (gone if removing else 0) for there, gone in zip(sizes, removed, strict=True)]
    if sum(room) < missing:
        with pytest.raises(CijInputError, match=f"no room for {missing - sum(room)} of {missing} new members"):
            plan.allocate(removing=removing)
        return
    quotas = plan.allocate(removing=removing)
    assert all(count <= space for (_, count), space in zip(quotas, room, strict=True))
    sent = list(batches(plan.missing, quotas, size))
    assert sorted(member for _, batch in sent for member in batch) == sorted(PEOPLE[:missing])
    assert Counter({name: n for name, n in quotas if n}) == Counter(name for name, batch in sent for _ in batch)
    assert len(sent) == number_of_batches(quotas, size)
    assert all(len(batch) <= size for _, batch in sent)


@pytest.mark.parametrize(
    ("there", "gone", "limit", "refused"),
    [
        (10, 2, 0.2, False),
        (10, 3, 0.2, True),
        (0, 0, 0.2, False),
        (10, 0, 0.0, False),
        (10, 1, 0.0, True),
        (10, 10, "100%", False),
        (10, 2, 1, True),
        (10, 10, None, False),
    ],
)
def test_more_removals_than_allowed_are_refused(there, gone, limit, refused):
    """More removals than ``max_removals`` are refused with both numbers."""
    plan = plan_of([there], [gone], 0)
    if refused:
        with pytest.raises(CijInputError, match=rf"{gone} of {there} members .* max_removals={limit}\. Is the list"):
            plan.check(bound_of("max_removals", limit))
    else:
        plan.check(bound_of("max_removals", limit))


def test_exclusions_take_effect_first():
    """Including groups remove before they add, excluding groups add before they remove, unless they are full."""
    assert not plan_of([5], [2], 3, include=True).adds_first([("g0", 3)])
    assert plan_of([5], [2], 3, include=False).adds_first([("g0", 3)])
    full = plan_of([GROUP_LIMIT], [2], 2, include=False)
    assert not full.adds_first([("g0", 2)])


def test_a_group_holds_at_most_200_000_members():
    """A list longer than the groups can hold is refused before the first call."""
    ids = IdSet()
    ids.update(b"".join(number.to_bytes(16) for number in range(200_000)))
    check_room(ids)
    ids.update((200_000).to_bytes(16))
    with pytest.raises(CijInputError, match="200,001 different ids; a group holds 200,000"):
        check_room(ids)
    check_room(ids, groups=2)


def test_an_interrupted_mirror_is_finished_by_the_next(organisation, key):
    """A mirror after an interrupted one plans from the current members and finishes the work."""
    spec = SegmentSpec(key, "Test", groups=(MemberGroup("in"),))

    async def main(cij):
        made = await cij.segments.create(spec)
        group_id = made.groups["in"]
        await cij.members.add(spec.segment_id, group_id, id_set(PEOPLE[:100]))
        group = await cij.segments.group(await cij.segments.get(spec.segment_id), "in")
        plan = await cij.members.plan(spec.segment_id, [group], id_set(PEOPLE[50:150]))
        await cij.members.remove(spec.segment_id, group_id, plan.parts[0].removed)  # and here it dies
        plan = await cij.members.plan(spec.segment_id, [group], id_set(PEOPLE[50:150]))
        assert (plan.removals, len(plan.missing), plan.unchanged) == (0, 50, 50)
        await cij.members.mirror(spec.segment_id, plan)
        assert sorted(await _in_group(cij, spec.segment_id, group_id)) == sorted(PEOPLE[50:150])
        assert await cij.members.count(spec.segment_id, group_id) == 100
        assert await cij.members.count(spec.segment_id, group_id, at_least=3) >= 3

    organisation(main)
