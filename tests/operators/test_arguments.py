"""Arguments of every operator and sensor, checked by type and value before any request."""

from __future__ import annotations

import inspect
import re
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG, BaseSensorOperator

from airflow_provider_cij.errors import CijInputError, CijRefusedError
from airflow_provider_cij.operators.segments import CijStopSegmentsOperator
from airflow_provider_cij.version_compat import AirflowFailException
from tests.scripted import Answer
from tests.task_kinds import ID, good_arguments, parameters_of, task_kinds

NUMBERS = ("timeout", "poll_interval", "poke_interval", "rate_per_minute", "max_concurrency")
IDS = ("segment_id", "journey_id", "segment_ids", "template_id")
WORDS = (
    *("if_exists", "fail_on", "until", "operation", "table", "how", "on_empty", "segment_type", "base_table"),
    *("target", "journey_type", "required_consent", "mode", "duplicates", "on_multiple_matches", "overwrite"),
)
TEXTS = ("group", "trigger", "address_column", "value_column", "match_on", "given_at_column", "reason_column")
BOUNDS = (
    "max_invalid",
    "max_not_found",
    "max_removals",
    "max_missing",
    "max_failed",
    "max_members",
    "max_change",
    "min_members",
)
COUNTS = (
    "recurrence_interval_days",
    "recurrence_count",
    "time_zone",
    "refresh_interval_minutes",
    "batch_size",
    "older_than_days",
)
OPTIONAL = ("static_snapshot", "recurring")


BAD = [
    ((*OPTIONAL, "require_consent"), ("flase", "", 1, ["True"])),
    (NUMBERS, (float("nan"), float("inf"), "soon", True, -1, 0)),
    (COUNTS, ("many", True, -1)),
    (("segment_ids",), ([""], ID, [])),
    (IDS, ("", "Gold", 7)),
    (("required_consent", "to"), ("contacts",)),
    (WORDS, ("contacts", 7)),
    (TEXTS, ("", 7.5, True)),
    (BOUNDS, ("many", True, -1)),
]


def _bad(kind, name, default):
    values = BAD[0][1] if isinstance(default, bool) else next((bad for names, bad in BAD if name in names), ())
    # Airflow makes a float of a sensor's own numbers.
    return [
        value for value in values if not (value is True and name in NUMBERS and issubclass(kind, BaseSensorOperator))
    ]


def _cases():
    for kind in dict.fromkeys(task_kinds()):
        for name, default in parameters_of(kind).items():
            for value in _bad(kind, name, default):
                yield pytest.param(kind, name, value, id=f"{kind.__name__}-{name}-{value!r}")


CASES = list(_cases())


def test_every_task_has_cases():
    """Every operator and sensor, and each kind of argument, has test cases."""
    assert {case.values[0].__name__ for case in CASES} >= {kind.__name__ for kind in task_kinds()}
    assert {case.values[1] for case in CASES} >= {
        "publish",
        "raise_again",
        "verify",
        "missing_ok",
        "deferrable",
        *WORDS,
    }


@pytest.mark.parametrize("kind", list(task_kinds()))
def test_help_shows_every_argument(kind):
    """The signature of a class names its arguments, those of its bases included, and the defaults."""
    shown = dict(inspect.signature(kind).parameters)
    assert shown.pop("kwargs").kind is inspect.Parameter.VAR_KEYWORD
    expected = parameters_of(kind)
    expected = {name: expected[name] for name in expected if name in kind.arguments}
    assert {name: parameter.default for name, parameter in shown.items()} == expected


def test_help_shows_the_constructor_of_a_subclass_of_a_user():
    """The signature of a user's own subclass is that of its own constructor."""

    class Mine(CijStopSegmentsOperator):
        def __init__(self, *, mine: str, **kwargs):
            super().__init__(**kwargs)

    with pytest.raises(AttributeError):
        Mine.__signature__  # noqa: B018
    assert "segment_ids" not in inspect.signature(Mine).parameters


@pytest.fixture(scope="module")
def context():
    """Return the part of Airflow's context that a task reads."""
    now = datetime.now(UTC)
    ids = {"dag_id": "arguments", "task_id": "t", "run_id": "r", "map_index": -1}
    ti = SimpleNamespace(**ids, try_number=1, max_tries=0, xcom_push=lambda **_: None)
    return {"ti": ti, "dag_run": SimpleNamespace(start_date=now, run_after=now), "run_id": "r"}


@pytest.mark.parametrize(("kind", "name", "value"), CASES)
def test_a_wrong_argument_is_refused_by_name_before_anything_is_sent(scripted, monkeypatch, context, kind, name, value):
    """An argument of the wrong type or value is refused with its name, when parsed or before the first request."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    scripted.script = [Answer(400, {"error": {"code": "0x0", "message": "asked"}})]
    with DAG("arguments", schedule=None):
        given = good_arguments(kind, parameters_of(kind)) | {name: value}
        by_airflow = issubclass(kind, BaseSensorOperator) and name in ("timeout", "poke_interval", "soft_fail")
        refused = (AirflowFailException, CijInputError, *((Exception,) if by_airflow else ()))
        with pytest.raises(refused, match="." if by_airflow else rf"\b{name.rstrip('s')}s? is "):
            kind(task_id="t", **given).execute(context)
    assert scripted.requests == scripted.logins == []


SWITCHES = sorted(
    {
        (kind, name)
        for kind in task_kinds()
        if "sql_conn_id" not in parameters_of(kind)  # which asks a database, not the organisation
        for name, default in parameters_of(kind).items()
        if isinstance(default, bool)
    },
    key=str,
)


@pytest.mark.parametrize(("kind", "name"), SWITCHES)
def test_a_rendered_switch_is_read_as_a_boolean(scripted, monkeypatch, context, kind, name):
    """A switch rendered to the text "False" is read as false."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    with DAG("arguments", schedule=None):
        given = good_arguments(kind, parameters_of(kind))
        if "path" in parameters_of(kind):
            given["path"] = "members.csv"
        task = kind(task_id="t", **given | {name: " faLse "})
    scripted.script = [Answer(400, {"error": {"code": "0x0", "message": "asked"}})]
    with pytest.raises((AirflowFailException, CijRefusedError), match="asked"):
        task.execute(context)
    if name not in ("dry_run", "verify"):
        assert getattr(task, name, getattr(task, "wait", None)) is False


@pytest.mark.parametrize("kind", list(task_kinds()))
def test_the_documentation_describes_every_argument(kind):
    """The docstring of a class describes each argument of its signature, and says the default of each that has one."""
    text = inspect.getdoc(kind)
    described = dict(re.findall(r":param (\w+): (.*?)(?=\n:)", text, re.DOTALL))
    shown = {name: parameter for name, parameter in inspect.signature(kind).parameters.items() if name != "kwargs"}
    assert described.keys() == shown.keys()
    without = [name for name, one in shown.items() if one.default is not one.empty and "efault" not in described[name]]
    assert without in ([], ["min_members"])  # which must be given, by this name or the former one
    assert ":return:" in text
    assert ":raises " in text
