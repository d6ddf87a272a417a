"""Operators on outbound journeys."""

from __future__ import annotations

import json
import uuid

import pytest
from airflow.sdk import DAG

from airflow_provider_cij.operators.outbound import (
    CijOutboundCreateJourneyOperator,
    CijOutboundCreateSegmentOperator,
    CijOutboundDeleteJourneyOperator,
    CijOutboundPublishJourneyOperator,
    CijOutboundStopJourneyOperator,
    CijOutboundUpdateJourneyOperator,
    CijOutboundValidateJourneyOperator,
    Tile,
    segment_email_workflow,
)
from airflow_provider_cij.sensors.outbound import (
    CijOutboundSegmentSensor,
)
from tests.dags import run_dag
from tests.outbound_responses import ID, MADE
from tests.scripted import Answer

QUERY = "PROFILE(contact).FILTER(ISNOTNULL(emailaddress1))"


@pytest.mark.parametrize("form", ["python", "text", "file"])
def test_the_lifecycle_of_a_journey(run_task, tmp_path, form):
    """A journey whose workflow is Python, text or a file is created, checked, changed, published and deleted."""
    key = uuid.uuid4().hex
    made = run_task(
        CijOutboundCreateSegmentOperator, display_name="D", segment_type="dynamic", query=QUERY, key=key, publish=True
    )[1]
    assert run_task(CijOutboundSegmentSensor, segment_id=made["segment_id"])[0] == "success"
    name = f"SEGMENT_CRM_ID_{made['segment_id'].replace('-', '')}"
    workflow = segment_email_workflow([Tile(made["segment_id"], "D", name)], Tile(ID, "Mail"))
    file = tmp_path / "workflow.json"
    file.write_text(json.dumps(workflow, indent=2))
    described = {
        "name": "Journey",
        "workflow": {"python": workflow, "text": json.dumps(workflow), "file": str(file)}[form],
        "starts_at": "{{ '2027-01-01T08:00' }}+01:00",
        "ends_at": "2028-01-01T08:00Z",
        "required_consent": "marketing",
        "recurring": False,
        "target": "contact",
    }
    assert run_task(CijOutboundValidateJourneyOperator, **described)[1]["valid"]
    state, journey, ran = run_task(CijOutboundCreateJourneyOperator, **described, key=key)
    assert (state, journey["created"], journey["status"]) == ("success", True, "draft")
    journey_id = journey["journey_id"]
    assert ran.xcoms["t"]["_link_CijJourneyLink"].endswith(
        f"msdyncrm_customerjourney&pagetype=entityrecord&id={journey_id}"
    )
    again = run_task(CijOutboundCreateJourneyOperator, **described, key=key)[1]
    assert (again["created"], again["changed"]) == (False, False)
    assert run_task(CijOutboundValidateJourneyOperator, journey_id=journey_id)[1]["valid"]
    assert run_task(CijOutboundUpdateJourneyOperator, journey_id=journey_id, name="Renamed")[1]["changed"]
    assert run_task(CijOutboundPublishJourneyOperator, journey_id=journey_id, deferrable=True)[1]["status"] == "live"
    assert run_task(CijOutboundStopJourneyOperator, journey_id=journey_id)[1]["status"] == "stopped"
    assert run_task(CijOutboundDeleteJourneyOperator, journey_id=journey_id, missing_ok=False)[0] == "success"


