"""Arguments as templates and other tasks' output render them, on every operator and sensor."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime

import pytest
from airflow.sdk import DAG, task

from airflow_provider_cij.api.segments.models import MemberGroup
from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.operators.journeys import CijCreateJourneyOperator, CijPublishJourneyOperator
from airflow_provider_cij.operators.members import (
    CijAddSegmentMembersOperator,
    CijExportSegmentMembersOperator,
    CijMirrorSegmentMembersOperator,
)
from airflow_provider_cij.operators.outbound import (
    CijOutboundCreateSegmentOperator,
    CijOutboundDeleteSegmentOperator,
    CijOutboundPublishSegmentOperator,
)
from airflow_provider_cij.operators.segments import (
    CijCreateSegmentOperator,
    CijDeleteSegmentOperator,
    CijPublishSegmentOperator,
    CijRefreshSegmentOperator,
    CijStopSegmentsOperator,
)
from airflow_provider_cij.sensors.journeys import CijJourneySensor
from airflow_provider_cij.sensors.segments import CijSegmentSensor
from airflow_provider_cij.sources import FromFile
from airflow_provider_cij.version_compat import AirflowFailException
from tests.dags import run_dag
from tests.task_kinds import ID, good_arguments, parameters_of, task_kinds

SOON = {"poll_interval": 0.2, "timeout": 60}

# What a template renders to, by argument, and what the task reads it as.
SAMPLES = {
    "cij_conn_id": ("other", "other"),
    "segment_ids": (f"['{ID}']", [ID]),
    "exclusion_segment_ids": (f"['{ID}']", [ID]),
    "suppression_segment_ids": (f"['{ID}']", [ID]),
    "groups": ("['a', 'b']", ["a", "b"]),
    "starts_at": ("2099-01-01T00:00:00Z", "2099-01-01T00:00:00Z"),
    "ends_at": ("2099-01-02T00:00:00Z", "2099-01-02T00:00:00Z"),
    "since": ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
    "match_on": ("emailaddress1", "emailaddress1"),
    "poll_interval": ("0.5", 0.5),
    "timeout": ("600", 600),
    "rate_per_minute": ("10", 10),
    "max_concurrency": ("4", 4),
    "refresh_interval_minutes": ("60", 60),
    "time_zone": ("110", 110),
    "recurrence_interval_days": ("7", 7),
    "recurrence_count": ("3", 3),
    "base_table": ("lead", "lead"),
    "table": ("lead", "lead"),
    "on_empty": ("skip", "skip"),
    "if_exists": ("reuse", "reuse"),
    "fail_on": ("never", "never"),
    "until": ("stopped", "stopped"),
    "segment_type": ("dynamic", "dynamic"),
    "operation": ("remove", "remove"),
    "how": ("fetchxml", "fetchxml"),
    "mode": ("create_only", "create_only"),
    "overwrite": ("always", "always"),
    "duplicates": ("last", "last"),
    "on_multiple_matches": ("oldest", "oldest"),
    "batch_size": ("50", 50),
    "states": ("['completed']", ["completed"]),
    "older_than_days": ("120", 120),
    "fresher_than": ("2026-01-01T00:00:00+00:00", datetime(2026, 1, 1, tzinfo=UTC)),
}
RECORDS = ("segment_id", "journey_id", "audience_segment_id", "suppression_segment_id")
BOUNDS = (
    "max_invalid",
    "max_not_found",
    "max_removals",
    "max_missing",
    "min_members",
    "max_members",
    "max_change",
    "max_failed",
)
# Read by the task itself: people, mappings, and JSON.
OWN = (
    "members",
    "rows",
    "columns",
    "profile_id",
    "included_members",
    "excluded_members",
    "attributes",
    "modifications",
    "message_ids",
    "workflow",
    "designer_state",
    "journey_json",
)
# Airflow's own, whose constructor takes no text.
NOT_TEMPLATED = ("poke_interval", "soft_fail")


@pytest.fixture(autouse=True)
def _connection(cij_sandbox, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", cij_sandbox.airflow_conn_uri)


def _rendered_samples():
    for kind in dict.fromkeys(task_kinds()):
        for name, default in parameters_of(kind).items():
            if name in ("self", "kwargs", "to", *NOT_TEMPLATED) or (
                name == "timeout" and "poke_interval" in parameters_of(kind)
            ):
                continue
            if isinstance(default, bool) or name in ("recurring", "static_snapshot"):
                sample = (str(not default).lower(), not default)
            elif name in RECORDS:
                sample = (str({"journey_id" if "journey" in name else "segment_id": ID, "created": True}), ID)
            elif name in BOUNDS:
                sample = ("5", "5")
            elif name == "key" and "rows" in parameters_of(kind):
                sample = ("new_customerno", ["new_customerno"])
            elif name in OWN:
                sample = ("x", None)
            else:
                sample = SAMPLES.get(name, ("x", "x"))
            yield pytest.param(kind, name, *sample, id=f"{kind.__name__}-{name}")


@pytest.mark.parametrize(("kind", "name", "text", "read"), list(_rendered_samples()))
def test_every_argument_is_templated_and_read_as_what_it_stands_for(kind, name, text, read):
    """Every argument of every task is templated, and the rendered text is read as the type that it stands for."""
    with DAG("templates", schedule=None, params={"text": text}) as dag:
        made = kind(task_id="t", **good_arguments(kind, parameters_of(kind)) | {name: "{{ params.text }}"})
    attribute = {"dry_run": "plan_only"}.get(name, name)
    made.render_template_fields({"params": {"text": text}, "task": made}, dag.get_template_env())
    if read is None:
        assert "{{" not in str(getattr(getattr(made, attribute), "value", getattr(made, attribute)))
        return
    assert made.read_argument(name, getattr(made, attribute)) == read


def _segment(name: str, groups=("G",)) -> str:
    from airflow_provider_cij.api import SegmentSpec

    spec = SegmentSpec(uuid.uuid4().hex, name, "PROFILE(contact)", tuple(MemberGroup(group) for group in groups))
    CijHook().run(lambda cij: cij.segments.create(spec))
    return spec.segment_id


def _status(segment_id: str) -> str:
    return CijHook().run(lambda cij: cij.segments.get(segment_id)).status_name


def _contacts(count: int) -> list[str]:
    rows = CijHook().run(lambda cij: cij.dataverse.rows(f"contacts?$select=contactid&$top={count}"))
    return [row["contactid"] for row in rows]


def test_the_whole_result_of_a_task_is_taken_for_its_segment(dag_id):
    """A task takes the whole result of the task that made a segment, alone, in a list, mapped, and as a journey's."""
    with DAG(dag_id, schedule=None) as dag:
        create = CijCreateSegmentOperator.partial(task_id="create", query="PROFILE(contact)").expand_kwargs(
            [{"display_name": f"{dag_id} {country}", "key": f"{dag_id}-{country}"} for country in ("nl", "de")]
        )
        publish = CijPublishSegmentOperator.partial(task_id="publish", **SOON).expand(segment_id=create.output)
        stop = CijStopSegmentsOperator(task_id="stop", segment_ids=publish.output, **SOON)
        one = CijCreateSegmentOperator(task_id="one", display_name=dag_id, key=dag_id, query="PROFILE(contact)")
        live = CijPublishSegmentOperator(task_id="live", segment_id=one.output, **SOON)
        text = CijRefreshSegmentOperator(task_id="text", segment_id="{{ ti.xcom_pull('live') }}", **SOON)
        live >> text
    ran = run_dag(dag)
    assert set(ran.states.values()) == {"success"}
    assert {stop.task_id, text.task_id} <= set(ran.states)
    assert len(ran.result("stop")["stopped"]) == 2


