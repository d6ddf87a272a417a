"""Journeys, custom triggers and consent as tasks against the sandbox, which shares no code with the provider."""

from __future__ import annotations

import json
import runpy
import uuid
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta

import pytest
from airflow.sdk import DAG

from airflow_provider_cij.api.consent.rules import ConsentValue
from airflow_provider_cij.api.segments.models import MemberGroup
from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.api.segments.wait import SegmentWait
from airflow_provider_cij.api.wait import wait_until
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.operators.journeys import (
    CijCreateJourneyOperator,
    CijPublishJourneyOperator,
    CijValidateJourneyOperator,
)
from airflow_provider_cij.operators.members import (
    CijAddSegmentMembersOperator,
    CijMirrorSegmentMembersOperator,
    ConsentTo,
)
from airflow_provider_cij.operators.triggers import CijRaiseTriggerOperator
from airflow_provider_cij.sensors.journeys import CijJourneySensor
from tests.dags import run_dag

ONE_TIME = "One e-mail to a segment"


@pytest.fixture(autouse=True)
def _connection(cij_sandbox, monkeypatch, short_sleeps):
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", cij_sandbox.airflow_conn_uri)


@pytest.fixture
def dag_id() -> str:
    """Return a DAG id, and so names of segments and journeys, that no other test uses."""
    return f"d{uuid.uuid4().hex}"


@pytest.fixture
def parts(dag_id):
    """Return a live segment, a template, its action and an e-mail that is ready to send."""

    async def read(cij):
        made = await cij.segments.create(SegmentSpec(dag_id, dag_id, "PROFILE(contact).FILTER(creditlimit >= 18000)"))
        await cij.segments.publish(made.segment_id)
        await wait_until(SegmentWait(made.segment_id), cij, poll_interval=0.1, deadline=2e9)
        path = f"msdynmkt_journeytemplates?$filter=msdynmkt_name eq '{ONE_TIME}'"
        template = (await cij.dataverse.get(path))["value"][0]
        email = (await cij.dataverse.get("msdynmkt_emails?$filter=statuscode eq 2&$top=1"))["value"][0]
        (action,) = json.loads(template["msdynmkt_journeytemplatejson"])["actions"]
        return {
            "segment": made.segment_id,
            "template": template["msdynmkt_journeytemplateid"],
            "action": action,
            "email": email["msdynmkt_emailid"],
        }

    return CijHook().run(read)


def create(parts, **others):
    """Return an operator that creates a journey of these parts."""
    given = {
        "task_id": "create",
        "template_id": parts["template"],
        "name": "J {{ dag.dag_id }}",
        "audience_segment_id": parts["segment"],
        "message_ids": {parts["action"]: parts["email"]},
        "starts_at": "2098-01-01T00:00:00Z",
        "ends_at": "2098-02-01T00:00:00Z",
    }
    return CijCreateJourneyOperator(**(given | others))


def journeys_named(dag_id: str) -> list[dict]:
    """Return the journeys with this name."""
    path = f"msdynmkt_journeys?$filter=msdynmkt_name eq 'J {dag_id}'"
    return CijHook().run(lambda cij: cij.dataverse.get(path))["value"]


def test_create_validate_publish_and_wait(dag_id, parts):
    """A journey is created as a draft, validated, published twice without harm, and waited for."""
    with DAG(dag_id, schedule=None) as dag:
        made = create(parts)
        journey_id = made.output["journey_id"]
        validate = CijValidateJourneyOperator(task_id="validate", journey_id=journey_id)
        publish = CijPublishJourneyOperator(
            task_id="publish", journey_id=journey_id, deferrable=True, poll_interval=0.1
        )
        again = CijPublishJourneyOperator(task_id="again", journey_id=journey_id, poll_interval=0.1)
        live = CijJourneySensor(task_id="live", journey_id=journey_id, poke_interval=0.1)
        made >> validate >> publish >> again >> live
    ran = run_dag(dag)
    assert set(ran.states.values()) == {"success"}
    (row,) = journeys_named(dag_id)
    assert ran.result("create") == {"journey_id": row["msdynmkt_journeyid"], "valid": True, "errors": []}
    assert ran.result("validate") == {"valid": True, "errors": [], "warnings": []}
    assert ran.result("publish") == ran.result("live") == {"journey_id": row["msdynmkt_journeyid"], "status": "live"}
    document = json.loads(row["msdynmkt_journeyjson"])
    assert document["trigger"]["audience"] == parts["segment"]
    assert document["actions"][parts["action"]]["parameters"]["contentId"] == parts["email"]
    assert row["msdynmkt_journeystarttime"] == "2098-01-01T00:00:00Z"


