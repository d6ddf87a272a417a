"""CijRaiseTriggerOperator against a scripted service."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from datetime import timedelta

import pytest
from airflow.sdk import DAG, task

from airflow_provider_cij.api.custom_triggers.bulk import RaiseProgress
from airflow_provider_cij.operators.triggers import CijRaiseTriggerOperator
from airflow_provider_cij.sources import FromFile
from airflow_provider_cij.version_compat import TAKES_RETRY_POLICY
from tests.custom_trigger_responses import trigger_definition
from tests.dags import run_dag
from tests.member_ids import id_set
from tests.scripted import Answer, RecordedRequest, ScriptedServer

PEOPLE = [str(uuid.UUID(int=number * 7919)) for number in range(1, 61)]
ATTRIBUTES = {"text": "hello"}
NO = Answer(400, {"error": {"code": "0x80040265", "message": f"No contact {PEOPLE[0]}."}})
LOST = Answer(hang_up=True)
BUSY = {"error": {"code": "0x80072322", "message": "Number of requests exceeded."}}
FORBIDDEN = Answer(403, {"error": {"code": "0x80040220", "message": "missing prvCreatemsdynmkt_x"}})

keeps_notes = pytest.mark.skipif(not TAKES_RETRY_POLICY, reason="the task state store came with Airflow 3.3")


class _Organisation(ScriptedServer):
    """Knows one trigger, and answers the n-th raise as ``answers`` says."""

    def __init__(self, folder) -> None:
        super().__init__(folder)
        self.raised: list[str] = []
        self.texts: list[str] = []
        self.answers: dict[int, Answer] = {}
        self.definition = trigger_definition()

    def answer(self, request: RecordedRequest) -> Answer:
        if "msdynmkt_eventmetadataset" in request.path:
            return self.definition[0]
        if "customapis" in request.path:
            return self.definition[1]
        if request.path.endswith("/msdynmkt_order"):
            with self._lock:
                sent = json.loads(request.body)
                self.raised.append(sent["msdynmkt_profileid"])
                self.texts.append(sent.get("msdynmkt_text", ""))
                return self.answers.get(len(self.raised), Answer(204))
        return super().answer(request)


@pytest.fixture
def organisation(tmp_path, monkeypatch):
    """Run the organisation as the default connection."""
    with _Organisation(tmp_path) as server:
        monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", server.connection())
        yield server


def run(**arguments):
    """Run the operator and return its state, the non-zero counts of its report and the finished run."""
    given = {"trigger": "order", "attributes": ATTRIBUTES, "rate_per_minute": 2500, "retry_delay": timedelta(0)}
    with DAG("raising", schedule=None) as dag:
        CijRaiseTriggerOperator(task_id="t", **(given | arguments))
    ran = run_dag(dag)
    report = ran.result("t") if ran.states["t"] == "success" else {}
    return ran.states["t"], {name: count for name, count in report.items() if count}, ran


def test_a_trigger_is_raised_for_one_person(organisation):
    """A trigger is raised for one person with templated arguments."""
    state, report, ran = run(
        trigger="{{ 'msdynmkt_order' }}", profile_id="{{ '" + PEOPLE[0] + "' }}", attributes={"text": "{{ 1 + 1 }}"}
    )
    assert (state, report) == ("success", {"read": 1, "raised": 1})
    assert list(ran.result("t")) == ["read", "invalid", "duplicate", "not_found", "raised", "refused", "unclear"]
    assert organisation.raised == [PEOPLE[0]]


def test_a_trigger_is_raised_for_a_file_of_people(organisation, tmp_path):
    """A trigger is raised once for each person in a file; invalid and duplicate rows are counted."""
    file = tmp_path / "people.csv"
    file.write_text("\n".join(["contactid", *PEOPLE, *PEOPLE[:3], "nobody"]))
    rejects = tmp_path / "rejects.csv"
    state, report, _ = run(members=FromFile(str(file)), max_invalid=1, rejects_path=str(rejects))
    assert (state, report) == ("success", {"read": 64, "invalid": 1, "duplicate": 3, "raised": 60})
    assert rejects.read_text() == "line,reason,value\n65,6 characters that are no id,nobody\n"
    assert sorted(organisation.raised) == PEOPLE


def test_people_are_matched_by_email(organisation):
    """People are matched by e-mail address, and addresses without a match are counted."""
    found = [{"contactid": person, "emailaddress1": f"{place}@x"} for place, person in enumerate(PEOPLE[:2])]
    organisation.script = [Answer(body={"value": found})]
    state, report, _ = run(members=["0@x", "1@X", "2@x"], match_on="emailaddress1", max_not_found="34%")
    assert (state, report) == ("success", {"read": 3, "not_found": 1, "raised": 2})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Give profile_id for one person, or members for many."),
        ({"profile_id": "x", "members": ["x"]}, "Give profile_id for one person, or members for many."),
        ({"members": PEOPLE, "rate_per_minute": 2501}, "rate_per_minute is 2501. The service takes 2500."),
        ({"members": PEOPLE, "table": "{{ 'contacts' }}"}, "table is 'contacts'. Use 'contact' or 'lead'."),
        ({"members": PEOPLE, "raise_again": "{{ 'yes' }}"}, "raise_again is 'yes'. Give True or False."),
        ({"members": PEOPLE, "max_concurrency": 0}, "max_concurrency is 0"),
        ({"members": PEOPLE, "attributes": {}}, "text is missing"),
        ({"members": PEOPLE, "attributes": {"text": "", "colour": 1}}, "colour is unknown; text must be"),
        ({"members": PEOPLE, "unclear_path": "nowhere/x.csv"}, "can't be written"),
        ({"members": PEOPLE, "not_found_path": "x.csv"}, "without match_on"),
        ({"members": ["nobody"]}, "None of the first 1 rows holds any id"),
        (
            {"members": ["0@x"], "match_on": "emailaddress1"},
            "1 values of 1 rows match nobody",
        ),
        ({"members": []}, "The list has no row."),
        (
            {"members": PEOPLE, "max_invalid": "{{ '1.0' }}"},
            "max_invalid is '1.0', which could mean one row or all of them",
        ),
        ({"members": PEOPLE, "on_empty": "{{ 'pass' }}"}, "on_empty is 'pass'. Use 'fail', 'skip' or 'ok'."),
    ],
)
def test_arguments_are_checked_before_the_first_raise(organisation, capfd, arguments, message):
    """Arguments, attributes and the list are checked before the trigger is raised for anyone."""
    organisation.script = [Answer(body={"value": []})]
    assert run(**arguments)[0] == "failed"
    assert message in capfd.readouterr().out
    assert organisation.raised == []


def test_a_trigger_that_is_not_ready_is_not_raised(organisation, capfd):
    """A trigger that is not ready to use is refused, for the service would accept it without effect."""
    organisation.definition = trigger_definition(msdynmkt_state=534120001)
    assert run(members=PEOPLE)[0] == "failed"
    assert "is getting ready. Make it ready to use in Dynamics 365" in capfd.readouterr().out
    assert organisation.raised == []


def test_unclear_people_are_written_to_a_file_and_not_repeated(organisation, tmp_path, capfd, caplog):
    """Unclear people are written to ``unclear_path`` and not sent again, and the log shows no id."""
    organisation.answers = {3: LOST, 30: Answer(502, b"<html>Bad Gateway</html>"), 31: NO}
    path = tmp_path / "unclear.csv"
    state, report, ran = run(members=PEOPLE, unclear_path=str(path))
    assert (state, report) == ("success", {"read": 60, "raised": 57, "refused": 1, "unclear": 2})
    assert sorted(path.read_text().split()) == sorted(["contactid", organisation.raised[2], organisation.raised[29]])
    assert Counter(organisation.raised).most_common(1)[0][1] == 1
    out = capfd.readouterr().out + caplog.text
    assert "1 were refused: HTTP 400, code 0x80040265" in out
    assert not any(person in out or person in str(ran.xcoms) or person in str(ran.rendered) for person in PEOPLE)


@keeps_notes
def test_an_unclear_person_without_a_file_fails_the_task(organisation, capfd):
    """Without ``unclear_path`` an unclear person fails the task without a retry."""
    organisation.answers = {3: LOST}
    assert run(members=PEOPLE, retries=2)[0] == "failed"
    message = "Whether the trigger was raised for 1 of 60 people is not known. Not sent again."
    assert message in capfd.readouterr().out
    assert len(organisation.raised) == 60


def test_a_refused_single_person_fails_the_task(organisation, capfd):
    """A refused single person fails the task with the service's message without the id."""
    organisation.answers = {1: NO}
    assert run(profile_id=PEOPLE[0], retries=1)[0] == "failed"
    assert "was refused: No contact …." in capfd.readouterr().out
    assert len(organisation.raised) == 1