def test_every_key_of_a_result_can_be_asked_for(dag_id, tmp_path):
    """Every key of what an operator returns is an output of its own."""
    path = tmp_path / "out.csv"
    with DAG(dag_id, schedule=None) as dag:
        create = CijCreateSegmentOperator(task_id="create", display_name=dag_id, groups=["G"])
        add = CijAddSegmentMembersOperator(
            task_id="add", segment_id=create.output["definition_id"], group="G", members=_contacts(3)
        )
        export = CijExportSegmentMembersOperator(
            task_id="export", segment_id=create.output["segment_id"], group="G", path=str(path)
        )
        add >> export

        @task
        def gather(*values):
            return list(values)

        gather(add.output["added"], export.output["path"], export.output["count"], create.output["created"])
    ran = run_dag(dag)
    assert ran.result("gather") == [3, str(path), 3, True]


def test_segments_are_named(dag_id):
    """A segment is named in place of its id, in a list and mapped as well, and results hold its id."""
    ids = [_segment(f"{dag_id} {number}") for number in range(3)]
    name = f"name:{dag_id} 0"
    with DAG(dag_id, schedule=None) as dag:
        publish = CijPublishSegmentOperator.partial(task_id="publish", **SOON).expand(
            segment_id=[f"name:{dag_id} {number}" for number in range(3)]
        )
        sensor = CijSegmentSensor(task_id="sensor", segment_id=name, deferrable=True, poke_interval=0.2, timeout=60)
        add = CijAddSegmentMembersOperator(task_id="add", segment_id=name, group="G", members=_contacts(2))
        stop = CijStopSegmentsOperator(task_id="stop", segment_ids=[name, ids[1], f"name:{dag_id} 2"], **SOON)
        delete = CijDeleteSegmentOperator(task_id="delete", segment_id=name)
        gone = CijDeleteSegmentOperator(task_id="gone", segment_id=f"name:{dag_id} nobody")
        publish >> sensor >> add >> stop >> delete >> gone
    ran = run_dag(dag)
    assert set(ran.states.values()) == {"success"}
    assert ran.result("sensor")["segment_id"] == ids[0]
    assert ran.result("stop") == {"stopped": ids}
    assert ran.result("delete") == {"segment_id": ids[0], "deleted": True}
    assert ran.result("gone")["deleted"] is False
    assert [_status(segment_id) for segment_id in ids[1:]] == ["stopped", "stopped"]


