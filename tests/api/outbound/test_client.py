"""The outbound client against the sandbox."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from cij_sandbox.testing import running_sandbox

from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.api.outbound.journeys import OutboundJourneySpec, journey_id_of, journey_row
from airflow_provider_cij.api.outbound.models import OutboundStatus
from airflow_provider_cij.api.outbound.segments import OutboundSegmentSpec
from airflow_provider_cij.api.outbound.wait import OutboundWait
from airflow_provider_cij.api.outbound.workflow import Tile, segment_email_workflow
from airflow_provider_cij.api.wait import wait_until
from airflow_provider_cij.dataverse.guids import pack_guids
from airflow_provider_cij.errors import (
    CijConflictError,
    CijInputError,
    CijInUseError,
    CijNotFoundError,
    CijOutboundFailedError,
    CijOutboundRemovedError,
    CijRefusedError,
)
from airflow_provider_cij.hooks.cij import CijHook
from tests.member_ids import contact_ids

QUERY = "PROFILE(contact).FILTER(ISNOTNULL(emailaddress1))"
EMAIL = Tile("15bd0ab8-c12a-e911-a9b6-000d3a1e6c14", "Newsletter")


@pytest.fixture
def outbound(organisation):
    """Return a function that runs coroutine functions on the sandbox's outbound marketing."""
    return lambda work: organisation(lambda cij: work(cij.outbound))


def _set(ids: list[str]) -> IdSet:
    made = IdSet()
    made.update(pack_guids(ids)[0])
    return made


async def _until(outbound, what: str, row_id: str, until: str):
    cij = SimpleNamespace(outbound=outbound)
    return await wait_until(OutboundWait(what, row_id, until), cij, poll_interval=0.1, deadline=time.time() + 20)


async def _members(outbound, segment_id: str, how: str = "query") -> list[str]:
    segment = await outbound.segments.get(segment_id)
    return sorted([member async for page in outbound.members.of_segment(segment, how) for member in page])


def test_the_lifecycle_of_a_static_segment(organisation, key):
    """A static segment is created, published, changed, listed in both ways, stopped and deleted."""

    async def work(cij):
        outbound, people = cij.outbound, await contact_ids(cij, "contacts?$select=contactid")
        spec = OutboundSegmentSpec(key, "O'Brien & Söhne", member_ids=tuple(people[:3]))
        made = await outbound.segments.create(spec)
        assert (made.created, made.changed, made.status) == (True, False, "draft")
        again = await outbound.segments.create(replace(spec, member_ids=()))
        assert (again.created, again.changed) == (False, False)
        await outbound.segments.publish(made.row_id)
        assert (await _until(outbound, "segment", made.row_id, "live")).result["member_count"] == 3
        assert await _members(outbound, made.row_id) == sorted(people[:3])

        segment = await outbound.segments.get(made.row_id)
        assert await outbound.members.update(segment, "add", _set(people[3:900])) == 1
        assert await outbound.members.update(segment, "remove", _set(people[:2])) == 1
        await _until(outbound, "operations", made.row_id, "finished")
        for how in ("query", "fetchxml"):
            assert await _members(outbound, made.row_id, how) == sorted(people[2:900])

        addressed = await contact_ids(cij, "contacts?$select=contactid&$filter=emailaddress1 ne null")
        await outbound.members.update_by_query(segment, "remove", QUERY)
        await _until(outbound, "operations", made.row_id, "finished")
        assert await _members(outbound, made.row_id) == sorted(set(people[2:900]) - set(addressed))

        await outbound.segments.stop(made.row_id)
        await _until(outbound, "segment", made.row_id, "stopped")
        assert await outbound.segments.delete(made.row_id)
        assert not await outbound.segments.delete(made.row_id)

    organisation(work)


def test_the_lifecycle_of_a_dynamic_and_a_compound_segment(organisation, key):
    """A dynamic segment goes live at once, and a compound segment is built from it."""

    async def work(cij):
        outbound = cij.outbound
        addressed = await contact_ids(cij, "contacts?$select=contactid&$filter=emailaddress1 ne null")
        made = await outbound.segments.create(OutboundSegmentSpec(key, "D", "dynamic", QUERY), publish=True)
        assert made.status == "going_live"
        await _until(outbound, "segment", made.row_id, "live")
        assert await _members(outbound, made.row_id) == sorted(addressed)
        name = (await outbound.segments.get(made.row_id)).query_name
        spec = OutboundSegmentSpec(f"{key}.c", "C", "compound", f"SEGMENT({name}) EXCEPT SEGMENT({name})")
        nobody = await outbound.segments.create(spec, publish=True)
        await _until(outbound, "segment", nobody.row_id, "live")
        assert await _members(outbound, nobody.row_id) == []

    organisation(work)


