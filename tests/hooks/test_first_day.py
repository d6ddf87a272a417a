"""What the Test button says about the failures of a first day, against the sandbox."""

from __future__ import annotations

import json

import pytest
from cij_sandbox.testing import running_sandbox

from airflow_provider_cij.hooks.cij import CijHook

_FAULTS = {
    "no_application_user": ({}, "application user"),
    "no_role": ({}, "role"),
    "disabled_user": ({}, "disabled"),
    "missing_privilege": ({"table": "msdynmkt_segment", "operation": "read"}, "prvReadmsdynmkt_segment"),
    "expired_secret": ({}, "The client secret has expired"),
    "wrong_secret": ({}, "The client secret is wrong"),
    "unknown_application": ({}, "does not exist in this tenant"),
    "unknown_tenant": ({}, "Check tenant_id"),
}


def test_the_test_button_names_the_application_its_roles_and_what_they_lack(monkeypatch):
    """The Test button names the application and its roles, and the tables that they can't read."""
    fault = {"fault": "missing_privilege", "table": "msdynmkt_journey", "operation": "read"}
    with running_sandbox("--fault", json.dumps(fault)) as sandbox:
        monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", sandbox.airflow_conn_uri)
        good, report = CijHook().test_connection()
    assert good, report
    assert "'# CIJ sandbox application'" in report
    assert "roles: 'Basic User', 'Marketing Professional - Business'" in report
    assert "lack the privilege to read msdynmkt_journey." in report


@pytest.mark.parametrize("fault", _FAULTS)
def test_the_test_button_explains_a_first_day_failure(monkeypatch, fault):
    """The Test button fails, and says what is missing or wrong."""
    options, words = _FAULTS[fault]
    # Each with a sandbox of its own, because tokens and refusals of the login are kept in the process.
    with running_sandbox("--fault", json.dumps({"fault": fault, **options})) as sandbox:
        monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", sandbox.airflow_conn_uri)
        good, report = CijHook().test_connection()
    assert not good
    assert words in report
