"""A server or proxy that echoes what it was sent: no secret or personal data is raised or logged."""

from __future__ import annotations

import base64
import copy
import json
import pickle
from importlib import metadata
from urllib.parse import parse_qs, quote_plus

import pytest

from airflow_provider_cij.dataverse.retry import RetryPolicy
from airflow_provider_cij.errors import CijError
from airflow_provider_cij.hooks.cij import CijHook, settings_of
from tests.scripted import TENANT, Answer, ScriptedServer
from tests.scripted_client import run_client

SECRET = 'cän+ary/%"\\ <s&cret>~=='
PERSON = "0f5b0c7f-395d-447b-b14c-315a601f878e"


def _who(client):
    return client.get("WhoAmI")


@pytest.fixture(autouse=True)
def _all(caplog_all):
    pass


def _forms(secret: str) -> list[str]:
    """Return the encodings in which a text may be echoed."""
    raw = secret.encode()
    shifted = [base64.b64encode(bytes(count) + raw + b"---").decode() for count in range(3)]
    return [
        secret,
        quote_plus(secret),
        quote_plus(secret).lower(),
        json.dumps(secret)[1:-1],
        json.dumps(json.dumps(secret))[3:-3],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode(),
        *shifted,
    ]


def _told(caplog, error: BaseException) -> str:
    records = (f"{record.getMessage()} {record.exc_text or ''}" for record in caplog.records)
    return "\n".join([str(error), repr(error), *records])


ECHOES = ["json", "text", "html", "error code"]


def _echo(status: int, kind: str, words: str) -> Answer:
    if kind == "json":
        return Answer(status, {"error": {"code": "1", "message": words}})
    if kind == "error code":
        return Answer(status, {"error": {"code": words, "message": "no"}})
    return Answer(status, words.encode() if kind == "text" else f"<html><title>{words}</title></html>".encode())


@pytest.mark.parametrize("kind", ECHOES)
def test_echoed_secrets_and_tokens_are_redacted(scripted, caplog, kind):
    """Secret and token are redacted however they are echoed: plain, form-encoded, in JSON or in base64."""
    token = "canary-token-1"
    for form in [*_forms(SECRET), *_forms(token), f"Authorization: Bearer {token}"]:
        caplog.clear()
        with pytest.raises(CijError) as caught:
            run_client(scripted, _echo(400, kind, f"You sent {form} to us"), work=_who, client_secret=SECRET)
        told = _told(caplog, caught.value)
        assert form not in told
        assert token not in told
        assert "You sent" in str(caught.value)


@pytest.mark.parametrize("status", [400, 401, 403, 503, 200])
@pytest.mark.parametrize("kind", ["oauth", "text"])
def test_an_echoed_login_form_is_redacted(scripted, caplog, status, kind):
    """A login response that echoes the form is redacted, also in msal's log."""
    for number, form in enumerate(_forms(SECRET)):
        caplog.clear()
        words = f"client_id=x&client_secret={form}&scope=y"
        said = {"error": "invalid_client", "error_description": words}
        scripted.login_answers = [
            Answer(status, said if kind == "oauth" else words.encode())
        ] * RetryPolicy().max_attempts
        with pytest.raises(CijError) as caught:
            run_client(scripted, Answer(body={}), work=_who, client_secret=SECRET, client_id=f"{status}{kind}{number}")
        assert form not in _told(caplog, caught.value)


def test_a_federated_assertion_is_redacted(scripted, caplog, tmp_path):
    """A workload's assertion is redacted, for it is a secret until it expires."""
    file = tmp_path / "token"
    file.write_text("canary.assertion-of-a-pod\n")
    scripted.login_answers = [Answer(400, b"you sent canary.assertion-of-a-pod")]
    settings = {"credential": "workload_identity", "federated_token_file": str(file)}
    with pytest.raises(CijError) as caught:
        run_client(scripted, Answer(body={}), work=_who, **settings)
    assert "canary" not in _told(caplog, caught.value)


def test_messages_cannot_control_the_log_viewer(scripted, caplog):
    """Line ends, escape sequences and group or error markers are removed from messages."""
    words = "\r\n\x1b[31m::group::x\u2028::error::y\n" + "long " * 1000
    with pytest.raises(CijError) as caught:
        run_client(scripted, Answer(400, {"error": {"code": "1", "message": words}}), work=_who)
    message = str(caught.value)
    assert len(message) < 1200
    assert message.isprintable()
    assert "::group::" not in message
    assert "::error::" not in message
    assert CijError("a\n::error::b").message == "a : :error::b"