@contextmanager
def injected_fault(sandbox, fault: str, path: str, **rule):
    """Inject one fault, and check that it took effect."""
    sandbox.faults.add(fault, path=path, count=1, **rule)
    try:
        yield
        assert sandbox.faults.struck()[-1] == 1
    finally:
        sandbox.faults.clear()


@pytest.mark.parametrize("publish", [False, True])
@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("lost", {}),
        ("502", {"processed": True}),
        ("save_timeout", {}),
        ("truncated", {}),
        ("reset", {}),
        ("save_timeout", {"processed": False}),
    ],
)
def test_a_journey_is_created_once_despite_lost_responses(cij_sandbox, dag_id, parts, publish, fault, rule):
    """After a lost create response the journey is found by name or created by the retry, never twice."""
    with DAG(dag_id, schedule=None) as dag:
        create(parts, publish=publish, retries=1, retry_delay=timedelta(0))
    with injected_fault(cij_sandbox, fault, "CreateJourneyFromTemplate", **rule):
        ran = run_dag(dag)
    assert ran.states == {"create": "success"}
    (row,) = journeys_named(dag_id)
    assert ran.result("create")["journey_id"] == row["msdynmkt_journeyid"]
    assert row["statuscode"] in ((2, 4) if publish else (1,))


@pytest.mark.parametrize("fault", ["lost", "reset"])
def test_a_journey_is_published_once_despite_lost_responses(cij_sandbox, dag_id, parts, fault):
    """A lost publish response is resolved by reading the status; a request that was not received is retried."""
    since = cij_sandbox.requests()[-1]["number"]
    with DAG(dag_id, schedule=None) as dag:
        made = create(parts)
        made >> CijPublishJourneyOperator(
            task_id="publish",
            journey_id=made.output["journey_id"],
            poll_interval=0.1,
            retries=1,
            retry_delay=timedelta(0),
        )
    with injected_fault(cij_sandbox, fault, "PublishJourneyV2"):
        ran = run_dag(dag)
    assert ran.result("publish")["status"] == "live"
    sent = [
        request
        for request in cij_sandbox.requests(since)
        if "PublishJourneyV2" in str(request) and "POST" in str(request)
    ]
    assert len(sent) == (1 if fault == "lost" else 2)


def test_an_invalid_draft_of_the_same_run_is_an_error(dag_id, parts, capfd):
    """An invalid draft of the same user and run is reported as invalid."""
    body = {"msdynmkt_name": f"J {dag_id}", "msdynmkt_journeyjson": "{}"}
    CijHook().run(lambda cij: cij.dataverse.post("msdynmkt_journeys", body, repeatable=False))
    with DAG(dag_id, schedule=None) as dag:
        create(parts)
    assert run_dag(dag).states == {"create": "failed"}
    assert "is not valid: InvalidDefinition" in capfd.readouterr().out


def test_an_audience_that_is_not_live_is_refused(dag_id, parts, capfd):
    """A journey whose audience segment is not live is refused before the create action is called."""
    draft = SegmentSpec(f"{dag_id}.draft", "Draft one", groups=(MemberGroup("in"),))
    CijHook().run(lambda cij: cij.segments.create(draft))
    with DAG(dag_id, schedule=None) as dag:
        create(parts, audience_segment_id=draft.segment_id)
    assert run_dag(dag).states == {"create": "failed"}
    assert "The audience, segment 'Draft one', is draft." in capfd.readouterr().out
    assert journeys_named(dag_id) == []


def contacts(count: int) -> list[dict]:
    """Return contacts that have an e-mail address."""
    path = f"contacts?$select=contactid,emailaddress1&$filter=emailaddress1 ne null&$top={count}"
    return CijHook().run(lambda cij: cij.dataverse.get(path))["value"]


def test_each_person_is_raised_once_despite_faults(cij_sandbox, dag_id, tmp_path):
    """With lost responses, gateway errors and throttling each person is raised once or reported as unclear."""
    name = f"msdynmkt_{uuid.uuid4().hex[:12]}"
    cij_sandbox.add_trigger(
        name, msdynmkt_plan="string", msdynmkt_days="integer", msdynmkt_on="datetime", msdynmkt_paid="boolean"
    )
    people = [row["contactid"] for row in contacts(120)]
    path = tmp_path / "unclear.csv"
    with DAG(dag_id, schedule=None) as dag:
        CijRaiseTriggerOperator(
            task_id="t",
            trigger=name,
            members=people,
            attributes={"plan": "gold", "days": "{{ 30 }}", "on": "2026-12-01T00:00:00+01:00", "paid": "true"},
            rate_per_minute=2500,
            unclear_path=str(path),
        )
    cij_sandbox.faults.add("lost", path=name, count=2, after=10)
    cij_sandbox.faults.add("502", path=name, count=1, after=30, processed=False)
    cij_sandbox.faults.add("429", path=name, count=2, after=50, retry_after=1)
    try:
        ran = run_dag(dag)
    finally:
        cij_sandbox.faults.clear()
    report = {name: count for name, count in ran.result("t").items() if count}
    assert report == {"read": 120, "raised": 117, "unclear": 3}
    seen = Counter(event["profile_id"] for event in cij_sandbox.events() if event["trigger"] == name)
    unclear = set(path.read_text().split()[1:])
    assert set(seen.values()) == {1}
    assert len(unclear) == 3
    assert set(seen) | unclear == set(people)
    assert len(set(seen) & unclear) == 2


