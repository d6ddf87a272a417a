"""Every kind of credential, against the sandbox's login endpoint, which verifies what it is sent."""

from __future__ import annotations

import asyncio
import time
import uuid
from importlib import metadata
from pathlib import Path

import jwt
import pytest
from cij_sandbox.testing import running_sandbox
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.dataverse.settings import Settings
from airflow_provider_cij.errors import CijAuthError, CijInputError
from tests.certificates import CERTIFICATE, KEY, _pem

MSAL = tuple(int(part) for part in metadata.version("msal").split(".")[:2])
reads_pem = pytest.mark.skipif(MSAL < (1, 35), reason="A certificate in PEM needs msal 1.35")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    """Run a sandbox that knows the certificate of the tests."""
    path = tmp_path_factory.mktemp("certificate") / "public.pem"
    path.write_bytes(CERTIFICATE.public_bytes(serialization.Encoding.PEM))
    with running_sandbox("--client-certificate", str(path)) as running:
        yield running


def _who(sandbox, **credential):
    settings = Settings(
        base_url=sandbox.base_url,
        **(
            {"tenant_id": sandbox.tenant, "client_id": sandbox.client_id}
            | {"authority": sandbox.authority, "ca_bundle": sandbox.ca}
            | credential
        ),
    )

    async def main():
        async with DataverseClient(settings) as client:
            return await client.get("WhoAmI")

    return asyncio.run(main())


def test_a_client_secret_logs_in(sandbox):
    """The default credential is a client secret."""
    assert uuid.UUID(_who(sandbox, client_secret=sandbox.client_secret)["UserId"])


def test_a_wrong_secret_is_explained(sandbox):
    """A wrong secret raises an error with Entra's code and a hint."""
    with pytest.raises(CijAuthError, match=r"AADSTS7000215.*paste the secret's value"):
        _who(sandbox, client_secret="wrong")


def test_an_unknown_application_is_explained(sandbox):
    """A client id that the tenant does not know raises an error that says so."""
    with pytest.raises(CijAuthError, match=r"AADSTS700016.*does not exist in this tenant"):
        _who(sandbox, client_secret=sandbox.client_secret, client_id=str(uuid.uuid4()))


def test_an_unknown_tenant_is_explained(sandbox):
    """A tenant that the login service does not know raises an error that says so."""
    elsewhere = f"{sandbox.base_url}/{uuid.uuid4()}"
    with pytest.raises(CijAuthError, match=rf"{elsewhere} refused: .*Check tenant_id"):
        _who(sandbox, client_secret=sandbox.client_secret, authority=elsewhere)


@pytest.mark.parametrize("passphrase", [None, b"canary"])
@pytest.mark.parametrize(
    "how", [pytest.param("pem file", marks=reads_pem), pytest.param("pem text", marks=reads_pem), "pfx file"]
)
def test_a_certificate_logs_in(sandbox, tmp_path, how, passphrase):
    """A certificate as PEM file, PEM text or PFX file, with and without a passphrase, gets a token."""
    given = {"private_key_passphrase": passphrase.decode()} if passphrase else {}
    if how == "pem text":
        given["certificate_private_key"] = _pem(passphrase)
    else:
        path = tmp_path / ("own.pfx" if how == "pfx file" else "own.pem")
        encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        pfx = pkcs12.serialize_key_and_certificates(b"own", KEY, CERTIFICATE, None, encryption)
        path.write_bytes(pfx if how == "pfx file" else _pem(passphrase).encode())
        given["certificate_path"] = str(path)
    assert _who(sandbox, credential="certificate", **given)["UserId"]


@reads_pem
def test_an_unusable_certificate_is_explained(sandbox, tmp_path):
    """A missing, incomplete or unknown certificate, or a wrong passphrase, raises an error that says so."""
    path = tmp_path / "half.pem"
    path.write_bytes(CERTIFICATE.public_bytes(serialization.Encoding.PEM))
    with pytest.raises(CijInputError, match="both the private key and the certificate"):
        _who(sandbox, credential="certificate", certificate_path=str(path))
    with pytest.raises(CijInputError, match="certificate_path can't be read: No such file"):
        _who(sandbox, credential="certificate", certificate_path="/nowhere.pem")
    with pytest.raises(CijAuthError, match="refused"):
        _who(sandbox, credential="certificate", certificate_private_key=_pem(b"x"), private_key_passphrase="wrong")


def test_a_workload_identity_logs_in(sandbox, tmp_path: Path):
    """A federated token is exchanged for a token of Entra."""
    file = tmp_path / "token"
    claims = {"iss": "cluster", "sub": "pod", "aud": "api://AzureADTokenExchange", "exp": time.time() + 600}
    file.write_text(jwt.encode(claims, KEY, "RS256"))
    given = {"credential": "workload_identity", "federated_token_file": str(file)}
    assert _who(sandbox, **given)["UserId"]


def test_a_managed_identity_logs_in(sandbox, monkeypatch):
    """A managed identity gets its token from the App Service endpoint, for the organisation as resource."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{sandbox.base_url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", sandbox.client_secret)
    given = {"tenant_id": "", "client_id": "", "authority": "", "credential": "managed_identity"}
    assert _who(sandbox, **given)["UserId"]
    monkeypatch.setenv("IDENTITY_HEADER", "wrong")
    with pytest.raises(CijAuthError, match="managed identity endpoint refused"):
        _who(sandbox, **given, managed_identity_client_id=str(uuid.uuid4()))


@pytest.mark.parametrize("endpoint", ["localhost:1/x", "ftp://localhost/x", "https://999.1.1.1/x"])
def test_an_unusable_managed_identity_endpoint_is_explained(sandbox, monkeypatch, endpoint):
    """An endpoint that is no address of HTTP raises a permanent error that says so: no retry would change it."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", endpoint)
    monkeypatch.setenv("IDENTITY_HEADER", "x")
    given = {"tenant_id": "", "client_id": "", "authority": "", "credential": "managed_identity"}
    with pytest.raises(CijInputError, match=r"can't be asked.*IDENTITY_ENDPOINT"):
        _who(sandbox, **given, managed_identity_client_id=str(uuid.uuid4()))
