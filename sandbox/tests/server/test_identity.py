"""The login endpoint: secrets, certificates, workload identities, managed identities, and its errors."""

import base64
import datetime
import re
import time

import httpx
import jwt
import msal
import pytest
from cij_sandbox.server.identity import Identity
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from packaging.version import Version

from ..organisation import running_organisation

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def ask(org, path=None, **changes):
    """Ask for a token with a good form, changed a little."""
    form = {
        "grant_type": "client_credentials",
        "client_id": org.sandbox.client_id,
        "client_secret": org.sandbox.client_secret,
        "scope": f"{org.sandbox.base_url}/.default",
        **changes,
    }
    form = {name: value for name, value in form.items() if value is not None}
    return org.plain.post(path or f"/{org.sandbox.tenant}/oauth2/v2.0/token", data=form)


def test_a_good_secret_gets_a_token(org):
    """A token answers as Entra's does and is good for the Web API."""
    reply = ask(org)
    assert reply.status_code == 200
    body = reply.json()
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 3599)
    who = org.plain.get("/api/data/v9.0/WhoAmI", headers={"Authorization": f"Bearer {body['access_token']}"})
    assert set(who.json()) == {"@odata.context", "BusinessUnitId", "UserId", "OrganizationId"}


def test_a_secret_may_come_as_http_basic_or_by_the_older_endpoint(org):
    """HTTP Basic, and the v1 endpoint with a resource, accept the secret too."""
    pair = base64.b64encode(f"{org.sandbox.client_id}:{org.sandbox.client_secret}".encode()).decode()
    form = {"grant_type": "client_credentials", "scope": f"{org.sandbox.base_url}/.default"}
    reply = org.plain.post(
        f"/{org.sandbox.tenant}/oauth2/v2.0/token", data=form, headers={"Authorization": f"Basic {pair}"}
    )
    assert reply.status_code == 200
    old = ask(org, f"/{org.sandbox.tenant}/oauth2/token", scope=None, resource=f"{org.sandbox.base_url}/")
    assert old.status_code == 200


@pytest.mark.parametrize(
    ("change", "status", "error", "number"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({"client_secret": None}, 401, "invalid_client", 7000216),
        ({"client_id": "00000000-0000-0000-0000-000000000000"}, 400, "unauthorized_client", 700016),
        ({"scope": "https://contoso.crm.dynamics.com/.default"}, 400, "invalid_resource", 500011),
        ({"scope": "openid"}, 400, "invalid_scope", 1002012),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
        ({"client_assertion": "x", "client_assertion_type": ASSERTION}, 401, "invalid_client", 700027),
    ],
)
def test_refusals_speak_as_entra_does(org, change, status, error, number):
    """Each error has the status, error and AADSTS number of Entra, and no secret in its message."""
    reply = ask(org, **change)
    body = reply.json()
    assert (reply.status_code, body["error"], body["error_codes"]) == (status, error, [number])
    assert body["error_description"].startswith(f"AADSTS{number}: ")
    assert {"timestamp", "trace_id", "correlation_id"} <= set(body)
    assert org.sandbox.client_secret not in reply.text


def test_an_unknown_tenant_is_refused_everywhere(org):
    """Discovery and token endpoint of another tenant answer AADSTS90002."""
    other = "/00000000-0000-0000-0000-000000000000"
    assert ask(org, f"{other}/oauth2/v2.0/token").json()["error_codes"] == [90002]
    assert org.plain.get(f"{other}/v2.0/.well-known/openid-configuration").json()["error_codes"] == [90002]


def test_msal_accepts_the_oidc_authority(org):
    """The issuer of the discovery document matches the authority, which msal insists on."""
    application = msal.ConfidentialClientApplication(
        org.sandbox.client_id,
        client_credential=org.sandbox.client_secret,
        oidc_authority=org.sandbox.authority,
        http_client=org.plain,
    )
    assert "access_token" in application.acquire_token_for_client([f"{org.sandbox.base_url}/.default"])


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer made-up"}, {"Authorization": "Basic eDp5"}])
def test_without_a_good_token_there_is_a_challenge(org, headers):
    """Without a valid token the answer is 401, without a body, with the address of the login endpoint."""
    reply = org.plain.get("/api/data/v9.2/contacts", headers=headers)
    assert (reply.status_code, reply.content) == (401, b"")
    assert reply.headers["WWW-Authenticate"] == (
        f"Bearer authorization_uri={org.sandbox.authority}/oauth2/authorize, resource_id={org.sandbox.base_url}/"
    )


