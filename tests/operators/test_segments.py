"""Operators that update, refresh, stop and delete segments, against the sandbox."""

from __future__ import annotations

import uuid

import pytest
from airflow.sdk import DAG

from airflow_provider_cij.errors import CijNotFoundError
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.operators.segments import (
    CijCreateSegmentOperator,
    CijDeleteSegmentOperator,
    CijPublishSegmentOperator,
    CijRefreshSegmentOperator,
    CijStopSegmentsOperator,
    CijUpdateSegmentOperator,
    MemberGroup,
)
from airflow_provider_cij.retry_policy import CijRetryPolicy
from airflow_provider_cij.sensors.segments import CijSegmentSensor
from airflow_provider_cij.version_compat import TAKES_RETRY_POLICY
from tests.dags import run_dag
from tests.segment_responses import LINK

SOON = {"poll_interval": 0.2}


@pytest.fixture(autouse=True)
def _connection(cij_sandbox, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", cij_sandbox.airflow_conn_uri)


def _segment(segment_id: str):
    return CijHook().run(lambda cij: cij.segments.get(segment_id))


def test_the_lifecycle_of_a_segment(dag_id):
    """A segment is created, published, updated, refreshed, stopped, waited for and deleted by its id from XCom."""
    with DAG(dag_id, schedule=None) as dag:
        create = CijCreateSegmentOperator(
            task_id="create", display_name="A", query="PROFILE(contact)", groups=["in", MemberGroup("out", False)]
        )
        segment_id = create.output["segment_id"]
        publish = CijPublishSegmentOperator(task_id="publish", segment_id=segment_id, **SOON)
        update = CijUpdateSegmentOperator(
            task_id="update",
            segment_id=segment_id,
            display_name="B {{ dag.dag_id }}",
            query="PROFILE(contact).FILTER(creditlimit >= 18000)",
            groups=["in"],
        )
        refresh = CijRefreshSegmentOperator(task_id="refresh", segment_id=segment_id, deferrable=True, **SOON)
        stop = CijStopSegmentsOperator(task_id="stop", segment_ids=[segment_id])
        wait = CijSegmentSensor(task_id="wait", segment_id=segment_id, until="stopped", poke_interval=0.2)
        again = CijRefreshSegmentOperator(task_id="again", segment_id=segment_id, **SOON)
        delete = CijDeleteSegmentOperator(task_id="delete", segment_id=segment_id, stop_first=True, **SOON)
        create >> publish >> update >> refresh >> stop >> wait >> again >> delete
    ran = run_dag(dag)
    assert set(ran.states.values()) == {"success"}
    made = ran.result("create")
    assert (ran.result("update")["changed"], list(ran.result("update")["groups"])) == (True, ["in"])
    fewer = ran.result("refresh")
    assert fewer["member_count"] < ran.result("publish")["member_count"]
    assert (fewer["status"], ran.result("again")["status"]) == ("live", "live")
    assert fewer["evaluated_at"] <= ran.result("again")["evaluated_at"]
    assert ran.result("stop") == {"stopped": [made["segment_id"]]}
    assert ran.result("wait")["status"] == "stopped"
    assert all(LINK in ran.xcoms[task] for task in ("update", "refresh", "wait", "again"))
    with pytest.raises(CijNotFoundError):
        _segment(made["segment_id"])


def test_changes_are_logged_and_returned(dag_id, capfd):
    """A rename and a group that turns to exclude are logged outside the folded group and returned."""
    with DAG(dag_id, schedule=None) as dag:
        create = CijCreateSegmentOperator(task_id="create", display_name="A", groups=["staff"], key=dag_id)
        CijCreateSegmentOperator(
            task_id="again", display_name="B", groups=[MemberGroup("staff", False)], key=dag_id
        ).set_upstream(create)
    changes = run_dag(dag).result("again")["changes"]
    assert changes["display_name"] == {"old": "A", "new": "B"}
    assert changes["groups"] == {"old": {"staff": "include"}, "new": {"staff": "exclude"}}
    message = capfd.readouterr().out
    *_, shown = message.split("::group::Create segment 'B'")[1].split("::endgroup::", 1)
    assert "was 'A' and is now 'B'" in shown
    assert "Group 'staff'" in shown
    assert "was to include its members, and is to exclude them" in shown


def test_deleting_a_missing_segment(dag_id, capfd):
    """Deleting a missing segment is a success, and a failure with ``missing_ok=False``."""
    nobody = str(uuid.uuid4())
    with DAG(dag_id, schedule=None) as dag:
        for stop_first in (False, True):
            task_id = f"fine_{stop_first}"
            CijDeleteSegmentOperator(task_id=task_id, segment_id=nobody, stop_first=stop_first)
        CijDeleteSegmentOperator(task_id="not_fine", segment_id=nobody, missing_ok=False, retries=2)
    assert run_dag(dag).states == {"fine_False": "success", "fine_True": "success", "not_fine": "failed"}
    assert f"There is no segment {nobody}, and no definition with this id." in capfd.readouterr().out


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (CijStopSegmentsOperator, {"segment_ids": "{{ dag.dag_id }}"}, "Give a list of ids."),
        (CijStopSegmentsOperator, {"segment_ids": []}, "segment_ids is an empty list"),
        (CijStopSegmentsOperator, {"segment_ids": ["{{ 'x' }}"]}, "segment_ids is 'x', which is no GUID"),
        (CijDeleteSegmentOperator, {"segment_id": "{{ 'x' }}"}, "segment_id is 'x', which is no GUID"),
        (
            CijUpdateSegmentOperator,
            {"segment_id": str(uuid.uuid4()), "groups": "{{ 'in' }}"},
            "groups is 'in'. Give a list of names",
        ),
        (CijUpdateSegmentOperator, {"segment_id": str(uuid.uuid4()), "query": ""}, "Does Not Exist"),
    ],
)
def test_invalid_arguments_fail_without_a_retry(dag_id, capfd, kind, arguments, message):
    """Invalid arguments fail the task with the reason and without a retry."""
    with DAG(dag_id, schedule=None) as dag:
        kind(task_id="t", retries=2, **arguments)
    assert run_dag(dag).states == {"t": "failed"}
    assert message in capfd.readouterr().out


