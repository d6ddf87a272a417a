"""An Airflow connection becomes an open client."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk import BaseHook

from airflow_provider_cij.api.consent.client import Consents
from airflow_provider_cij.api.custom_triggers.client import CustomTriggers
from airflow_provider_cij.api.journeys.client import Journeys
from airflow_provider_cij.api.members.client import Members
from airflow_provider_cij.api.outbound.client import Outbound
from airflow_provider_cij.api.segments.client import Segments
from airflow_provider_cij.dataverse.client import DataverseClient
from airflow_provider_cij.dataverse.guids import normalize_guid
from airflow_provider_cij.dataverse.responses import DAY
from airflow_provider_cij.dataverse.retry import RetryRules
from airflow_provider_cij.dataverse.settings import Settings, organisation_url
from airflow_provider_cij.errors import CijError, CijInputError, CijRefusedError, CijStoppedError, CijThrottledError
from airflow_provider_cij.hooks.running import run_anywhere

if TYPE_CHECKING:
    from airflow.sdk import Connection

T = TypeVar("T")


@dataclass(frozen=True)
class Cij:
    """An organisation, open: what a hook's session gives."""

    dataverse: DataverseClient
    segments: Segments
    members: Members
    journeys: Journeys
    custom_triggers: CustomTriggers
    consent: Consents
    outbound: Outbound

    @classmethod
    def on(cls, client: DataverseClient) -> Cij:
        """Give all verbs, over an open client."""
        return cls(
            client,
            Segments(client),
            Members(client),
            Journeys(client),
            CustomTriggers(client),
            Consents(client),
            Outbound(client),
        )

    def segment_url(self, segment_id: str) -> str:
        """Give the address of a segment in Dynamics 365."""
        return _row_url(self.dataverse.settings, "msdynmkt_segment", segment_id)

    def journey_url(self, journey_id: str) -> str:
        """Give the address of a journey in Dynamics 365."""
        return _row_url(self.dataverse.settings, "msdynmkt_journey", journey_id)


