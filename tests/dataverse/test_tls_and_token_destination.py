"""TLS certificates are always verified, and the token is sent to the organisation's host alone."""

from __future__ import annotations

import asyncio
import datetime
import json
import ssl
from pathlib import Path

import pytest

from airflow_provider_cij.dataverse.auth import ssl_context
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.dataverse.retry import RetryPolicy
from airflow_provider_cij.errors import CijReplyError, CijUnreachableError
from airflow_provider_cij.hooks.cij import CijHook
from tests.scripted import Answer, ScriptedServer
from tests.scripted_client import FakeClock, run_client

ELSEWHERE = [
    "https://evil.test/api/data/v9.2/contacts?page=2",
    "//evil.test/api/data/v9.2/contacts",
    "https://localhost.evil.test/api/data/v9.2/contacts",
    "http://localhost:{port}/api/data/v9.2/contacts",
    "https://localhost:1/api/data/v9.2/contacts",
    "https://127.0.0.1:{port}/api/data/v9.2/contacts",
    "https://localhost:{port}@evil.test/",
    "https://user@localhost:{port}/api/data/v9.2/contacts",
    "https://localhost:{port}\\@evil.test/",
    "file:///etc/passwd",
    "javascript:alert(1)",
]
LAST_YEAR = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=365)


async def _read_all(client):
    return [page async for page in client.pages("contacts")]


def _act(client):
    return client.action("msdynmkt_X", {}, repeatable=True)


@pytest.mark.parametrize("link", ELSEWHERE)
def test_links_to_another_origin_are_refused(scripted, link):
    """A next link or redirect to another origin is refused for reads and writes, and nothing more is sent."""
    link = link.format(port=scripted.url.rpartition(":")[2])
    moves = {status: Answer(status, headers={"Location": link}) for status in (301, 302, 303, 307, 308)}
    page = Answer(body={"value": [], "@odata.nextLink": link})
    told = [(answer, _read_all) for answer in (page, *moves.values())] + [(moves[307], _act), (moves[308], _act)]
    for answer, work in told:
        scripted.requests.clear()
        with pytest.raises(CijReplyError, match=r"a link (to another host\. It was not followed|or an etag that)"):
            run_client(scripted, answer, work=work)
        assert len(scripted.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_that_turns_a_post_into_a_get_is_not_followed(scripted, status):
    """A redirect that turns a POST into a GET is an error, for the GET would pass for a success."""
    with pytest.raises(CijReplyError, match="not expected here"):
        run_client(scripted, Answer(status, headers={"Location": "/api/data/v9.2/WhoAmI"}), work=_act)
    assert len(scripted.requests) == 1


def test_an_absolute_url_from_a_caller_gets_no_token(scripted):
    """A caller's path with a host of its own is refused without a request."""
    with pytest.raises(CijReplyError, match="another host"):
        run_client(scripted, Answer(body={}), work=lambda client: client.get("https://evil.test/api/data/v9.2/WhoAmI"))
    assert scripted.requests == []


@pytest.mark.parametrize("token", ["canary\n", "canary\u00e9", "can ary", "\ud800"])
def test_a_token_that_no_header_can_hold_is_not_shown(scripted, token):
    """A token with characters that no header can hold raises an error that does not show it."""
    scripted.login_answers = [Answer(body={"access_token": token, "expires_in": 3599})] * RetryPolicy().max_attempts
    with pytest.raises(CijUnreachableError, match="can't be sent in a header") as caught:
        run_client(scripted, Answer(body={}), work=lambda client: client.get("WhoAmI"))
    assert "canary" not in repr(caught.value)
    assert scripted.requests == []


@pytest.mark.parametrize("etag", ['W/"1\n"', 'W/"\u20ac"', "\ud800"])
def test_an_etag_that_no_header_can_hold_is_a_cij_error(scripted, etag):
    """An etag of the service with characters that no header can hold raises a CijError."""
    with pytest.raises((CijReplyError, CijUnreachableError)):
        run_client(scripted, Answer(204), work=lambda client: client.patch("contacts", {}, if_match=etag))
    assert scripted.requests == []


def _run_with_two_servers(tmp_path: Path, trusted: str, *names: str, **certificate):
    """Log in at one server, then send a request to one with this certificate, trusting one authority or both."""
    (tmp_path / "login").mkdir()
    (tmp_path / "data").mkdir()
    with ScriptedServer(tmp_path / "login") as login, ScriptedServer(tmp_path / "data", *names, **certificate) as data:
        data.script = [Answer(body={"a": 1})]
        bundle = tmp_path / "bundle.pem"
        bundle.write_text(
            "".join(Path(server.ca).read_text() for server in (login, data)[: 2 if trusted == "both" else 1])
        )
        settings = login.settings(base_url=data.url, ca_bundle=str(bundle))

        async def main():
            async with DataverseClient(settings, FakeClock(), RetryPolicy(max_attempts=1)) as client:
                return await client.get("WhoAmI")

        try:
            return asyncio.run(main())
        finally:
            assert len(login.logins) == 1
            tokens = [request.token for request in data.requests]
            assert tokens in ([], ["canary-token-1"])
            if tokens:
                assert (trusted, names, certificate) == ("both", (), {})


def test_a_ca_bundle_may_hold_several_authorities(tmp_path):
    """Login and organisation may have certificates of different authorities in one CA bundle."""
    assert _run_with_two_servers(tmp_path, "both") == {"a": 1}


@pytest.mark.parametrize(
    ("trusted", "names", "certificate", "message"),
    [
        ("login", (), {}, "unable to get local issuer certificate"),
        ("both", ("contoso.test",), {}, "Hostname mismatch"),
        ("both", ("127.0.0.1",), {}, "Hostname mismatch"),
        ("both", (), {"not_before": LAST_YEAR, "not_after": LAST_YEAR + datetime.timedelta(days=90)}, "has expired"),
    ],
    ids=["unknown authority", "another host", "another name of this host", "expired"],
)
def test_an_invalid_certificate_gets_no_token(tmp_path, trusted, names, certificate, message):
    """An expired, foreign or untrusted certificate raises an error with its reason before any token is sent."""
    with pytest.raises(CijUnreachableError, match=rf"WhoAmI was not sent: .*CERTIFICATE_VERIFY_FAILED.*{message}"):
        _run_with_two_servers(tmp_path, trusted, *names, **certificate)


OFF = {"verify": False, "ssl_verify": "false", "verify_ssl": 0, "insecure": True, "check_hostname": False}


@pytest.mark.parametrize("ca_bundle", ["", "False", "false", "0", "/dev/null"])
def test_certificate_checks_cannot_be_disabled(scripted, monkeypatch, ca_bundle):
    """Neither a connection field nor an environment variable disables certificate checks."""
    connection = json.loads(scripted.connection())
    connection["extra"] |= OFF | {"ca_bundle": ca_bundle}
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", json.dumps(connection))
    for name in (
        "PYTHONHTTPSVERIFY",
        "CURL_CA_BUNDLE",
        "REQUESTS_CA_BUNDLE",
        "AZURE_CLI_DISABLE_CONNECTION_VERIFICATION",
    ):
        monkeypatch.setenv(name, "" if "BUNDLE" in name else "0")
    good, message = CijHook().test_connection()
    assert not good
    assert "CERTIFICATE_VERIFY_FAILED" in message or "ca_bundle" in message
    assert scripted.requests == scripted.logins == []
    context = ssl_context("")
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