def test_the_example_dag_of_a_trigger(cij_sandbox, tmp_path):
    """The example DAG raises a trigger for every person in its file."""
    people = [row["contactid"] for row in contacts(5)]
    (tmp_path / "people.csv").write_text("\n".join(["contactid", *people]))
    files = {"people_file": str(tmp_path / "people.csv"), "unclear_folder": tmp_path.as_uri()}
    module = runpy.run_path("example_dags/cij_raise_trigger.py")
    ran = run_dag(module["dag"], files)
    assert ran.result("raise_cart_abandoned")["raised"] == 5
    seen = [event["profile_id"] for event in cij_sandbox.events() if event["trigger"] == "msdynmkt_cartabandoned"]
    assert set(people) <= set(seen)


@pytest.mark.parametrize("kind", [CijAddSegmentMembersOperator, CijMirrorSegmentMembersOperator])
@pytest.mark.parametrize("topic", [False, True])
def test_opted_out_people_are_left_out(dag_id, kind, topic):
    """People who opted out of the purpose or topic are not added, and are counted only with ``require_consent``."""
    people = contacts(300)
    ids = [row["contactid"] for row in people]
    made = CijHook().run(lambda cij: cij.segments.create(SegmentSpec(dag_id, "Mail", groups=(MemberGroup("in"),))))
    read = lambda cij: cij.dataverse.get("msdynmkt_topics?$top=1")  # noqa: E731
    topic_id = CijHook().run(read)["value"][0]["msdynmkt_topicid"] if topic else ""
    to = ConsentTo(topic_id=topic_id)

    async def prepare(cij):
        # Somebody who had said nothing of it.
        await cij.consent.set(people[7]["emailaddress1"], ConsentValue.OPTED_OUT, to)
        purpose = [await cij.consent.get(row["emailaddress1"]) for row in people]
        about = [await cij.consent.get(row["emailaddress1"], to) for row in people[:20]]
        return purpose, about

    purpose, about = CijHook().run(prepare)
    expected = {contact_id for contact_id, value in zip(ids, purpose, strict=True) if value == ConsentValue.OPTED_OUT}
    expected |= {contact_id for contact_id, value in zip(ids, about, strict=False) if value == ConsentValue.OPTED_OUT}
    assert ids[7] in expected
    with DAG(dag_id, schedule=None) as dag:
        kind(
            task_id="t",
            segment_id=made.segment_id,
            group="in",
            members=ids,
            require_consent=to if topic else True,
        )
        other = CijAddSegmentMembersOperator(task_id="all", segment_id=made.segment_id, group="in", members=ids[:1])
    ran = run_dag(dag)
    assert ran.result("t")["opted_out"] == len(expected)
    assert ran.result("t")["added"] + ran.result("t")["unchanged"] == 300 - len(expected)
    assert "opted_out" not in ran.result(other.task_id)


def test_consent_is_set_and_read():
    """Consent that was set is read, for an address of no contact too, and setting it again writes nothing."""
    address = f"{uuid.uuid4()}@contoso.test"

    async def work(cij):
        steps = [await cij.consent.get(address)]
        for value in (ConsentValue.OPTED_IN, ConsentValue.OPTED_OUT, ConsentValue.OPTED_OUT):
            steps += [await cij.consent.set(address, value, reason="test"), await cij.consent.get(address.upper())]
        return steps

    unset, opted_in, opted_out = ConsentValue
    assert CijHook().run(work) == [unset, True, opted_in, True, opted_out, False, opted_out]


def test_an_invalid_require_consent_is_refused(dag_id, capfd):
    """An invalid ``require_consent`` fails the task with the values to use."""
    made = CijHook().run(lambda cij: cij.segments.create(SegmentSpec(dag_id, "Mail", groups=(MemberGroup("in"),))))
    with DAG(dag_id, schedule=None) as dag:
        CijAddSegmentMembersOperator(
            task_id="t",
            segment_id=made.segment_id,
            group="in",
            members=[made.segment_id],
            require_consent="{{ 'yes' }}",
        )
    assert run_dag(dag).states == {"t": "failed"}
    assert "Give True, or ConsentTo(…)." in capfd.readouterr().out
