"""The segment client against the sandbox."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import replace

import pytest

from airflow_provider_cij.api.segments.models import ExecutionStatus, MemberGroup
from airflow_provider_cij.api.segments.spec import SegmentSpec, definition_row
from airflow_provider_cij.api.segments.wait import SegmentWait, capture_baseline
from airflow_provider_cij.api.wait import wait_until
from airflow_provider_cij.errors import (
    CijConflictError,
    CijInputError,
    CijNotFoundError,
    CijRefusedError,
    CijSegmentFailedError,
)
from tests.member_ids import contact_ids

QUERY = "PROFILE(contact).FILTER(ISNOTNULL(emailaddress1))"


def _spec(key: str, **others) -> SegmentSpec:
    return SegmentSpec(**({"key": key, "display_name": "Test", "query": QUERY} | others))


def _create(spec: SegmentSpec, **others):
    return lambda cij: cij.segments.create(spec, **others)


def test_a_new_segment_is_a_draft_of_two_rows(organisation, key):
    """A new segment is a draft in two rows, with ids that derive from its key."""
    spec = _spec(key, groups=(MemberGroup("in"), MemberGroup("out", False)), description="d", static_snapshot=True)
    made = organisation(_create(spec))
    assert (made.segment_id, made.definition_id) == (spec.segment_id, spec.definition_id)
    assert (made.created, made.changed) == (True, False)

    async def read(cij):
        segment = await cij.segments.get(made.segment_id)
        return segment, await cij.segments.definition(segment)

    segment, definition = organisation(read)
    assert (segment.status_name, segment.definition_id, segment.base_table) == ("draft", made.definition_id, "contact")
    assert (definition.query, definition.static_snapshot) == (QUERY, True)
    assert {group.name: group.group_id for group in definition.groups} == dict(made.groups)
    assert [group.include for group in definition.groups] == [True, False]


def test_creating_the_same_segment_again_writes_nothing(organisation, key):
    """Creating the same segment again leaves both rows at their version."""
    spec = _spec(key, groups=(MemberGroup("in"), MemberGroup("out", False)))
    organisation(_create(spec))

    async def versions(cij):
        paths = (f"msdynmkt_segments({spec.segment_id})", f"msdynmkt_segmentdefinitions({spec.definition_id})")
        return [(await cij.dataverse.get(path))["@odata.etag"] for path in paths]

    before = organisation(versions)
    again = organisation(_create(replace(spec, groups=spec.groups[::-1])))
    assert (again.created, again.changed) == (False, False)
    assert organisation(versions) == before


@pytest.mark.parametrize(
    "changed",
    [
        {"display_name": "Renamed"},
        {"query": "PROFILE(contact)"},
        {"groups": (MemberGroup("more"),)},
        {"description": "d"},
    ],
)
def test_create_updates_only_the_columns_that_differ(organisation, key, changed):
    """Creating a segment under an existing key updates the columns that differ."""
    organisation(_create(_spec(key)))
    spec = replace(_spec(key), **changed)
    assert organisation(_create(spec)).changed
    assert not organisation(_create(spec)).changed


def test_updating_a_live_segment_keeps_it_live(organisation, key):
    """Updating a live segment does not turn it back into a draft."""
    spec = _spec(key)

    async def publish_and_update(cij):
        await cij.segments.create(spec)
        await cij.segments.publish(spec.segment_id)
        await _live(cij, spec.segment_id)
        await cij.segments.create(replace(spec, query="PROFILE(contact)"))
        return await cij.segments.get(spec.segment_id)

    assert organisation(publish_and_update).status_name == "live"


async def _live(cij, segment_id: str, before=None):
    deadline = time.time() + 20
    await wait_until(SegmentWait(segment_id, baseline=before), cij, poll_interval=0.1, deadline=deadline)
    return await cij.segments.get(segment_id)


def test_a_segment_with_one_row_is_completed(organisation, key):
    """A segment of which only the first row exists is completed, whatever ``if_exists`` says."""
    for if_exists in ("update", "reuse", "fail"):
        spec = _spec(f"{key}.{if_exists}").with_group_ids()

        async def half(cij, spec=spec):
            row = {"msdynmkt_segmentdefinitionid": spec.definition_id, **definition_row(spec)}
            await cij.dataverse.post("msdynmkt_segmentdefinitions", row, repeatable=True)

        organisation(half)
        made = organisation(_create(spec, if_exists=if_exists))
        assert made.created
        assert organisation(lambda cij, made=made: cij.segments.get(made.segment_id)).status_name == "draft"


def test_twenty_concurrent_creates_make_one_segment(organisation, key):
    """Twenty concurrent creates with one key make one segment."""
    spec = _spec(key, groups=(MemberGroup("in"),))

    async def race(cij):
        return await asyncio.gather(*(cij.segments.create(spec) for _ in range(20)))

    made = organisation(race)
    assert sum(segment.created for segment in made) >= 1
    assert not any(segment.changed for segment in made)
    assert {segment.segment_id for segment in made} == {spec.segment_id}


def test_if_exists_reuse_and_fail(organisation, key):
    """``if_exists`` "reuse" returns the segment unchanged, "fail" raises, and any other value is refused."""
    organisation(_create(_spec(key, groups=(MemberGroup("theirs"),))))
    other = _spec(key, query="PROFILE(contact)", groups=(MemberGroup("ours"),))
    reused = organisation(_create(other, if_exists="reuse"))
    assert (reused.created, reused.changed, list(reused.groups)) == (False, False, ["theirs"])
    with pytest.raises(CijConflictError, match="exists already, and if_exists is 'fail'"):
        organisation(_create(other, if_exists="fail"))
    with pytest.raises(CijInputError, match="if_exists is 'replace'"):
        organisation(_create(other, if_exists="replace"))


def test_changing_the_base_table_is_refused(organisation, key):
    """Another base table under the same key is refused."""
    organisation(_create(_spec(key)))
    with pytest.raises(CijConflictError, match="is over 'contact', not 'lead'"):
        organisation(_create(_spec(key, base_table="lead", query="PROFILE(lead)")))


def test_a_definitions_id_finds_the_segment(organisation, key, caplog):
    """A definition's id finds its segment, and the log says so."""
    caplog.set_level("INFO")
    made = organisation(_create(_spec(key)))
    assert organisation(lambda cij: cij.segments.get(made.definition_id.upper())).segment_id == made.segment_id
    assert f"{made.definition_id} is a definition's id; its segment is {made.segment_id}" in caplog.text


