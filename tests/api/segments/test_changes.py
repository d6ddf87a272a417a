"""Changes of an existing segment: groups with members are kept, and the result names old and new values."""

from __future__ import annotations

import uuid

import pytest

from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.api.segments.models import MemberGroup
from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.dataverse.guids import pack_guids
from airflow_provider_cij.errors import CijConflictError

QUERY = "PROFILE(contact)"
BOTH = (MemberGroup("full"), MemberGroup("empty"))


async def _with_members(cij, key: str, count: int) -> SegmentSpec:
    """Create a segment with an empty group and a group of ``count`` members."""
    spec = SegmentSpec(key, "Before", QUERY, BOTH)
    made = await cij.segments.create(spec)
    ids = IdSet()
    ids.update(pack_guids([str(uuid.uuid4()) for _ in range(count)])[0])
    await cij.members.add(spec.segment_id, made.groups["full"], ids)
    return spec


async def _rows(cij, spec: SegmentSpec) -> list[dict]:
    paths = (f"msdynmkt_segments({spec.segment_id})", f"msdynmkt_segmentdefinitions({spec.definition_id})")
    return [await cij.dataverse.get(path) for path in paths]


async def _change(cij, by: str, spec: SegmentSpec, groups: tuple[MemberGroup, ...], **how):
    """Give a segment other groups and another name, by a create under its key or by an update."""
    if by == "update":
        return await cij.segments.update(spec.segment_id, display_name="After", groups=groups, **how)
    return await cij.segments.create(SegmentSpec(spec.key, "After", QUERY, groups), **how)


@pytest.mark.parametrize("by", ["create", "update"])
@pytest.mark.parametrize("groups", [(MemberGroup("empty"),), (MemberGroup("renamed"), MemberGroup("empty"))])
def test_dropping_a_group_with_members_needs_permission(organisation, key, by, groups):
    """Dropping or renaming a group with members is refused with their number unless it is explicitly allowed."""

    async def main(cij):
        spec = await _with_members(cij, key, 3)
        before = await _rows(cij, spec)
        with pytest.raises(CijConflictError, match=r"Group 'full' .* would be dropped, with 3 members.*allow_dropping"):
            await _change(cij, by, spec, groups)
        assert await _rows(cij, spec) == before
        made = await _change(cij, by, spec, groups, allow_dropping_members=True)
        assert list(made.groups) == [group.name for group in groups]
        old = {"full": "include", "empty": "include"}
        assert made.changes == {
            "display_name": {"old": "Before", "new": "After"},
            "groups": {"old": old, "new": {group.name: "include" for group in groups}},
        }

    organisation(main)


@pytest.mark.parametrize("by", ["create", "update"])
def test_an_empty_group_is_dropped_and_a_turned_group_keeps_its_members(organisation, key, by):
    """A group that turns from include to exclude keeps its id and members; an empty group is dropped."""

    async def main(cij):
        spec = await _with_members(cij, key, 2)
        group_id = (await cij.segments.group(await cij.segments.get(spec.segment_id), "full")).group_id
        made = await _change(cij, by, spec, (MemberGroup("full", include=False),))
        assert made.groups == {"full": group_id}
        assert made.changes["groups"] == {
            "old": {"full": "include", "empty": "include"},
            "new": {"full": "exclude"},
        }
        assert await cij.members.count(spec.segment_id, group_id) == 2

    organisation(main)


def test_changes_name_old_and_new_values(organisation, key):
    """The result names each changed argument with old and new value, and lists of members by their size."""
    first, second, third = (str(uuid.uuid4()) for _ in range(3))
    old = SegmentSpec(key, "A", QUERY, included_members=(first,), excluded_members=(second, third), description="a")
    new = SegmentSpec(
        key,
        "A",
        "PROFILE(contact).FILTER(ISNULL(lastname))",
        included_members=(first, third),
        excluded_members=(second,),
        description="b",
        static_snapshot=True,
        refresh_interval_minutes=60,
    )

    async def main(cij):
        made = await cij.segments.create(old)
        assert (made.created, made.changes) == (True, {})
        made = await cij.segments.create(new)
        assert made.changes == {
            "query": {"old": old.query, "new": new.query},
            "included_members": {"old": 1, "new": 2},
            "excluded_members": {"old": 2, "new": 1},
            "description": {"old": "a", "new": "b"},
            "static_snapshot": {"old": False, "new": True},
            "refresh_interval_minutes": {"old": None, "new": 60},
        }
        assert not {first, second, third} & set(repr(made.changes).split("'"))
        assert (await cij.segments.create(new)).changes == {}

    organisation(main)
