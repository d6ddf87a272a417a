"""How many requests each operator sends: no row is read twice unless it was changed in between."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_cij.api.outbound.segments import OutboundSegmentSpec
from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.api.segments.wait import SegmentWait
from airflow_provider_cij.api.wait import wait_until
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.operators.journeys import CijPublishJourneyOperator, CijValidateJourneyOperator
from airflow_provider_cij.operators.members import (
    CijAddSegmentMembersOperator,
    CijExportSegmentMembersOperator,
    CijMirrorSegmentMembersOperator,
    CijRemoveSegmentMembersOperator,
)
from airflow_provider_cij.operators.outbound import (
    CijOutboundDeleteSegmentOperator,
    CijOutboundPublishSegmentOperator,
    CijOutboundUpdateSegmentOperator,
)
from airflow_provider_cij.operators.segments import (
    CijCreateSegmentOperator,
    CijDeleteSegmentOperator,
    CijPublishSegmentOperator,
    CijRefreshSegmentOperator,
    CijStopSegmentsOperator,
    CijUpdateSegmentOperator,
    MemberGroup,
)
from tests.dags import run_dag

PERSON = str(uuid.UUID(int=7))
QUERY = "PROFILE(contact).FILTER(ISNOTNULL(emailaddress1))"


@pytest.fixture
def sent(cij_sandbox, monkeypatch):
    """Return a function that runs an operator and returns the requests it sent, as method and path."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", cij_sandbox.airflow_conn_uri)

    def run(kind: Any, **arguments: Any) -> list[str]:
        before = max((request["number"] for request in cij_sandbox.requests()), default=0)
        with DAG(f"count_{uuid.uuid4().hex}", schedule=None) as dag:
            kind(task_id="t", **arguments)
        assert run_dag(dag).states == {"t": "success"}
        requests = cij_sandbox.requests(since=before)
        sent = [(request["method"], request["path"].partition("/api/data/v9.2/")[2]) for request in requests]
        return [f"{method} {re.split('[(?]', path)[0]}" for method, path in sent if path]

    return run


