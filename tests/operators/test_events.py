"""Asset events of operators: emitted by themselves, with numbers, in deferrable and mapped tasks as well."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG, Asset

from airflow_provider_cij.api.segments.models import MemberGroup
from airflow_provider_cij.api.segments.spec import SegmentSpec, id_of
from airflow_provider_cij.assets import EVENTS, segment_asset
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.operators.members import CijAddSegmentMembersOperator, CijMirrorSegmentMembersOperator
from airflow_provider_cij.operators.segments import (
    CijCreateSegmentOperator,
    CijDeleteSegmentOperator,
    CijPublishSegmentOperator,
    CijRefreshSegmentOperator,
    CijStopSegmentsOperator,
)
from airflow_provider_cij.sources import FromFile
from airflow_provider_cij.version_compat import hook_lineage_collector
from tests.dags import events_of, run_dag
from tests.live_journeys import create_live_journey
from tests.scripted import Answer
from tests.segment_responses import ID, NONE, segment

ALLOWED = {
    *("segment_id", "name", "status", "member_count", "change", "evaluated_at", "read", "added", "removed", "invalid"),
    *("not_found", "opted_out", "used_by", "expires_at", "duration", "link", "execution_id"),
}


@pytest.fixture
def contacts(cij_sandbox, monkeypatch) -> list[str]:
    """Make the sandbox the default connection, and return some of its contacts."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", cij_sandbox.airflow_conn_uri)

    async def read(cij):
        return [row["contactid"] async for page in cij.dataverse.pages("contacts?$select=contactid") for row in page]

    return CijHook().run(read)[:20]


def test_each_change_of_a_segment_is_an_event_with_numbers(contacts, dag_id, tmp_path):
    """Operators that change a segment emit events on its asset, with counts and no people."""
    file = tmp_path / "list.csv"
    file.write_text("contactid\n" + "\n".join(contacts) + "\n")
    with DAG(dag_id, schedule=None) as dag:
        create = CijCreateSegmentOperator(task_id="create", display_name=f"VIP {dag_id}", groups=["In"])
        segment_id = create.output["segment_id"]
        fill = CijMirrorSegmentMembersOperator(
            task_id="fill", segment_id=segment_id, group="In", members=FromFile(str(file)), max_invalid=1
        )
        wait = {"segment_id": segment_id, "deferrable": True, "poll_interval": 0.2}
        publish = CijPublishSegmentOperator(task_id="publish", **wait)
        refresh = CijRefreshSegmentOperator(task_id="refresh", **wait)
        stop = CijStopSegmentsOperator(task_id="stop", segment_ids=[segment_id], poll_interval=0.2)
        delete = CijDeleteSegmentOperator(task_id="delete", segment_id=segment_id)
        create >> fill >> publish >> refresh >> stop >> delete
    ran = run_dag(dag)
    assert set(ran.states.values()) == {"success"}
    assert ran.xcoms["publish"]["cij_waiting_for"]["until"] == "live"
    waiting = ran.xcoms["refresh"]["cij_waiting_for"]
    assert set(waiting) == {"what", "until", "since", "gives_up_at"}
    assert (
        datetime.fromisoformat(waiting["since"]) <= datetime.now(UTC) < datetime.fromisoformat(waiting["gives_up_at"])
    )

    events = events_of(dag_id)
    asset = segment_asset(f"{dag_id}.create")
    assert [(task, uri) for task, uri, _, _ in events] == [
        (task, asset.uri) for task in ("create", "fill", "publish", "refresh", "stop", "delete")
    ]
    extras = {task: extra for task, _, _, extra in events}
    for extra in extras.values():
        assert set(extra) <= ALLOWED
        assert (extra["segment_id"], extra["name"]) == (id_of(f"{dag_id}.create"), f"VIP {dag_id}")
        assert extra["link"].endswith(extra["segment_id"])
        assert not any(person in json.dumps(extra) for person in contacts)
    assert extras["create"]["status"] == "draft"
    assert {name: extras["fill"][name] for name in ("read", "added", "removed", "invalid", "not_found")} == {
        "read": 20,
        "added": 20,
        "removed": 0,
        "invalid": 0,
        "not_found": 0,
    }
    assert (extras["publish"]["status"], extras["publish"]["member_count"]) == ("live", 20)
    assert {task for task, extra in extras.items() if "used_by" in extra or "expires_at" in extra} == {
        "publish",
        "refresh",
    }
    refreshed = extras["refresh"]
    assert (refreshed["member_count"], refreshed["change"]) == (20, 0)
    assert refreshed["evaluated_at"] == ran.result("refresh")["evaluated_at"]
    assert len(refreshed["execution_id"]) == 36
    assert refreshed["duration"] >= 0
    assert (extras["stop"]["status"], extras["delete"]["status"]) == ("stopped", "deleted")


