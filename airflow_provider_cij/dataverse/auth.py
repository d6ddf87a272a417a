"""Bearer tokens for a connection's credential, from msal; and the TLS context of the process.

msal blocks, so it runs in a thread. Tokens are cached per process and connection: a triggerer with a thousand waits
asks the login service once.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msal

from airflow_provider_cij.dataverse.clock import DAY
from airflow_provider_cij.dataverse.login import BusyError, LoginClient
from airflow_provider_cij.dataverse.redact import redact_logs, register_secrets, register_tokens, words_of
from airflow_provider_cij.dataverse.settings import Settings
from airflow_provider_cij.errors import CijAuthError, CijError, CijInputError, CijUnreachableError

# Seconds for which a refusal is cached: a thousand waits with one wrong secret must not look like an attack.
_REFUSAL_CACHED = 60
# Seconds before its expiry at which msal counts a token as expired.
_EXPIRES_EARLY = 300
# Seconds for all requests of one login.
_LOGIN_TIMEOUT = 30
# Since 1.35 msal takes a certificate in PEM without its thumbprint.
_PEM_SINCE = (1, 35)

# OAuth's error codes of a login service that may recover (RFC 6749, 4.1.2.1). msal returns them like a refusal.
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
    """Return a token for the organisation, from the process's cache or the login service.

    :param settings: the organisation and its credential
    :param rejected: a token that the organisation has just rejected; it is not returned again. By default none
    :raises CijAuthError: the login service rejects the credential
    :raises CijInputError: a file that the credential names is missing or unreadable
    :raises CijUnreachableError: the login service does not answer, or is busy; another try may succeed
    """
    source = _source(settings)
    return source.cached(rejected) or await asyncio.to_thread(source.fetch, rejected)


@functools.cache
def _source(settings: Settings) -> _TokenSource:
    return _TokenSource(settings)


_ssl_lock = threading.Lock()


def ssl_context(ca_bundle: str) -> ssl.SSLContext:
    """Return the process's TLS context. Building one takes 20 ms, too long for each client of an event loop.

    :param ca_bundle: path of a PEM file to trust besides the public authorities, ``""`` for none. Certificate checks
        can't be switched off
    :raises CijInputError: the file, or one that the environment names, is missing or holds no certificate
    """
    with _ssl_lock:
        return _ssl_context(ca_bundle)


@functools.cache
def _ssl_context(ca_bundle: str) -> ssl.SSLContext:
    try:
        context = httpx.create_ssl_context()
    except (OSError, ValueError) as error:
        named = " and ".join(name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name))
        raise CijInputError(
            f"The certificates that {named or 'this machine'} names can't be read: {type(error).__name__}.",
            hint="Name a PEM file that exists, or unset the environment variable." if named else "",
        ) from None
    if ca_bundle:
        try:
            context.load_verify_locations(cafile=ca_bundle)
        except (OSError, ValueError) as error:
            raise CijInputError(
                f"The connection's ca_bundle can't be used: {_reason(error)}.", hint="Give a PEM file's path."
            ) from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def _reason(error: Exception) -> str:
    """Return why a file can't be used, without its name: a secret may have been entered in its place."""
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__


