from __future__ import annotations

import uuid

import pytest
from airflow.sdk import Connection

from airflow_provider_cij.hooks.cij import CijHook


@pytest.fixture
def organisation(cij_sandbox, monkeypatch):
    """Return a function that runs coroutine functions on the sandbox, over TLS, with a token of its login endpoint."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", cij_sandbox.airflow_conn_uri)
    assert Connection.from_uri(cij_sandbox.airflow_conn_uri, conn_id="x").conn_type == CijHook.conn_type
    return CijHook().run


@pytest.fixture
def key() -> str:
    """Return a segment key that no other test uses."""
    return f"test.{uuid.uuid4()}"
