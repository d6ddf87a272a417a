"""Updating and deleting an existing segment, against the sandbox."""

from __future__ import annotations

import asyncio
import json
import time
import uuid

import pytest

from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.api.row_sync import create_or_update
from airflow_provider_cij.api.segments.models import FOR_UPDATE, MemberGroup, groups_of
from airflow_provider_cij.api.segments.spec import SEGMENTS, SegmentSpec, definition_row, owner
from airflow_provider_cij.api.segments.wait import SegmentWait
from airflow_provider_cij.api.wait import wait_until
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.dataverse.guids import pack_guids
from airflow_provider_cij.errors import (
    CijConflictError,
    CijInputError,
    CijInUseError,
    CijNotFoundError,
    CijRefusedError,
)
from tests.scripted import Answer

QUERY = "PROFILE(contact).FILTER(ISNOTNULL(emailaddress1))"
MANY = tuple(str(uuid.UUID(int=n)) for n in range(109))


@pytest.fixture
def spec(organisation, key):
    """Return a segment spec with two groups."""
    spec = SegmentSpec(key, "Test", QUERY, groups=(MemberGroup("in"), MemberGroup("out", include=False)))
    organisation(lambda cij: cij.segments.create(spec))
    return spec


async def _rows(cij, spec: SegmentSpec) -> tuple[dict, dict]:
    paths = (f"msdynmkt_segments({spec.segment_id})", f"msdynmkt_segmentdefinitions({spec.definition_id})")
    segment, definition = [await cij.dataverse.get(path) for path in paths]
    return segment, definition


async def _in_group(cij, spec: SegmentSpec, group_id: str) -> list[str]:
    return [member async for page in cij.members.of_group(spec.segment_id, group_id) for member in page]


@pytest.mark.parametrize(
    ("change", "column", "value"),
    [
        ({"display_name": "Renamed"}, "msdynmkt_displayname", "Renamed"),
        ({"description": "why"}, "msdynmkt_description", "why"),
        ({"query": "PROFILE(contact)"}, "msdynmkt_segmentquery", "PROFILE(contact)"),
        ({"query": ""}, "msdynmkt_segmentquery", None),
        ({"static_snapshot": True}, "msdynmkt_disablesegmentrefresh", True),
        ({"refresh_interval_minutes": 60}, "msdynmkt_segmentrefreshintervalminutes", 60),
    ],
)
def test_update_changes_only_the_given_columns(organisation, spec, change, column, value):
    """An update writes the given columns once, and the same update again writes nothing."""

    async def main(cij):
        before = await _rows(cij, spec)
        assert (await cij.segments.update(spec.segment_id, **change)).changed
        after = await _rows(cij, spec)
        assert not (await cij.segments.update(spec.segment_id, **change)).changed
        assert await _rows(cij, spec) == after
        own = ("@odata.etag", "versionnumber", "modifiedon", "msdynmkt_definitionmodifiedon")
        differing = {
            name
            for old, new in zip(before, after, strict=True)
            for name in new
            if name not in own and old[name] != new[name]
        }
        assert differing == {column}
        assert (after[0] | after[1])[column] in (value, value or "")

    organisation(main)


def test_groups_can_be_added_and_dropped(organisation, spec, caplog):
    """Groups can be added and dropped by name, the others keep their members, and the log names a dropped one."""
    somebody = str(uuid.uuid4())
    ids = IdSet()
    ids.update(pack_guids([somebody])[0])

    async def main(cij):
        segment = await cij.segments.get(spec.segment_id)
        kept = await cij.segments.group(segment, "in")
        await cij.members.add(spec.segment_id, kept.group_id, ids)
        made = await cij.segments.update(spec.segment_id, groups=(MemberGroup("new"), MemberGroup("in", include=False)))
        assert made.changed
        assert made.groups["in"] == kept.group_id
        groups = (await cij.segments.definition(segment)).groups
        assert [(group.name, group.include) for group in groups] == [("new", True), ("in", False)]
        assert await _in_group(cij, spec, kept.group_id) == [somebody]
        assert await _in_group(cij, spec, made.groups["new"]) == []

    organisation(main)
    assert "Group 'out'" in caplog.text
    assert "is dropped" in caplog.text


