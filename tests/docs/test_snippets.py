"""The DAGs that only the documentation shows, run against the sandbox."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from cij_sandbox.testing import running_sandbox
from cij_sandbox.with_airflow import _bag

from airflow_provider_cij.api.journeys.spec import JourneySpec
from airflow_provider_cij.api.segments.models import MemberGroup
from airflow_provider_cij.api.segments.spec import SegmentSpec
from airflow_provider_cij.api.segments.wait import SegmentWait
from airflow_provider_cij.api.wait import wait_until
from airflow_provider_cij.assets import EVENTS, segment_asset
from airflow_provider_cij.hooks.cij import CijHook
from tests.dags import run_dag
from tests.docs.pages import SNIPPETS
from tests.member_ids import id_set

ALL = "PROFILE(contact)"


@pytest.fixture(scope="module")
def dags():
    """Return the DAGs of the snippets by their ids."""
    bag = _bag(SNIPPETS / "dags")
    assert bag.import_errors == {}
    return bag.dags


@pytest.fixture(scope="module")
def sandbox():
    """Run an organisation whose clock this module may set."""
    with running_sandbox("--contacts", "2000", "--compute-seconds", "0") as sandbox:
        yield sandbox


@pytest.fixture
def hook(sandbox, monkeypatch):
    """Make the sandbox the organisation of the default connection."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", sandbox.airflow_conn_uri + "&max_poll_seconds=0.2")
    return CijHook()


@pytest.fixture
def people(hook):
    """Return the ids of 120 contacts by their addresses, which nobody else has."""
    path = "contacts?$select=contactid,emailaddress1&$filter=emailaddress1 ne null"
    rows = hook.run(lambda cij: cij.dataverse.rows(path))
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["emailaddress1"], []).append(row["contactid"])
    return dict([(address, ids[0]) for address, ids in found.items() if len(ids) == 1][:120])


@pytest.fixture
def published(hook):
    """Return a function that publishes a segment of all contacts, with people in its group, and returns its id."""

    def publish(name, members=()):
        async def work(cij):
            spec = SegmentSpec(f"docs.{name}", name, ALL, groups=(MemberGroup("Invited"),))
            made = await cij.segments.create(spec)
            if members:
                segment = await cij.segments.get(made.segment_id)
                await cij.members.add(segment, await cij.segments.group(segment, "Invited"), id_set(members))
            await cij.segments.publish(made.segment_id)
            await wait_until(SegmentWait(made.segment_id), cij, poll_interval=0.1, deadline=time.time() + 60)
            return made.segment_id

        return hook.run(work)

    return publish


def test_the_first_dag_runs(hook, dags):
    """The DAG of the first page publishes a segment and writes its members."""
    run = run_dag(dags["hello_segment"])
    assert set(run.states.values()) == {"success"}
    assert run.result("export")["count"] == run.result("publish")["member_count"] > 0


def test_lists_are_read_from_every_source(hook, dags, people, tmp_path, monkeypatch):
    """Members come from a file by address, from a query and from a table; some are removed, the rest exported."""
    (tmp_path / "invited.csv").write_text("\n".join(["email", *people]))
    (tmp_path / "leavers.csv").write_text("\n".join(["contactid", *list(people.values())[:3]]))
    with closing(sqlite3.connect(tmp_path / "warehouse.db")) as database, database:
        database.execute("CREATE TABLE newsletter_audience (contact_id TEXT, unsubscribed INTEGER)")
        database.executemany("INSERT INTO newsletter_audience VALUES (?, 0)", [(one,) for one in people.values()])
    warehouse = {"conn_type": "sqlite", "host": str(tmp_path / "warehouse.db")}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(warehouse))
    run = run_dag(dags["member_lists"], {"folder": str(tmp_path)})
    assert set(run.states.values()) == {"success"}
    assert run.result("add")["added"] == run.result("mirror")["added"] == len(people)
    assert run.result("add_from_dataverse")["added"] > 0
    assert run.result("export")["count"] == len(people) - 3