def test_journeys_and_outbound_segments_are_named(dag_id):
    """Journeys and outbound segments are named in place of their ids, and so is the audience of a journey."""
    _segment(dag_id)
    path = "msdynmkt_journeytemplates?$filter=msdynmkt_name eq 'One e-mail to a segment'"
    template = CijHook().run(lambda cij: cij.dataverse.rows(path))[0]["msdynmkt_journeytemplateid"]
    name = f"name:{dag_id}"
    with DAG(dag_id, schedule=None) as dag:
        publish = CijPublishSegmentOperator(task_id="publish", segment_id=name, **SOON)
        create = CijCreateJourneyOperator(
            task_id="create", template_id=template, name=dag_id, audience_segment_id=name, starts_at="2099-01-01T00:00Z"
        )
        live = CijPublishJourneyOperator(task_id="live", journey_id=name, **SOON)
        sensor = CijJourneySensor(task_id="sensor", journey_id=name, deferrable=True, poke_interval=0.2, timeout=60)
        publish >> create >> live >> sensor
        made = CijOutboundCreateSegmentOperator(
            task_id="made", display_name=dag_id, segment_type="dynamic", query="PROFILE(contact)"
        )
        outbound = CijOutboundPublishSegmentOperator(task_id="outbound", segment_id=name, **SOON)
        gone = CijOutboundDeleteSegmentOperator(task_id="gone", segment_id=f"{name} nobody")
        missing = CijOutboundDeleteSegmentOperator(task_id="missing", segment_id=f"{name} nobody", missing_ok=False)
        made >> outbound >> [gone, missing]
    ran = run_dag(dag)
    assert ran.states.pop("missing") == "failed"
    assert set(ran.states.values()) == {"success"}
    assert ran.result("sensor")["journey_id"] == ran.result("create")["journey_id"]
    assert ran.result("outbound")["segment_id"] == ran.result("made")["segment_id"]


