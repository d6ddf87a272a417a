"""Update, refresh, stop and delete as tasks of a DAG, run by Airflow's own ``dag.test()`` against the sandbox."""

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


def test_the_life_of_a_segment(dag_id):
    """Created, published, changed, refreshed, stopped, waited for, deleted: each task by the id of the first."""
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


def test_what_changes_is_shown(dag_id, capfd):
    """A rename and a group that turns from in to out are warnings outside the folded log, and stand in the result."""
    with DAG(dag_id, schedule=None) as dag:
        create = CijCreateSegmentOperator(task_id="create", display_name="A", groups=["staff"], key=dag_id)
        CijCreateSegmentOperator(
            task_id="again", display_name="B", groups=[MemberGroup("staff", False)], key=dag_id
        ).set_upstream(create)
    changes = run_dag(dag).result("again")["changes"]
    assert changes["display_name"] == {"old": "A", "new": "B"}
    assert changes["groups"] == {"old": {"staff": "include"}, "new": {"staff": "exclude"}}
    said = capfd.readouterr().out
    *_, shown = said.split("::group::Create segment 'B'")[1].split("::endgroup::", 1)
    assert "was 'A' and is now 'B'" in shown
    assert "Group 'staff'" in shown
    assert "was to include its members, and is to exclude them" in shown


def test_nothing_to_delete(dag_id, capfd):
    """Is fine, unless it is not."""
    nobody = str(uuid.uuid4())
    with DAG(dag_id, schedule=None) as dag:
        for stop_first in (False, True):
            task_id = f"fine_{stop_first}"
            CijDeleteSegmentOperator(task_id=task_id, segment_id=nobody, stop_first=stop_first)
        CijDeleteSegmentOperator(task_id="not_fine", segment_id=nobody, missing_ok=False, retries=2)
    assert run_dag(dag).states == {"fine_False": "success", "fine_True": "success", "not_fine": "failed"}
    assert f"There is no segment {nobody}, and no definition of this id." in capfd.readouterr().out


@pytest.mark.parametrize(
    ("kind", "arguments", "said"),
    [
        (CijStopSegmentsOperator, {"segment_ids": str(uuid.uuid4())}, "Give a list of ids."),
        (CijStopSegmentsOperator, {"segment_ids": []}, "Give a list of ids."),
        (CijStopSegmentsOperator, {"segment_ids": ["x"]}, "segment_id is 'x', which is no GUID"),
        (CijDeleteSegmentOperator, {"segment_id": "x"}, "segment_id is 'x', which is no GUID"),
        (CijUpdateSegmentOperator, {"segment_id": "x", "groups": "in"}, "groups is 'in'. Give a list of names"),
        (CijUpdateSegmentOperator, {"segment_id": str(uuid.uuid4()), "query": ""}, "Does Not Exist"),
    ],
)
def test_what_cant_be_right_fails_at_once(dag_id, capfd, kind, arguments, said):
    """With the reason; no retry is wasted on it."""
    with DAG(dag_id, schedule=None) as dag:
        kind(task_id="t", retries=2, **arguments)
    assert run_dag(dag).states == {"t": "failed"}
    assert said in capfd.readouterr().out


def test_the_oldest_generation_by_choice(dag_id):
    """Ids on the row; the UI does not show them."""
    somebody = str(uuid.uuid4())
    with DAG(dag_id, schedule=None) as dag:
        create = CijCreateSegmentOperator(task_id="create", display_name="Old", included_members=[somebody])
        CijPublishSegmentOperator(task_id="publish", segment_id=create.output["segment_id"], **SOON)
    ran = run_dag(dag)
    assert ran.result("publish")["member_count"] == 1
    assert somebody not in repr(ran)


def test_segments_are_found_by_their_name(dag_id):
    """With a quote in it, and only the live ones if that is asked for."""
    prefix = f"O'Brien {dag_id}"
    with DAG(dag_id, schedule=None) as dag:
        names = [f"{prefix} 2", f"{prefix} 1", f"x {prefix}"]
        made = CijCreateSegmentOperator.partial(task_id="create", query="PROFILE(contact)").expand_kwargs(
            [{"display_name": name, "key": name} for name in names]
        )
        CijPublishSegmentOperator.partial(task_id="publish", **SOON).expand(
            segment_id=made.output.map(lambda one: one["segment_id"])
        )
    run_dag(dag)

    async def find(cij):
        await cij.segments.stop([(await cij.segments.find(f"{prefix} 2"))[0].segment_id])
        every, live = [await cij.segments.find(prefix, live=only) for only in (False, True)]
        return [one.display_name for one in every], [one.display_name for one in live]

    assert CijHook().run(find) == ([f"{prefix} 1", f"{prefix} 2"], [f"{prefix} 1"])


@pytest.mark.skipif(not TAKES_RETRY_POLICY, reason="retry policies came with Airflow 3.3")
def test_default_args_reach_every_task():
    """The connection too; and a retry policy of one's own stays."""

    class Own(CijRetryPolicy):
        """A policy of one's own."""

    with DAG("d", schedule=None, default_args={"cij_conn_id": "other", "retries": 3}):
        sensor = CijSegmentSensor(task_id="a", segment_id="x")
        refresh = CijRefreshSegmentOperator(task_id="b", segment_id="x")
        own = CijRefreshSegmentOperator(task_id="c", segment_id="x", retry_policy=Own())
    assert {task.cij_conn_id for task in (sensor, refresh)} == {"other"}
    assert {type(task.retry_policy) for task in (sensor, refresh)} == {CijRetryPolicy}
    assert type(own.retry_policy) is Own
