"""A credential becomes a bearer token, over msal.

msal blocks, so it runs in a thread. Tokens are kept per process, one source per connection: a triggerer with a
thousand waits asks the login service once.
"""

from __future__ import annotations

import asyncio
import functools
import json
import re
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msal

from airflow_provider_cij.dataverse.replies import Reply
from airflow_provider_cij.dataverse.settings import Settings
from airflow_provider_cij.errors import CijAuthError, CijError, CijInputError, CijUnreachableError

# Seconds for which a refusal stands: a thousand waits with one wrong secret must not look like an attack.
_REFUSAL_STANDS = 60
# msal counts a token with less left as expired.
_EXPIRES_EARLY = 300
_LOGIN_TIMEOUT = 30

# OAuth's words for it (RFC 6749, 4.1.2.1); they come as dicts, like every refusal.
_TRANSIENT = ("temporarily_unavailable", "server_error")

_HINTS = {
    "AADSTS7000215": "The client secret is wrong: paste the secret's value, not its id.",
    "AADSTS7000222": "The client secret has expired: make a new one, or use a certificate.",
    "AADSTS700016": "The application (client id) does not exist in this tenant.",
    "AADSTS90002": "There is no such tenant: check tenant_id, and the cloud.",
    "AADSTS900023": "tenant_id is neither a GUID nor a domain.",
    "AADSTS500011": "The login service does not know this organisation: check the host.",
    "AADSTS700027": "The certificate is not registered with the application.",
    "AADSTS700213": "No federated credential of the application fits this workload identity.",
    "AADSTS70021": "No federated credential of the application fits this workload identity.",
}


async def bearer_token(settings: Settings, rejected: str = "") -> str:
    """Give a token for the organisation.

    :param settings: the organisation and its credential
    :param rejected: a token that the organisation has just refused; a fresh one is fetched unless somebody else has
    :raises CijAuthError: the login service refuses the credential
    :raises CijInputError: a file that the credential names is missing or unreadable
    :raises CijUnreachableError: the login service does not answer, or is busy: it may be asked again
    """
    source = _source(settings)
    return source.kept(rejected) or await asyncio.to_thread(source.fetch, rejected)


@functools.cache
def _source(settings: Settings) -> _TokenSource:
    return _TokenSource(settings)


_ssl_lock = threading.Lock()


def ssl_context(ca_bundle: str) -> ssl.SSLContext:
    """Give the process's TLS context: building one takes 20 ms, too long for each client of an event loop.

    :param ca_bundle: PEM file to trust besides the public authorities; checks can't be switched off
    :raises CijInputError: the file is missing or holds no certificate
    """
    with _ssl_lock:
        return _ssl_context(ca_bundle)


@functools.cache
def _ssl_context(ca_bundle: str) -> ssl.SSLContext:
    context = httpx.create_ssl_context()
    if ca_bundle:
        try:
            context.load_verify_locations(cafile=ca_bundle)
        except (OSError, ssl.SSLError) as error:
            raise CijInputError(f"The connection's ca_bundle {ca_bundle!r} can't be used: {error}.") from None
    return context


