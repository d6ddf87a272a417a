"""The client's environment: proxies, certificates, and libraries that are old or missing."""

from __future__ import annotations

import msal
import pytest

from airflow_provider_cij.dataverse import auth
from airflow_provider_cij.dataverse.proxies import proxy_of
from airflow_provider_cij.dataverse.retry import RetryPolicy
from airflow_provider_cij.errors import CijError, CijInputError, CijUnreachableError
from tests.scripted import Answer
from tests.scripted_client import run_client

pytestmark = pytest.mark.usefixtures("without_proxy")

PEM = "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n-----BEGIN CERTIFICATE-----\nx\n"


def _who(client):
    return client.get("WhoAmI")


@pytest.mark.parametrize(
    "entry", ["fd00::/8", "[fd00::1]", "::1", "10.0.0.0/8", "*.x.test", "http://[::1", "[", "a:b:c", "1/2/3"]
)
def test_any_no_proxy_value_is_accepted(scripted, monkeypatch, entry):
    """Any value of NO_PROXY is accepted, and unreadable entries are ignored."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", f"{entry},localhost")
    assert run_client(scripted, Answer(body={"a": 1}), work=_who) == {"a": 1}
    monkeypatch.setenv("NO_PROXY", entry)
    with pytest.raises(CijUnreachableError, match="gave no token"):
        run_client(scripted, Answer(body={}), work=_who, client_id="c")


@pytest.mark.parametrize(
    ("exempt", "past"),
    [
        ("*", True),
        ("contoso.test", True),
        (".contoso.test", True),
        ("*.contoso.test", True),
        ("CRM.contoso.test:443", True),
        ("crm.contoso.test:444", False),
        ("https://crm.contoso.test", True),
        ("oso.test", False),
        ("", False),
    ],
)
def test_no_proxy_matches_hosts_domains_and_ports(monkeypatch, exempt, past):
    """NO_PROXY matches a host, a domain or a port, but not the mere end of a name."""
    monkeypatch.setenv("HTTPS_PROXY", "proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", exempt)
    found = proxy_of("https://crm.contoso.test/api")
    assert found == (("", None) if past else ("HTTPS_PROXY", "http://proxy.test:3128"))


@pytest.mark.parametrize("address", ["10.1.2.3", "[fd00::1]"])
def test_no_proxy_matches_networks(monkeypatch, address):
    """NO_PROXY matches IPv4 and IPv6 networks."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8,fd00::/8")
    assert proxy_of(f"https://{address}:8443/") == ("", None)
    assert proxy_of("https://11.1.2.3:8443/")[0] == "HTTPS_PROXY"


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "ALL_PROXY", "https_proxy"])
@pytest.mark.parametrize(
    "value",
    [
        "canary://proxy.test",
        "socks5://canary:port",
        "http://[canary",
        "http://canary:port",
        "http://canary:99999",
        "://",
        "http://",
    ],
)
def test_an_unusable_proxy_variable_is_named(scripted, monkeypatch, name, value):
    """An unusable proxy setting is reported by the variable's name, for its value may hold a password."""
    monkeypatch.setenv(name, value)
    with pytest.raises(CijError, match=name) as caught:
        run_client(scripted, Answer(body={}), work=_who)
    assert caught.value.permanent
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("name", ["SSL_CERT_FILE"])
def test_a_missing_certificate_store_is_named(scripted, monkeypatch, name):
    """A certificate store that does not exist is a permanent error that names the variable."""
    auth._ssl_context.cache_clear()
    monkeypatch.setenv(name, "/nowhere/canary.pem")
    with pytest.raises(CijInputError, match=name) as caught:
        run_client(scripted, Answer(body={}), work=_who)
    assert "canary" not in str(caught.value)


def test_a_pem_certificate_needs_a_newer_msal(scripted, monkeypatch):
    """A PEM certificate on an old msal raises an error with the required version; a secret works."""
    monkeypatch.setattr(msal, "__version__", "1.34.0")
    with pytest.raises(CijInputError, match=r"needs msal 1\.35 or newer; installed is 1\.34\.0"):
        run_client(scripted, Answer(body={}), work=_who, credential="certificate", certificate_private_key=PEM)
    assert run_client(scripted, Answer(body={"a": 1}), work=_who) == {"a": 1}


@pytest.mark.parametrize(
    "path", ["/nowhere/canary.pfx", "canary\0.pfx", "x" * 5000 + ".p12", "/nowhere/canary.pem", "/"]
)
def test_a_missing_certificate_is_reported_by_its_field(scripted, path):
    """A missing certificate file is reported by the connection field, not by the field's content."""
    with pytest.raises(CijInputError, match="certificate_path can't be read") as caught:
        run_client(scripted, Answer(body={}), work=_who, credential="certificate", certificate_path=path)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("garbled", ["soon", [], {}, True, 1e300, "1e400", -5, 10**30])
def test_an_unreadable_token_lifetime_is_retryable(scripted, garbled):
    """A token response with an unreadable lifetime is a retryable error."""
    answer = Answer(body={"access_token": "canary-t", "expires_in": garbled, "token_type": "Bearer"})
    scripted.login_answers = [answer] * RetryPolicy().max_attempts
    with pytest.raises(CijUnreachableError, match="its answer can't be read") as caught:
        run_client(scripted, Answer(body={}), work=_who)
    assert not caught.value.permanent
    assert run_client(scripted, Answer(body={"a": 1}), work=_who) == {"a": 1}
