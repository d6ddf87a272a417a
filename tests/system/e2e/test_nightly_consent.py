"""Two nights of ``cij_nightly_consent`` on a running Airflow: whom a journey mails afterwards, person by person."""

from __future__ import annotations

import csv
import json
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cij_sandbox.testing import Sandbox, running_sandbox

from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.version_compat import TAKES_RETRY_POLICY
from demo.stack import Stack

DAG_ID = "cij_nightly_consent"
CONSENTS = "msdynmkt_contactpointconsent4s"
IN, OUT, UNSUBSCRIBE = 534120001, 534120002, 534120007


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Run a sandbox with people of whom some have said yes or no already."""
    with running_sandbox("--contacts", "400", "--compute-seconds", "0.5") as running:
        yield running


@pytest.fixture(scope="module")
def airflow(sandbox, tmp_path_factory) -> Iterator[Stack]:
    """Run Airflow with the example DAGs, the organisation and a warehouse."""
    folder = tmp_path_factory.mktemp("stack")
    with Stack(folder / "airflow", Path(__file__).parents[3] / "example_dags") as stack:
        stack.add_connection("cij_default", sandbox.airflow_conn_uri)
        body = {"connection_id": "warehouse", "conn_type": "sqlite", "host": str(folder / "warehouse.db")}
        stack.rest("POST", "connections", json=body)
        yield stack


class Truth:
    """What every address has said last, kept beside the organisation."""

    def __init__(self) -> None:
        self.said: dict[str, tuple[datetime, int]] = {}

    def say(self, address: str, value: int, when: datetime) -> None:
        """Remember what was said; of two things said at once the no counts."""
        key = address.lower()
        self.said[key] = max(self.said.get(key, (when, value)), (when, value))

    def may_be_mailed(self, address: str) -> bool:
        """Return whether commercial e-mail may go: it does unless the last word is no."""
        return bool(address) and self.said.get(address.lower(), (None, IN))[1] != OUT


@pytest.mark.soak
def test_two_nights_mail_exactly_who_may_be_mailed(airflow, sandbox, monkeypatch, tmp_path):
    """After each night, a journey to the segment mails exactly who may be mailed, and each opt-out is exported once."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", sandbox.airflow_conn_uri)
    people, truth = CijHook().run(_people)
    points = sorted({point for point in people.values() if point})
    warehouse = airflow.home.parent / "warehouse.db"
    start = datetime.now(UTC).replace(microsecond=0)
    rows: dict[str, tuple[str, datetime]] = {}
    airflow.wait_for_dag(DAG_ID)
    exported: list[str] = []
    unsubscribed: list[str] = []
    for night in range(2):
        # On the second night, opt-outs reach the warehouse that are older than the import of the first.
        for place, point in enumerate(points[night * 40 : night * 40 + 60]):
            value = ("opted_in", "opted_out")[(place + night) % 2]
            rows[point] = (value, start - timedelta(hours=5 - night, minutes=place))
            truth.say(point, OUT if (place + night) % 2 else IN, rows[point][1])
        with closing(sqlite3.connect(warehouse)) as database, database:
            database.executescript(
                "DROP TABLE IF EXISTS consent; DROP TABLE IF EXISTS newsletter_audience;"
                "CREATE TABLE consent (email TEXT, consent TEXT, given_at TEXT, reason TEXT);"
                "CREATE TABLE newsletter_audience (contact_id TEXT, unsubscribed INTEGER);"
            )
            listed = [(point, value, when.isoformat(), "") for point, (value, when) in rows.items()]
            database.executemany("INSERT INTO consent VALUES (?, ?, ?, ?)", listed)
            database.executemany("INSERT INTO newsletter_audience VALUES (?, 0)", [(person,) for person in people])
        # People unsubscribe by a link meanwhile, some of whom the warehouse takes for opted in.
        leaving = points[night::50][:6]
        CijHook().run(lambda cij, leaving=leaving: _unsubscribe(cij, leaving))
        unsubscribed += leaving
        for point in leaving:
            truth.say(point, OUT, datetime.now(UTC))
        run_id = airflow.trigger(DAG_ID, {"folder": tmp_path.as_uri()})
        states = {task["task_id"]: task["state"] for task in airflow.watch(DAG_ID, run_id)}
        assert set(states.values()) == {"success"}, states
        segment_id = airflow.result(DAG_ID, run_id, "create_segment")["segment_id"]
        allowed = sorted(point for point in people.values() if truth.may_be_mailed(point))
        assert _mailed(sandbox, segment_id) == allowed
        assert airflow.result(DAG_ID, run_id, "refresh_segment")["member_count"] == len(allowed)
        with (tmp_path / f"left_out_{run_id}.csv").open() as file:
            assert len(list(csv.DictReader(file))) == len(people) - len(allowed)
        with (tmp_path / f"opt_outs_{run_id}.csv").open() as file:
            found = [row["address"] for row in csv.DictReader(file) if row["source"] == "list_unsubscribe"]
        exported = exported + found if TAKES_RETRY_POLICY else found
    assert sorted(exported) == sorted(unsubscribed)