def test_a_missing_privilege_ends_the_task(organisation, capfd):
    """A missing privilege ends the task at once."""
    organisation.answers = dict.fromkeys(range(28, 61), FORBIDDEN)
    assert run(members=PEOPLE)[0] == "failed"
    assert "missing prvCreatemsdynmkt_x" in capfd.readouterr().out
    assert len(organisation.raised) == len(set(organisation.raised)) < 40


@keeps_notes
def test_a_retry_continues_with_the_remaining_people(organisation, tmp_path):
    """After a block without a success the task ends, and its retry sends the remaining people only."""
    organisation.answers = dict.fromkeys(range(26, 51), LOST)
    path = tmp_path / "unclear.csv"
    state, report, _ = run(members=PEOPLE, retries=1, unclear_path=str(path))
    assert (state, report) == ("success", {"read": 60, "raised": 35, "unclear": 25})
    assert sorted(organisation.raised) == PEOPLE
    assert len(path.read_text().split()) == 26


@keeps_notes
def test_a_retry_with_another_list_is_refused(organisation, capfd, tmp_path, monkeypatch):
    """A retry whose list has changed is refused, for the saved positions do not apply to it."""
    file = tmp_path / "people.csv"
    file.write_text("\n".join(["contactid", *PEOPLE]))
    organisation.answers = dict.fromkeys(range(26, 51), LOST)
    noted = CijRaiseTriggerOperator._raise

    async def and_change_the_list(self, *arguments):
        try:
            await noted(self, *arguments)
        finally:
            file.write_text("\n".join(["contactid", *PEOPLE[1:]]))

    monkeypatch.setattr(CijRaiseTriggerOperator, "_raise", and_change_the_list)
    assert run(members=FromFile(str(file)), retries=2)[0] == "failed"
    out = capfd.readouterr().out
    assert "raised the trigger for 25 people, and 25 are unclear; but it had another list" in out
    assert len(organisation.raised) == 50


