"""``CijExportConsentOperator`` with real Airflow: every change once, over runs, retries and changes of one second."""

from __future__ import annotations

import csv
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from airflow.sdk import DAG, Asset
from cij_sandbox.testing import running_sandbox

from airflow_provider_cij.api.consent.export import ConsentExport, Cursor
from airflow_provider_cij.api.consent.rules import ConsentValue
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.operators.consent import CijExportConsentOperator, CijImportConsentOperator, ConsentTo
from airflow_provider_cij.version_compat import TAKES_RETRY_POLICY
from tests.api.consent.organisation import CONSENTS, IN, OUT, addresses, consent, consents, purpose, topic
from tests.dags import run_dag

keeps_state = pytest.mark.skipif(not TAKES_RETRY_POLICY, reason="assets keep state on Airflow 3.3 and newer")


@pytest.fixture(scope="module")
def sandbox():
    """Run a sandbox whose clock these tests advance."""
    with running_sandbox() as running:
        yield running


@pytest.fixture(autouse=True)
def connection(sandbox, monkeypatch):
    """Make the sandbox the default connection."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", sandbox.airflow_conn_uri)


def now(sandbox, advance=0) -> datetime:
    """Advance the sandbox's clock; return its time."""
    return datetime.fromisoformat(sandbox._remote.call("POST", "clock", {"advance_seconds": advance})["now"])


def write(*rows) -> list[str]:
    """Create consents; return their ids."""
    return CijHook().run(lambda cij: consents(cij, [consent(*row) for row in rows]))


def export(dag_id, path, **arguments):
    """Run the operator once; return its result and the file's rows."""
    with DAG(dag_id, schedule=None) as dag:
        CijExportConsentOperator(task_id="t", path=str(path), **arguments)
    ran = run_dag(dag)
    if ran.states != {"t": "success"}:
        return ran.states, []
    with path.open() as file:
        return ran.result("t"), list(csv.DictReader(file))


@keeps_state
def test_each_run_writes_what_changed_since_the_last(sandbox, dag_id, tmp_path):
    """Runs write each change once, of the same second too, and leave out what the import wrote unless asked."""
    one, two, three, ours = addresses(4)
    purpose_id = CijHook().run(purpose)
    assert now(sandbox, 100)
    path, outlets = tmp_path / "consent.csv", [Asset(f"consent_{uuid.uuid4().hex}")]
    arguments = {"to": ConsentTo(purpose_id), "outlets": outlets}
    write((one, OUT, purpose_id), (two, IN, purpose_id))
    result, rows = export(dag_id, path, **arguments)
    assert result == {"count": 2, "own": 0, "path": str(path)}
    assert sorted((row["address"], row["value"], row["channel"], row["source"]) for row in rows) == [
        (one, "opted_out", "email", "internal"),
        (two, "opted_in", "email", "internal"),
    ]
    write((three, OUT, purpose_id))  # perhaps in the same second
    with DAG(f"{dag_id}_import", schedule=None) as dag:
        row = {"address": ours, "value": "opted_out", "given_at": None}
        CijImportConsentOperator(task_id="t", rows=[row], to=ConsentTo(purpose_id), reason="by post")
    assert run_dag(dag).result("t")["created"] == 1
    result, rows = export(dag_id, path, **arguments)
    assert ([row["address"] for row in rows], result["own"]) == ([three], 1)
    result, rows = export(dag_id, path, **arguments)
    assert (rows, result["count"]) == ([], 0)
    changed = f"{CONSENTS}?$select=msdynmkt_reason&$filter=msdynmkt_contactpointvalue eq '{ours}'"

    async def change(cij):
        (row,) = await cij.dataverse.rows(changed)
        body = {"msdynmkt_value": IN, "msdynmkt_source": 534120004}
        await cij.dataverse.patch(f"{CONSENTS}({row['msdynmkt_contactpointconsent4id']})", body)

    now(sandbox, 100)
    CijHook().run(change)
    _, rows = export(dag_id, path, **arguments)
    assert [(row["address"], row["value"], row["source"], row["reason"]) for row in rows] == [
        (ours, "opted_in", "preference_center", "by post")
    ]


def test_a_choice_that_an_import_dates_anew_is_exported(sandbox, dag_id, tmp_path):
    """A person's own "no" stays in the export after imports of a later one, and keeps its source."""
    (address,) = addresses(1)
    purpose_id = CijHook().run(purpose)

    async def refuse(cij):
        await consents(cij, [consent(address, OUT, purpose_id, msdynmkt_source=534120005)])

    CijHook().run(refuse)
    since = datetime(2020, 1, 1, tzinfo=UTC)
    for number in range(2):
        given = now(sandbox, 100)
        row = {"address": address, "value": "opted_out", "given_at": given.isoformat()}
        with DAG(f"{dag_id}_import_{number}", schedule=None) as dag:
            CijImportConsentOperator(task_id="t", rows=[row], to=ConsentTo(purpose_id))
        assert run_dag(dag).states == {"t": "success"}
        result, rows = export(f"{dag_id}_{number}", tmp_path / "consent.csv", to=ConsentTo(purpose_id), since=since)
        assert [(row["address"], row["value"], row["source"]) for row in rows] == [(address, "opted_out", "form")]
        assert result["own"] == 0


