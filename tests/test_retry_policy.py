from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import timedelta

import pytest

sdk = pytest.importorskip("airflow.sdk")
if not hasattr(sdk, "RetryPolicy"):
    pytest.skip("Airflow 3.3 brought retry policies", allow_module_level=True)

from airflow.sdk import DAG, RetryDecision, task  # noqa: E402
from airflow.sdk.definitions.retry_policy import RetryAction  # noqa: E402

from airflow_provider_cij import errors, retry_policy  # noqa: E402
from airflow_provider_cij.errors import CijError, CijServerError, CijThrottledError, CijUnreachableError  # noqa: E402
from airflow_provider_cij.hooks.cij import CijHook  # noqa: E402
from airflow_provider_cij.operators.segments import CijStopSegmentsOperator  # noqa: E402
from airflow_provider_cij.retry_policy import CijRetryPolicy  # noqa: E402
from tests.dags import run_dag  # noqa: E402
from tests.heavy_imports import HEAVY  # noqa: E402
from tests.scripted import Answer  # noqa: E402

BUSY = Answer(429, {"error": {"code": "0x80072322", "message": "Number of requests exceeded"}}, {"Retry-After": "1"})
PERMANENT = [kind for kind in vars(errors).values() if isinstance(kind, type) and getattr(kind, "permanent", False)]


def _decide(exception: BaseException) -> RetryDecision:
    return CijRetryPolicy().evaluate(exception, 1, 3, None)


def test_throttled_waits_as_told():
    """Not a second less, and not much more, with the reason; a day at the most, whatever number it is."""
    for told, wait in ((0.0, 0.0), (90.0, 90.0), (999_999_999.0, 86_400.0), (1e300, 86_400.0)):
        decision = _decide(CijThrottledError("busy", http_status=429, retry_after=told))
        assert decision.action is RetryAction.RETRY
        assert timedelta(seconds=wait) <= decision.retry_delay <= timedelta(seconds=wait + 10)
        assert "busy [HTTP 429]" in decision.reason


@pytest.mark.parametrize("kind", PERMANENT)
def test_what_no_retry_can_mend_fails_at_once(kind):
    """A bad query, a missing privilege, a missing row: each with its reason."""
    decision = _decide(kind("It is bad.", code="0x80040265", hint="Mend it."))
    assert decision.action is RetryAction.FAIL
    assert decision.reason == "It is bad. [code 0x80040265] Mend it."


@pytest.mark.parametrize(
    "exception",
    [
        CijUnreachableError("nobody there"),
        CijServerError("broken", http_status=503),
        CijThrottledError("busy, for nobody knows how long"),
        CijError("?"),
        ValueError("not ours"),
        KeyboardInterrupt(),
    ],
)
def test_the_rest_is_left_to_the_task(exception):
    """Its retries and its delay."""
    assert _decide(exception) == RetryDecision.default()


def _raised_while_handling(cause: Exception) -> Exception:
    try:
        try:
            raise cause
        except type(cause):
            raise RuntimeError("the user's own")  # noqa: B904
    except RuntimeError as error:
        return error


def test_an_error_is_found_behind_what_it_led_to():
    """Raised from it, or while handling it; not where the link was cut, and not for ever in a ring."""
    error = _raised_while_handling(CijThrottledError("busy", retry_after=5))
    assert _decide(error).action is RetryAction.RETRY
    behind = ValueError()
    behind.__cause__ = error
    assert _decide(behind).action is RetryAction.RETRY
    error.__suppress_context__ = True
    assert _decide(behind) == RetryDecision.default()
    error.__cause__ = behind
    assert _decide(behind) == RetryDecision.default()


def test_it_survives_serialization():
    """Airflow's base class refuses by default."""
    plain = json.loads(json.dumps(CijRetryPolicy().serialize()))
    assert isinstance(CijRetryPolicy.deserialize(plain), CijRetryPolicy)


@pytest.fixture
def asks(scripted, monkeypatch):
    """Run a DAG whose one task asks a server that answers so, and never waits in the client; give its state."""
    connection = json.loads(scripted.connection())
    connection["extra"]["max_hold_seconds"] = 0
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", json.dumps(connection))
    monkeypatch.setattr(retry_policy, "_SPREAD", 0.1)

    def run(name: str, *answers: Answer) -> str:
        scripted.script = list(answers)
        with DAG(name, schedule=None) as dag:

            @task(retries=2, retry_delay=timedelta(minutes=30), retry_policy=CijRetryPolicy())
            def ask() -> None:
                CijHook().run(lambda cij: cij.dataverse.get("WhoAmI"))

            ask()
        return run_dag(dag).states["ask"]

    return run


def test_airflow_comes_back_when_the_service_said(asks, scripted):
    """After its second, and not after the task's half an hour."""
    started = time.monotonic()
    assert asks("throttled_once", BUSY, Answer(body={})) == "success"
    assert len(scripted.asked) == 2
    assert 1 <= time.monotonic() - started < 60


def test_airflow_does_not_come_back_in_vain(asks, scripted):
    """A refusal is asked for once, though there are retries left."""
    no = Answer(400, {"error": {"code": "0x80040265", "message": "The query is bad."}})
    assert asks("refused", no) == "failed"
    assert len(scripted.asked) == 1


def test_an_older_airflow_can_import_it():
    """3.1 and 3.2 have neither of the two names."""
    script = """
import airflow.sdk
newer = airflow.sdk.__getattr__
def older(name):
    if name in ("RetryPolicy", "RetryDecision"):
        raise AttributeError(name)
    return newer(name)
airflow.sdk.__getattr__ = older
from airflow_provider_cij.retry_policy import CijRetryPolicy
print(CijRetryPolicy.__mro__[1:])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "(<class 'object'>,)"


def test_a_dag_file_pays_nothing_for_it():
    """Over airflow.sdk itself, nothing heavy is loaded."""
    script = f"""
import sys
import airflow.sdk
airflow.sdk.BaseOperator
before = set(sys.modules)
import airflow_provider_cij.retry_policy
print([name for name in sorted(set(sys.modules) - before) if name.startswith({HEAVY!r})])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_day_and_more_to_wait_fails_the_task_with_what_was_asked(scripted, monkeypatch):
    """It is no deferral, and no number that overflows."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    scripted.script = [Answer(429, BUSY.body, {"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"})]
    with DAG("absurd", schedule=None) as dag:
        CijStopSegmentsOperator(task_id="ask", segment_ids=["0f5b0c7f-395d-447b-b14c-315a601f878e"], retries=0)
    assert run_dag(dag).states["ask"] == "failed"
    assert len(scripted.asked) == 1
