"""Airflow keeps no secret and no personal data, whatever happens, with all loggers at DEBUG."""

from __future__ import annotations

import base64
import json
import os
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import jwt
import msal
import pytest
from airflow.sdk import Connection
from cij_sandbox.testing import Sandbox, running_sandbox
from cryptography.hazmat.primitives import serialization
from packaging.version import Version

from airflow_provider_cij.hooks.cij import CijHook
from demo.stack import Stack
from tests.certificates import CERTIFICATE, KEY, _pem
from tests.system.e2e.secret_dags.secrets import IN_THE_DAG

PASSPHRASE, WRONG = "canary-passphrase", "canary-wrong-secret"
CLAIMS = {"iss": "cluster", "sub": "pod", "aud": "api://AzureADTokenExchange", "exp": time.time() + 3600}
ASSERTION = jwt.encode(CLAIMS, KEY, "RS256")
TOKEN = "sandbox-token-"
# A certificate's assertion is made anew each time. Airflow signs its own tokens with a secret, not with a key.
JWT_HEADER = re.compile(rb"eyJ[\w-]{10,}(?=\.eyJ)")
HERE = Path(__file__).parent
DEBUG = {
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
    "PYTHONPATH": os.pathsep.join([str(HERE / "debug_logging"), *filter(None, [os.environ.get("PYTHONPATH")])]),
    # Otherwise Airflow would hide from us what we have given away.
    "AIRFLOW__CORE__HIDE_SENSITIVE_VAR_CONN_FIELDS": "False",
}
FAULTS = [
    {"fault": "401", "path": "msdynmkt_ListGroupMembers", "invalidate": True, "count": 1},
    {"fault": "503", "path": "msdynmkt_AddStaticMembers", "body": "html", "count": 1},
    {"fault": "lost", "path": "msdynmkt_AddStaticMembers", "after": 1, "count": 1},
    {"fault": "reset", "path": "msdynmkt_segments", "after": 3, "count": 1},
    {"fault": "html200", "path": "/contacts", "count": 1},
    {"fault": "truncated", "path": "/contacts", "after": 1, "count": 1},
    {"fault": "429", "path": "/contacts", "after": 2, "count": 1},
    {"fault": "truncated", "path": "oauth2/v2.0/token", "consistent": True, "count": 2},
    {"fault": "502", "path": "oauth2/v2.0/token", "body": "html", "after": 2, "count": 1},
]
GOOD = {
    *("create", "add_ids", "add_in_the_dag", "add_found", "match", "mirror", "publish"),
    *("wait_certificate", "wait_workload", "export_certificate", "export_workload"),
}
# What the log of each failure has to say: it did happen, and as it was meant to.
BAD = {
    "add_wrong_secret": "AADSTS7000215",
    "add_wrong_passphrase": "refused",
    "add_pasted_key": "certificate_path can't be read",
    "add_pasted_assertion": "federated_token_file can't be read",
    "bad_emails_for_ids": "holds any id",
    "bad_headerless": "its first row is no header",
    "bad_match": "The service's words are withheld",
    "bad_filter": "GET contacts was refused",
    "bad_show": "ValueError",
}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory) -> Iterator[Sandbox]:
    """Run a sandbox that knows the certificate of the tests."""
    path = tmp_path_factory.mktemp("certificate") / "public.pem"
    path.write_bytes(CERTIFICATE.public_bytes(serialization.Encoding.PEM))
    with running_sandbox("--contacts", "2000", "--compute-seconds", "1", "--client-certificate", str(path)) as running:
        yield running


def _connections(sandbox: Sandbox, token_file: Path) -> dict[str, Connection]:
    """Return one connection of each kind, valid ones and ones with common mistakes."""
    changed: dict[str, tuple[str, dict[str, str]]] = {
        "cij_default": (sandbox.client_secret, {}),
        "cij_wrong_secret": (WRONG, {}),
        "cij_certificate": (
            "",
            {
                "credential": "certificate",
                "certificate_private_key": _pem(PASSPHRASE.encode()),
                "private_key_passphrase": PASSPHRASE,
            },
        ),
        "cij_wrong_passphrase": (
            "",
            {"credential": "certificate", "certificate_private_key": _pem(b"x"), "private_key_passphrase": PASSPHRASE},
        ),
        "cij_pasted_key": ("", {"credential": "certificate", "certificate_path": _pem()}),
        "cij_workload": ("", {"credential": "workload_identity", "federated_token_file": str(token_file)}),
        "cij_pasted_assertion": ("", {"credential": "workload_identity", "federated_token_file": ASSERTION}),
    }
    made = {}
    for name, (password, extra) in changed.items():
        connection = Connection.from_uri(sandbox.airflow_conn_uri, conn_id=name)
        connection.password = password
        connection.extra = json.dumps(connection.extra_dejson | extra)
        made[name] = connection
    return made