def test_a_token_is_good_for_its_host_and_its_time(org, monkeypatch):
    """A token for localhost is refused at 127.0.0.1, and an expired one everywhere."""
    numeric = org.sandbox.base_url.replace("localhost", "127.0.0.1")
    token = ask(org).json()["access_token"]
    other = ask(org, scope=f"{numeric}/.default").json()["access_token"]
    url = f"{numeric}/api/data/v9.2/WhoAmI"
    assert org.plain.get(url, headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert org.plain.get(url, headers={"Authorization": f"Bearer {other}"}).status_code == 200
    identity = Identity("secret", frozenset({"localhost:1"}))
    issued = identity.issue("localhost:1")
    assert identity.accepts(f"Bearer {issued}", "localhost:1")
    monkeypatch.setattr(time, "time", lambda: datetime.datetime.now().timestamp() + 3600)
    assert not identity.accepts(f"Bearer {issued}", "localhost:1")


def test_another_host_name_is_not_served(org):
    """A request under another host name is refused, so that no web page can reach the sandbox by DNS."""
    reply = org.plain.get("/main.aspx", headers={"Host": "evil.example"})
    assert reply.status_code == 400


def test_managed_identity(org):
    """The App Service endpoint issues a token to a client that knows the identity header."""
    url = f"/msi/token?resource={org.sandbox.base_url}&api-version=2019-08-01"
    assert org.plain.get(url).status_code == 401
    reply = org.plain.get(url, headers={"X-IDENTITY-HEADER": org.sandbox.client_secret})
    body = reply.json()
    assert int(body["expires_on"]) > time.time()
    assert (body["resource"], body["token_type"]) == (org.sandbox.base_url, "Bearer")
    who = org.plain.get("/api/data/v9.2/WhoAmI", headers={"Authorization": f"Bearer {body['access_token']}"})
    assert who.status_code == 200


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """Provide a sandbox with a registered certificate, and the key to it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an application")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    path = tmp_path_factory.mktemp("certificate") / "application.pem"
    path.write_text(pem)
    with running_organisation("--client-certificate", str(path)) as organisation:
        yield organisation, key, pem


@pytest.mark.skipif(Version(msal.__version__) < Version("1.35"), reason="older msal asks for a PEM's thumbprint")
def test_msal_logs_in_with_a_certificate(signed):
    """A certificate credential of msal is accepted."""
    org, key, pem = signed
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()

    class Decoding(httpx.Client):
        """Sends the assertion as text: msal hands it over as bytes, which httpx writes as b'...'."""

        def post(self, url, *, data, **others):
            text = {name: value.decode() if isinstance(value, bytes) else value for name, value in data.items()}
            return super().post(url, data=text, **others)

    with Decoding(verify=org.context) as client:
        application = msal.ConfidentialClientApplication(
            org.sandbox.client_id,
            client_credential={"private_key": private, "public_certificate": pem},
            authority=org.sandbox.authority,
            instance_discovery=False,
            http_client=client,
        )
        assert "access_token" in application.acquire_token_for_client([f"{org.sandbox.base_url}/.default"])


@pytest.mark.parametrize(
    ("change", "algorithm", "status", "number"),
    [
        ({}, "RS256", 200, None),
        ({}, "PS256", 200, None),
        ({"aud": "api://AzureADTokenExchange", "iss": "https://issuer", "sub": "airflow"}, "RS256", 200, None),
        ({"aud": "https://elsewhere"}, "RS256", 401, 700213),
        ({"sub": "somebody"}, "RS256", 401, 700213),
        ({"exp": 1}, "RS256", 401, 700027),
        ({}, "HS256", 401, 700027),
        ({}, "none", 401, 700027),
    ],
)
def test_client_assertions(signed, change, algorithm, status, number):
    """A client assertion must be signed by the registered key, valid, and for this audience."""
    org, key, _ = signed
    client_id = org.sandbox.client_id
    endpoint = f"{org.sandbox.authority}/oauth2/v2.0/token"
    claims = {"iss": client_id, "sub": client_id, "aud": endpoint, "exp": int(time.time()) + 300, **change}
    by = {"HS256": "x" * 40, "none": None}.get(algorithm, key)
    assertion = jwt.encode(claims, by, algorithm)
    reply = ask(org, client_secret=None, client_assertion=assertion, client_assertion_type=ASSERTION)
    assert reply.status_code == status, reply.text
    if number:
        assert reply.json()["error_codes"] == [number]


def test_nothing_secret_is_shown(cij_sandbox):
    """The secret is not in the repr of the connection."""
    assert cij_sandbox.client_secret not in repr(cij_sandbox)
    assert re.fullmatch(r"https://localhost:\d+", cij_sandbox.base_url)