class _TokenSource:
    """The token of one credential, fetched by one thread at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._acquire: Callable[[bool], dict[str, Any]] | None = None
        self._token = ""
        self._good_until = 0.0
        self._refusal = ""
        self._refused_until = 0.0

    def kept(self, rejected: str) -> str:
        """Give the token at hand, or "" when it has expired or was rejected."""
        return self._token if self._token != rejected and time.time() < self._good_until else ""

    def fetch(self, rejected: str) -> str:
        with self._lock:
            token = self.kept(rejected)
            if token:
                return token
            if self._refusal and time.time() < self._refused_until:
                raise self._refused(self._refusal)
            answer, seconds = self._ask(bool(rejected))
            if not answer.get("access_token"):
                said = str(answer.get("error_description") or answer.get("error") or "no reason given")
                if answer.get("error") in _TRANSIENT:
                    raise self._unreachable(_first_line(said))
                self._refusal, self._refused_until = said, time.time() + _REFUSAL_STANDS
                raise self._refused(said)
            token = str(answer["access_token"])
            if not re.fullmatch(r"[\x21-\x7e]+", token):
                # httpx would quote it in its error.
                raise self._unreachable("what it gave can't be sent in a header")
            self._token = token
            self._good_until = time.time() + seconds - _EXPIRES_EARLY
            return self._token

    def _ask(self, fresh: bool) -> tuple[dict[str, Any], int]:
        try:
            self._acquire = self._acquire or _acquirer(self._settings)
            answer = dict(self._acquire(fresh))
            return answer, int(answer.get("expires_in") or 0)
        except CijError:
            raise
        except _BusyError as busy:
            raise self._unreachable(str(busy), busy.retry_after) from None
        except httpx.LocalProtocolError:  # its words quote the header: a managed identity's secret
            raise self._unreachable("what it wants can't be sent in a header") from None
        except (httpx.HTTPError, msal.exceptions.MsalServiceError, OSError) as error:
            raise self._unreachable(f"{type(error).__name__}: {error}") from None
        except Exception as error:
            if isinstance(error, ValueError) and not isinstance(error, json.JSONDecodeError):
                # msal's word for an authority or a key it can't use.
                raise self._refused(str(error), "Check tenant_id, authority and certificate.") from None
            # msal fell over what came, one way or another: a proxy's page, most likely.
            raise self._unreachable(f"its answer can't be read ({type(error).__name__})") from None

    @property
    def _where(self) -> str:
        return "the managed identity endpoint" if _is_managed(self._settings) else self._settings.login_url

    def _unreachable(self, said: str, retry_after: float | None = None) -> CijUnreachableError:
        return CijUnreachableError(
            f"The login service at {self._where} gave no token: {said}.",
            hint="Check the network, the proxy and ca_bundle.",
            retry_after=retry_after,
        )

    def _refused(self, said: str, hint: str = "") -> CijAuthError:
        code = re.search(r"AADSTS\d+", said)
        found = re.search(r"(?:Correlation ID|correlation_id)\W+([0-9a-fA-F-]{36})", said)
        return CijAuthError(
            f"The login service at {self._where} refused: {_first_line(said)}",
            code=code[0] if code else "",
            request_id=found[1] if found else "",
            hint=_HINTS.get(code[0], hint) if code else hint,
        )


def _first_line(said: str) -> str:
    # Behind it stand a trace id, a correlation id and a timestamp.
    return next(iter(said.strip().splitlines()), "no reason given")


def _is_managed(settings: Settings) -> bool:
    return settings.credential == "managed_identity"


def _acquirer(settings: Settings) -> Callable[[bool], dict[str, Any]]:
    """Build what asks for a token; told True, it does not answer from msal's own cache."""
    # A token an hour: no connection is worth keeping.
    none_kept = httpx.Limits(max_keepalive_connections=0)
    http = _LoginClient(
        verify=ssl_context(settings.ca_bundle),
        timeout=_LOGIN_TIMEOUT,
        limits=none_kept,
        event_hooks={"response": [_raise_when_busy, _raise_when_broken]},
    )
    if _is_managed(settings):
        which = settings.managed_identity_client_id
        identity = msal.UserAssignedManagedIdentity(client_id=which) if which else msal.SystemAssignedManagedIdentity()

        def managed(fresh: bool) -> dict[str, Any]:
            # msal has no way to drop a managed identity's token, but its cache is its client's.
            client = msal.ManagedIdentityClient(identity, http_client=http)
            answer: dict[str, Any] = client.acquire_token_for_client(resource=settings.base_url)
            return answer

        return managed

    app = msal.ConfidentialClientApplication(
        settings.client_id,
        client_credential=_client_credential(settings),
        authority=settings.login_url,
        # Without this msal asks login.microsoftonline.com about authorities it does not know.
        instance_discovery=False,
        http_client=http,
    )

    def confidential(fresh: bool) -> dict[str, Any]:
        if fresh:
            app.remove_tokens_for_client()
        answer: dict[str, Any] = app.acquire_token_for_client(scopes=[f"{settings.base_url}/.default"])
        return answer

    return confidential


def _client_credential(settings: Settings) -> str | dict[str, Any]:
    if settings.credential == "client_secret":
        return settings.client_secret
    if settings.credential == "workload_identity":
        return {"client_assertion": functools.partial(_read, settings.federated_token_file, "federated_token_file")}
    path, passphrase = settings.certificate_path, settings.private_key_passphrase or None
    if path.endswith((".pfx", ".p12")):
        return {"private_key_pfx_path": path, "passphrase": passphrase, "public_certificate": True}
    pem = settings.certificate_private_key or _read(path, "certificate_path")
    if "PRIVATE KEY" not in pem or "BEGIN CERTIFICATE" not in pem:
        raise CijInputError("The connection's certificate must hold both the private key and the certificate, in PEM.")
    return {"private_key": pem, "public_certificate": pem, "passphrase": passphrase}


def _read(path: str, what: str) -> str:
    if "-----" in path or path.startswith("eyJ"):  # PEM, a JWT: secrets that must not be shown
        raise CijInputError(f"The connection's {what} is no path.", hint="Give the file's path, not what is in it.")
    try:
        return Path(path).read_text().strip()
    except (OSError, ValueError) as error:
        raise CijInputError(f"The connection's {what} {path!r} can't be read: {error}.") from None


class _BusyError(Exception):
    """The login service can't answer now; ``retry_after`` as it said."""

    def __init__(self, said: str, retry_after: float | None) -> None:
        super().__init__(said)
        self.retry_after = retry_after


def _raise_when_busy(response: httpx.Response) -> None:
    # Before msal sees it: it would make a final refusal of a 429, and keep the answer while we come again.
    if response.status_code == 429 or response.status_code >= 500:
        reply = Reply(response.status_code, response.headers)
        raise _BusyError(f"HTTP {response.status_code}", reply.retry_after(time.time()))


def _raise_when_broken(response: httpx.Response) -> None:
    # Before msal sees it: it would log what it can't read, and that may begin like a token.
    if response.is_success:
        response.read()
        try:
            response.json()
        except (ValueError, RecursionError):
            raise _BusyError("its answer can't be read", None) from None


class _LoginClient(httpx.Client):
    """What msal sends with: the same TLS and proxy rules as the Web API's client."""

    def post(self, url: Any, *, data: Any = None, **others: Any) -> httpx.Response:
        # msal hands a signed assertion over as bytes, which httpx would write as "b'eyJ…'".
        if isinstance(data, dict):
            data = {name: value.decode() if isinstance(value, bytes) else value for name, value in data.items()}
        return super().post(url, data=data, **others)
