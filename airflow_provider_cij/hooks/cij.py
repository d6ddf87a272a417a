"""``CijHook``: an Airflow connection becomes an open client."""

from __future__ import annotations

import asyncio
import difflib
import functools
import logging
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk import BaseHook

from airflow_provider_cij.api.cij import Cij, row_url
from airflow_provider_cij.api.organisation import describe_user, readable, version_of
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.dataverse.retry import RetryPolicy
from airflow_provider_cij.dataverse.settings import Settings, organisation_url
from airflow_provider_cij.dataverse.values import trimmed
from airflow_provider_cij.errors import CijError, CijInputError, CijStoppedError
from airflow_provider_cij.hooks.running import run_anywhere
from airflow_provider_cij.version_compat import AirflowNotFoundException, aget_connection, get_connection

if TYPE_CHECKING:
    from airflow.sdk import Connection

T = TypeVar("T")

log = logging.getLogger(__name__)


class CijHook(BaseHook):
    """Connects to Dynamics 365 Customer Insights - Journeys.

    .. code-block:: python

        async with CijHook().session() as cij:
            segment = await cij.segments.get(segment_id)

        segment = CijHook().run(lambda cij: cij.segments.get(segment_id))  # in sync code

    :param cij_conn_id: id of the Airflow connection, of type ``cij``; by default ``cij_default``
    """

    conn_name_attr = "cij_conn_id"
    default_conn_name = "cij_default"
    conn_type = "cij"
    hook_name = "Dynamics 365 Customer Insights - Journeys"

    def __init__(self, cij_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cij_conn_id = cij_conn_id
        self._settings: Settings | None = None
        self._client: DataverseClient | None = None

    def settings(self) -> Settings:
        """Return the connection's settings, read once.

        :raises CijInputError: something in it is missing or malformed; the error names it
        :raises CijError: there is no such connection, or Airflow can't be asked at present
        """
        if self._settings is None:
            with _explained(self.cij_conn_id):
                self._settings = settings_of(get_connection(self.cij_conn_id))
        return self._settings

    @asynccontextmanager
    async def session(self, retry_policy: RetryPolicy | None = None) -> AsyncIterator[Cij]:
        """Open a client for one ``async with``, on one event loop.

        :param retry_policy: how often a request is sent, by default 5 times
        :return: the open organisation
        :raises CijInputError: something in the connection is missing or malformed; the error names it
        """
        if self._settings is None:
            with _explained(self.cij_conn_id):
                self._settings = settings_of(await aget_connection(self.cij_conn_id))
        async with DataverseClient(self._settings, retry_policy=retry_policy) as client:
            yield Cij.on(client)

    def run(self, work: Callable[[Cij], Awaitable[T]], retry_policy: RetryPolicy | None = None) -> T:
        """Run a coroutine function on an open client, from sync code. Works where an event loop already runs, too.

        :param work: a coroutine function that takes the open organisation
        :param retry_policy: how often a request is sent, by default 5 times
        :return: what ``work`` returns
        :raises CijInputError: something in the connection is missing or malformed; the error names it
        :raises CijStoppedError: ``stop`` was called
        """
        self.settings()

        async def main() -> T:
            async with self.session(retry_policy) as cij:
                self._client = cij.dataverse
                return await work(cij)

        try:
            return run_anywhere(main, self.stop)
        except asyncio.CancelledError:
            raise CijStoppedError("The task was told to end, and ended.") from None
        finally:
            self._client = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle, without secrets and without an open client."""
        return self.__dict__ | {"_settings": None, "_client": None}

    def stop(self) -> None:
        """Stop ``run``: no further request is sent. Safe to call from a signal handler."""
        if self._client:
            self._client.stop()

    def segment_url(self, segment_id: str) -> str:
        """Return the address of a segment in Dynamics 365.

        :param segment_id: the id of its row
        :raises CijInputError: the id is no GUID
        """
        return self.row_url("msdynmkt_segment", segment_id)

    def journey_url(self, journey_id: str) -> str:
        """Return the address of a journey in Dynamics 365.

        :param journey_id: the id of its row
        :raises CijInputError: the id is no GUID
        """
        return self.row_url("msdynmkt_journey", journey_id)

    def row_url(self, table: str, row_id: str) -> str:
        """Return the address of a row in Dynamics 365.

        :param table: the table's logical name, such as ``msdyncrm_segment``
        :param row_id: the row's id
        :raises CijInputError: the id is no GUID
        """
        return row_url(self.settings(), table, row_id)

    def test_connection(self) -> tuple[bool, str]:
        """Check the connection: log in, and read whether Customer Insights - Journeys is installed and readable.

        :return: True with the application's name and roles, what they can't read, the organisation and its version; or
            False with what is missing and what to do
        """
        try:
            # A user waits in front of the form: no retries.
            return True, self.run(_describe_connection, RetryPolicy(max_attempts=1))
        except CijError as error:
            return False, str(error)
        except Exception as error:  # any error is shown to the user at the Test button
            return False, f"{type(error).__name__}: {error}"


@contextmanager
def _explained(conn_id: str) -> Iterator[None]:
    """Raise CijError with what to do when Airflow has no such connection."""
    try:
        yield
    except AirflowNotFoundException:  # which it says as well when it can't be asked: another try may succeed
        raise CijError(
            f"Airflow has no connection {conn_id!r}.",
            hint=f"Add one of type cij, with organisation URL, client id, client secret and tenant_id, or set "
            f"AIRFLOW_CONN_{conn_id.upper()}. Is cij_conn_id spelt right?",
        ) from None


# What operators read beside segments.
_READ_TABLES = (
    *("contact", "lead", "msdynmkt_segmentdefinition", "msdynmkt_segmentexecution", "msdynmkt_journey"),
    "msdynmkt_contactpointconsent4",
)


async def _describe_connection(cij: Cij) -> str:
    client = cij.dataverse
    me = await client.get("WhoAmI")
    await client.get("msdynmkt_segments?$select=msdynmkt_segmentid&$top=1")
    version = await version_of(client)
    unreadable = [table for table in _READ_TABLES if await readable(client, table)]
    settings = client.settings
    return (
        f"Connected to {settings.base_url} (organisation {me.get('OrganizationId')}, Dataverse {version}, "
        f"Web API {settings.api_version}) as {await describe_user(client, str(me.get('UserId')))}. "
        "Customer Insights - Journeys is installed, and its segments are readable."
    ) + (f" Its roles lack the privilege to read {', '.join(unreadable)}." if unreadable else "")


# The extras that the connection form shows, and the field of ``Settings`` that each one fills.
EXTRAS = (
    "tenant_id",
    "credential",
    "certificate_path",
    "certificate_private_key",
    "private_key_passphrase",
    "federated_token_file",
    "managed_identity_client_id",
    "authority",
    "api_version",
    "ca_bundle",
    "max_concurrency",
    "timeout_seconds",
    "max_throttle_wait_seconds",
    "max_poll_seconds",
    "caller_object_id",
)
_NUMBERS = ("max_concurrency", "timeout_seconds", "max_throttle_wait_seconds", "max_poll_seconds")
# Former names, still read.
_RENAMED = {"max_hold_seconds": "max_throttle_wait_seconds"}
# Only what looks like a name is repeated in the log: a secret may have been pasted in a name's place.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}")


def settings_of(connection: Connection) -> Settings:
    """Read a connection of type ``cij``.

    Deprecated and unknown extras are warnings in the log, once per process and connection.

    :param connection: the Airflow connection; empty fields and extras have their default
    :return: its settings, checked
    :raises CijInputError: something in it is missing or malformed; the error names it
    """
    try:
        extra = {name: value for name, value in connection.extra_dejson.items() if value not in (None, "")}
    except (AttributeError, ValueError, RecursionError):  # whose words may quote it
        raise CijInputError("The connection's extra is no JSON object.") from None
    for name in extra:
        if name not in EXTRAS:
            _warn_of_extra(connection.conn_id or "", str(name))
    for old, new in _RENAMED.items():
        if old in extra:
            extra.setdefault(new, extra[old])

    # What is not given has the default of ``Settings``.
    given: dict[str, Any] = {name: text for name in EXTRAS if (text := trimmed(str(extra.get(name, ""))))}
    given |= {name: _number(name, given[name]) for name in _NUMBERS if name in given}
    pod = _pod_identity() if given.get("credential") == "workload_identity" else {}
    special = {
        "base_url": organisation_url(connection.host or "", connection.port),
        "tenant_id": given.get("tenant_id") or pod.get("TENANT_ID", ""),
        "client_id": trimmed(connection.login or "") or pod.get("CLIENT_ID", ""),
        # Entra's secrets hold printable ASCII without spaces, so what surrounds one came from a file or a secret store.
        "client_secret": trimmed(connection.password or ""),
        # Environment variables and secret stores hold a PEM on one line, with "\n" for its line ends.
        "certificate_private_key": given.get("certificate_private_key", "").replace("\\n", "\n"),
        # Spaces may be part of a passphrase. A line end is not: OpenSSL reads one up to the end of its line.
        "private_key_passphrase": str(extra.get("private_key_passphrase", "")).strip("\r\n\ufeff"),
        "federated_token_file": given.get("federated_token_file") or pod.get("FEDERATED_TOKEN_FILE", ""),
    }
    return Settings(**given | special)


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
        if isfinite(number):
            return int(number) if name == "max_concurrency" else number
    except ValueError:
        pass
    # Its value is not quoted: a secret may have been put there.
    raise CijInputError(f"The connection's {name} is no number.")


def _pod_identity() -> dict[str, str]:
    """Return what Azure's webhook sets in a pod with a workload identity."""
    return {
        name: trimmed(os.environ.get(f"AZURE_{name}", ""))
        for name in ("TENANT_ID", "CLIENT_ID", "FEDERATED_TOKEN_FILE")
    }


@functools.cache
def _warn_of_extra(conn_id: str, name: str) -> None:
    """Log that an extra is deprecated or unknown, with the name to use instead."""
    if new := _RENAMED.get(name):
        log.warning("Connection %r: the extra %r is deprecated, use %r", conn_id, name, new)
        return
    shown = repr(name) if _NAME.fullmatch(name) else "with a name that can't be shown"
    folded = re.sub(r"[\W_]+", "_", name.lower())
    near = difflib.get_close_matches(folded, EXTRAS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(EXTRAS)}"
    log.warning("Connection %r: the extra %s is unknown and has no effect; %s", conn_id, shown, hint)