def test_a_group_made_in_the_product_keeps_its_id_and_kind(organisation, key):
    """A group that the product's own pages made keeps its id and kind."""
    spec = SegmentSpec(key, "Test", groups=(MemberGroup("uploaded"),))
    theirs = str(uuid.uuid4())
    entry = {"groupId": theirs, "includeType": "Include", "name": "uploaded", "inputType": "csvUpload"}

    async def main(cij):
        await cij.segments.create(spec)
        path = f"msdynmkt_segmentdefinitions({spec.definition_id})"
        await cij.dataverse.patch(path, {"msdynmkt_staticlistmembers": json.dumps([entry])})
        again = await cij.segments.create(spec)
        assert (again.changed, again.groups) == (False, {"uploaded": theirs})
        made = await cij.segments.update(spec.segment_id, groups=(MemberGroup("uploaded"), MemberGroup("more")))
        text = (await cij.dataverse.get(path))["msdynmkt_staticlistmembers"]
        assert json.loads(text)[0] == entry
        assert {group.name: group.group_id for group in groups_of(text)} == dict(made.groups)

    organisation(main)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"display_name": " "}, "display_name must have 1 to 100 characters"),
        ({"display_name": "x" * 101}, "display_name must have 1 to 100 characters"),
        ({"query": "PROFILE(contact"}, "its query has 1 '(' never closed"),
        ({"query": "", "groups": ()}, "would have neither a query nor a group"),
        ({"groups": (MemberGroup("a"), MemberGroup("a"))}, "two groups of the same name"),
        ({"groups": tuple(MemberGroup(str(n)) for n in range(11))}, "has 11 groups; the service allows 10"),
        ({"refresh_interval_minutes": 0}, "refresh_interval_minutes is 0"),
        ({"query": "PROFILE(lead)"}, "its query is over 'lead', and its members are rows of 'contact'"),
        ({"business_unit_id": ""}, "business_unit_id is empty"),
        ({"business_unit_id": "sales"}, "business_unit_id is 'sales', which is no GUID"),
    ],
)
def test_an_invalid_update_is_refused(organisation, spec, change, message):
    """An invalid update is refused with the reason before anything is written."""

    async def main(cij):
        before = await _rows(cij, spec)
        with pytest.raises(CijInputError) as caught:
            await cij.segments.update(spec.segment_id, **change)
        assert message in str(caught.value)
        assert await _rows(cij, spec) == before

    organisation(main)


def test_a_business_unit_is_written_where_it_differs(organisation, spec):
    """A business unit is written when it differs."""

    async def main(cij):
        here = (await cij.dataverse.get("WhoAmI"))["BusinessUnitId"]
        assert not (await cij.segments.update(spec.segment_id, business_unit_id=here)).changed
        with pytest.raises(CijRefusedError):
            await cij.segments.update(spec.segment_id, business_unit_id=str(uuid.uuid4()))

    organisation(main)


def test_a_business_unit_that_is_read_only_is_explained(scripted):
    """A business unit that the organisation cannot change gives an error that explains when it can."""
    scripted.script = [Answer(400, {"error": {"code": "0x80048d19", "message": "owningbusinessunit is read-only"}})]

    async def main():
        async with DataverseClient(scripted.settings()) as client:
            unit = str(uuid.uuid4())
            await create_or_update(client, SEGMENTS, unit, owner(unit), {"_owningbusinessunit_value": None})

    with pytest.raises(CijRefusedError, match=r"read-only.*writable only where modernised business units"):
        asyncio.run(main())


def test_a_concurrent_change_is_a_conflict(organisation, spec):
    """A change of our columns between reading and writing is a conflict and is not overwritten."""

    async def main(cij):
        segment = await cij.segments.get(spec.segment_id, FOR_UPDATE)
        await cij.dataverse.patch(f"msdynmkt_segments({spec.segment_id})", {"msdynmkt_displayname": "theirs"})
        with pytest.raises(CijConflictError):
            await cij.segments.update(segment, display_name="ours")
        assert (await cij.segments.get(spec.segment_id)).display_name == "theirs"

    organisation(main)


def test_a_change_of_service_columns_is_no_conflict(organisation, spec):
    """A change of the service's own columns between reading and writing is retried."""

    async def main(cij):
        segment = await cij.segments.get(spec.segment_id, FOR_UPDATE)
        await cij.dataverse.patch(f"msdynmkt_segments({spec.segment_id})", {"msdynmkt_description": "theirs"})
        assert (await cij.segments.update(segment, display_name="ours")).changed
        row, _ = await _rows(cij, spec)
        assert (row["msdynmkt_displayname"], row["msdynmkt_description"]) == ("ours", "theirs")

    organisation(main)