@keeps_notes
@pytest.mark.parametrize(
    ("of", "raised"),
    [
        ("{address} contact msdynmkt_order {digest}", 30),
        ("msdynmkt_order {digest}", 30),  # the form of earlier versions
        ("https://other.crm4.dynamics.com contact msdynmkt_order {digest}", None),
        ("{address} lead msdynmkt_order {digest}", None),
        ("{address} contact msdynmkt_other {digest}", None),
    ],
)
def test_progress_counts_for_its_own_organisation_table_and_trigger(organisation, capfd, monkeypatch, of, raised):
    """A try goes on from progress of the same job, and raises nobody when it is of another one."""
    execute = CijRaiseTriggerOperator.execute
    of = of.format(address=json.loads(organisation.connection())["host"], digest=id_set(PEOPLE).digest())

    def after_an_earlier_try(self, context):
        context["task_state_store"].set("cij_raised", RaiseProgress(of, next=30, raised=30).as_dict())
        return execute(self, context)

    monkeypatch.setattr(CijRaiseTriggerOperator, "execute", after_an_earlier_try)
    state, report, _ = run(members=PEOPLE)
    assert (state, report.get("raised")) == (("success", 60) if raised else ("failed", None))
    assert len(organisation.raised) == (raised or 0)
    refused = "raised the trigger for 30 people, and 0 are unclear; but it had another list"
    assert (refused in capfd.readouterr().out) is (raised is None)


@keeps_notes
def test_a_deferral_for_retry_after_continues_the_run(organisation, monkeypatch):
    """A Retry-After beyond the limit defers the task, which then continues where it was."""
    connection = json.loads(organisation.connection())
    connection["extra"]["max_hold_seconds"] = 0
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", json.dumps(connection))
    monkeypatch.setattr("random.random", lambda: 0.0)
    organisation.answers = {30: Answer(429, BUSY, {"Retry-After": "1"})}
    state, report, _ = run(members=PEOPLE)
    assert (state, report) == ("success", {"read": 60, "raised": 60})
    refused = organisation.raised.pop(29)
    assert refused in organisation.raised
    assert sorted(organisation.raised) == PEOPLE