class _TokenSource:
    """The cached token of one credential, fetched by one thread at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._http: LoginClient | None = None
        self._acquire: Callable[[bool], dict[str, Any]] | None = None
        self._token = ""
        self._good_until = 0.0
        self._refusal = ""
        self._refused_until = 0.0
        self._attempts = 0
        self._no_answer: CijUnreachableError | None = None

    def cached(self, rejected: str) -> str:
        """Return the cached token, ``""`` when it has expired or was rejected.

        :param rejected: a token that the organisation has just rejected, ``""`` for none
        """
        return self._token if self._token != rejected and time.time() < self._good_until else ""

    def fetch(self, rejected: str) -> str:
        """Return a token, fetching one if need be. Threads that wait for another's attempt share its result.

        :param rejected: a token that the organisation has just rejected, ``""`` for none
        :raises CijError: as ``bearer_token``
        """
        attempts = self._attempts
        with self._lock:
            token = self.cached(rejected)
            if token:
                return token
            if self._refusal and time.time() < self._refused_until:
                raise self._refused(self._refusal)
            if self._no_answer and self._attempts != attempts:
                raise CijError.from_dict(self._no_answer.as_dict())
            try:
                return self._fetch(rejected)
            except CijUnreachableError as error:
                self._no_answer = error
                raise
            finally:
                self._attempts += 1

    def _fetch(self, rejected: str) -> str:
        self._no_answer = None
        answer, seconds = self._ask(bool(rejected))
        if not answer.get("access_token"):
            message = str(answer.get("error_description") or answer.get("error") or "no reason given")
            if answer.get("error") in _TRANSIENT:
                raise self._unreachable(words_of(_first_line(message)))
            self._refusal, self._refused_until = message, time.time() + _REFUSAL_CACHED
            raise self._refused(message)
        token = str(answer["access_token"])
        if not re.fullmatch(r"[\x21-\x7e]+", token):
            # httpx would quote it in its error.
            raise self._unreachable("what it gave can't be sent in a header")
        register_tokens(token)
        self._token = token
        self._good_until = time.time() + min(seconds, DAY) - _EXPIRES_EARLY
        return self._token

    def _ask(self, fresh: bool) -> tuple[dict[str, Any], int]:
        self._http = self._http or _login_client(self._settings)
        try:
            with self._http.login():
                return self._ask_with(self._http, fresh)
        except OSError as error:  # no event loop: too many files are open
            raise self._unreachable(_reason(error)) from None

    def _ask_with(self, http: LoginClient, fresh: bool) -> tuple[dict[str, Any], int]:
        try:
            self._acquire = self._acquire or _acquirer(self._settings, http)
        except (CijError, BusyError) as error:
            raise self._known(error) from None
        except ValueError as error:
            # msal raises it for an authority or a key it can't use.
            raise self._refused(str(error), "Check tenant_id, authority and certificate.") from None
        except Exception as error:
            raise self._unreachable(f"its answer can't be read ({type(error).__name__})") from None
        try:
            answer = dict(self._acquire(fresh))
            return answer, int(answer.get("expires_in") or 0)
        except (CijError, BusyError) as error:
            raise self._known(error) from None
        except Exception as error:
            # msal failed on what it received: a proxy's page, most likely.
            raise self._unreachable(f"its answer can't be read ({type(error).__name__})") from None

    def _known(self, error: CijError | BusyError) -> CijError:
        return self._unreachable(str(error), error.retry_after) if isinstance(error, BusyError) else error

    @property
    def _where(self) -> str:
        return "the managed identity endpoint" if _is_managed(self._settings) else self._settings.login_url

    def _unreachable(self, message: str, retry_after: float | None = None) -> CijUnreachableError:
        hint = "Check the network, the proxy and ca_bundle."
        if retry_after is not None and retry_after >= DAY:
            hint = "It asked to wait a day or more. Run the task again later."
        return CijUnreachableError(
            f"The login service at {self._where} gave no token: {message}.",
            hint=hint,
            retry_after=retry_after,
        )

    def _refused(self, message: str, hint: str = "") -> CijAuthError:
        code = re.search(r"AADSTS\d+", message)
        found = re.search(r"(?:Correlation ID|correlation_id)\W+([0-9a-fA-F-]{36})", message)
        return CijAuthError(
            f"The login service at {self._where} refused: {words_of(_first_line(message), bool)}",
            code=code[0] if code else "",
            request_id=found[1] if found else "",
            hint=_HINTS.get(code[0], hint) if code else hint,
        )


def _first_line(message: str) -> str:
    # The further lines are a trace id, a correlation id and a timestamp.
    return next(iter(message.strip().splitlines()), "no reason given")


def _is_managed(settings: Settings) -> bool:
    return settings.credential == "managed_identity"


def _login_client(settings: Settings) -> LoginClient:
    return LoginClient(
        "" if _is_managed(settings) else settings.login_url,
        ssl_context(settings.ca_bundle),
        min(_LOGIN_TIMEOUT, settings.timeout_seconds),
    )


def _acquirer(settings: Settings, http: LoginClient) -> Callable[[bool], dict[str, Any]]:
    """Return a function that acquires a token; called with True, it does not use msal's own cache."""
    register_secrets(settings, os.environ.get("IDENTITY_HEADER", "") if _is_managed(settings) else "")
    redact_logs()
    if _is_managed(settings):
        which = settings.managed_identity_client_id
        identity = msal.UserAssignedManagedIdentity(client_id=which) if which else msal.SystemAssignedManagedIdentity()

        def managed(fresh: bool) -> dict[str, Any]:
            # msal can't drop a managed identity's token, but its cache is the client's: so a new client each time.
            client = msal.ManagedIdentityClient(identity, http_client=http)
            answer: dict[str, Any] = client.acquire_token_for_client(resource=settings.base_url)
            return answer

        return managed

    app = msal.ConfidentialClientApplication(
        settings.client_id,
        client_credential=_client_credential(settings),
        authority=settings.login_url,
        # Otherwise msal asks login.microsoftonline.com about authorities it does not know.
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
        return {"client_assertion": functools.partial(_assertion, settings.federated_token_file)}
    path, passphrase = settings.certificate_path, settings.private_key_passphrase or None
    if path.endswith((".pfx", ".p12")):
        _bytes(path, "certificate_path")
        return {"private_key_pfx_path": path, "passphrase": passphrase, "public_certificate": True}
    pem = settings.certificate_private_key or _read(path, "certificate_path")
    if "PRIVATE KEY" not in pem or "BEGIN CERTIFICATE" not in pem:
        raise CijInputError("The connection's certificate must hold both the private key and the certificate, in PEM.")
    if _version(msal.__version__) < _PEM_SINCE:
        raise CijInputError(
            f"A certificate in PEM needs msal 1.35 or newer; installed is {msal.__version__}.",
            hint="Install msal>=1.35, or give the certificate as a .pfx file.",
        )
    return {"private_key": pem, "public_certificate": pem, "passphrase": passphrase}


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)[:2]))


def _assertion(path: str) -> str:
    text = _read(path, "federated_token_file")
    register_tokens(text)
    return text


def _read(path: str, what: str) -> str:
    try:
        return _bytes(path, what).decode().strip()
    except UnicodeDecodeError:
        raise CijInputError(f"The file that the connection's {what} names is no text in UTF-8.") from None


def _bytes(path: str, what: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        # The path is not quoted: a PEM or a token may have been entered in its place.
        raise CijInputError(
            f"The connection's {what} can't be read: {_reason(error)}.",
            hint="Give the file's path, not what is in it.",
        ) from None
