from __future__ import annotations

import pytest

from airflow_provider_cij.dataverse.settings import Settings, organisation_url
from airflow_provider_cij.errors import CijInputError

GOOD = {"base_url": "https://contoso.crm4.dynamics.com", "tenant_id": "t", "client_id": "c", "client_secret": "s"}


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        ("https://contoso.crm4.dynamics.com", None, "https://contoso.crm4.dynamics.com"),
        ("https://contoso.crm4.dynamics.com/", 443, "https://contoso.crm4.dynamics.com"),
        (" contoso.crm4.dynamics.com ", 0, "https://contoso.crm4.dynamics.com"),
        ("localhost", 8443, "https://localhost:8443"),
        ("https://localhost:8443", 443, "https://localhost:8443"),
        ("http://127.0.0.1:8080", None, "http://127.0.0.1:8080"),
        ("https://[::1]:8443", None, "https://[::1]:8443"),
    ],
)
def test_the_host_is_normalised(host, port, url):
    """The host may be given with or without scheme, trailing slash and port 443."""
    assert organisation_url(host, port) == url


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("", "no host"),
        ("http://contoso.crm4.dynamics.com", "does not begin with https://"),
        ("ftp://contoso.crm4.dynamics.com", "does not begin with https://"),
        ("https://contoso.crm4.dynamics.com/main.aspx?appid=1", "not an address alone"),
        ("https://user@contoso.crm4.dynamics.com", "not an address alone"),
        ("https://contoso:port", "can't be read"),
        ("https://", "not an address alone"),
    ],
)
def test_an_invalid_host_is_refused(host, message):
    """An invalid host raises an error that says what is wrong with it."""
    with pytest.raises(CijInputError, match=message):
        organisation_url(host)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tenant_id": ""}, "lacks the tenant id"),
        ({"client_id": ""}, r"lacks the client id \(login\)"),
        ({"client_secret": ""}, r"lacks the client secret \(password\)"),
        ({"credential": "password"}, "credential is unknown"),
        ({"credential": "certificate"}, "lacks certificate_path or certificate_private_key"),
        ({"credential": "workload_identity"}, "lacks federated_token_file"),
        ({"authority": "http://login.test/t"}, "must begin with https"),
        ({"api_version": "9"}, "api_version is no version"),
        ({"max_concurrency": 0}, "max_concurrency is out of range"),
        ({"timeout_seconds": 0}, "timeout_seconds is out of range"),
        ({"max_throttle_wait_seconds": -1}, "max_throttle_wait_seconds is out of range"),
        ({"max_throttle_wait_seconds": float("nan")}, "max_throttle_wait_seconds is out of range"),
        ({"caller_object_id": "me"}, "caller_object_id is no GUID"),
        ({"timeout_seconds": float("inf")}, "timeout_seconds is out of range"),
        ({"timeout_seconds": "120"}, "timeout_seconds is no number"),
        ({"max_concurrency": 1e308}, "max_concurrency is out of range"),
        ({"authority": "https://login.test:99999/t"}, "authority is no address"),
    ],
)
def test_missing_or_malformed_fields_are_named(changed, message):
    """A missing or malformed field is named before anything is sent."""
    with pytest.raises(CijInputError, match=message):
        Settings(**(GOOD | changed))


@pytest.mark.parametrize(
    ("host", "login"),
    [
        ("contoso.crm4.dynamics.com", "login.microsoftonline.com"),
        ("contoso.crm9.dynamics.com", "login.microsoftonline.com"),
        ("contoso.crm.microsoftdynamics.us", "login.microsoftonline.us"),
        ("contoso.crm.appsplatform.us", "login.microsoftonline.us"),
        ("contoso.crm.dynamics.cn", "login.partner.microsoftonline.cn"),
        ("contoso.crm99.newregion.test", "login.microsoftonline.com"),
    ],
)
def test_the_login_host_is_derived_from_the_cloud(host, login):
    """National clouds have their own login host; an unknown host uses the public one."""
    assert Settings(**(GOOD | {"base_url": f"https://{host}"})).login_url == f"https://{login}/t"


def test_a_given_authority_is_kept():
    """A given authority keeps its tenant, or gets that of the connection."""
    assert Settings(**GOOD, authority="https://login.test/own/").login_url == "https://login.test/own"
    assert Settings(**GOOD, authority="https://login.test").login_url == "https://login.test/t"


def test_the_repr_holds_no_secret():
    """The ``repr`` of Settings holds no secret."""
    secrets = {
        "client_secret": "canary-1",
        "certificate_private_key": "canary-2",
        "private_key_passphrase": "canary-3",
    }
    assert "canary" not in repr(Settings(**(GOOD | secrets)))
