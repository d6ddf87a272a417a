"""Writes stay fast however many rows there are."""

import json

import pytest
from cij_sandbox.core.store import Store
from cij_sandbox.core.web import Request
from cij_sandbox.dataverse.keys import Keys
from cij_sandbox.dataverse.privileges import Privileges
from cij_sandbox.dataverse.rows import Rows
from cij_sandbox.dataverse.seeding import seed
from cij_sandbox.server.organisation import PLUGINS, SCHEMA

CONSENT = {
    "msdynmkt_contactpointvalue": "ada@contoso.com",
    "msdynmkt_contactpointtype": 534120000,
    "msdynmkt_contactpointconsenttype": 534120000,
    "msdynmkt_value": 534120001,
}
ADA = {"firstname": "Ada", "lastname": "Lovelace", "emailaddress1": "ada@contoso.com"}


@pytest.mark.parametrize(
    ("name", "body"), [("contact", ADA), ("lead", ADA), ("msdynmkt_contactpointconsent4", CONSENT)]
)
def test_a_write_reads_no_large_table_from_its_beginning(tmp_path, name, body):
    """A row is created by indexes alone, with its plug-ins and the platform's duplicate detection."""
    store = Store(tmp_path / "state.sqlite", SCHEMA)
    seed(store, 10, 10, 0)
    privileges = Privileges(lambda table, operation: False)
    rows = Rows(store, Keys(store, pending=False), privileges, PLUGINS)
    detection = {"mscrm.suppressduplicatedetection": "false"}
    request = Request("POST", "https://localhost", "v9.2", "", "", detection, json.dumps(body).encode())
    statements = []
    store.reader().set_trace_callback(statements.append)
    rows.create(SCHEMA.by_name[name], request, ())
    store.reader().set_trace_callback(None)
    reads = [statement for statement in statements if statement.lstrip().upper().startswith(("SELECT", "UPDATE"))]
    plans = [row["detail"] for read in reads for row in store.reader().execute(f"EXPLAIN QUERY PLAN {read}")]
    assert any(plan.startswith("SEARCH") for plan in plans)
    assert [plan for plan in plans if plan.startswith("SCAN") and "CONSTANT" not in plan] == []