class CijHook(BaseHook):
    """Talks to Dynamics 365 Customer Insights - Journeys.

    .. code-block:: python

        async with CijHook().session() as cij:
            segment = await cij.segments.get(segment_id)

        segment = CijHook().run(lambda cij: cij.segments.get(segment_id))  # in sync code

    :param cij_conn_id: the Airflow connection, of type ``cij``
    """

    conn_name_attr = "cij_conn_id"
    default_conn_name = "cij_default"
    conn_type = "cij"
    hook_name = "Dynamics 365 Customer Insights - Journeys"

    def __init__(self, cij_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cij_conn_id = cij_conn_id
        self._settings: Settings | None = None
        self._at_work: DataverseClient | None = None

    def settings(self) -> Settings:
        """Read the connection.

        :raises CijInputError: something in it is missing or malformed; the error names it
        """
        if self._settings is None:
            self._settings = settings_of(self.get_connection(self.cij_conn_id))
        return self._settings

    @asynccontextmanager
    async def session(self, rules: RetryRules | None = None) -> AsyncIterator[Cij]:
        """Open a client for one ``async with``, on one event loop.

        :param rules: how patient to be with a failing service
        """
        if self._settings is None:
            self._settings = settings_of(await self.aget_connection(self.cij_conn_id))
        async with DataverseClient(self._settings, rules=rules) as client:
            yield Cij.on(client)

    def run(self, work: Callable[[Cij], Awaitable[T]], rules: RetryRules | None = None) -> T:
        """Run a coroutine function on an open client, from sync code.

        :param work: is given the open client
        :param rules: how patient to be with a failing service
        :return: what it returns
        """
        # Also where an event loop runs already: then in a thread.
        self.settings()

        async def main() -> T:
            async with self.session(rules) as cij:
                self._at_work = cij.dataverse
                return await work(cij)

        try:
            return run_anywhere(main, self.stop)
        except asyncio.CancelledError:
            raise CijStoppedError("The task was told to end, and ended.") from None
        finally:
            self._at_work = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what may be pickled: neither the secrets nor an open client."""
        return self.__dict__ | {"_settings": None, "_at_work": None}

    def stop(self) -> None:
        """End what ``run`` does: nothing new is sent. Safe to call from a signal handler."""
        if self._at_work:
            self._at_work.stop()

    def asks_for_too_much(self, error: CijThrottledError) -> bool:
        """Return whether the service asks for a wait that is too long for a worker, and shorter than a day."""
        return error.retry_after is not None and self.settings().max_hold_seconds < error.retry_after < DAY

    def segment_url(self, segment_id: str) -> str:
        """Give the address of a segment in Dynamics 365."""
        return self.row_url("msdynmkt_segment", segment_id)

    def journey_url(self, journey_id: str) -> str:
        """Give the address of a journey in Dynamics 365."""
        return self.row_url("msdynmkt_journey", journey_id)

    def row_url(self, table: str, row_id: str) -> str:
        """Give the address of a row in Dynamics 365.

        :param table: its logical name, such as ``msdyncrm_segment``
        :param row_id: its id
        """
        return _row_url(self.settings(), table, row_id)

    def test_connection(self) -> tuple[bool, str]:
        """Ask who we are, and whether Customer Insights - Journeys is installed and readable.

        :return: success, and who and where; or failure, and what is missing and how to mend it
        """
        try:
            # Somebody waits for this: no second try.
            return True, self.run(_introduce, RetryRules(attempts=1))
        except CijError as error:
            return False, str(error)
        except Exception as error:  # whatever it is, the person at the button wants words
            return False, f"{type(error).__name__}: {error}"


def _row_url(settings: Settings, table: str, row_id: str) -> str:
    # Power Apps docs, "Open forms, views, dialogs, and reports with a URL".
    return f"{settings.base_url}/main.aspx?etn={table}&pagetype=entityrecord&id={normalize_guid(row_id)}"


async def _introduce(cij: Cij) -> str:
    me = await cij.dataverse.get("WhoAmI")
    await cij.dataverse.get("msdynmkt_segments?$select=msdynmkt_segmentid&$top=1")
    try:
        version = str((await cij.dataverse.get("RetrieveVersion()")).get("Version") or "unknown")
    except CijRefusedError:
        version = "unknown"
    settings = cij.dataverse.settings
    return (
        f"Connected to {settings.base_url} (organisation {me.get('OrganizationId')}, Dataverse {version}, "
        f"Web API {settings.api_version}) as user {me.get('UserId')}. "
        "Customer Insights - Journeys is installed, and its segments are readable."
    )


def settings_of(connection: Connection) -> Settings:
    """Read a connection of type ``cij``.

    :raises CijInputError: something in it is missing or malformed; the error names it
    """
    try:
        extra = {name: value for name, value in connection.extra_dejson.items() if value not in (None, "")}
    except (AttributeError, ValueError, RecursionError):  # whose words may quote it
        raise CijInputError("The connection's extra is no JSON object.") from None

    def text(name: str) -> str:
        return str(extra.get(name, "")).strip()

    def number(name: str, default: float) -> float:
        try:
            number = float(extra.get(name, default))
            if isfinite(number):
                return number
        except (OverflowError, TypeError, ValueError):
            pass
        # Its value is not quoted: a secret may have been put there.
        raise CijInputError(f"The connection's {name} is no number.")

    credential = text("credential") or "client_secret"
    # Azure's webhook sets these in a pod with a workload identity.
    pod = os.environ if credential == "workload_identity" else {}
    return Settings(
        base_url=organisation_url(connection.host or "", connection.port),
        tenant_id=text("tenant_id") or pod.get("AZURE_TENANT_ID", ""),
        client_id=(connection.login or "").strip() or pod.get("AZURE_CLIENT_ID", ""),
        credential=credential,
        client_secret=connection.password or "",
        certificate_path=text("certificate_path"),
        certificate_private_key=text("certificate_private_key"),
        private_key_passphrase=text("private_key_passphrase"),
        federated_token_file=text("federated_token_file") or pod.get("AZURE_FEDERATED_TOKEN_FILE", ""),
        managed_identity_client_id=text("managed_identity_client_id"),
        authority=text("authority"),
        api_version=text("api_version") or "v9.2",
        ca_bundle=text("ca_bundle"),
        max_concurrency=int(number("max_concurrency", 8)),
        timeout_seconds=number("timeout_seconds", 120),
        max_hold_seconds=number("max_hold_seconds", 60),
        caller_object_id=text("caller_object_id"),
    )