def test_a_row_that_keeps_changing_is_a_conflict(scripted):
    """An update gives up with a conflict after three attempts."""
    row_id, column = str(uuid.uuid4()), "msdynmkt_displayname"
    there = {"@odata.etag": 'W/"1"', column: "old"}
    conflict = Answer(412, {"error": {"code": "0x80060882", "message": "another version"}})
    scripted.script = [conflict, Answer(body=there)] * 4

    async def main():
        async with DataverseClient(scripted.settings()) as client:
            await create_or_update(client, SEGMENTS, row_id, {column: "new"}, there)

    with pytest.raises(CijConflictError):
        asyncio.run(main())
    assert [request.method for request in scripted.requests] == ["PATCH", "GET"] * 3


def test_members_on_the_row_are_included_and_excluded(organisation, key):
    """Included and excluded member ids on the row itself decide who is a member."""

    async def main(cij):
        people = [row["contactid"] async for page in cij.dataverse.pages("contacts?$select=contactid") for row in page]
        spec = SegmentSpec(
            key,
            "Old",
            "PROFILE(contact).FILTER(creditlimit > 19000)",
            included_members=tuple(people[:5]),
            excluded_members=(people[0].upper(),),
        )
        await cij.segments.create(spec)
        assert not (await cij.segments.create(spec)).changed
        await cij.segments.publish(spec.segment_id)
        await wait_until(SegmentWait(spec.segment_id), cij, poll_interval=0.1, deadline=time.time() + 20)
        found = {member async for page in cij.members.of_segment(spec.segment_id) for member in page}
        assert set(people[1:5]) <= found
        assert people[0] not in found

    organisation(main)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"excluded_members": tuple(str(uuid.UUID(int=n)) for n in range(109))},
            "holds 109 ids; the service takes 108",
        ),
        ({"included_members": ("x",)}, "Entry 1 of included_members or excluded_members is no GUID"),
        ({"included_members": (str(uuid.UUID(int=1)),), "groups": (MemberGroup("a"),)}, "groups as well as"),
    ],
)
def test_limits_of_members_on_the_row(organisation, key, change, message):
    """Excluded ids on the row take at most 4,000 characters and cannot be combined with groups."""
    with pytest.raises(CijInputError) as caught:
        organisation(lambda cij: cij.segments.create(SegmentSpec(key, "Old", QUERY, **change)))
    assert message in str(caught.value)


def test_108_excluded_members_fit(organisation, key):
    """The column for excluded ids takes exactly 108 of them."""
    ids = tuple(str(uuid.UUID(int=n)) for n in range(108))
    assert organisation(lambda cij: cij.segments.create(SegmentSpec(key, "Old", QUERY, excluded_members=ids))).created


def test_delete_removes_both_rows(organisation, spec):
    """Delete removes both rows, and a second delete finds nothing."""

    async def main(cij):
        assert await cij.segments.delete(spec.segment_id)
        for path in (f"msdynmkt_segments({spec.segment_id})", f"msdynmkt_segmentdefinitions({spec.definition_id})"):
            with pytest.raises(CijNotFoundError):
                await cij.dataverse.get(path)
        assert not await cij.segments.delete(spec.segment_id)

    organisation(main)


@pytest.mark.parametrize("by", ["segment_id", "definition_id"])
def test_delete_removes_a_lone_definition(organisation, key, by):
    """Delete removes a definition whose segment row is missing."""
    spec = SegmentSpec(key, "Half", QUERY).with_group_ids()

    async def main(cij):
        row = {"msdynmkt_segmentdefinitionid": spec.definition_id, **definition_row(spec)}
        await cij.dataverse.post("msdynmkt_segmentdefinitions", row, repeatable=True)
        assert await cij.segments.delete(getattr(spec, by))
        with pytest.raises(CijNotFoundError):
            await cij.dataverse.get(f"msdynmkt_segmentdefinitions({spec.definition_id})")

    organisation(main)


def test_delete_by_the_definitions_id_removes_both_rows(organisation, spec):
    """Delete by either id removes both rows."""

    async def main(cij):
        assert await cij.segments.delete(spec.definition_id)
        assert not await cij.segments.delete(spec.segment_id)

    organisation(main)


def test_a_segment_that_a_live_journey_uses_is_not_deleted(organisation, spec):
    """A segment that a live journey uses is not deleted, for the platform does not protect text references."""

    async def main(cij):
        path = f"msdynmkt_segments({spec.segment_id})"
        await cij.dataverse.patch(path, {"msdynmkt_publishedjourneycount": 2})
        with pytest.raises(CijInUseError, match=r"'Test' .* is used by 2 live journeys\. Stop them first"):
            await cij.segments.delete(spec.segment_id)
        assert (await cij.segments.get(spec.segment_id)).display_name == "Test"

    organisation(main)
