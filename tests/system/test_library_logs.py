"""What httpx and msal would tell of us, were they let; the whole job on a real Airflow is in tests/system/e2e."""

from __future__ import annotations

import httpx
import pytest

from airflow_provider_cij.dataverse.auth import ssl_context
from airflow_provider_cij.dataverse.retry import RetryPolicy
from airflow_provider_cij.errors import CijUnreachableError
from tests.conversation import converse
from tests.scripted import Answer, ScriptedServer

CUT = b'{"token_type": "Bearer", "expires_in": 3599, "access_token": "canary-eyJ0eXAiOi'


def _who(client):
    return client.get("WhoAmI")


@pytest.fixture(autouse=True)
def _all(heard):
    pass


def test_the_query_of_an_address_is_in_no_log(scripted, caplog):
    """A filter may hold an address; the links of further pages and of redirects as well."""
    where = "contacts?$filter=emailaddress1 eq 'canary@contoso.test'"
    more = Answer(body={"value": [], "@odata.nextLink": f"{scripted.url}/api/data/v9.2/{where}&page=2"})
    moved = Answer(307, headers={"Location": f"/api/data/v9.2/{where}&moved=1".replace(" ", "%20")})

    async def read(client):
        return [page async for page in client.pages(where)]

    converse(scripted, more, moved, Answer(body={"value": []}), talk=read)
    told = [record.getMessage() for record in caplog.records if record.name == "httpx"]
    assert f'HTTP Request: GET {scripted.url}/api/data/v9.2/contacts "HTTP/1.1 200 OK"' in told
    assert not [line for line in told if "canary" in line]


def test_what_others_log_stays_as_it_is(scripted, caplog, tmp_path):
    """Only addresses of connections' hosts are cut: a DAG may use httpx for more than that."""
    converse(scripted, Answer(body={}), talk=_who)
    (tmp_path / "other").mkdir()
    with ScriptedServer(tmp_path / "other") as other:
        other.script = [Answer(body={})]
        httpx.get(f"{other.url}/other?a=1", verify=ssl_context(other.ca))
        assert f'GET {other.url}/other?a=1 "HTTP' in caplog.text


@pytest.mark.parametrize("credential", ["client_secret", "managed_identity"])
def test_a_login_reply_that_broke_off_is_in_no_log(scripted, caplog, monkeypatch, credential):
    """Msal would log the text of it, which begins like a token."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{scripted.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "canary-header")
    scripted.login_answers = [Answer(200, CUT)] * RetryPolicy().max_attempts
    with pytest.raises(CijUnreachableError, match="its answer can't be read") as caught:
        converse(scripted, Answer(200, CUT), talk=_who, credential=credential)
    assert not [record for record in caplog.records if "canary" in record.getMessage() + (record.exc_text or "")]
    assert "canary" not in repr(caught.value)


def test_a_managed_identitys_header_is_in_no_error(scripted, monkeypatch):
    """Httpx would quote one that it can't send."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{scripted.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "canary\n")
    with pytest.raises(CijUnreachableError, match="what it wants can't be sent in a header") as caught:
        converse(scripted, Answer(body={}), talk=_who, credential="managed_identity", client_id="h")
    assert "canary" not in repr(caught.value)