@keeps_state
def test_a_retry_writes_the_same_changes_again(sandbox, dag_id, tmp_path):
    """A retry whose earlier try had stored its end writes that try's changes again: it replaces its file."""
    purpose_id = CijHook().run(purpose)
    points = addresses(3)
    write((points[0], OUT, purpose_id))
    path, asset = tmp_path / "consent.csv", Asset(f"consent_{uuid.uuid4().hex}")

    class DiesAfterwards(CijExportConsentOperator):
        def _execute(self, context):
            result = super()._execute(context)
            if context["ti"].try_number == 1:
                write((points[1], OUT, purpose_id))
                raise RuntimeError("killed after everything was stored")
            return result

    DiesAfterwards.__module__ = CijExportConsentOperator.__module__

    def run(kind):
        with DAG(dag_id, schedule=None) as dag:
            kind(
                task_id="t",
                path=str(path),
                to=ConsentTo(purpose_id),
                outlets=[asset],
                retries=1,
                retry_delay=timedelta(0),
            )
        ran = run_dag(dag)
        with path.open() as file:
            return ran.states, {row["address"] for row in csv.DictReader(file)}

    assert run(DiesAfterwards) == ({"t": "success"}, set(points[:2]))
    write((points[2], OUT, purpose_id))
    assert run(CijExportConsentOperator) == ({"t": "success"}, {points[2]})


def test_since_begins_every_run_without_state(sandbox, dag_id, tmp_path):
    """Without an asset every run begins at ``since``; without either the task fails."""
    before, after = addresses(2)
    purpose_id = CijHook().run(purpose)
    write((before, OUT, purpose_id))
    since = now(sandbox, 10)
    write((after, OUT, purpose_id))
    arguments = {"to": ConsentTo(purpose_id), "since": since}
    for number in range(2):
        _, rows = export(f"{dag_id}_{number}", tmp_path / "consent.csv", **arguments)
        assert [row["address"] for row in rows] == [after]
    assert export(f"{dag_id}_no", tmp_path / "no.csv")[0] == {"t": "failed"}


def test_changes_are_chosen_by_topic_value_and_channel(sandbox, dag_id, tmp_path):
    """A topic's rows are apart from its purpose's, and a value selects."""
    first, second, third = addresses(3)

    async def prepare(cij):
        purpose_id = await purpose(cij)
        return purpose_id, await topic(cij, purpose_id)

    purpose_id, topic_id = CijHook().run(prepare)
    write((first, OUT, purpose_id), (second, OUT, purpose_id, topic_id), (third, IN, purpose_id, topic_id))
    arguments = {"to": ConsentTo(purpose_id, topic_id), "value": "opted_out", "since": datetime(2020, 1, 1, tzinfo=UTC)}
    _, rows = export(dag_id, tmp_path / "consent.csv", **arguments)
    assert [(row["address"], row["topic_id"], row["purpose_id"]) for row in rows] == [(second, topic_id, purpose_id)]


def test_more_changes_than_a_cursor_remembers(sandbox, caplog):
    """With more changes than a cursor remembers, the next read begins no later: it repeats some, and the log warns."""
    points = addresses(20)

    async def work(cij):
        purpose_id = await purpose(cij)
        begin = now(sandbox, 100)
        cursor, found = Cursor(begin), []
        for start in range(0, 20, 4):
            for place in range(start, start + 4, 2):
                await consents(cij, [consent(point, OUT, purpose_id) for point in points[place : place + 2]])
                now(sandbox, place % 3)
            export = ConsentExport(cij.dataverse, Cursor.from_dict(cursor.as_dict()), remembered=3)
            found += [row[0] async for rows in export.rows(ConsentTo(purpose_id)) for row in rows]
            cursor = export.cursor()
            assert (cursor.start, len(cursor.seen)) == (begin, 3)
        return found

    found = CijHook().run(work)
    assert set(found) == set(points)
    assert len(found) == sum(range(4, 21, 4)) - 4 * 3
    assert "may write 17 of these changes again" in caplog.text


def test_what_the_import_wrote_takes_no_room_of_a_cursor(sandbox):
    """Changes of our own are remembered last, so that they make the next read repeat no other change."""
    ours, theirs = addresses(4), addresses(2)

    async def work(cij):
        to = ConsentTo(await purpose(cij))
        cursor, found = Cursor(now(sandbox, 100)), []
        for point in ours:
            await cij.consent.set(point, ConsentValue.OPTED_OUT, to)
        await consents(cij, [consent(point, OUT, to.purpose) for point in theirs])
        for _ in range(2):
            export = ConsentExport(cij.dataverse, cursor, remembered=2)
            found.append([row[0] async for rows in export.rows(to) for row in rows])
            cursor = export.cursor()
        return found

    first, second = CijHook().run(work)
    assert (sorted(first), second) == (sorted(theirs), [])