def test_debug_logs_hold_no_personal_data(scripted, caplog):
    """Addresses and ids in links, redirects, headers and messages are in no log, even at DEBUG."""
    path = f"contacts({PERSON})"
    moved = Answer(307, headers={"Location": f"/elsewhere/ada@contoso.test/{path}?email=ada@contoso.test"})
    made = Answer(204, headers={"OData-EntityId": f"{scripted.url}/api/data/v9.2/{path}"})
    gone = Answer(404, {"error": {"code": "0x80040217", "message": f"contact With Id = {PERSON} Does Not Exist"}})

    async def work(client):
        assert await client.post("contacts", {"contactid": PERSON}, repeatable=True) == PERSON
        await client.get(path)

    with pytest.raises(CijError) as caught:
        run_client(scripted, moved, made, gone, work=work)
    told = _told(caplog, caught.value)
    assert "GET contacts(…): HTTP 404" in told
    assert "contact With Id = … Does Not Exist" in told
    assert PERSON not in told
    assert "ada@contoso.test" not in told


@pytest.mark.parametrize("way", [pickle.dumps, copy.copy, copy.deepcopy, repr, vars])
def test_a_stored_hook_holds_no_secret(scripted, monkeypatch, way):
    """A hook that is pickled, copied or printed shows the connection id only."""
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", scripted.connection())
    hook = CijHook()
    assert hook.settings().client_secret == "canary-secret"
    if way is vars:
        pickled = pickle.loads(pickle.dumps(hook))  # noqa: S301
        assert pickled.settings().client_secret == "canary-secret"
        hook = pickle.loads(pickle.dumps(hook))  # noqa: S301
    kept = way(hook)
    assert "canary" not in repr(kept)
    assert b"canary" not in (kept if isinstance(kept, bytes) else b"")
    assert "canary" not in repr(hook.settings())


FIELDS = [
    "tenant_id",
    "credential",
    "certificate_path",
    "federated_token_file",
    "authority",
    "api_version",
    "ca_bundle",
    "max_concurrency",
    "timeout_seconds",
    "max_throttle_wait_seconds",
    "caller_object_id",
]


@pytest.mark.parametrize(
    "secret", ["canary~Q.secret value", "https://canary~secret", "-----BEGIN PRIVATE KEY-----canary"]
)
@pytest.mark.parametrize("field", [*FIELDS, "host", "login", "extra"])
def test_a_secret_in_the_wrong_field_is_not_quoted(scripted, monkeypatch, caplog, field, secret):
    """The error for a secret in the wrong field names the field without its content."""
    connection = json.loads(scripted.connection())
    if field in ("host", "login", "extra"):
        connection[field] = secret
    else:
        connection["extra"][field] = secret
    kind = {"certificate_path": "certificate", "federated_token_file": "workload_identity"}.get(field)
    if kind:
        connection["extra"]["credential"] = kind
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", json.dumps(connection))
    good, message = CijHook().test_connection()
    assert not good
    assert "canary" not in message
    assert not [record for record in caplog.records if "canary" in record.getMessage()]
    # Airflow 3.1 refuses such an extra, logs why, and takes the connection for one that does not exist.
    extra = "no connection" if metadata.version("apache-airflow").startswith("3.1.") else "tenant id"
    assert {"login": "client_id", "extra": extra}.get(field, field) in message


def test_no_cookie_is_sent_back(scripted):
    """Cookies of the service and of the login are not sent back, for they pin requests to one server."""
    cookie = {"Set-Cookie": "canary=1; Path=/; Secure"}
    good = {"access_token": "canary-late", "expires_in": 3599, "token_type": "Bearer"}
    scripted.login_answers = [Answer(200, good, cookie), Answer(200, good, cookie)]
    caplog_all = []
    answer = scripted.answer

    def listen(request):
        caplog_all.append(request.headers.get("cookie"))
        return answer(request)

    scripted.answer = listen

    async def work(client):
        await client.get("A")
        await client.get("B")

    run_client(scripted, Answer(200, {}, cookie), Answer(401, {}, cookie), Answer(200, {}, cookie), work=work)
    assert len(caplog_all) > 4
    assert set(caplog_all) == {None}


def test_the_secret_goes_to_the_authoritys_host_alone(scripted, tmp_path):
    """The secret goes to the authority's host even if its discovery document names another."""
    (tmp_path / "other").mkdir()
    with ScriptedServer(tmp_path / "other") as other:
        other.script = [Answer(body={})]
        for host in (other.url, scripted.url.replace("https", "http"), other.url.replace("localhost", "127.0.0.1")):
            scripted.token_host = host
            words = "names another host" if host.startswith("https") else "https"  # msal's own
            with pytest.raises(CijError, match=words):
                run_client(scripted, Answer(body={}), work=_who, client_id=f"c{len(host)}")
        assert other.logins == []
    assert scripted.logins == []
    scripted.token_host = ""
    run_client(scripted, Answer(body={}), work=_who, client_id="good")
    assert parse_qs(scripted.logins[0])["client_secret"] == ["canary-secret"]


def test_an_invalid_extra_is_not_quoted(monkeypatch):
    """The error for an invalid extra shows neither its content nor the parser's message."""
    from airflow.sdk import Connection

    for extra in ('["canary"]', '"canary"', "canary"):
        connection = Connection(conn_id="c", conn_type="cij", host="h.test", login=TENANT, password="p", extra=extra)
        with pytest.raises(CijError) as caught:
            settings_of(connection)
        assert "canary" not in str(caught.value)
