"""A server, or a proxy before it, that repeats what it was sent: none of it is raised or logged."""

from __future__ import annotations

import base64
import copy
import json
import pickle
from urllib.parse import parse_qs, quote_plus

import pytest

from airflow_provider_cij.dataverse.retry import RetryPolicy
from airflow_provider_cij.errors import CijError
from airflow_provider_cij.hooks.cij import CijHook, settings_of
from tests.conversation import converse
from tests.scripted import TENANT, Answer, ScriptedServer

SECRET = 'cän+ary/%"\\ <s&cret>~=='
PERSON = "0f5b0c7f-395d-447b-b14c-315a601f878e"


def _who(client):
    return client.get("WhoAmI")


@pytest.fixture(autouse=True)
def _all(heard):
    pass


def _forms(secret: str) -> list[str]:
    """Give the ways in which it may come back."""
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
def test_the_services_echo_of_secret_and_token_is_struck(scripted, caplog, kind):
    """In whatever form it is written back: as it is, in a form, in JSON, in base64."""
    token = "canary-token-1"
    for form in [*_forms(SECRET), *_forms(token), f"Authorization: Bearer {token}"]:
        caplog.clear()
        with pytest.raises(CijError) as caught:
            converse(scripted, _echo(400, kind, f"You sent {form} to us"), talk=_who, client_secret=SECRET)
        told = _told(caplog, caught.value)
        assert form not in told
        assert token not in told
        assert "You sent" in str(caught.value)


@pytest.mark.parametrize("status", [400, 401, 403, 503, 200])
@pytest.mark.parametrize("kind", ["oauth", "text"])
def test_the_logins_echo_of_the_form_is_struck(scripted, caplog, status, kind):
    """Msal logs what it can't read at ERROR."""
    for number, form in enumerate(_forms(SECRET)):
        caplog.clear()
        words = f"client_id=x&client_secret={form}&scope=y"
        said = {"error": "invalid_client", "error_description": words}
        scripted.login_answers = [
            Answer(status, said if kind == "oauth" else words.encode())
        ] * RetryPolicy().max_attempts
        with pytest.raises(CijError) as caught:
            converse(scripted, Answer(body={}), talk=_who, client_secret=SECRET, client_id=f"{status}{kind}{number}")
        assert form not in _told(caplog, caught.value)


def test_the_assertion_of_a_workload_is_struck(scripted, caplog, tmp_path):
    """It is as good as a secret until it expires."""
    file = tmp_path / "token"
    file.write_text("canary.assertion-of-a-pod\n")
    scripted.login_answers = [Answer(400, b"you sent canary.assertion-of-a-pod")]
    settings = {"credential": "workload_identity", "federated_token_file": str(file)}
    with pytest.raises(CijError) as caught:
        converse(scripted, Answer(body={}), talk=_who, **settings)
    assert "canary" not in _told(caplog, caught.value)


def test_words_are_cut_and_steer_no_log_viewer(scripted, caplog):
    """Line ends, escape sequences, groups and errors of a log viewer are taken out."""
    words = "\r\n\x1b[31m::group::x\u2028::error::y\n" + "long " * 1000
    with pytest.raises(CijError) as caught:
        converse(scripted, Answer(400, {"error": {"code": "1", "message": words}}), talk=_who)
    said = str(caught.value)
    assert len(said) < 1200
    assert said.isprintable()
    assert "::group::" not in said
    assert "::error::" not in said
    assert CijError("a\n::error::b").message == "a : :error::b"


def test_people_are_in_no_log_at_debug(scripted, caplog):
    """Addresses and ids stand in links, redirects, headers and words of the service."""
    path = f"contacts({PERSON})"
    moved = Answer(307, headers={"Location": f"/elsewhere/ada@contoso.test/{path}?email=ada@contoso.test"})
    made = Answer(204, headers={"OData-EntityId": f"{scripted.url}/api/data/v9.2/{path}"})
    gone = Answer(404, {"error": {"code": "0x80040217", "message": f"contact With Id = {PERSON} Does Not Exist"}})

    async def talk(client):
        assert await client.post("contacts", {"contactid": PERSON}, repeatable=True) == PERSON
        await client.get(path)

    with pytest.raises(CijError) as caught:
        converse(scripted, moved, made, gone, talk=talk)
    told = _told(caplog, caught.value)
    assert "receive_response_headers" in told
    assert "contact With Id = … Does Not Exist" in told
    assert PERSON not in told
    assert "ada@contoso.test" not in told


@pytest.mark.parametrize("way", [pickle.dumps, copy.copy, copy.deepcopy, repr, vars])
def test_a_hook_that_is_kept_holds_no_secret(scripted, monkeypatch, way):
    """Whoever pickles, copies or prints it gets the connection's name."""
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
    """The error names the field and not what is in it."""
    connection = json.loads(scripted.connection())
    if field in ("host", "login", "extra"):
        connection[field] = secret
    else:
        connection["extra"][field] = secret
    kind = {"certificate_path": "certificate", "federated_token_file": "workload_identity"}.get(field)
    if kind:
        connection["extra"]["credential"] = kind
    monkeypatch.setenv("AIRFLOW_CONN_CIJ_DEFAULT", json.dumps(connection))
    good, said = CijHook().test_connection()
    assert not good
    assert "canary" not in said
    assert not [record for record in caplog.records if "canary" in record.getMessage()]
    assert {"login": "client_id", "extra": "tenant id"}.get(field, field) in said


def test_no_cookie_is_sent_back(scripted):
    """An affinity cookie would pin every request to one of the service's servers; a login's is no better."""
    cookie = {"Set-Cookie": "canary=1; Path=/; Secure"}
    good = {"access_token": "canary-late", "expires_in": 3599, "token_type": "Bearer"}
    scripted.login_answers = [Answer(200, good, cookie), Answer(200, good, cookie)]
    heard = []
    answer = scripted.answer

    def listen(request):
        heard.append(request.headers.get("cookie"))
        return answer(request)

    scripted.answer = listen

    async def talk(client):
        await client.get("A")
        await client.get("B")

    converse(scripted, Answer(200, {}, cookie), Answer(401, {}, cookie), Answer(200, {}, cookie), talk=talk)
    assert len(heard) > 4
    assert set(heard) == {None}


def test_the_secret_goes_to_the_authoritys_host_alone(scripted, tmp_path):
    """Its discovery document may name another."""
    (tmp_path / "other").mkdir()
    with ScriptedServer(tmp_path / "other") as other:
        other.script = [Answer(body={})]
        for host in (other.url, scripted.url.replace("https", "http"), other.url.replace("localhost", "127.0.0.1")):
            scripted.token_host = host
            words = "names another host" if host.startswith("https") else "https"  # msal's own
            with pytest.raises(CijError, match=words):
                converse(scripted, Answer(body={}), talk=_who, client_id=f"c{len(host)}")
        assert other.logins == []
    assert scripted.logins == []
    scripted.token_host = ""
    converse(scripted, Answer(body={}), talk=_who, client_id="good")
    assert parse_qs(scripted.logins[0])["client_secret"] == ["canary-secret"]


def test_an_extra_that_is_no_object_is_not_quoted(monkeypatch):
    """Nor is its parser's word of it."""
    from airflow.sdk import Connection

    for extra in ('["canary"]', '"canary"', "canary"):
        connection = Connection(conn_id="c", conn_type="cij", host="h.test", login=TENANT, password="p", extra=extra)
        with pytest.raises(CijError) as caught:
            settings_of(connection)
        assert "canary" not in str(caught.value)
