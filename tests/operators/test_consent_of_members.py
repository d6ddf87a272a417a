"""``require_consent`` on adding and mirroring: who is left out, removed, counted and listed, with real Airflow."""

from __future__ import annotations

import csv
import uuid

import pytest
from airflow.sdk import DAG

from airflow_provider_cij.api.segments.models import MemberGroup
from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.operators.members import (
    CijAddSegmentMembersOperator,
    CijMirrorSegmentMembersOperator,
    ConsentTo,
)
from tests.api.consent.organisation import (
    CONSENTS,
    IN,
    OUT,
    RESTRICTIVE,
    addresses,
    consent,
    consents,
    create_many,
    purpose,
)
from tests.dags import run_dag


@pytest.fixture(autouse=True)
def connection(cij_sandbox, monkeypatch):
    """Make the sandbox the default connection."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", cij_sandbox.airflow_conn_uri)


def test_a_mirror_removes_who_lost_consent(dag_id, tmp_path):
    """People without consent are not mirrored; who says no later is removed by the next mirror, and listed with why."""
    points = addresses(3)

    async def prepare(cij):
        purpose_id = await purpose(cij, RESTRICTIVE)
        rows = [{"lastname": "x", "emailaddress2": point} for point in (*points, None)]
        people = await create_many(cij, "contacts", "contact", rows)
        made = await consents(cij, [consent(point, IN, purpose_id) for point in points[:2]])
        segment = await cij.segments.create(SegmentSpec(dag_id, "Mail", groups=(MemberGroup("in"),)))
        return purpose_id, people, made, segment

    purpose_id, people, made, segment = CijHook().run(prepare)
    path = tmp_path / "left_out.csv"

    def mirror():
        with DAG(dag_id, schedule=None) as dag:
            CijMirrorSegmentMembersOperator(
                task_id="t",
                segment_id=segment.segment_id,
                group="in",
                members=people,
                max_removals=None,
                require_consent=ConsentTo(purpose_id, recipient_column="emailaddress2"),
                opted_out_path=str(path),
            )
        ran = run_dag(dag)
        with path.open() as file:
            return ran.result("t"), dict(list(csv.reader(file))[1:])

    def members():
        async def read(cij):
            group = await cij.segments.group(segment, "in")
            return {one async for batch in cij.members.of_group(segment.segment_id, group) for one in batch}

        return CijHook().run(read)

    report, left_out = mirror()
    assert (report["added"], report["opted_out"], report["not_set"], report["no_address"]) == (2, 0, 1, 1)
    assert left_out == {people[2]: "not_set", people[3]: "no_address"}
    assert members() == set(people[:2])
    CijHook().run(lambda cij: cij.dataverse.patch(f"{CONSENTS}({made[0]})", {"msdynmkt_value": OUT}))
    report, left_out = mirror()
    assert (report["removed"], report["opted_out"], report["unknown"]) == (1, 1, 0)
    assert left_out[people[0]] == "opted_out"
    assert members() == {people[1]}


def test_a_path_without_its_requirement_is_refused(dag_id, tmp_path, capfd):
    """``opted_out_path`` without ``require_consent`` fails the task before anything is sent."""
    with DAG(dag_id, schedule=None) as dag:
        CijAddSegmentMembersOperator(
            task_id="t",
            segment_id=str(uuid.uuid4()),
            group="in",
            members=[str(uuid.uuid4())],
            opted_out_path=str(tmp_path / "left_out.csv"),
        )
    assert run_dag(dag).states == {"t": "failed"}
    assert "opted_out_path is given without require_consent" in capfd.readouterr().out