def test_create_writes_only_what_differs(outbound, key):
    """Creating a segment again writes only what differs, and publishes a live segment again when it changed."""
    spec = OutboundSegmentSpec(key, "D", "dynamic", QUERY, description="d")

    async def work(outbound):
        made = await outbound.segments.create(spec, publish=True)
        await _until(outbound, "segment", made.row_id, "live")
        etag = (await outbound.segments.get(made.row_id)).etag
        same = await outbound.segments.create(spec, publish=True)
        assert (same.changed, same.status) == (False, "live")
        assert not (await outbound.segments.update(made.row_id, description="d", query=QUERY)).changed
        assert (await outbound.segments.get(made.row_id)).etag == etag
        assert (await outbound.segments.update(made.row_id, display_name="E")).changed
        changed = await outbound.segments.create(replace(spec, query="PROFILE(contact)"), publish=True)
        assert (changed.changed, changed.status) == (True, "going_live")

    outbound(work)


def test_a_lost_create_response_makes_one_row(cij_sandbox, outbound, key):
    """A create repeated after a lost response finds the first row by its derived id."""
    for entity_set in ("msdyncrm_segments", "msdyncrm_customerjourneys"):
        cij_sandbox.faults.add("lost", path=entity_set, method="POST", count=1)

    async def work(outbound):
        segment = await outbound.segments.create(OutboundSegmentSpec(key, key))
        (found,) = await outbound.segments.find(f"msdyncrm_segmentname eq '{key}'")
        assert found["msdyncrm_segmentid"] == segment.row_id
        await outbound.journeys.create(key, OutboundJourneySpec(name=key))
        assert len(await outbound.journeys.find(f"msdyncrm_name eq '{key}'")) == 1

    try:
        outbound(work)
        assert cij_sandbox.faults.struck() == [1, 1]
    finally:
        cij_sandbox.faults.clear()


def test_if_exists_reuse_and_fail(outbound, key):
    """``if_exists`` "reuse" returns the segment unchanged, "fail" raises, and another type is a conflict."""
    spec = OutboundSegmentSpec(key, "D", "dynamic", QUERY)

    async def work(outbound):
        await outbound.segments.create(spec)
        reused = await outbound.segments.create(replace(spec, display_name="E"), "reuse")
        assert (reused.created, reused.changed) == (False, False)
        with pytest.raises(CijConflictError, match="if_exists is 'fail'"):
            await outbound.segments.create(spec, "fail")
        with pytest.raises(CijInputError, match="if_exists is 'replace'"):
            await outbound.segments.create(spec, "replace")
        with pytest.raises(CijConflictError, match="is of another type"):
            await outbound.segments.create(OutboundSegmentSpec(key, "D"))

    outbound(work)


def test_an_invalid_segment_is_reported(outbound, key):
    """An invalid segment is reported by validation and when it goes live, but not as a draft."""
    bad = OutboundSegmentSpec(key, "B", "dynamic", "PROFILE(contact).FILTER(no_such_column == 1)")

    async def work(outbound):
        assert (await outbound.segments.validate(replace(bad, query=QUERY))).valid
        assert (await outbound.segments.validate(bad)).codes == {"SegmentDciValidator_SegmentInvalid"}
        with pytest.raises(CijRefusedError):
            await outbound.segments.create(bad, publish=True)
        assert (await outbound.segments.create(bad)).created

    outbound(work)


def test_a_missing_row_is_not_found(outbound):
    """Reading, changing or checking a missing row raises CijNotFoundError."""
    nobody = journey_id_of("nobody")

    async def work(outbound):
        for ask in (
            outbound.segments.get(nobody),
            outbound.segments.update(nobody, description="d"),
            outbound.segments.publish(nobody),
            outbound.journeys.columns(nobody),
            outbound.journeys.update(nobody, OutboundJourneySpec(name="n")),
        ):
            with pytest.raises(CijNotFoundError, match=nobody):
                await ask

    outbound(work)