def test_a_segment_is_changed_and_another_deleted(published, dags):
    """The DAG of the clean-up page changes one segment, and stops and deletes another."""
    changed, old = published("Changed"), published("Last year")
    run = run_dag(dags["housekeeping"], {"segment_id": changed, "last_year_id": old})
    assert set(run.states.values()) == {"success"}
    assert run.result("stop") == {"stopped": [old]}
    assert run.result("delete") == {"segment_id": old, "deleted": True}
    assert run.result("update")["changes"]["query"]["old"] == ALL
    assert run.result("purge")["deleted"] == 0


def test_own_code_reads_segments_and_groups(published, dags, people):
    """Tasks of one's own list segments by size, and count the groups of one."""
    segment_id = published("Own code", people.values())
    run = run_dag(dags["own_code"], {"segment_id": segment_id})
    assert run.result("count_group") == {"Invited": len(people)}
    assert {"name": "Own code", "members": 2000} in run.result("largest_segments")


def test_a_wait_ends_with_the_next_evaluation(published, sandbox, dags, people):
    """The sensors of the page wait for an evaluation of the service's own, and for a group's members."""
    segment_id = published("Waited for", people.values())
    over = threading.Event()

    def let_time_pass():
        while not over.wait(1):
            sandbox.advance(1900)  # longer than from one evaluation to the next

    with ThreadPoolExecutor() as pool:
        pool.submit(let_time_pass)
        try:
            run = run_dag(dags["wait_refreshed"], {"segment_id": segment_id})
        finally:
            over.set()
    assert run.states == {"wait_until_refreshed": "success", "wait_for_members": "success"}


def test_a_journey_is_validated_and_published(published, hook, dags):
    """The DAG of the journey page validates a draft by its name, and publishes it."""
    audience = published("Audience")

    async def draft(cij):
        found = await cij.dataverse.get("msdynmkt_journeytemplates?$filter=msdynmkt_name eq 'One e-mail to a segment'")
        template = found["value"][0]["msdynmkt_journeytemplateid"]
        spec = JourneySpec(
            template_id=template, name="Welcome", starts_at="2099-01-01T00:00:00Z", audience_segment_id=audience
        )
        await cij.journeys.create(spec, datetime.now(UTC))

    hook.run(draft)
    run = run_dag(dags["journey_steps"].partial_subset(["validate", "publish"]))
    assert run.result("validate")["valid"]
    assert run.result("publish")["status"] == "live"


def test_a_list_for_each_country_is_added_in_a_pool(published, dags, people, tmp_path):
    """The mapped tasks of the production page add a file each."""
    for country in ("de", "fr", "nl"):
        (tmp_path / f"{country}.csv").write_text("\n".join(["contactid", *people.values()]))
    dag = dags["in_a_pool"]
    assert dag.get_task("add").pool == "dynamics"
    run = run_dag(dag, {"segment_id": published("In a pool"), "folder": str(tmp_path)})
    assert [run.result(f"add[{number}]")["added"] for number in range(3)] == [len(people)] * 3


class _EventsOf:
    """Returns the events of one asset. Those of Airflow 3.1 are no keys of a dict."""

    def __init__(self, asset, *events):
        self._asset, self._events = asset, list(events)

    def __getitem__(self, asset):
        assert asset == self._asset
        return self._events


def test_dags_start_with_events_of_tasks(dags):
    """The DAGs of the assets page are scheduled by an asset and by all events, and read their numbers."""
    vip = segment_asset("cij_vip_segment.create_segment")
    event = SimpleNamespace(extra={"name": "VIP customers", "member_count": 3})
    report, names = dags["after_vip_changes"].get_task("report"), dags["after_any_change"].get_task("names")
    assert report.python_callable(triggering_asset_events=_EventsOf(vip, event)) == [event.extra]
    assert names.python_callable(triggering_asset_events=_EventsOf(EVENTS, event, event)) == ["VIP customers"]
