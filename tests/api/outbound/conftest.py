from __future__ import annotations

import json

import pytest

from airflow_provider_cij.hooks.cij import CijHook
from tests.scripted import Answer


@pytest.fixture
def sent_by(scripted, monkeypatch):
    """Return a function that runs a call against these responses and returns the requests that wrote something."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())

    def run(work, *answers: Answer) -> list[tuple[str, str, dict]]:
        scripted.script, scripted.requests = list(answers), []
        CijHook().run(lambda cij: work(cij.outbound))
        return [
            (request.method, request.path.removeprefix("/api/data/v9.2/"), json.loads(request.body or "{}"))
            for request in scripted.requests
            if request.method != "GET"
        ]

    return run
