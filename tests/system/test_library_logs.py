"""Log records and errors of msal and this package; the whole workflow on a running Airflow is in tests/system/e2e."""

from __future__ import annotations

import pytest

from airflow_provider_cij.dataverse.retry import RetryPolicy
from airflow_provider_cij.errors import CijUnreachableError
from tests.scripted import Answer
from tests.scripted_client import run_client

CUT = b'{"token_type": "Bearer", "expires_in": 3599, "access_token": "canary-eyJ0eXAiOi'


def _who(client):
    return client.get("WhoAmI")


@pytest.fixture(autouse=True)
def _all(caplog_all):
    pass


def test_logged_urls_have_no_query(scripted, caplog):
    """URLs in logs have no query, in requests, next links and redirects, for a filter may hold an address."""
    where = "contacts?$filter=emailaddress1 eq 'canary@contoso.test'"
    more = Answer(body={"value": [], "@odata.nextLink": f"{scripted.url}/api/data/v9.2/{where}&page=2"})
    moved = Answer(307, headers={"Location": f"/api/data/v9.2/{where}&moved=1".replace(" ", "%20")})

    async def read(client):
        return [page async for page in client.pages(where)]

    run_client(scripted, more, moved, Answer(body={"value": []}), work=read)
    told = [record.getMessage() for record in caplog.records]
    assert told.count("GET contacts: HTTP 200") == 2
    assert not [line for line in told if "canary" in line]


@pytest.mark.parametrize("credential", ["client_secret", "managed_identity"])
def test_a_truncated_login_response_is_not_logged(scripted, caplog, monkeypatch, credential):
    """A truncated login response, which msal would log, is in no log."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{scripted.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "canary-header")
    scripted.login_answers = [Answer(200, CUT)] * RetryPolicy().max_attempts
    with pytest.raises(CijUnreachableError, match="its answer can't be read") as caught:
        run_client(scripted, Answer(200, CUT), work=_who, credential=credential)
    assert not [record for record in caplog.records if "canary" in record.getMessage() + (record.exc_text or "")]
    assert "canary" not in repr(caught.value)


def test_a_managed_identity_header_is_in_no_error(scripted, monkeypatch):
    """The identity header is in no error, although httpx quotes headers that it cannot send."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{scripted.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "canary\n")
    with pytest.raises(CijUnreachableError, match="what it wants can't be sent in a header") as caught:
        run_client(scripted, Answer(body={}), work=_who, credential="managed_identity", client_id="h")
    assert "canary" not in repr(caught.value)