def test_validation_errors_fail_the_task(run_task, capfd):
    """A validation error fails the task, and given arguments replace the journey's columns in the check."""
    recurring = {
        "recurring": True,
        "recurrence_interval_days": 30,
        "recurrence_count": 3,
        "starts_at": "2027-02-08T11:48Z",
        "ends_at": "2027-03-08T11:48Z",
        "target": "contact",
    }
    fault = "ErrorRecurringCampaignEndDateDoesNotFitRequestedIterations"
    made = run_task(CijOutboundCreateSegmentOperator, display_name="S", key=uuid.uuid4().hex, publish=True)[1]
    assert run_task(CijOutboundSegmentSensor, segment_id=made["segment_id"])[0] == "success"
    name = f"SEGMENT_CRM_ID_{made['segment_id'].replace('-', '')}"
    workflow = segment_email_workflow([Tile(made["segment_id"], "S", name)], Tile(ID, "Mail"))
    described = {"name": "J", "workflow": workflow, "required_consent": "consent"}
    state, _, ran = run_task(CijOutboundValidateJourneyOperator, **described, **recurring, retries=3)
    result = ran.xcoms["t"]["validation"]
    assert (state, result["result"], result["valid"]) == ("failed", "Error", False)
    shared = {"code": fault, "message": f"journey: {fault}", "where": ""}
    assert result["errors"] == [{**shared, "activity_id": "", "fault": fault, "arguments": []}]
    assert f"The check of the outbound journey 'J' ended in Error: journey: {fault}." in capfd.readouterr().out
    key = uuid.uuid4().hex
    journey_id = run_task(CijOutboundCreateJourneyOperator, **described, key=key)[1]["journey_id"]
    of_journey = {"journey_id": journey_id, **recurring, "fail_on": "never"}
    state, result, _ = run_task(CijOutboundValidateJourneyOperator, **of_journey)
    assert (state, fault in json.dumps(result["errors"])) == ("success", True)


@pytest.mark.parametrize(("fail_on", "state"), [("error", "success"), ("warning", "failed"), ("never", "success")])
def test_warnings_fail_the_task_only_on_request(scripted_connection, scripted, capfd, fail_on, state):
    """Warnings are named with their tile, and fail the task only with ``fail_on="warning"``."""
    found = {"ActivityId": "01_0_1", "Fault": "Slow", "Result": "Warning", "ErrorMessageArguments": ["x"]}
    text = json.dumps({"Result": "Warning", "ActivityValidationResults": [found]})
    scripted.script = [Answer(body={"ValidationResult": text})]
    workflow = segment_email_workflow([Tile(ID, "S")], Tile(ID, "Mail"))
    with DAG("warned", schedule=None) as dag:
        CijOutboundValidateJourneyOperator(task_id="t", name="J", workflow=workflow, fail_on=fail_on)
    ran = run_dag(dag)
    assert ran.states == {"t": state}
    shared = {"code": "Slow", "message": "activity 01_0_1 (Email 'Mail'): Slow (x)", "where": "01_0_1"}
    own = {"activity_id": "01_0_1", "fault": "Slow", "arguments": ["x"]}
    assert ran.xcoms["t"]["validation"]["warnings"] == [{**shared, **own}]
    assert "Warning: activity 01_0_1 (Email 'Mail'): Slow (x)" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (CijOutboundValidateJourneyOperator, {}, "Give journey_id, or at least the name"),
        (
            CijOutboundValidateJourneyOperator,
            {"name": "J", "fail_on": "{{ 'x' }}"},
            "fail_on is 'x'. Use 'error', 'warning'",
        ),
        (CijOutboundCreateJourneyOperator, {"name": "J", "workflow": "/nowhere/x.json"}, "can't be opened"),
        (CijOutboundCreateJourneyOperator, {"name": "J", "workflow": "[]"}, "0 activities of the type bpf_root"),
        (CijOutboundCreateJourneyOperator, {"name": "J", "starts_at": "2027-01-01"}, "without a time zone"),
    ],
)
def test_an_invalid_journey_is_refused(scripted_connection, scripted, capfd, kind, arguments, message):
    """An invalid journey fails the task without a retry and before anything is sent."""
    scripted.script = [MADE]
    with DAG("refused", schedule=None) as dag:
        kind(task_id="t", retries=3, **arguments)
    assert run_dag(dag).states == {"t": "failed"}
    assert message in capfd.readouterr().out
    assert scripted.requests == []