@pytest.fixture
def segment_id(cij_sandbox, monkeypatch) -> str:
    """Return the id of a draft segment with a query and a group."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", cij_sandbox.airflow_conn_uri)
    spec = SegmentSpec(uuid.uuid4().hex, "Test", QUERY, (MemberGroup("in"),))
    return CijHook().run(lambda cij: cij.segments.create(spec)).segment_id


SEGMENT, DEFINITION = "msdynmkt_segments", "msdynmkt_segmentdefinitions"


def test_creating_a_segment(sent):
    """A create reads both rows and writes both; a second one only reads them."""
    given = {"key": uuid.uuid4().hex, "display_name": "Test", "query": QUERY}
    assert sorted(sent(CijCreateSegmentOperator, **given)) == [
        f"GET {DEFINITION}",
        f"GET {SEGMENT}",
        f"POST {DEFINITION}",
        f"POST {SEGMENT}",
    ]
    assert sorted(sent(CijCreateSegmentOperator, **given)) == [f"GET {DEFINITION}", f"GET {SEGMENT}"]


@pytest.mark.parametrize(
    ("kind", "arguments", "expected"),
    [
        (
            CijUpdateSegmentOperator,
            {"display_name": "New", "query": f"{QUERY} "},
            [f"GET {SEGMENT}", f"GET {DEFINITION}", f"PATCH {SEGMENT}"],
        ),
        (CijDeleteSegmentOperator, {}, [f"GET {SEGMENT}", f"DELETE {SEGMENT}", f"DELETE {DEFINITION}"]),
        (
            CijPublishSegmentOperator,
            {"wait": False},
            [f"GET {SEGMENT}", "POST msdynmkt_PublishSegmentDefinition", f"GET {SEGMENT}"],
        ),
        (
            CijRefreshSegmentOperator,
            {"wait": False},
            [f"GET {SEGMENT}", "POST msdynmkt_PublishSegmentDefinition", f"GET {SEGMENT}"],
        ),
        (
            CijAddSegmentMembersOperator,
            {"group": "in", "members": [PERSON]},
            [f"GET {SEGMENT}", f"GET {DEFINITION}", "POST msdynmkt_AddStaticMembers"],
        ),
        (
            CijRemoveSegmentMembersOperator,
            {"group": "in", "members": [PERSON]},
            [f"GET {SEGMENT}", f"GET {DEFINITION}", "POST msdynmkt_RemoveStaticMembers"],
        ),
        (
            CijMirrorSegmentMembersOperator,
            {"group": "in", "members": [PERSON]},
            [
                *[f"GET {SEGMENT}", f"GET {DEFINITION}", "POST msdynmkt_ListGroupMembers"],
                *["POST msdynmkt_AddStaticMembers", "POST msdynmkt_ListGroupMembers", "POST msdynmkt_ListGroupMembers"],
            ],
        ),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_operators_on_a_segment(sent, segment_id, kind, arguments, expected):
    """An operator on a segment reads its row once, and a second time only after a change."""
    assert sent(kind, segment_id=segment_id, **arguments) == expected


def test_stopping_segments(sent, segment_id):
    """A stop reads each segment once."""
    assert sent(CijStopSegmentsOperator, segment_ids=[segment_id]) == [f"GET {SEGMENT}"]

    async def publish(cij):
        await cij.segments.publish(segment_id)
        await wait_until(SegmentWait(segment_id), cij, poll_interval=0.1, deadline=time.time() + 20)

    CijHook().run(publish)
    assert sent(CijStopSegmentsOperator, segment_ids=[segment_id], wait=False) == [
        f"GET {SEGMENT}",
        "POST msdynmkt_StopSegments",
    ]


def test_exporting_a_group(sent, segment_id, tmp_path):
    """An export of a group reads the segment, its definition and the pages of the group."""
    path = str(tmp_path / "out.csv")
    assert sent(CijExportSegmentMembersOperator, segment_id=segment_id, group="in", path=path) == [
        f"GET {SEGMENT}",
        f"GET {DEFINITION}",
        "POST msdynmkt_ListGroupMembers",
    ]


def test_journeys(sent):
    """A validation reads the journey once; a publish reads it before and after."""
    journey_id = str(uuid.uuid4())
    row = {"msdynmkt_journeyid": journey_id, "msdynmkt_name": journey_id, "msdynmkt_journeyjson": "{}"}
    CijHook().run(lambda cij: cij.dataverse.post("msdynmkt_journeys", row, repeatable=True))
    assert sent(CijValidateJourneyOperator, journey_id=journey_id, fail_on="never") == [
        "GET msdynmkt_journeys",
        "POST msdynmkt_ValidateJourneyJson",
    ]
    assert sent(CijPublishJourneyOperator, journey_id=journey_id, wait=False) == [
        "GET msdynmkt_journeys",
        "GET customapis",
        "POST msdynmkt_PublishJourneyV2",
        "GET msdynmkt_journeys",
    ]


def test_outbound_segments(sent):
    """An outbound segment is read once before a change, and once after it."""
    specs = [OutboundSegmentSpec(uuid.uuid4().hex, "Test", "dynamic", QUERY) for _ in range(2)]
    for spec in specs:
        CijHook().run(lambda cij, spec=spec: cij.outbound.segments.create(spec))
    live, draft = (spec.segment_id for spec in specs)
    rows = "msdyncrm_segments"
    publish = sent(CijOutboundPublishSegmentOperator, segment_id=live, wait=False)
    assert publish == [f"GET {rows}", f"PATCH {rows}", f"GET {rows}"]
    # The row is not going live: the service writes to one that is, and a change meets a conflict then.
    update = sent(CijOutboundUpdateSegmentOperator, segment_id=draft, display_name="New")
    assert [request.partition(" ")[0] for request in update].count("PATCH") == 1
    assert sent(CijOutboundDeleteSegmentOperator, segment_id=draft) == [f"DELETE {rows}"]
