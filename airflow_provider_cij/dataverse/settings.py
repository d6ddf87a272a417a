"""The checked settings of one connection: an organisation and the credential for it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from airflow_provider_cij.dataverse.clock import DAY
from airflow_provider_cij.dataverse.guids import parse_guid
from airflow_provider_cij.dataverse.values import trimmed
from airflow_provider_cij.errors import CijInputError

CREDENTIALS = ("client_secret", "certificate", "workload_identity", "managed_identity")

# Login hosts by the end of the organisation's host name. A default only: new regions come every year, so no host is
# refused.
_LOGIN_HOSTS = {
    ".microsoftdynamics.us": "login.microsoftonline.us",
    ".appsplatform.us": "login.microsoftonline.us",
    ".dynamics.cn": "login.partner.microsoftonline.cn",
}
_PUBLIC_LOGIN_HOST = "login.microsoftonline.com"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")
_AUTHORITY = re.compile(r"https://[\w.-]+(:\d+)?(/[\w.%/-]*)?", re.ASCII)
# The service allows a user 52 on one server; each is a task of the event loop.
_MAX_CONCURRENCY = 1000
_NAME = re.compile(r"[\w.-]{1,255}", re.ASCII)


def organisation_url(host: str, port: int | None = None) -> str:
    """Return an organisation's address, normalised from what a user typed.

    :param host: ``https://contoso.crm4.dynamics.com``, or the bare host
    :param port: the port; None, the default, for the host's own or 443
    :return: scheme, host and port (unless 443), without a slash at the end
    :raises CijInputError: there is no host, it has a path or a user, or it is plain http to another machine
    """
    text = trimmed(host)
    hint = "Give the organisation's address alone, such as https://contoso.crm4.dynamics.com."
    if not text:
        raise CijInputError("The connection has no host.", hint=hint)
    if "://" not in text:
        text = f"https://{text}"
    try:
        parts = urlsplit(text)
        own_port = parts.port
    except ValueError:
        raise CijInputError("The connection's host can't be read.", hint=hint) from None
    if "@" in text:  # a password may be in front of it
        raise CijInputError("The connection's host has a user in it, so it is not an address alone.", hint=hint)
    name = parts.hostname or ""
    if not _HOST.fullmatch(name) or parts.path.strip("/") or parts.query or parts.fragment:
        raise CijInputError("The connection's host is not an address alone.", hint=hint)
    if parts.scheme != "https" and not (parts.scheme == "http" and name in _LOOPBACK):
        raise CijInputError("The connection's host does not begin with https://.", hint=hint)
    if not 0 <= (port or 0) <= 65535:
        raise CijInputError("The connection's port is no port.", hint="From 1 to 65535; 443 is usual.")
    number = own_port or port or 443
    return f"{parts.scheme}://" + (f"[{name}]" if ":" in name else name) + ("" if number == 443 else f":{number}")


@dataclass(frozen=True)
class Settings:
    """An organisation and its credential, checked.

    :param base_url: the organisation's address, as ``organisation_url`` returns it
    :param tenant_id: the Entra tenant, by GUID or domain; not needed for ``managed_identity``
    :param client_id: the application (client) id; not needed for ``managed_identity``
    :param credential: one of ``CREDENTIALS``, by default ``client_secret``
    :param client_secret: the secret, for ``client_secret``
    :param certificate_path: path of a PEM file with key and certificate, or of a PFX file, for ``certificate``
    :param certificate_private_key: key and certificate in PEM, as text, for ``certificate`` without a path
    :param private_key_passphrase: passphrase of the certificate's key, by default none
    :param federated_token_file: path of the token file, for ``workload_identity``; read for every token, as it rotates
    :param managed_identity_client_id: client id of a user-assigned identity, for ``managed_identity``; by default the
        system-assigned one is used
    :param authority: login endpoint, with tenant or without; by default that of the host's cloud
    :param api_version: version of the Dataverse Web API, by default ``v9.2``
    :param ca_bundle: path of a PEM file to trust besides the public authorities, by default none
    :param max_concurrency: requests in flight at most, from 1 to 1000, by default 8; the service allows a user 52
    :param timeout_seconds: seconds for one request, from connecting to the response's last byte, by default 120, after
        which the service gives up itself
    :param max_throttle_wait_seconds: seconds to sleep at most while the service throttles, from 0 to a day, by default
        60. A longer wait raises ``CijThrottledError``
    :param max_poll_seconds: seconds between two checks of a waiting task at most, above 0 and to a day, by default a
        day. A test against the sandbox sets it, so that its tasks do not wait for the ``poll_interval`` of production
    :param caller_object_id: Entra object id of the user to act for, by default none
    :raises CijInputError: something is missing or malformed; the error names it
    """

    base_url: str
    tenant_id: str = ""
    client_id: str = ""
    credential: str = "client_secret"
    client_secret: str = field(default="", repr=False)
    certificate_path: str = field(default="", repr=False)
    certificate_private_key: str = field(default="", repr=False)
    private_key_passphrase: str = field(default="", repr=False)
    federated_token_file: str = field(default="", repr=False)
    managed_identity_client_id: str = ""
    authority: str = ""
    api_version: str = "v9.2"
    ca_bundle: str = field(default="", repr=False)
    max_concurrency: int = 8
    timeout_seconds: float = 120
    max_throttle_wait_seconds: float = 60
    max_poll_seconds: float = DAY
    caller_object_id: str = ""

    def __post_init__(self) -> None:
        if self.credential not in CREDENTIALS:
            raise CijInputError(
                "The connection's credential is unknown.", hint=f"Use one of: {', '.join(CREDENTIALS)}."
            )
        needed = {
            "client_secret": ["client_secret"],
            "certificate": ["certificate_path or certificate_private_key"],
            "workload_identity": ["federated_token_file"],
            "managed_identity": [],
        }[self.credential]
        if self.credential != "managed_identity":
            needed = ["tenant_id", "client_id", *needed]
        missing = [name for name in needed if not any(getattr(self, part) for part in name.split(" or "))]
        if missing:
            raise CijInputError(
                f"The connection lacks {', '.join(_LABELS.get(name, name) for name in missing)}, "
                f"which the credential {self.credential!r} needs."
            )
        # No value is quoted in these errors: a secret may have been entered in the wrong field.
        if self.authority and not _is_address(self.authority):
            raise CijInputError(
                "The connection's authority is no address.",
                hint="It must begin with https://, such as https://login.microsoftonline.com.",
            )
        for name, text in (("tenant_id", self.tenant_id), ("client_id", self.client_id)):
            if text and not _NAME.fullmatch(text):
                raise CijInputError(f"The connection's {name} is neither a GUID nor a domain.")
        if not re.fullmatch(r"v\d{1,3}\.\d{1,3}", self.api_version, re.ASCII):
            raise CijInputError("The connection's api_version is no version.", hint="It looks like v9.2.")
        _check_number("max_concurrency", self.max_concurrency, 1, _MAX_CONCURRENCY)
        _check_number("timeout_seconds", self.timeout_seconds, 0, DAY, above=True)
        _check_number("max_throttle_wait_seconds", self.max_throttle_wait_seconds, 0, DAY)
        _check_number("max_poll_seconds", self.max_poll_seconds, 0, DAY, above=True)
        if self.caller_object_id and parse_guid(self.caller_object_id) is None:
            hint = "Give the Entra object id of the user to act for, such as 00000000-...."
            raise CijInputError("The connection's caller_object_id is no GUID.", hint=hint)

    @property
    def api_url(self) -> str:
        """Return the root of the Web API, with a slash at the end."""
        return f"{self.base_url}/api/data/{self.api_version}/"

    @property
    def login_url(self) -> str:
        """Return the login endpoint with its tenant, by default that of the host's cloud (api discovery docs)."""
        if self.authority:
            parts = urlsplit(self.authority.rstrip("/"))
            return self.authority.rstrip("/") if parts.path.strip("/") else f"{parts.geturl()}/{self.tenant_id}"
        host = urlsplit(self.base_url).hostname or ""
        login = next((login for end, login in _LOGIN_HOSTS.items() if host.endswith(end)), _PUBLIC_LOGIN_HOST)
        return f"https://{login}/{self.tenant_id}"


def _check_number(name: str, value: object, least: float, most: float, *, above: bool = False) -> None:
    hint = f"{'More than' if above else 'From'} {least:,.0f}{' and at most' if above else ' to'} {most:,.0f}."
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise CijInputError(f"The connection's {name} is no number.", hint=hint)
    if not least <= value <= most or (above and value == least):  # "nan" is in no range
        raise CijInputError(f"The connection's {name} is out of range.", hint=hint)


def _is_address(authority: str) -> bool:
    try:
        return bool(_AUTHORITY.fullmatch(authority)) and urlsplit(authority).port != 0
    except ValueError:  # a port beyond 65535
        return False


# What the form calls these fields.
_LABELS = {
    "tenant_id": "the tenant id",
    "client_id": "the client id (login)",
    "client_secret": "the client secret (password)",
}