async def _live_segment(outbound, key: str) -> Tile:
    made = await outbound.segments.create(OutboundSegmentSpec(key, key, "dynamic", QUERY), publish=True)
    await _until(outbound, "segment", made.row_id, "live")
    segment = await outbound.segments.get(made.row_id)
    return Tile(segment.row_id, segment.name, segment.query_name)


def _spec(segment: Tile, **others) -> OutboundJourneySpec:
    given = {
        "name": f"Journey to {segment.name}",
        "workflow": segment_email_workflow([segment], EMAIL),
        "starts_at": "2027-01-01T08:00:59+01:00",
        "ends_at": "2028-01-01T08:00Z",
        "required_consent": "marketing",
        "recurring": False,
        "target": "contact",
        "journey_type": "automated",
    }
    return OutboundJourneySpec(**(given | others))


def test_the_lifecycle_of_a_journey(outbound, key):
    """A journey is created, checked, published, stopped and deleted, and values that agree are not written."""

    async def work(outbound):
        segment = await _live_segment(outbound, key)
        spec = _spec(segment, suppression_segment_id=segment.row_id.upper())
        made = await outbound.journeys.create(key, spec)
        assert (made.row_id, made.created, made.status) == (journey_id_of(key), True, "draft")
        reordered = json.dumps(spec.workflow, indent=2)
        again = await outbound.journeys.create(key, replace(spec, workflow=reordered))
        assert (again.created, again.changed) == (False, False)
        assert (await outbound.journeys.validate(made.row_id, journey_row(spec))).valid
        row = await outbound.journeys.columns(made.row_id)
        assert (await outbound.journeys.validate(made.row_id, row, row["statuscode"])).valid
        assert (await outbound.journeys.update(made.row_id, OutboundJourneySpec(name="Renamed"))).changed
        await outbound.journeys.publish(made.row_id)
        assert (await _until(outbound, "journey", made.row_id, "live")).result["status"] == "live"
        found = await outbound.journeys.find("msdyncrm_name eq 'Renamed'", status=OutboundStatus.LIVE)
        assert [row["msdyncrm_customerjourneyid"] for row in found] == [made.row_id]
        await outbound.journeys.stop(made.row_id)
        await _until(outbound, "journey", made.row_id, "stopped")
        assert await outbound.journeys.delete(made.row_id)

    outbound(work)


def test_errors_of_a_journey_are_named(outbound, key):
    """Errors of a journey are named by its check and, after a publish, by the wait."""

    async def work(outbound):
        segment = await outbound.segments.create(OutboundSegmentSpec(key, "Not live", "dynamic", QUERY))
        spec = _spec(Tile(segment.row_id, "Not live"))
        made = await outbound.journeys.create(key, spec)
        checked = await outbound.journeys.validate(made.row_id, journey_row(spec))
        assert not checked.valid
        await outbound.journeys.publish(made.row_id)
        with pytest.raises(CijOutboundFailedError, match=r"is error\. Its check for errors found ") as caught:
            await _until(outbound, "journey", made.row_id, "live")
        assert checked.errors[0].code in str(caught.value)

    outbound(work)


def test_a_segment_that_a_journey_suppresses_is_not_deleted(outbound, key):
    """Deleting a segment that a journey suppresses fails with the journey's name."""

    async def work(outbound):
        segment = await _live_segment(outbound, key)
        await outbound.journeys.create(key, _spec(segment, suppression_segment_id=segment.row_id, name="Loud"))
        with pytest.raises(CijInUseError, match="Journeys that suppress it: 'Loud'"):
            await outbound.segments.delete(segment.row_id)

    outbound(work)


def test_an_organisation_without_outbound_marketing(monkeypatch):
    """Every method raises CijOutboundRemovedError, except reads of journeys, whose rows remain."""
    with running_sandbox("--contacts", "10", "--outbound-removed") as gone:
        monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", gone.airflow_conn_uri)

        async def work(outbound):
            assert await outbound.journeys.find() == []
            for ask in (
                outbound.segments.find(),
                outbound.segments.create(OutboundSegmentSpec("k", "n")),
                outbound.segments.validate(OutboundSegmentSpec("k", "n")),
                outbound.members.state(journey_id_of("k")),
                outbound.journeys.create("k", OutboundJourneySpec(name="n")),
                outbound.journeys.validate(journey_id_of("k"), {}),
            ):
                with pytest.raises(CijOutboundRemovedError, match="CijCreateSegmentOperator"):
                    await ask

        CijHook().run(lambda cij: work(cij.outbound))
