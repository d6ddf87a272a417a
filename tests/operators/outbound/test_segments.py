"""Operators on outbound segments."""

from __future__ import annotations

import importlib
import json
import uuid
from pathlib import Path

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


def test_the_lifecycle_of_a_segment(run_task, tmp_path):
    """A segment is created, published, filled from a file, exported, renamed, stopped and deleted."""
    key = uuid.uuid4().hex
    state, made, ran = run_task(CijOutboundCreateSegmentOperator, display_name="VIP", key=key)
    assert (state, made["created"], made["status"]) == ("success", True, "draft")
    segment_id = made["segment_id"]
    assert ran.xcoms["t"]["segment_id"] == segment_id
    assert run_task(CijOutboundCreateSegmentOperator, display_name="VIP", key=key)[1] == made | {"created": False}

    people = _people()
    file = tmp_path / "in.csv"
    file.write_text("\n".join(["contactid", *people[:700], people[0].upper(), ""]) + "\nnobody\n")
    assert run_task(CijOutboundPublishSegmentOperator, segment_id=segment_id, deferrable=True)[1]["status"] == "live"
    members = FromFile(str(file))
    rejects = tmp_path / "rejects.csv"
    given = {"members": members, "max_invalid": 1, "rejects_path": str(rejects)}
    state, report, ran = run_task(CijOutboundUpdateSegmentMembersOperator, segment_id=segment_id, **given)
    assert rejects.read_text().splitlines()[1:] == ["704,6 characters that are no id,nobody"]
    assert (report["read"], report["invalid"], report["duplicate"]) == (702, 1, 1)
    assert (report["added"], report["batches"]) == (700, 1)
    remove = {"segment_id": segment_id, "operation": "remove"}
    assert run_task(CijOutboundUpdateSegmentMembersOperator, **remove, query=QUERY)[1] == remove
    assert run_task(CijOutboundMemberOperationsSensor, segment_id=segment_id)[1]["state"] == "finished"

    target = tmp_path / "out.csv"
    for how in ("query", "fetchxml"):
        state, exported, _ = run_task(
            CijOutboundExportSegmentMembersOperator, segment_id=segment_id, path=str(target), how=how
        )
        header, *ids = target.read_text().split()
        assert (header, exported) == ("contactid", {"count": len(ids), "path": str(target)})
        assert set(ids) == set(people[:700]) - set(_people("emailaddress1 ne null"))
    assert people[0] not in json.dumps([ran.xcoms, ran.rendered])

    state, changed, _ = run_task(CijOutboundUpdateSegmentOperator, segment_id=segment_id, display_name="VIPs")
    assert changed["changed"]
    assert run_task(CijOutboundStopSegmentOperator, segment_id=segment_id)[1]["status"] == "stopped"
    assert run_task(CijOutboundDeleteSegmentOperator, segment_id=segment_id)[0] == "success"
    assert run_task(CijOutboundDeleteSegmentOperator, segment_id=segment_id)[0] == "success"
    assert run_task(CijOutboundDeleteSegmentOperator, segment_id=segment_id, missing_ok=False)[0] == "failed"


def test_a_segment_is_created_with_members(run_task, capfd, tmp_path):
    """A segment is created with members of any source, and rows without an id are refused before that."""
    people = _people()
    arguments = {"display_name": "VIP", "key": uuid.uuid4().hex, "publish": True}
    wrong = {"members": [*people[:5], "nobody"], "rejects_path": str(tmp_path / "rejects.csv")}
    assert run_task(CijOutboundCreateSegmentOperator, **arguments, **wrong)[0] == "failed"
    assert (tmp_path / "rejects.csv").read_text().splitlines()[1:] == ["6,6 characters that are no id,nobody"]
    assert "hold no id, more than max_invalid=0" in capfd.readouterr().out
    state, made, ran = run_task(CijOutboundCreateSegmentOperator, **arguments, members=people[:5])
    assert (state, made["status"]) == ("success", "going_live")
    assert run_task(CijOutboundSegmentSensor, segment_id=made["segment_id"])[1]["member_count"] == 5
    assert people[0] not in json.dumps([ran.xcoms, ran.rendered])


def test_members_are_changed_in_a_segment_given_by_its_name(run_task):
    """The name in ``segment_id`` is that of an outbound segment, not of a real-time one."""
    name = f"VIP {uuid.uuid4().hex}"
    made = run_task(CijOutboundCreateSegmentOperator, display_name=name, key=name)[1]
    run_task(CijOutboundPublishSegmentOperator, segment_id=made["segment_id"])
    change = {"segment_id": f"name:{name}", "operation": "add", "query": QUERY}
    state, result, _ = run_task(CijOutboundUpdateSegmentMembersOperator, **change)
    assert (state, result["segment_id"]) == ("success", made["segment_id"])