def test_a_named_segment_stays_the_one_that_was_found_after_a_deferral(dag_id):
    """A task that is deferred goes on with the segment that its name was at first, whatever it is called by then."""
    segment_id = _segment(dag_id)
    with DAG(dag_id, schedule=None) as dag:
        publish = CijPublishSegmentOperator(task_id="publish", segment_id=f"name:{dag_id}", deferrable=True, **SOON)
        delete = CijDeleteSegmentOperator(
            task_id="delete", segment_id=f"name:{dag_id}", stop_first=True, deferrable=True, **SOON
        )
        publish >> delete
    ran = run_dag(dag)
    assert ran.states == {"publish": "success", "delete": "success"}
    assert ran.result("delete") == {"segment_id": segment_id, "deleted": True}


def test_a_named_segment_is_waited_for_by_its_id(dag_id):
    """The trigger of a sensor that is given a name holds the id that was found."""
    segment_id = _segment(dag_id)
    with DAG(dag_id, schedule=None) as dag:
        sensor = CijSegmentSensor(task_id="s", segment_id=f"name:{dag_id}", deferrable=True, poke_interval=0.2)
        wait = CijSegmentSensor(task_id="w", segment_id="name:" + dag_id, poke_interval=0.2, timeout=0.5)
    seen = []
    sensor.defer = lambda trigger, **_: seen.append(trigger.serialize()[1])
    now = datetime.now(UTC)
    ti = type("Ti", (), {"xcom_push": lambda self, **_: None})()
    sensor.execute({"ti": ti, "dag_run": type("Run", (), {"start_date": now})()})
    assert segment_id in json.dumps(seen, default=str)
    assert "name:" not in json.dumps(seen, default=str)
    assert wait.task_id in dag.task_ids


@pytest.mark.parametrize("twice", [True, False])
def test_a_name_must_be_that_of_one_segment(dag_id, capfd, twice):
    """A name that several segments have, or none, fails the task and says which segments have it."""
    ids = [_segment(dag_id) for _ in range(2)] if twice else []
    with DAG(dag_id, schedule=None) as dag:
        CijPublishSegmentOperator(task_id="t", segment_id=f"name:{dag_id}", retries=2)
    assert run_dag(dag).states == {"t": "failed"}
    said = capfd.readouterr().out
    assert all(segment_id in said for segment_id in ids)
    assert ("is not unique" if twice else "There is no segment named") in said