def test_members_on_the_row_are_not_shown(dag_id):
    """Members given as ``included_members`` are evaluated, and the UI does not show them."""
    somebody = str(uuid.uuid4())
    with DAG(dag_id, schedule=None) as dag:
        create = CijCreateSegmentOperator(task_id="create", display_name="Old", included_members=[somebody])
        CijPublishSegmentOperator(task_id="publish", segment_id=create.output["segment_id"], **SOON)
    ran = run_dag(dag)
    assert ran.result("publish")["member_count"] == 1
    assert somebody not in repr(ran)


def test_segments_are_found_by_their_name(dag_id):
    """Segments are found by the start of their name, with a quote in it, all or only the live ones."""
    prefix = f"O'Brien {dag_id}"
    with DAG(dag_id, schedule=None) as dag:
        names = [f"{prefix} 2", f"{prefix} 1", f"x {prefix}"]
        made = CijCreateSegmentOperator.partial(task_id="create", query="PROFILE(contact)").expand_kwargs(
            [{"display_name": name, "key": name} for name in names]
        )
        CijPublishSegmentOperator.partial(task_id="publish", **SOON).expand(
            segment_id=made.output.map(lambda made: made["segment_id"])
        )
    run_dag(dag)

    async def find(cij):
        await cij.segments.stop([(await cij.segments.find(f"{prefix} 2"))[0].segment_id])
        every, live = [await cij.segments.find(prefix, live=only) for only in (False, True)]
        return [segment.display_name for segment in every], [segment.display_name for segment in live]

    assert CijHook().run(find) == ([f"{prefix} 1", f"{prefix} 2"], [f"{prefix} 1"])


@pytest.mark.skipif(not TAKES_RETRY_POLICY, reason="retry policies came with Airflow 3.3")
def test_default_args_reach_every_task():
    """``default_args`` set the connection of every task, and a given retry policy is kept."""

    class Own(CijRetryPolicy):
        """A retry policy of the DAG author."""

    with DAG("d", schedule=None, default_args={"cij_conn_id": "other", "retries": 3}):
        sensor = CijSegmentSensor(task_id="a", segment_id=str(uuid.uuid4()))
        refresh = CijRefreshSegmentOperator(task_id="b", segment_id=str(uuid.uuid4()))
        own = CijRefreshSegmentOperator(task_id="c", segment_id=str(uuid.uuid4()), retry_policy=Own())
    assert {task.cij_conn_id for task in (sensor, refresh)} == {"other"}
    assert {type(task.retry_policy) for task in (sensor, refresh)} == {CijRetryPolicy}
    assert type(own.retry_policy) is Own