@pytest.fixture
def segment_in_use(contacts, cij_sandbox) -> tuple[str, str]:
    """Return the ids of a live segment and of a live journey with it as its audience."""
    return CijHook().run(create_live_journey)


def _refreshed(dag_id: str, segment_id: str) -> dict:
    """Refresh a segment, and return the extra of the event."""
    with DAG(dag_id, schedule=None) as dag:
        CijRefreshSegmentOperator(task_id="refresh", segment_id=segment_id, poll_interval=0.1)
    assert run_dag(dag).states == {"refresh": "success"}
    return events_of(dag_id)[-1][3]


def test_an_event_says_how_many_journeys_use_a_segment_and_when_an_unused_one_expires(
    segment_in_use, cij_sandbox, dag_id
):
    """A segment in use has a count and no end; an unused one expires 120 days after its last journey stopped."""
    segment_id, journey_id = segment_in_use
    used = _refreshed(dag_id, segment_id)
    assert used["used_by"] == 1
    assert "expires_at" not in used
    stop = {"statecode": 2, "statuscode": 3}
    CijHook().run(lambda cij: cij.dataverse.patch(f"msdynmkt_journeys({journey_id})", stop))
    unused = _refreshed(dag_id, segment_id)
    assert unused["used_by"] == 0
    left = datetime.fromisoformat(unused["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=119, hours=23) < left <= timedelta(days=120)


def test_an_event_lacks_what_the_application_may_not_read(segment_in_use, cij_sandbox, dag_id):
    """Without the privilege to read usages a task succeeds, and its event of an unused segment claims nothing."""
    segment_id, journey_id = segment_in_use
    stop = {"statecode": 2, "statuscode": 3}
    CijHook().run(lambda cij: cij.dataverse.patch(f"msdynmkt_journeys({journey_id})", stop))
    cij_sandbox.faults.add("missing_privilege", table="msdynmkt_segmentusage", operation="read")
    try:
        assert not {"used_by", "expires_at"} & set(_refreshed(dag_id, segment_id))
    finally:
        cij_sandbox.faults.clear()


def test_mapped_tasks_emit_events_on_their_own_assets(contacts, dag_id):
    """Each instance of a mapped task emits an event on the asset of its own segment."""
    keys = [f"{dag_id}-nl", f"{dag_id}-be"]
    with DAG(dag_id, schedule=None) as dag:
        CijCreateSegmentOperator.partial(task_id="create", groups=["In"]).expand_kwargs(
            [{"key": key, "display_name": key} for key in keys]
        )
    mapped = dag.get_task("create")
    assert EVENTS in mapped.outlets
    run_dag(dag)
    assert sorted((index, uri) for _, uri, index, _ in events_of(dag_id)) == [
        (index, segment_asset(key).uri) for index, key in enumerate(keys)
    ]


@pytest.mark.parametrize("emit", [False, "{{ 'false' }}"])
def test_emit_events_false_emits_none(contacts, dag_id, emit):
    """With emit_events False, also from a template, a task emits no event."""
    with DAG(dag_id, schedule=None) as dag:
        task = CijCreateSegmentOperator(task_id="create", display_name=dag_id, groups=["In"], emit_events=emit)
        CijCreateSegmentOperator.partial(task_id="mapped", groups=["In"], emit_events=emit).expand_kwargs(
            [{"key": f"{dag_id}-m", "display_name": f"{dag_id}-m"}]
        )
    assert (EVENTS in task.outlets) == (emit is not False) == (EVENTS in dag.get_task("mapped").outlets)
    assert set(run_dag(dag).states.values()) == {"success"}
    assert events_of(dag_id) == []


def test_a_task_works_where_its_context_takes_no_events(contacts, dag_id):
    """Code that calls ``execute`` by itself, with a smaller context, gets the report and no event."""
    spec = SegmentSpec(dag_id, f"VIP {dag_id}", groups=(MemberGroup("In"),))
    CijHook().run(lambda cij: cij.segments.create(spec))
    task = CijAddSegmentMembersOperator(task_id="add", segment_id=spec.segment_id, group="In", members=contacts)
    context = {"ti": SimpleNamespace(map_index=-1, xcom_push=lambda **_: None)}
    assert task.execute(context)["added"] == len(contacts)


def test_outlets_of_the_author_stay(dag_id):
    """The author's own outlets stay beside the alias, of a mapped task and from default_args as well."""
    mine = Asset("s3://bucket/report")
    with DAG(dag_id, schedule=None, default_args={"outlets": [mine]}) as dag:
        plain = CijPublishSegmentOperator(task_id="plain", segment_id=ID)
        CijPublishSegmentOperator.partial(task_id="mapped").expand(segment_id=[ID])
        alone = CijPublishSegmentOperator.partial(task_id="alone", outlets=mine).expand(segment_id=[ID])
    for task in (plain, dag.get_task("mapped"), alone):
        assert list(task.outlets) == [mine, EVENTS]


def test_a_segment_that_stays_as_it_is_and_a_dry_run_emit_none(contacts, dag_id):
    """A create that changes nothing and a dry run of a mirror emit no event."""
    with DAG(dag_id, schedule=None) as dag:
        create = CijCreateSegmentOperator(task_id="create", display_name=dag_id, groups=["In"])
        again = CijCreateSegmentOperator(task_id="again", key=f"{dag_id}.create", display_name=dag_id, groups=["In"])
        dry = CijMirrorSegmentMembersOperator(
            task_id="dry", segment_id=create.output["segment_id"], group="In", members=contacts, dry_run=True
        )
        create >> again >> dry
    assert set(run_dag(dag).states.values()) == {"success"}
    assert [task for task, *_ in events_of(dag_id)] == ["create"]


def test_a_failure_is_an_xcom_of_one_line(run_publish):
    """A task that fails pushes its error's message, code and hint as XCom cij_error."""
    refused = Answer(404, {"error": {"code": "0x80040217", "message": "There is\nno segment."}})
    ran = run_publish(refused, NONE)
    assert ran.states == {"publish": "failed"}
    error = ran.xcoms["publish"]["cij_error"]
    assert set(error) == {"message", "code", "hint"}
    assert error["code"] == "0x80040217"
    assert "There is" in error["message"]
    assert "\n" not in error["message"]


def test_a_failure_in_the_triggerer_is_an_xcom_too(run_publish):
    """A deferred task whose segment fails pushes cij_error when it resumes."""
    ran = run_publish(
        *[segment(2), NONE, Answer(204), segment(5), segment(3), Answer(404)], deferrable=True, timeout=20
    )
    assert ran.states == {"publish": "failed"}
    assert "ended in status error" in ran.xcoms["publish"]["cij_error"]["message"]
    assert "cij_waiting_for" in ran.xcoms["publish"]


def test_lineage_names_the_file_and_the_segment(contacts, dag_id, tmp_path, monkeypatch):
    """The list's file is an input and the segment's asset an output in Airflow's lineage, where a plugin reads it."""
    try:
        from airflow.sdk import lineage
    except ImportError:  # Airflow 3.1
        from airflow.lineage import hook as lineage

    collector = lineage.HookLineageCollector()
    monkeypatch.setattr(lineage, "get_hook_lineage_collector", lambda: collector)
    assert hook_lineage_collector() is collector
    file = tmp_path / "list.csv"
    file.write_text("contactid\n" + contacts[0] + "\n")
    with DAG(dag_id, schedule=None) as dag:
        create = CijCreateSegmentOperator(task_id="create", display_name=dag_id, groups=["In"])
        CijAddSegmentMembersOperator(
            task_id="fill", segment_id=create.output["segment_id"], group="In", members=FromFile(str(file))
        )
    run_dag(dag)
    found = collector.collected_assets
    assert [one.asset.uri for one in found.inputs] == [file.as_uri()]
    assert {one.asset.uri for one in found.outputs} == {segment_asset(f"{dag_id}.create").uri}