def test_native_rendering_keeps_texts_and_switches(dag_id):
    """With native rendering, digits are a text where a text is meant, and "true" is a switch."""
    day, groups = "{{ dag_run.conf.day }}", ["G", "20261126"]
    segment_id = _segment(dag_id, groups)
    with DAG(dag_id, schedule=None, render_template_as_native_obj=True) as dag:
        CijAddSegmentMembersOperator(
            task_id="add", segment_id=segment_id, group=day, members="{{ dag_run.conf.ids }}", max_invalid="{{ 0 }}"
        )
        create = CijCreateSegmentOperator(
            task_id="create", display_name=day, key=f"{dag_id}-{day}", groups=[day, MemberGroup("x" + day)]
        )
        digits = CijCreateSegmentOperator(
            task_id="digits", display_name="a", key=f"{dag_id}", groups=[MemberGroup(day)]
        )
        CijPublishSegmentOperator(task_id="publish", segment_id=create.output, wait="{{ False }}")
        CijCreateSegmentOperator(task_id="float", display_name="{{ 1.50 }}", key=f"{dag_id}-f", retries=0)
    ran = run_dag(dag, {"day": "20261126", "ids": _contacts(3)})
    assert ran.states.pop("float") == "failed"
    assert set(ran.states.values()) == {"success"}
    assert ran.result("add")["added"] == 3
    assert set(ran.result("create")["groups"]) == {"20261126", "x20261126"}
    assert set(ran.result(digits.task_id)["groups"]) == {"20261126"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"members": "/x.csv"}, "members is a str"),
        ({"members": {"file": "x.csv", "colunm": "id"}}, "Its arguments are path, column"),
        ({"match_on": "e-mail"}, "match_on is 'e-mail'"),
        ({"match_on": {"email": 1}}, "match_on is a dict"),
        ({"max_removals": "5 %%"}, "max_removals is a text that is no bound"),
        ({"max_removals": 5.0}, "max_removals is 5.0"),
        ({"segment_id": "Gold"}, "segment_id is 'Gold', which is no GUID"),
        ({"segment_id": "name: "}, "segment_id is 'name:'"),
        ({"segment_id": {"journey_id": ID}}, "segment_id is a result without 'segment_id'"),
        ({"verify": "yes"}, "verify is 'yes'"),
        ({"on_empty": "pass"}, "on_empty is 'pass'"),
    ],
)
def test_wrong_use_is_refused_while_the_dag_file_is_parsed(arguments, message):
    """An argument that no run could use is refused while the DAG file is parsed, of a mapped task as well."""
    good = {"segment_id": ID, "group": "G", "members": [ID]}
    name, value = next(iter(arguments.items()))
    with DAG("parsed", schedule=None):
        with pytest.raises(CijInputError, match=message):
            CijMirrorSegmentMembersOperator(task_id="t", **good | arguments)
        with pytest.raises(CijInputError, match=message):
            CijMirrorSegmentMembersOperator.partial(task_id="u", **good | arguments).expand(retries=[1])
        rest = {key: given for key, given in good.items() if key != name}
        with pytest.raises(CijInputError, match=message):
            CijMirrorSegmentMembersOperator.partial(task_id="v", **rest).expand(**{name: [value]})
        with pytest.raises(CijInputError, match=message):
            CijMirrorSegmentMembersOperator.partial(task_id="w", **rest).expand_kwargs([{name: value}])


def test_a_number_that_looks_like_a_percentage_is_warned_of():
    """A small number of removals is warned of while the DAG file is parsed, because a percentage may be meant."""
    with DAG("parsed", schedule=None), pytest.warns(UserWarning, match='For a share give "5%"'):
        CijMirrorSegmentMembersOperator(task_id="t", segment_id=ID, group="G", members=[ID], max_removals=5)
    with DAG("parsed", schedule=None):
        for number, fine in enumerate(("5", "5%", 0.05, 0, 1000, None)):
            CijMirrorSegmentMembersOperator(
                task_id=f"t{number}", segment_id=ID, group="G", members=[ID], max_removals=fine
            )


def test_groups_are_a_list():
    """A single text for the groups of a segment is refused while the DAG file is parsed."""
    with DAG("parsed", schedule=None), pytest.raises(CijInputError, match=r"groups is 'A'\. Give a list of names"):
        CijCreateSegmentOperator(task_id="t", display_name="a", groups="A")
    with pytest.raises(CijInputError, match="A group's name is a int"):
        MemberGroup(7)


def test_mapped_tasks_show_the_name_of_their_segment(dag_id):
    """A mapped task is shown by the name of its segment, unless it has a template of its own."""
    with DAG(dag_id, schedule=None) as dag:
        names = [{"display_name": f"{dag_id} {country}", "key": f"{dag_id}-{country}"} for country in ("nl", "de")]
        made = CijCreateSegmentOperator.partial(task_id="named", groups=["G"]).expand_kwargs(names)
        CijCreateSegmentOperator.partial(
            task_id="own", groups=["G"], map_index_template="{{ task.key }}"
        ).expand_kwargs(names)
        CijStopSegmentsOperator.partial(task_id="nameless", **SOON).expand(
            segment_ids=made.output.map(lambda result: [result["segment_id"]])
        )
    ran = run_dag(dag)
    assert ran.map_indexes["named[0]"] == f"{dag_id} nl"
    assert ran.map_indexes["own[1]"] == f"{dag_id}-de"
    assert ran.states["nameless[1]"] == "success"


