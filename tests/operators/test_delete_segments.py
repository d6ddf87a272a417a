"""Deleting segments: concurrently, and after waiting for a stop."""

from __future__ import annotations

import json
import threading
import uuid

import pytest
from airflow.sdk import DAG

from airflow_provider_cij.api.outbound.segments import OutboundSegmentSpec
from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.errors import CijNotFoundError, CijThrottledError
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.operators.outbound import CijOutboundDeleteSegmentOperator
from airflow_provider_cij.operators.segments import CijDeleteSegmentOperator
from airflow_provider_cij.version_compat import AirflowFailException
from tests.dags import run_dag
from tests.scripted import Answer
from tests.segment_responses import DEFINITION, ID, segment

GONE = Answer(404, {"error": {"code": "0x80040217", "message": "Does Not Exist"}})
BUSY = Answer(412, {"error": {"code": "0x80060882", "message": "another version"}})
NONE, DONE = Answer(body={"value": []}), Answer(204)
STOPPED_NOW = Answer(body={"stopSingleSegmentResults": [{"SegmentId": ID, "WasStopped": True}]})
BLIP = Answer(200, b"<html>a gateway's page</html>")


def _create(cij_sandbox, monkeypatch, generation: str) -> str:
    """Create a segment of a generation on the sandbox and return its id."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", cij_sandbox.airflow_conn_uri)
    key = uuid.uuid4().hex
    if generation == "outbound":
        spec = OutboundSegmentSpec(key, "T")
        CijHook().run(lambda cij: cij.outbound.segments.create(spec))
        return spec.segment_id
    made = SegmentSpec(key, "T", "PROFILE(contact)")
    CijHook().run(lambda cij: cij.segments.create(made))
    return made.segment_id


@pytest.mark.parametrize("generation", ["real-time", "outbound"])
@pytest.mark.parametrize("missing_ok", [True, False])
def test_two_concurrent_deletes(cij_sandbox, monkeypatch, generation, missing_ok):
    """Of two concurrent deletes one finds no row, which ``missing_ok`` makes a success or an error."""
    kind = CijOutboundDeleteSegmentOperator if generation == "outbound" else CijDeleteSegmentOperator
    for _ in range(3):
        segment_id = _create(cij_sandbox, monkeypatch, generation)
        start, ends = threading.Barrier(2), []

        def delete(segment_id=segment_id, start=start, ends=ends):
            task = kind(task_id="t", segment_id=segment_id, missing_ok=missing_ok)
            start.wait()
            try:
                ends.append(task.execute({}))
            except AirflowFailException as error:
                ends.append(str(error))

        both = [threading.Thread(target=delete) for _ in range(2)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        failed = [end for end in ends if isinstance(end, str)]
        assert len(ends) == 2
        assert len(failed) == (0 if missing_ok else 1), ends
        assert all("There is no" in message for message in failed)
        assert [end["deleted"] for end in ends if isinstance(end, dict)].count(True) == 1


def _run(scripted, monkeypatch, *answers: Answer, **arguments):
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    scripted.script = list(answers)
    with DAG(f"delete_{uuid.uuid4().hex}", schedule=None) as dag:
        CijDeleteSegmentOperator(task_id="t", segment_id=ID, **({"poll_interval": 0.1} | arguments))
    return run_dag(dag).states["t"], [
        (request.method, request.path.split("?")[0].split("/")[-1]) for request in scripted.requests
    ]


ROW, DEFINITION_ROW = f"msdynmkt_segments({ID})", f"msdynmkt_segmentdefinitions({DEFINITION})"


def test_a_version_conflict_is_retried(scripted, monkeypatch):
    """A version conflict reads the row again: it is gone, or it is deleted by the next attempt."""
    state, requests = _run(scripted, monkeypatch, segment(2), BUSY, GONE, GONE)
    assert state == "success"
    assert requests[1:] == [("DELETE", ROW), ("GET", ROW), ("DELETE", DEFINITION_ROW)]
    scripted.requests.clear()
    state, requests = _run(scripted, monkeypatch, segment(2), BUSY, segment(2), DONE, DONE, missing_ok=False)
    assert state == "success"
    assert requests[1:] == [("DELETE", ROW), ("GET", ROW), ("DELETE", ROW), ("DELETE", DEFINITION_ROW)]
    assert _run(scripted, monkeypatch, segment(2), BUSY)[0] == "failed"


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("first_look", [segment(8), BLIP])
def test_stop_first_sends_one_stop_and_waits(scripted, monkeypatch, deferrable, first_look):
    """With ``stop_first`` one stop is sent and waited for, in worker or triggerer, also after a failed poll."""
    stopping = (segment(1), STOPPED_NOW, first_look)
    deleting = (segment(9), DONE, DONE)
    state, requests = _run(
        scripted,
        monkeypatch,
        *stopping,
        segment(9),
        *deleting,
        stop_first=True,
        deferrable=deferrable,
        missing_ok=False,
    )
    assert state == "success", json.dumps([request.path for request in scripted.requests], indent=1)
    assert [path for method, path in requests if method == "POST"] == ["msdynmkt_StopSegments"]
    assert requests[-2:] == [("DELETE", ROW), ("DELETE", DEFINITION_ROW)]


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_segment_deleted_while_stopping_is_missing(scripted, monkeypatch, deferrable):
    """A segment that is deleted by another writer while it stops is a success or an error by ``missing_ok``."""
    stopping = (segment(1), STOPPED_NOW, segment(8))
    for missing_ok, end in ((True, "success"), (False, "failed")):
        gone = (GONE, NONE) * 2
        state, requests = _run(
            scripted,
            monkeypatch,
            *(*stopping, *gone, GONE),
            stop_first=True,
            deferrable=deferrable,
            missing_ok=missing_ok,
        )
        assert state == end, requests
        assert len([path for method, path in requests if method == "POST"]) == 1
        scripted.requests.clear()


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_stop_that_times_out_deletes_nothing(scripted, monkeypatch, capfd, deferrable):
    """A stop that does not end within the timeout fails the task, and nothing is deleted."""
    stopping = (segment(1), STOPPED_NOW, segment(8))
    state, requests = _run(scripted, monkeypatch, *stopping, stop_first=True, deferrable=deferrable, timeout=0.6)
    assert state == "failed"
    assert "did not stop in the time given" in capfd.readouterr().out
    assert all(method != "DELETE" for method, _ in requests)


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_live_segment_is_stopped_and_deleted(cij_sandbox, monkeypatch, deferrable):
    """A live segment of the sandbox is stopped and deleted, in worker or triggerer."""
    segment_id = _create(cij_sandbox, monkeypatch, "real-time")

    async def live(cij):
        await cij.segments.publish(segment_id)
        while (await cij.segments.get(segment_id)).status != 1:
            pass

    CijHook().run(live)
    with DAG(f"delete_{uuid.uuid4().hex}", schedule=None) as dag:
        CijDeleteSegmentOperator(
            task_id="t", segment_id=segment_id, stop_first=True, deferrable=deferrable, poll_interval=0.1
        )
        CijDeleteSegmentOperator(task_id="u", segment_id=segment_id, missing_ok=False).set_upstream(dag.get_task("t"))
    assert run_dag(dag).states == {"t": "success", "u": "failed"}


def test_a_throttled_look_after_a_failed_wait_does_not_begin_again(scripted_connection, scripted):
    """A throttled read after a failed wait fails the task: beginning again would stop the segment once more."""
    throttled = {"error": {"code": "0x80072322", "message": "Number of requests exceeded."}}
    scripted.script = [Answer(429, throttled, {"Retry-After": "3600"})]
    task = CijDeleteSegmentOperator(task_id="t", segment_id=ID, stop_first=True)
    with pytest.raises(CijThrottledError):
        task.execute_complete({}, {"error": CijNotFoundError("gone").as_dict(), "state": {}})
    assert len(scripted.requests) == 1


@pytest.mark.parametrize("kind", [CijDeleteSegmentOperator, CijOutboundDeleteSegmentOperator])
def test_a_404_of_the_lookup_by_name_is_no_missing_segment(scripted_connection, scripted, kind):
    """A 404 in answer to the lookup of a name fails the task: only an empty list says that no segment has it."""
    scripted.script = [Answer(404, b"<html>no such page</html>")]
    with pytest.raises(AirflowFailException, match="404"):
        kind(task_id="t", segment_id="name:Gold").execute({})
    scripted.script = [NONE]
    assert kind(task_id="t", segment_id="name:Gold").execute({}) == {"segment_id": "name:Gold", "deleted": False}
