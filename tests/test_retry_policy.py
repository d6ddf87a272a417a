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

from airflow_provider_cij import errors  # noqa: E402
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


def test_throttling_is_retried_after_retry_after():
    """A throttled task is retried after Retry-After, at most a day later, with the reason."""
    for told, wait in ((0.0, 0.0), (90.0, 90.0), (999_999_999.0, 86_400.0), (1e300, 86_400.0)):
        decision = _decide(CijThrottledError("busy", http_status=429, retry_after=told))
        assert decision.action is RetryAction.RETRY
        assert timedelta(seconds=wait) <= decision.retry_delay <= timedelta(seconds=wait + 10)
        assert "busy [HTTP 429]" in decision.reason


@pytest.mark.parametrize("kind", PERMANENT)
def test_permanent_errors_fail_without_a_retry(kind):
    """Permanent errors fail the task at once with their reason."""
    decision = _decide(kind("It is bad.", code="0x80040265", hint="Fix it."))
    assert decision.action is RetryAction.FAIL
    assert decision.reason == "It is bad. [code 0x80040265] Fix it."


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
def test_other_errors_use_the_tasks_retries(exception):
    """All other errors are left to the task's own retries and delay."""
    assert _decide(exception) == RetryDecision.default()


def _raised_while_handling(cause: Exception) -> Exception:
    try:
        try:
            raise cause
        except type(cause):
            raise RuntimeError("the user's own")  # noqa: B904
    except RuntimeError as error:
        return error


def test_the_error_is_found_in_the_exception_chain():
    """The error is found through ``__cause__`` and ``__context__``, not past ``from None``, also in a loop."""
    error = _raised_while_handling(CijThrottledError("busy", retry_after=5))
    assert _decide(error).action is RetryAction.RETRY
    behind = ValueError()
    behind.__cause__ = error
    assert _decide(behind).action is RetryAction.RETRY
    error.__suppress_context__ = True
    assert _decide(behind) == RetryDecision.default()
    error.__cause__ = behind
    assert _decide(behind) == RetryDecision.default()


def test_it_is_serializable():
    """The policy can be serialized with its DAG."""
    plain = json.loads(json.dumps(CijRetryPolicy().serialize()))
    assert isinstance(CijRetryPolicy.deserialize(plain), CijRetryPolicy)


@pytest.fixture
def run_scripted_task(scripted, monkeypatch):
    """Run a DAG whose one task sends a request without waiting in the client, and return the task's state."""
    connection = json.loads(scripted.connection())
    connection["extra"]["max_hold_seconds"] = 0
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", json.dumps(connection))
    monkeypatch.setattr("random.random", lambda: 0.0)

    def run(name: str, *answers: Answer) -> str:
        scripted.script = list(answers)
        with DAG(name, schedule=None) as dag:

            @task(retries=2, retry_delay=timedelta(minutes=30), retry_policy=CijRetryPolicy())
            def ask() -> None:
                CijHook().run(lambda cij: cij.dataverse.get("WhoAmI"))

            ask()
        return run_dag(dag).states["ask"]

    return run


def test_airflow_retries_after_retry_after(run_scripted_task, scripted):
    """Airflow retries after Retry-After instead of the task's longer delay."""
    arrived, answer = [], scripted.answer

    def note(request):
        if request.path.endswith("WhoAmI"):
            arrived.append(time.monotonic())
        return answer(request)

    scripted.answer = note
    assert run_scripted_task("throttled_once", BUSY, Answer(body={})) == "success"
    first, second = arrived
    assert 1 <= second - first < 60


def test_airflow_does_not_retry_a_refusal(run_scripted_task, scripted):
    """A refused request is sent once although retries are left."""
    no = Answer(400, {"error": {"code": "0x80040265", "message": "The query is bad."}})
    assert run_scripted_task("refused", no) == "failed"
    assert len(scripted.requests) == 1


def test_an_older_airflow_can_import_it():
    """The module can be imported on Airflow 3.1 and 3.2, which have no retry policies."""
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


def test_importing_it_loads_no_heavy_module():
    """Importing the policy loads no heavy module in addition to airflow.sdk."""
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


def test_a_retry_after_of_days_fails_the_task(scripted, monkeypatch):
    """A Retry-After of more than a day fails the task with the service's wish, without a deferral."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    scripted.script = [Answer(429, BUSY.body, {"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"})]
    with DAG("absurd", schedule=None) as dag:
        CijStopSegmentsOperator(task_id="ask", segment_ids=["0f5b0c7f-395d-447b-b14c-315a601f878e"], retries=0)
    assert run_dag(dag).states["ask"] == "failed"
    assert len(scripted.requests) == 1