def test_a_source_waits_for_the_output_that_it_holds(dag_id, tmp_path):
    """A task waits for the tasks whose output its source, its list or its dict holds, mapped or not."""
    ids = _contacts(4)
    segment_id = _segment(dag_id, ("G", "H", "I", "J"))
    with DAG(dag_id, schedule=None) as dag:

        @task
        def zz_file(name, rows):
            (tmp_path / name).write_text("\n".join(["contactid", *rows]) + "\n")
            return str(tmp_path / name)

        @task
        def zz_source(path):
            return FromFile(path, "contactid").as_dict()

        @task
        def zz_some():
            return ids[:2]

        path, some = zz_file("a.csv", ids[:3]), zz_some()
        fill = {"segment_id": segment_id}
        a = CijAddSegmentMembersOperator(task_id="a", group="G", members=FromFile(path), **fill)
        b = CijAddSegmentMembersOperator(task_id="b", group="H", members=zz_source(path), **fill)
        c = CijAddSegmentMembersOperator(task_id="c", group="I", members=[some, ids[3]], **fill)
        d = CijAddSegmentMembersOperator.partial(task_id="d", members={"file": path}, **fill).expand(group=["J"])
    assert [set(one.upstream_task_ids) for one in (a, b, c, d)] == [
        {"zz_file"},
        {"zz_source"},
        {"zz_some"},
        {"zz_file"},
    ]
    ran = run_dag(dag)
    assert set(ran.states.values()) == {"success"}
    assert [ran.result(name)["added"] for name in "abc"] == [3, 3, 3]


def test_a_source_is_rendered_for_each_task_anew(dag_id, tmp_path):
    """A source that tasks, map indexes and runs share is rendered for each of them, and stays as it is."""
    segment_id, ids = _segment(dag_id, ("a", "b", "c")), _contacts(3)
    (tmp_path / "a.csv").write_text("\n".join(["id", *ids[:1]]) + "\n")
    (tmp_path / "b.csv").write_text("\n".join(["id", *ids[1:]]) + "\n")
    shared = FromFile(str(tmp_path) + "/{{ task.group }}.csv")
    with DAG(dag_id, schedule=None) as dag:
        for name in "ab":
            CijMirrorSegmentMembersOperator(task_id=name, segment_id=segment_id, group=name, members=shared)
        CijAddSegmentMembersOperator.partial(task_id="group", segment_id=segment_id, members=shared).expand(
            group=["a", "b"]
        )
        CijAddSegmentMembersOperator.partial(task_id="file", segment_id=segment_id, group="c").expand(
            members=[FromFile(str(tmp_path / "{{ 'a' }}.csv")), FromFile(str(tmp_path / "b.csv"))]
        )
    for _ in range(2):
        ran = run_dag(dag)
        assert [ran.result(name)["read"] for name in "ab"] == [1, 2]
        assert set(ran.states.values()) == {"success"}
    assert "{{ task.group }}" in shared.path


def test_a_failed_task_says_why_once(dag_id, capfd):
    """The last line before the traceback says why the task failed, and the exception says it once."""
    with DAG(dag_id, schedule=None) as dag:
        CijPublishSegmentOperator(task_id="t", segment_id=f"name:{dag_id}")
    assert run_dag(dag).states == {"t": "failed"}
    lines = capfd.readouterr().out.splitlines()
    reason = f"There is no segment named '{dag_id}'."
    at = next(place for place, line in enumerate(lines) if "Task failed with exception" in line)
    assert reason in lines[at - 1]
    assert sum(reason in line for line in lines) == 2
    frames = [line for line in lines[at:] if "airflow_provider_cij" in line and "File" in line]
    assert len(frames) <= 2


def test_a_journey_takes_the_segments_of_other_tasks(dag_id):
    """The audience of a journey is the result of the task that published it, or a name."""
    with DAG(dag_id, schedule=None):
        made = CijCreateJourneyOperator(
            task_id="t", template_id=ID, name="J", audience_segment_id={"segment_id": ID}, exclusion_segment_ids=[]
        )
    assert made.read_argument("audience_segment_id", made.audience_segment_id) == ID
    with pytest.raises((CijInputError, AirflowFailException), match="audience_segment_id is a list"):
        made.read_argument("audience_segment_id", [ID])
