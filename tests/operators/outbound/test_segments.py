"""Outbound marketing as tasks of a DAG, run by Airflow's own ``dag.test()``."""

from __future__ import annotations

import importlib
import json
import uuid

import pytest
from airflow.sdk import DAG

from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.api.outbound.segments import OutboundSegmentSpec
from airflow_provider_cij.dataverse.guids import pack_guids
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.operators.outbound import (
    CijOutboundCreateSegmentOperator,
    CijOutboundDeleteSegmentOperator,
    CijOutboundExportSegmentMembersOperator,
    CijOutboundPublishSegmentOperator,
    CijOutboundStopSegmentOperator,
    CijOutboundUpdateSegmentMembersOperator,
    CijOutboundUpdateSegmentOperator,
    CijOutboundValidateSegmentOperator,
)
from airflow_provider_cij.sensors.outbound import (
    CijOutboundMemberOperationsSensor,
    CijOutboundSegmentSensor,
)
from airflow_provider_cij.sources import FromFile
from tests.dags import run_dag
from tests.outbound_responses import ID, LIVE, REMOVED, segment

QUERY = "PROFILE(contact).FILTER(ISNOTNULL(emailaddress1))"


def _people(where: str = "") -> list[str]:
    async def read(cij):
        path = "contacts?$select=contactid" + (f"&$filter={where}" if where else "")
        return [row["contactid"] async for page in cij.dataverse.pages(path) for row in page]

    return CijHook().run(read)


def test_the_life_of_a_segment(run, tmp_path):
    """Created, published, filled from a file, exported, renamed, stopped, deleted; members only in files."""
    key = uuid.uuid4().hex
    state, made, ran = run(CijOutboundCreateSegmentOperator, display_name="VIP", key=key)
    assert (state, made["created"], made["status"]) == ("success", True, "draft")
    segment_id = made["segment_id"]
    assert ran.xcoms["t"]["segment_id"] == segment_id
    assert run(CijOutboundCreateSegmentOperator, display_name="VIP", key=key)[1] == made | {"created": False}

    people = _people()
    file = tmp_path / "in.csv"
    file.write_text("\n".join(["contactid", *people[:700], people[0].upper(), ""]) + "\nnobody\n")
    assert run(CijOutboundPublishSegmentOperator, segment_id=segment_id, deferrable=True)[1]["status"] == "live"
    members = FromFile(str(file))
    state, report, ran = run(
        CijOutboundUpdateSegmentMembersOperator, segment_id=segment_id, members=members, max_invalid=1
    )
    assert (report["read"], report["invalid"], report["duplicate"]) == (702, 1, 1)
    assert (report["added"], report["batches"]) == (700, 1)
    remove = {"segment_id": segment_id, "operation": "remove"}
    assert run(CijOutboundUpdateSegmentMembersOperator, **remove, query=QUERY)[1] == remove
    assert run(CijOutboundMemberOperationsSensor, segment_id=segment_id)[1]["state"] == "finished"

    target = tmp_path / "out.csv"
    for how in ("query", "fetchxml"):
        state, exported, _ = run(
            CijOutboundExportSegmentMembersOperator, segment_id=segment_id, path=str(target), how=how
        )
        header, *ids = target.read_text().split()
        assert (header, exported) == ("contactid", {"count": len(ids), "path": str(target)})
        assert set(ids) == set(people[:700]) - set(_people("emailaddress1 ne null"))
    assert people[0] not in json.dumps([ran.xcoms, ran.rendered])

    state, changed, _ = run(CijOutboundUpdateSegmentOperator, segment_id=segment_id, display_name="VIPs")
    assert changed["changed"]
    assert run(CijOutboundStopSegmentOperator, segment_id=segment_id)[1]["status"] == "stopped"
    assert run(CijOutboundDeleteSegmentOperator, segment_id=segment_id)[0] == "success"
    assert run(CijOutboundDeleteSegmentOperator, segment_id=segment_id)[0] == "success"
    assert run(CijOutboundDeleteSegmentOperator, segment_id=segment_id, missing_ok=False)[0] == "failed"


def test_a_segment_begins_with_members(run, capfd):
    """From any source; rows without an id are refused before anything is made."""
    people = _people()
    arguments = {"display_name": "VIP", "key": uuid.uuid4().hex, "publish": True}
    assert run(CijOutboundCreateSegmentOperator, **arguments, members=[*people[:5], "nobody"])[0] == "failed"
    assert "hold no id, more than max_invalid=0" in capfd.readouterr().out
    state, made, ran = run(CijOutboundCreateSegmentOperator, **arguments, members=people[:5])
    assert (state, made["status"]) == ("success", "going_live")
    assert run(CijOutboundSegmentSensor, segment_id=made["segment_id"])[1]["member_count"] == 5
    assert people[0] not in json.dumps([ran.xcoms, ran.rendered])