@pytest.fixture(scope="module")
def people(sandbox, tmp_path_factory) -> tuple[Path, list[dict[str, str]]]:
    """Write files of real contacts, valid and invalid, and return the folder and the contacts."""

    async def read(cij):
        return await cij.dataverse.rows(
            "contacts?$select=contactid,emailaddress1&$filter=emailaddress1 ne null&$top=300"
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", sandbox.airflow_conn_uri)
        rows = CijHook().run(read)
    folder = tmp_path_factory.mktemp("people")
    emails = [row["emailaddress1"] for row in rows]
    (folder / "ids.csv").write_text("\n".join(["contactid", *(row["contactid"] for row in rows), "ada@contoso.test"]))
    (folder / "emails.csv").write_text("\n".join(["id", *emails, "nobody.canary@contoso.test"]))
    (folder / "headerless.csv").write_text("\n".join(f"{email},x" for email in emails))
    return folder, rows


@pytest.fixture(scope="module")
def airflow(sandbox, tmp_path_factory) -> Iterator[Stack]:
    """Run Airflow with everything at DEBUG."""
    folder = tmp_path_factory.mktemp("stack")
    token_file = folder / "federated"
    token_file.write_text(ASSERTION)
    with Stack(folder / "airflow", HERE / "secret_dags", DEBUG) as stack:
        for connection in _connections(sandbox, token_file).values():
            stack.add_connection(connection.conn_id, connection.get_uri())
        yield stack


def _stored_content(airflow: Stack) -> Iterator[tuple[str, bytes]]:
    """Return the tables and files of Airflow, except connections and the record of who created them."""
    with closing(sqlite3.connect(airflow.home / "airflow.db")) as database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            but = "WHERE event <> 'post_connection'" if table == "log" else ""
            if table != "connection":
                yield table, repr(database.execute(f'SELECT * FROM "{table}" {but}').fetchall()).encode()  # noqa: S608
    for path in airflow.home.rglob("*"):
        if path.is_file() and not path.name.startswith("airflow.db"):
            yield str(path.relative_to(airflow.home)), path.read_bytes()


def _found(airflow: Stack, canaries: Iterable[str]) -> list[str]:
    """Return each place that holds one of these texts or a signed assertion, with the text before it."""
    found = []
    for where, content in _stored_content(airflow):
        headers = JWT_HEADER.findall(content)
        signed = [header for header in headers if b"HS" not in base64.urlsafe_b64decode(header + b"==")]
        places = [content.find(canary) for canary in (*(canary.encode() for canary in canaries), *signed)]
        found += [f"{where}: {content[max(0, place - 200) : place + 60]!r}" for place in places if place >= 0]
    return found


@pytest.mark.skipif(Version(msal.__version__) < Version("1.35"), reason="older msal takes no certificate in PEM")
def test_airflow_keeps_no_secret_and_no_personal_data(airflow, sandbox, people):
    """The whole workflow with every credential and failure leaves nothing in tables or files, also halfway."""
    folder, rows = people
    private_lines = [line for line in (_pem() + _pem(PASSPHRASE.encode())).splitlines() if len(line) > 40]
    secrets = [sandbox.client_secret, WRONG, PASSPHRASE, ASSERTION, TOKEN, "PRIVATE KEY", *private_lines]
    persons = [*(row[name] for row in rows for name in ("contactid", "emailaddress1")), *IN_THE_DAG]
    persons += ["ada@contoso.test", "nobody.canary@contoso.test"]
    for fault in FAULTS:
        sandbox.faults.add(**fault)

    airflow.wait_for_dag("secrets")
    run_id = airflow.trigger("secrets", {"folder": str(folder), "email": rows[0]["emailaddress1"]})
    deferred, last = 0, {}
    for task in airflow.watch("secrets", run_id):
        last[task["task_id"]] = task["state"]
        if task["state"] == "deferred" and deferred < 3:
            deferred += 1
            assert _found(airflow, secrets) == []
    assert deferred
    assert {name for name, state in last.items() if state == "success"} == GOOD
    for name, words in BAD.items():
        assert words in airflow.log("secrets", run_id, name), name
    assert sandbox.faults.struck() == [rule["count"] for rule in FAULTS]
    for name, password in (("cij_default", sandbox.client_secret), ("cij_wrong_secret", WRONG)):
        stored = airflow.rest("GET", f"connections/{name}")
        tested = airflow.rest("POST", "connections/test", json={**stored, "password": password})
        assert tested["status"] is (password != WRONG)
        assert password not in json.dumps(tested)
        assert TOKEN not in json.dumps(tested)

    # The search finds what is there, and the libraries did talk.
    logs = b"".join(content for where, content in _stored_content(airflow) if where.endswith(".log"))
    for word in (b": HTTP 200", b"send_request_headers", b"msal.token_cache", b"1 not found"):
        assert word in logs, word
    assert _found(airflow, [airflow.result("secrets", run_id, "create")["segment_id"]])
    # The run's parameters and what is rendered of them are the user's own.
    given = rows[0]["emailaddress1"]
    assert _found(airflow, [*secrets, *(canary for canary in persons if canary != given)]) == []
