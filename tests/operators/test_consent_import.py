"""``CijImportConsentOperator`` with real Airflow, from files and databases, against the sandbox."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta

import pytest
from airflow.sdk import DAG

from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.hooks.cij import CijHook
from airflow_provider_cij.operators.consent import CijImportConsentOperator, ConsentTo
from airflow_provider_cij.sources import FromFile
from tests.api.consent.organisation import CONSENTS, IN, OUT, addresses, consent, consents, create_many, purpose
from tests.dags import run_dag

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def connection(cij_sandbox, monkeypatch):
    """Make the sandbox the default connection."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", cij_sandbox.airflow_conn_uri)


@pytest.fixture
def purpose_id() -> str:
    """Return a purpose that no other test uses."""
    return CijHook().run(purpose)


def values_of(address: str) -> list[int]:
    """Return what the rows of an address say."""
    path = f"{CONSENTS}?$select=msdynmkt_value&$filter=msdynmkt_contactpointvalue eq '{address}'"
    return [row["msdynmkt_value"] for row in CijHook().run(lambda cij: cij.dataverse.rows(path))]


def run(dag_id, **arguments):
    """Run the operator in a DAG."""
    with DAG(dag_id, schedule=None) as dag:
        CijImportConsentOperator(task_id="t", **arguments)
    return run_dag(dag)


def test_a_file_is_imported_once(dag_id, purpose_id, tmp_path):
    """Each usable row counts under one word, rejected lines are in a file, and a second run changes nothing."""
    new, out, same, newer, late = addresses(5)

    async def prepare(cij):
        for value, address in ((IN, out), (OUT, same), (IN, newer)):
            await consents(cij, [consent(address, value, purpose_id)])

    CijHook().run(prepare)
    given = (NOW - DAY).isoformat()
    lines = [
        (new, "opted_in", given),
        (new.upper(), "Opt-Out", (NOW - 2 * DAY).isoformat()),  # older than the one above
        (out, "unsubscribed", (datetime.now(UTC) + timedelta(seconds=30)).isoformat()),  # the source's clock is ahead
        (same, "opted out", given),
        (newer, "opted_out", given),
        (late, "yes", given),
        ("", "opted_in", given),
        ("nobody", "opted_in", given),
        (late, "opted_in", ""),
        (late, "opted_in", "2026-01-01T00:00:00"),
        (late, "opted_out", (NOW + DAY).isoformat()),
    ]
    path, rejects = tmp_path / "consent.csv", tmp_path / "rejects.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("email", "consent", "at"), *lines])
    arguments = {
        "rows": FromFile(str(path)),
        "to": ConsentTo(purpose_id),
        "address_column": "email",
        "value_column": "consent",
        "given_at_column": "at",
        "max_invalid": 6,
        "rejects_path": str(rejects),
    }
    counts = {"read": 11, "invalid": 6, "duplicate": 1, "not_found": 0, "failed": 0}
    report = run(dag_id, **arguments).result("t")
    assert report == counts | {"created": 1, "updated": 1, "unchanged": 1, "kept_newer": 1}
    with rejects.open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["line"]) for row in rows] == [7, 8, 9, 10, 11, 12]
    assert not any("contoso" in row["reason"] for row in rows)
    assert list(map(values_of, (new, out, same, newer, late))) == [[IN], [OUT], [OUT], [IN], []]
    report = run(f"{dag_id}_2", **arguments).result("t")
    assert report == counts | {"created": 0, "updated": 0, "unchanged": 3, "kept_newer": 1}


def test_people_are_found_by_their_key(dag_id, purpose_id, tmp_path):
    """With ``match_on`` everybody who has the value counts; values that find nobody are counted, and fail the task."""
    first, second = addresses(2)

    async def prepare(cij):
        rows = [{"lastname": "x", "emailaddress1": point} for point in (first, second, None)]
        return await create_many(cij, "contacts", "contact", rows)

    people = CijHook().run(prepare)
    rows = [{"address": f"{{{person.upper()}}}"} for person in people]
    arguments = {"to": ConsentTo(purpose_id), "value": "opted_out", "given_at_column": None, "match_on": "contactid"}
    assert run(dag_id, rows=rows, **arguments).states == {"t": "failed"}
    assert values_of(first) == []
    report = run(f"{dag_id}_2", rows=rows, max_not_found=1, **arguments).result("t")
    assert (report["created"], report["not_found"], report["invalid"]) == (2, 1, 0)
    assert (values_of(first), values_of(second)) == ([OUT], [OUT])