def test_addresses_are_matched(run, tmp_path):
    """Who is not found is in the file."""

    async def read(cij):
        path = "contacts?$select=contactid,emailaddress1&$filter=emailaddress1 ne null"
        return [row async for page in cij.dataverse.pages(path) for row in page]

    rows = CijHook().run(read)
    made = run(CijOutboundCreateSegmentOperator, display_name="VIP", key=uuid.uuid4().hex, publish=True)[1]
    missing = tmp_path / "missing.csv"
    asked = {row["emailaddress1"].lower() for row in rows[:50]}
    found = {row["contactid"] for row in rows if row["emailaddress1"].lower() in asked}
    _, report, _ = run(
        CijOutboundUpdateSegmentMembersOperator,
        segment_id=made["segment_id"],
        members=[*asked, "nobody@nowhere.test"],
        match_on="emailaddress1",
        not_found_path=str(missing),
        max_not_found=1,
    )
    assert (report["added"], report["not_found"]) == (len(found), 1)
    assert missing.read_text().splitlines()[1].endswith(",nobody@nowhere.test")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "Give either members or query."),
        ({"members": [ID], "query": QUERY}, "Give either members or query."),
        ({"members": [ID], "not_found_path": "x.csv"}, "not_found_path is given without match_on"),
        ({"members": 7}, "members is a int"),
        ({"query": " "}, "The query for the members is empty"),
        ({"query": "PROFILE(contact"}, "never closed"),
        ({"members": [ID], "operation": "addByIds"}, "operation is 'addByIds'"),
    ],
)
def test_members_that_cant_be_right_are_refused(scripted_connection, scripted, capfd, arguments, said):
    """No retry is wasted on them, and nothing is changed."""
    scripted.script = [segment(LIVE)]
    with DAG("refused", schedule=None) as dag:
        CijOutboundUpdateSegmentMembersOperator(task_id="t", segment_id=ID, retries=3, **arguments)
    assert run_dag(dag).states == {"t": "failed"}
    assert said in capfd.readouterr().out
    assert all(asked.method == "GET" for asked in scripted.asked)


def test_segments_are_validated(run, capfd):
    """An error fails the task, unless it is only to be known; both ways it is in XCom."""
    state, result, _ = run(CijOutboundValidateSegmentOperator, display_name="D", query=QUERY)
    assert (state, result) == ("success", {"valid": True, "errors": [], "warnings": []})
    bad = {"display_name": "D", "query": "PROFILE(UnknownEntity)"}
    where = dict.fromkeys(("where", "field"), "msdyncrm_query")
    error = {"code": "SegmentDciValidator_SegmentInvalid", "message": "", **where}
    found = {"valid": False, "errors": [error], "warnings": []}
    state, _, ran = run(CijOutboundValidateSegmentOperator, **bad, retries=3)
    assert (state, ran.xcoms["t"]["validation"]) == ("failed", found)
    assert "is not valid: SegmentDciValidator_SegmentInvalid in msdyncrm_query." in capfd.readouterr().out
    state, result, _ = run(CijOutboundValidateSegmentOperator, **bad, fail_on="never")
    assert (state, result) == ("success", found)
    assert run(CijOutboundValidateSegmentOperator, **bad, fail_on="warning")[0] == "failed"
    assert run(CijOutboundValidateSegmentOperator, **bad, segment_type="x")[0] == "failed"


def test_an_organisation_without_it_fails_the_task_at_once(scripted_connection, scripted, capfd):
    """In words that say what to use instead; no retry brings it back."""
    scripted.script = REMOVED[1:]
    with DAG("gone", schedule=None) as dag:
        CijOutboundCreateSegmentOperator(task_id="t", display_name="D", retries=3)
    assert run_dag(dag).states == {"t": "failed"}
    assert "Use real-time segments and journeys instead: CijCreateSegmentOperator" in capfd.readouterr().out


def test_the_example_moves_a_segment(run, tmp_path):
    """Every member arrives, and a second run changes nothing."""
    people = _people()
    ids = IdSet()
    ids.update(pack_guids(people[:900])[0])

    async def fill(cij):
        made = await cij.outbound.segments.create(OutboundSegmentSpec(uuid.uuid4().hex, "Old"), publish=True)
        await cij.outbound.members.update(await cij.outbound.segments.get(made.row_id), "add", ids)
        return made.row_id

    dag = importlib.import_module("example_dags.cij_move_outbound_segment").create.dag
    for task in dag.tasks:
        for name in ("poke_interval", "poll_interval"):
            if hasattr(task, name):
                setattr(task, name, 0.1)
    target = tmp_path / "members.csv"
    conf = {"outbound_segment_id": CijHook().run(fill), "members_file": str(target), "display_name": "New"}
    for unchanged in (0, 900):
        ran = run_dag(dag, conf)
        assert set(ran.states.values()) == {"success"}
        assert set(target.read_text().split()[1:]) == set(people[:900])
        assert ran.result("publish")["member_count"] == 900
        assert ran.result("mirror_members")["unchanged"] == unchanged