def without_task_state_store(monkeypatch):
    """Remove the task state store, as before Airflow 3.3."""
    execute = CijRaiseTriggerOperator.execute

    def bare(self, context):
        context = {name: context[name] for name in context if name != "task_state_store"}
        return execute(self, context)

    monkeypatch.setattr(CijRaiseTriggerOperator, "execute", bare)


def test_a_partial_run_without_a_state_store_is_not_retried(organisation, capfd, monkeypatch):
    """Without a task state store a partial run fails with its counts and without a retry."""
    without_task_state_store(monkeypatch)
    organisation.answers = dict.fromkeys(range(26, 51), LOST)
    assert run(members=PEOPLE, retries=3)[0] == "failed"
    assert "25 were raised, 25 are unclear, and this Airflow keeps no note of who." in capfd.readouterr().out
    assert len(organisation.raised) == 50


def test_a_retry_without_a_state_store_raises_no_one(organisation, capfd, monkeypatch):
    """Without a task state store a retry is refused, because the first attempt may have raised people."""
    without_task_state_store(monkeypatch)
    good, organisation.definition = organisation.definition, [Answer(503, None), Answer(503, None)]
    from airflow_provider_cij.dataverse.retry import RetryPolicy
    from airflow_provider_cij.hooks.cij import CijHook

    hook_run = CijHook.run

    def impatient(self, work, rules=None):
        try:
            return hook_run(self, work, RetryPolicy(max_attempts=1))
        finally:
            organisation.definition = good

    monkeypatch.setattr(CijHook, "run", impatient)
    assert run(members=PEOPLE, retries=1)[0] == "failed"
    assert "An earlier try of this task may have raised the trigger" in capfd.readouterr().out
    assert organisation.raised == []


def in_database(*texts):
    """Return which texts are in the serialized DAGs and rendered fields of Airflow's database."""
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        rows = session.scalars(
            select(RenderedTaskInstanceFields).where(RenderedTaskInstanceFields.task_id.in_(["t", "l"]))
        )
        kept = [json.dumps(row.rendered_fields) for row in rows]
        kept += [json.dumps(row.data) for row in session.scalars(select(SerializedDagModel))]
    assert any("not shown" in document for document in kept)
    return {text for text in texts if any(text in document for document in kept)}


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("way", ["literal", "template", "xcom", "xcom value"])
def test_rendered_fields_and_serialized_dags_hold_no_personal_data(organisation, way, native):
    """Airflow keeps neither the person's id nor attribute values."""
    secret, person = str(uuid.uuid4()), str(uuid.uuid4())
    with DAG(f"hidden_{way.replace(' ', '_')}_{native}", schedule=None, render_template_as_native_obj=native) as dag:

        @task(multiple_outputs=False)
        def row():
            return {"person": person, "attributes": {"text": secret}}

        made, given = row(), {"profile_id": person, "attributes": {"text": secret}}
        if way == "template":
            pulled = "ti.xcom_pull('row')"
            given["profile_id"] = "{{ " + pulled + "['person'] }}"
            given["attributes"] = {"text": "{{ " + pulled + "['attributes']['text'] }}"}
        elif way == "xcom":
            given = {"profile_id": person_of(made), "attributes": attributes_of(made)}
        elif way == "xcom value":
            given = {"profile_id": person_of(made), "attributes": {"text": text_of(made)}}
        raising = CijRaiseTriggerOperator(task_id="t", trigger="order", **given)
        made >> raising
        # A text that is no list is refused, and what it renders to is not kept either.
        CijRaiseTriggerOperator(task_id="l", trigger="order", members="{{ ti.xcom_pull('row')['person'] }}") << made
    ran = run_dag(dag)
    assert (ran.states["t"], ran.states["l"]) == ("success", "failed")
    assert organisation.raised == [person]
    assert organisation.texts == [secret]
    assert in_database(secret, person) == set()


@task
def person_of(row):
    """Return the person of a row."""
    return row["person"]


@task
def attributes_of(row):
    """Return a row's attributes."""
    return row["attributes"]


@task
def text_of(row):
    """Return an attribute of a row."""
    return row["attributes"]["text"]