def test_members_are_matched_by_email(run_task, tmp_path):
    """Members are matched by e-mail address, and addresses without a match are written to a file."""

    async def read(cij):
        # The organisation's own contacts, not those that other tests made.
        path = "contacts?$select=contactid,emailaddress1&$filter=endswith(emailaddress1,'@contoso.com')"
        return [row async for page in cij.dataverse.pages(path) for row in page]

    rows = CijHook().run(read)
    made = run_task(CijOutboundCreateSegmentOperator, display_name="VIP", key=uuid.uuid4().hex, publish=True)[1]
    missing = tmp_path / "missing.csv"
    addresses = {row["emailaddress1"].lower() for row in rows[:50]}
    found = {row["contactid"] for row in rows if row["emailaddress1"].lower() in addresses}
    _, report, _ = run_task(
        CijOutboundUpdateSegmentMembersOperator,
        segment_id=made["segment_id"],
        members=[*addresses, "nobody@nowhere.test"],
        match_on="emailaddress1",
        not_found_path=str(missing),
        max_not_found=1,
    )
    assert (report["added"], report["not_found"]) == (len(found), 1)
    assert missing.read_text().splitlines()[1].endswith(",nobody@nowhere.test")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Give either members or query."),
        ({"members": [ID], "query": QUERY}, "Give either members or query."),
        ({"members": [ID], "not_found_path": "x.csv"}, "not_found_path is given without match_on"),
        ({"members": "{{ 7 }}"}, "members is a str"),
        ({"query": " "}, "The query for the members is empty"),
        ({"query": "PROFILE(contact"}, "never closed"),
        ({"members": [ID], "operation": "{{ 'addByIds' }}"}, "operation is 'addByIds'"),
    ],
)
def test_invalid_member_arguments_are_refused(scripted_connection, scripted, capfd, arguments, message):
    """Invalid arguments for members fail the task without a retry and without a write."""
    scripted.script = [segment(LIVE)]
    with DAG("refused", schedule=None) as dag:
        CijOutboundUpdateSegmentMembersOperator(task_id="t", segment_id=ID, retries=3, **arguments)
    assert run_dag(dag).states == {"t": "failed"}
    assert message in capfd.readouterr().out
    assert all(addresses.method == "GET" for addresses in scripted.requests)


def test_validation_results_are_in_xcom(run_task, capfd):
    """Validation results are pushed to XCom, and errors fail the task unless ``fail_on="never"``."""
    state, result, _ = run_task(CijOutboundValidateSegmentOperator, display_name="D", query=QUERY)
    assert (state, result) == ("success", {"valid": True, "errors": [], "warnings": []})
    bad = {"display_name": "D", "query": "PROFILE(UnknownEntity)"}
    where = dict.fromkeys(("where", "field"), "msdyncrm_query")
    error = {"code": "SegmentDciValidator_SegmentInvalid", "message": "", **where}
    found = {"valid": False, "errors": [error], "warnings": []}
    state, _, ran = run_task(CijOutboundValidateSegmentOperator, **bad, retries=3)
    assert (state, ran.xcoms["t"]["validation"]) == ("failed", found)
    assert "is not valid: SegmentDciValidator_SegmentInvalid in msdyncrm_query." in capfd.readouterr().out
    state, result, _ = run_task(CijOutboundValidateSegmentOperator, **bad, fail_on="never")
    assert (state, result) == ("success", found)
    assert run_task(CijOutboundValidateSegmentOperator, **bad, fail_on="{{ 'warning' }}")[0] == "failed"
    assert run_task(CijOutboundValidateSegmentOperator, **bad, segment_type="{{ 'x' }}")[0] == "failed"


def test_an_organisation_without_outbound_marketing_fails_the_task(scripted_connection, scripted, capfd):
    """A removed product fails the task without a retry and names the operators to use instead."""
    scripted.script = REMOVED[1:]
    with DAG("gone", schedule=None) as dag:
        CijOutboundCreateSegmentOperator(task_id="t", display_name="D", retries=3)
    assert run_dag(dag).states == {"t": "failed"}
    assert "Use real-time segments and journeys instead: CijCreateSegmentOperator" in capfd.readouterr().out


def test_the_example_dag_moves_a_segment(run_task, tmp_path):
    """The example DAG moves every member by a file of each run, and a second run changes nothing."""
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
    conf = {"outbound_segment_id": CijHook().run(fill), "folder": tmp_path.as_uri(), "display_name": "New"}
    earlier: set[Path] = set()
    for unchanged in (0, 900):
        ran = run_dag(dag, conf)
        assert set(ran.states.values()) == {"success"}
        (path,) = set(tmp_path.iterdir()) - earlier
        earlier.add(path)
        assert set(path.read_text().split()[1:]) == set(people[:900])
        assert ran.result("publish")["member_count"] == 900
        assert ran.result("mirror_members")["unchanged"] == unchanged
