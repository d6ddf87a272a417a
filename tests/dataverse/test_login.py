"""Failures of the login service, scripted: which are final and which are retried."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_cij.dataverse import auth
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.dataverse.retry import RetryPolicy
from airflow_provider_cij.errors import CijAuthError, CijError, CijInputError, CijUnreachableError
from tests.scripted import Answer
from tests.scripted_client import FakeClock, run_client

GOOD = Answer(body={"access_token": "canary-late", "expires_in": 3599, "token_type": "Bearer"})
WRONG = Answer(401, {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret."})


def _who(client):
    return client.get("WhoAmI")


def test_a_login_takes_one_connection(scripted, monkeypatch):
    """The requests of a login share one connection, and leave none open."""
    accepted = []
    accept = scripted._http.get_request
    monkeypatch.setattr(scripted._http, "get_request", lambda: accepted.append(accept()) or accepted[-1])
    source = auth._source(scripted.settings(client_id="one-connection"))
    assert source.fetch("").startswith("canary-token")
    assert len(accepted) == 1
    assert source.fetch(source.cached("")) != ""
    assert len(accepted) == 2


def test_a_login_without_a_free_descriptor_is_retried(scripted, monkeypatch):
    """A login for which the process has no file descriptor left is a retryable error that says so."""

    def refuse():
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(asyncio, "Runner", refuse)
    with pytest.raises(CijUnreachableError, match="gave no token: Too many open files") as caught:
        auth._source(scripted.settings(client_id="no-descriptor")).fetch("")
    assert not caught.value.permanent


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (
            Answer(
                401,
                {
                    "error": "invalid_client",
                    "error_description": "AADSTS7000215: Invalid client secret.\r\nTrace ID: x",
                },
            ),
            CijAuthError,
            r"refused: AADSTS7000215: Invalid client secret\. \[code AADSTS7000215\] The client secret is wrong",
        ),
        (
            Answer(400, {"error": "unauthorized_client", "error_description": "AADSTS700016: Application not found."}),
            CijAuthError,
            "does not exist in this tenant",
        ),
        (Answer(503, b"busy"), CijUnreachableError, "gave no token"),
        (Answer(hang_up=True), CijUnreachableError, "gave no token"),
    ],
)
def test_a_failed_login_is_explained(scripted, answer, kind, message):
    """A failed login gives Entra's message and code and a hint, without the secret."""
    scripted.login_answers = [answer] * RetryPolicy().max_attempts
    with pytest.raises(kind, match=message) as caught:
        run_client(scripted, Answer(body={}), work=lambda client: client.get("WhoAmI"))
    assert "canary" not in repr(caught.value)
    assert scripted.requests == []


def test_the_federated_token_file_is_read_at_each_login(scripted, tmp_path: Path):
    """Each login reads the federated token file again, because the token rotates."""
    file = tmp_path / "token"
    file.write_text("assertion-1\n")
    settings = {"credential": "workload_identity", "federated_token_file": str(file)}
    run_client(scripted, Answer(body={}), work=lambda client: client.get("WhoAmI"), **settings)
    file.write_text("assertion-2\n")
    run_client(scripted, Answer(401), Answer(body={}), work=lambda client: client.get("WhoAmI"), **settings)
    assert ["assertion-1" in login for login in scripted.logins] == [True, False]
    assert "client_assertion=assertion-2" in scripted.logins[1]
    file.unlink()
    with pytest.raises(CijInputError, match="federated_token_file"):
        run_client(scripted, Answer(401), work=lambda client: client.get("WhoAmI"), **settings)


@pytest.mark.parametrize(
    "busy",
    [
        Answer(429, {"error": "too_many_requests"}, {"Retry-After": "7"}),
        Answer(503, b"<html>busy</html>", {"Retry-After": "7"}),
        Answer(200, b"<html>Log in to the network</html>"),
        Answer(hang_up=True),
    ],
)
def test_a_throttled_login_is_retried(scripted, busy):
    """A throttled login is retried after its Retry-After."""
    clock = FakeClock()
    scripted.login_answers = [busy, GOOD]
    assert run_client(scripted, Answer(body={"a": 1}), work=_who, clock=clock) == {"a": 1}
    assert scripted.requests[0].token == "canary-late"
    assert clock.time - 1000 >= float(busy.headers.get("Retry-After", 1))


def test_a_temporarily_unavailable_login_is_retryable(scripted):
    """A 400 with ``temporarily_unavailable`` is a retryable error, not a refusal."""
    later = {"error": "temporarily_unavailable", "error_description": "AADSTS90033: A transient error."}
    scripted.login_answers = [Answer(400, later)]
    with pytest.raises(CijUnreachableError, match="A transient error") as caught:
        run_client(scripted, Answer(body={}), work=_who)
    assert not caught.value.permanent


def test_a_login_retry_after_beyond_the_limit_is_raised(scripted):
    """A login's Retry-After longer than the client may wait is raised."""
    scripted.login_answers = [Answer(429, headers={"Retry-After": "600"})]
    with pytest.raises(CijUnreachableError, match="HTTP 429") as caught:
        run_client(scripted, Answer(body={}), work=_who)
    assert caught.value.retry_after == 600
    assert not caught.value.permanent
    assert len(scripted.logins) == 1


def test_a_refused_login_is_cached_for_a_minute(scripted):
    """A refused login is cached for a minute for all requests, and then tried again."""
    scripted.login_answers = [WRONG]

    async def crowd(client):
        return await asyncio.gather(*(client.get("WhoAmI") for _ in range(8)), return_exceptions=True)

    for _ in range(3):
        for error in run_client(scripted, Answer(body={}), work=crowd):
            assert isinstance(error, CijAuthError)
            assert "paste the secret" in str(error)
    assert len(scripted.logins) == 1
    auth._source(scripted.settings())._refused_until = 0.0
    assert run_client(scripted, Answer(body={}), work=_who) == {}


json_like = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["access_token", "expires_in", "error", "error_description", "refresh_in", "id_token"]),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**9), st.sampled_from([200, 400, 401]), st.one_of(json_like, st.binary(max_size=20)))
def test_any_login_response_is_a_token_or_a_cij_error(scripted, number, status, body):
    """Any login response gives a token or a CijError."""
    scripted.script = [Answer(body={})]
    scripted.login_answers = [Answer(status, body)]

    async def main():
        rules = RetryPolicy(max_attempts=1)
        async with DataverseClient(scripted.settings(client_id=f"c{number}"), FakeClock(), rules) as client:
            await client.get("WhoAmI")

    try:
        asyncio.run(main())
    except CijError:
        pass