async def _people(cij) -> tuple[dict[str, str], Truth]:
    """Return the addresses of all people, and what they have said from the start."""
    found, truth = {}, Truth()
    async for page in cij.dataverse.pages("contacts?$select=contactid,emailaddress1"):
        found |= {row["contactid"]: (row["emailaddress1"] or "").lower() for row in page}
    columns = "msdynmkt_contactpointvalue,msdynmkt_value,modifiedon"
    async for page in cij.dataverse.pages(f"{CONSENTS}?$select={columns}"):
        for row in page:
            when = datetime.fromisoformat(row["modifiedon"])
            truth.say(row["msdynmkt_contactpointvalue"], row["msdynmkt_value"], when)
    return found, truth


async def _unsubscribe(cij, points: list[str]) -> None:
    """Do what the service does when people unsubscribe: change all their rows, or create one."""
    for point in points:
        path = f"{CONSENTS}?$select=msdynmkt_value&$filter=msdynmkt_contactpointvalue eq '{point}'"
        change = {"msdynmkt_value": OUT, "msdynmkt_source": UNSUBSCRIBE}
        rows = await cij.dataverse.rows(path)
        for row in rows:
            await cij.dataverse.patch(f"{CONSENTS}({row['msdynmkt_contactpointconsent4id']})", change)
        if not rows:
            new = {
                "msdynmkt_contactpointvalue": point,
                "msdynmkt_contactpointtype": 534120000,
                "msdynmkt_contactpointconsenttype": 534120000,
                "msdynmkt_purposeId@odata.bind": "/msdynmkt_purposes(10000000-0000-0000-0000-000000000003)",
            }
            await cij.dataverse.post(CONSENTS, new | change, repeatable=False)


def _mailed(sandbox: Sandbox, segment_id: str) -> list[str]:
    """Publish a journey to a segment; return whom it mailed, after checking that consent left out nobody."""

    async def publish(cij) -> str:
        found = await cij.dataverse.rows("msdynmkt_journeytemplates?$filter=msdynmkt_name eq 'One e-mail to a segment'")
        inputs = {
            "msdynmkt_journeytemplateid": found[0]["msdynmkt_journeytemplateid"],
            "msdynmkt_journeyname": f"Night {uuid.uuid4()}",
            "msdynmkt_createmode": "Publish",
            "msdynmkt_jsonpathmodifications": json.dumps({"$.trigger.audience": segment_id}),
        }
        made = await cij.dataverse.action("msdynmkt_CreateJourneyFromTemplate", inputs, repeatable=False)
        return str(made["msdynmkt_journeyid"])

    journey_id = CijHook().run(publish)
    give_up = time.monotonic() + 30
    while not (mail := sandbox._remote.call("GET", f"mail?journey={journey_id}")["mail"]):
        assert time.monotonic() < give_up
        time.sleep(0.1)
    assert all(one["sent"] for one in mail)
    return sorted(one["address"].lower() for one in mail)