@pytest.mark.parametrize("given_at", ["bad", "2999-01-01T00:00:00Z", None])
def test_an_opt_in_is_not_written_beside_a_line_that_may_be_an_opt_out(dag_id, purpose_id, tmp_path, given_at):
    """An unusable line that may be an opt-out keeps back its address's opt-in, whose line is reported."""
    kept, written, refused = addresses(3)
    older = (NOW - 2 * DAY).isoformat()
    unusable = {"value": "opted_out", "given_at": given_at} if given_at else {"value": "widerrufen", "given_at": older}
    rows = [
        {"address": kept, "value": "opted_in", "given_at": older},
        {"address": kept.upper(), **unusable},
        {"address": written, "value": "opted_in", "given_at": older},
        {"address": written, "value": "opted_in", "given_at": "bad"},
        {"address": refused, "value": "opted_out", "given_at": older},
        {"address": refused, **unusable},
    ]
    rejects = tmp_path / "rejects.csv"
    report = run(dag_id, rows=rows, to=ConsentTo(purpose_id), max_invalid=3, rejects_path=str(rejects)).result("t")
    assert (report["created"], report["kept_newer"], report["invalid"]) == (2, 1, 3)
    assert list(map(values_of, (kept, written, refused))) == [[], [IN], [OUT]]
    with rejects.open() as file:
        assert {row["line"]: "may be an opt-out" in row["reason"] for row in csv.DictReader(file)}["1"]


@pytest.mark.parametrize("overwrite", ["if_source_newer", "always"])
def test_a_clock_that_is_ahead_does_not_beat_a_no(dag_id, purpose_id, overwrite):
    """An opt-in dated half a minute ahead of the service's clock does not overrule a "no" of this moment."""
    (address,) = addresses(1)
    CijHook().run(lambda cij: consents(cij, [consent(address, OUT, purpose_id)]))
    ahead = (datetime.now(UTC) + timedelta(seconds=30)).isoformat()
    rows = [{"address": address, "value": "opted_in", "given_at": ahead}]
    report = run(dag_id, rows=rows, to=ConsentTo(purpose_id), overwrite=overwrite).result("t")
    assert (report["kept_newer"], values_of(address)) == (1, [OUT])


def test_two_people_of_one_address_do_not_hide_an_unusable_opt_out(dag_id, purpose_id):
    """With ``match_on`` an unusable opt-out of one person keeps back the opt-in of another with the same address."""
    (shared,) = addresses(1)

    async def prepare(cij):
        rows = [{"lastname": "x", "emailaddress1": point} for point in (shared, shared.upper())]
        return await create_many(cij, "contacts", "contact", rows)

    first, second = CijHook().run(prepare)
    rows = [
        {"address": first, "value": "opted_in", "given_at": (NOW - DAY).isoformat()},
        {"address": second, "value": "opted_out", "given_at": "bad"},
    ]
    report = run(dag_id, rows=rows, to=ConsentTo(purpose_id), match_on="contactid", max_invalid=1).result("t")
    assert (report["created"], report["kept_newer"], report["invalid"]) == (0, 1, 1)
    assert values_of(shared) == []


def test_a_dry_run_shows_the_plan(dag_id, purpose_id):
    """A dry run counts what would be written, and writes nothing."""
    rows = [{"address": point, "value": "opted_out", "given_at": None} for point in addresses(3)]
    report = run(dag_id, rows=rows, to=ConsentTo(purpose_id), dry_run=True).result("t")
    assert report["created"] == 3
    assert values_of(rows[0]["address"]) == []


def test_too_many_unusable_rows_send_nothing(dag_id, purpose_id, tmp_path, capfd):
    """Rows beyond ``max_invalid`` fail the task before anything is sent; no address is in the log."""
    good, bad = addresses(2)
    path = tmp_path / "consent.jsonl"
    rows = [{"address": good, "value": "opted_out", "given_at": None}, {"address": bad, "value": 1, "given_at": None}]
    path.write_text("\n".join(map(json.dumps, rows)))
    rejects = tmp_path / "rejects.csv"
    ran = run(dag_id, rows=FromFile(str(path)), to=ConsentTo(purpose_id), rejects_path=str(rejects))
    assert ran.states == {"t": "failed"}
    assert values_of(good) == []
    assert rejects.read_text().splitlines()[1].startswith('2,"value holds neither')
    said = capfd.readouterr().out
    assert "1 of 2 rows can't be used, more than max_invalid=0" in said
    assert bad not in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"overwrite": "sometimes"}, "overwrite"),
        ({"to": "Commercial"}, "to is 'Commercial'"),
        ({"rows": 5}, "rows is a int"),
        ({"table": "account"}, "table"),
        ({"max_failed": -1}, "max_failed"),
    ],
)
def test_bad_arguments_are_refused_when_the_dag_is_parsed(arguments, words):
    """An argument that no run could use is refused where the DAG is written."""
    with pytest.raises(CijInputError, match=words), DAG("d", schedule=None):
        CijImportConsentOperator(task_id="t", **({"rows": [{"address": "a@b"}]} | arguments))
