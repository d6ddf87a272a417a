"""The login endpoint: client credentials in, bearer token out, errors as Entra words them."""

from __future__ import annotations

import base64
import hmac
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_plus, urlsplit

import jwt
from cryptography import x509

from cij_sandbox.core import errors
from cij_sandbox.core.errors import LoginError
from cij_sandbox.dataverse.tables import CLIENT_ID

TENANT = "5a2d1c0e-7b64-4f3a-9c1d-0c1f5e0a7e01"
LIFETIME = 3599
_MARK = "sandbox-token-"
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_FEDERATION_AUDIENCE = "api://AzureADTokenExchange"

Reply = tuple[int, dict[str, object]]


@dataclass
class Identity:
    """The only tenant, its only application, and the tokens issued since the start."""

    client_secret: str
    hosts: frozenset[str]
    certificate: x509.Certificate | None = None
    _tokens: dict[str, tuple[str, float]] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def discovery(self, base_url: str, issuer: str) -> dict[str, object]:
        """Return the OpenID configuration."""
        tenant = f"{base_url}/{TENANT}"
        return {
            "issuer": issuer,
            "authorization_endpoint": f"{tenant}/oauth2/v2.0/authorize",
            "token_endpoint": f"{tenant}/oauth2/v2.0/token",
            "jwks_uri": f"{tenant}/discovery/v2.0/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic", "private_key_jwt"],
            "response_types_supported": ["code"],
            "grant_types_supported": ["client_credentials"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def check_tenant(self, tenant: str) -> None:
        """Raise the error for an unknown tenant."""
        if tenant.lower() != TENANT:
            raise errors.unknown_tenant(tenant)

    def token(self, tenant: str, form: Mapping[str, str], authorization: str, endpoint: str) -> dict[str, object]:
        """Answer a token request; ``endpoint`` is the URL it came to."""
        self.check_tenant(tenant)
        grant = form.get("grant_type", "")
        if not grant:
            raise LoginError(
                400, "invalid_request", 900144, "The request body must contain the following parameter: 'grant_type'."
            )
        if grant != "client_credentials":
            raise LoginError(
                400, "unsupported_grant_type", 70003, f"The app requested an unsupported grant type '{grant}'."
            )
        client_id, secret = _basic(authorization) or (form.get("client_id", ""), form.get("client_secret"))
        if client_id.lower() != CLIENT_ID:
            raise errors.unknown_application(client_id)
        if "client_assertion" in form or "client_assertion_type" in form:
            self._check_assertion(form, endpoint)
        else:
            self._check_secret(secret)
        token = self.issue(self._host(form))
        return {"token_type": "Bearer", "expires_in": LIFETIME, "ext_expires_in": LIFETIME, "access_token": token}

    def managed(self, resource: str, header: str | None) -> Reply:
        """Answer the App Service managed identity endpoint."""
        if header is None or not _same(header, self.client_secret):
            return 401, {"statusCode": 401, "message": "The X-IDENTITY-HEADER is missing or wrong."}
        try:
            host = self._host({"resource": resource})
        except LoginError as refusal:
            return refusal.status, refusal.body()
        return 200, {
            "access_token": self.issue(host),
            "expires_on": str(int(time.time()) + LIFETIME),
            "resource": resource,
            "token_type": "Bearer",
            "client_id": CLIENT_ID,
        }

    def issue(self, host: str) -> str:
        """Return a new token for a host."""
        # Recognisable, so that tests can search for leaked tokens.
        token, now = f"{_MARK}{secrets.token_urlsafe(48)}", time.time()
        with self._lock:
            self._tokens = {known: kept for known, kept in self._tokens.items() if kept[1] > now}
            self._tokens[token] = (host, now + LIFETIME)
        return token

    def revoke(self, authorization: str) -> None:
        """Revoke the token of a request."""
        with self._lock:
            self._tokens.pop(authorization.partition(" ")[2].strip(), None)

    def accepts(self, authorization: str, host: str) -> bool:
        """Return whether a request to a host has a valid token."""
        scheme, _, token = authorization.partition(" ")
        issued_for, expires = self._tokens.get(token.strip(), ("", 0.0))
        return scheme.lower() == "bearer" and issued_for == host and time.time() < expires

    def _host(self, form: Mapping[str, str]) -> str:
        scope = form.get("scope", "")
        resource = form.get("resource", "")
        if not scope and not resource:
            raise LoginError(
                400, "invalid_request", 900144, "The request body must contain the following parameter: 'scope'."
            )
        if scope and not scope.endswith("/.default"):
            raise LoginError(
                400,
                "invalid_scope",
                1002012,
                f"The provided value for scope {scope} is not valid. Client credential flows must have a scope value "
                "with /.default suffixed to the resource identifier (application ID URI).",
            )
        wanted = scope.removesuffix("/.default") or resource
        parts = urlsplit(wanted)
        if parts.scheme != "https" or parts.netloc.lower() not in self.hosts or parts.path.strip("/"):
            raise LoginError(
                400,
                "invalid_resource",
                500011,
                f"The resource principal named {wanted} was not found in the tenant named {TENANT}.",
            )
        return parts.netloc.lower()

    def _check_secret(self, secret: str | None) -> None:
        if not secret:
            raise LoginError(
                401,
                "invalid_client",
                7000216,
                "'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type.",
            )
        if not _same(secret, self.client_secret):
            raise errors.wrong_secret(CLIENT_ID)

    def _check_assertion(self, form: Mapping[str, str], endpoint: str) -> None:
        bad_signature = LoginError(
            401,
            "invalid_client",
            700027,
            "The certificate with identifier used to sign the client assertion is not registered on application, "
            "or the assertion failed signature or lifetime validation.",
        )
        if self.certificate is None or form.get("client_assertion_type") != _ASSERTION_TYPE:
            raise bad_signature
        try:
            claims = jwt.decode(
                form.get("client_assertion", ""),
                self.certificate.public_key(),  # type: ignore[arg-type]
                algorithms=["RS256", "PS256"],
                options={"verify_aud": False, "require": ["exp", "aud"]},
                leeway=60,
            )
        except (jwt.PyJWTError, TypeError, ValueError):
            raise bad_signature from None
        audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        ours = claims.get("iss") == claims.get("sub") == CLIENT_ID
        if _FEDERATION_AUDIENCE in audiences or (ours and endpoint in audiences):
            return
        raise LoginError(
            401,
            "invalid_client",
            700213,
            "No matching federated identity record found for presented assertion subject or audience.",
        )


def _basic(authorization: str) -> tuple[str, str] | None:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return unquote_plus(name), unquote_plus(password)


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