def test_a_missing_segment_is_not_found(organisation):
    """An unknown id raises CijNotFoundError with that id."""
    nobody = str(uuid.uuid4())
    with pytest.raises(CijNotFoundError, match=nobody):
        organisation(lambda cij: cij.segments.get(nobody))


def test_a_group_is_found_by_name_or_id(organisation, key):
    """A group is found by name or id; for an unknown one the error lists the existing groups."""
    made = organisation(_create(_spec(key, groups=(MemberGroup("VIP's"), MemberGroup("out", False)))))

    async def find(cij, group):
        return await cij.segments.group(await cij.segments.get(made.segment_id), group)

    for group in ("VIP's", made.groups["VIP's"], made.groups["VIP's"].upper()):
        assert organisation(lambda cij, group=group: find(cij, group)).name == "VIP's"
    with pytest.raises(CijInputError, match=r"""has no group 'vip'\. Its groups: "VIP's", 'out'\."""):
        organisation(lambda cij: find(cij, "vip"))


def test_publish_and_wait_until_live(organisation, key):
    """A published draft becomes live with the members of its query, and so does a second publish."""
    spec = _spec(key)

    async def publish(cij):
        await cij.segments.create(spec)
        found = await contact_ids(cij, "contacts?$select=contactid&$filter=emailaddress1 ne null")
        for _ in range(2):
            segment = await cij.segments.get(spec.segment_id)
            before = await capture_baseline(cij.segments, segment)
            await cij.segments.publish(spec.segment_id)
            segment = await _live(cij, spec.segment_id, before)
            assert segment.member_count == len(found) > 0
        where = f"_msdynmkt_segmentdefinitionid_value eq {spec.definition_id}"
        log = await cij.dataverse.get(f"msdynmkt_segmentexecutions?$select=statuscode&$filter={where}")
        assert [row["statuscode"] for row in log["value"]] == [ExecutionStatus.SUCCEEDED] * 2

    organisation(publish)


def test_a_query_that_does_not_parse_is_refused_at_publish(organisation, key):
    """Publishing a query with a syntax error is refused with the service's message and position."""
    spec = _spec(key, query="PROFILE(contact).FILTER(creditlimit >>> 3)")

    async def publish(cij):
        await cij.segments.create(spec)
        await cij.segments.publish(spec.segment_id)

    with pytest.raises(CijRefusedError, match="position"):
        organisation(publish)


def test_an_evaluation_error_names_the_unknown_column(organisation, key):
    """A query of an unknown column fails in its evaluation, and the error names the column."""
    spec = _spec(key, query="PROFILE(contact).FILTER(creditlimt > 3)")

    async def publish(cij):
        await cij.segments.create(spec)
        await cij.segments.publish(spec.segment_id)
        await _live(cij, spec.segment_id)

    with pytest.raises(CijSegmentFailedError, match=r"ended in status error: .*creditlimt"):
        organisation(publish)


def test_special_characters_in_a_name_are_kept(organisation, key):
    """Quotes, punctuation and other alphabets in a name arrive unchanged."""
    spec = _spec(key, display_name="O'Brien & 1 eq 1 + 100 % #Ünïcødé 客户 {}", groups=(MemberGroup("a'b&c"),))
    organisation(_create(spec))
    assert not organisation(_create(spec)).changed
    assert organisation(lambda cij: cij.segments.get(spec.segment_id)).display_name == spec.display_name
