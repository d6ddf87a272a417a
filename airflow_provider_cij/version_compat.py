"""Names that differ between Airflow 3.1, 3.2 and newer. The only module that depends on Airflow's version."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from airflow import __version__
from airflow.sdk import BaseHook

if TYPE_CHECKING:
    from airflow.sdk import Connection

try:
    from airflow.sdk import conf
    from airflow.sdk.exceptions import (
        AirflowFailException,
        AirflowNotFoundException,
        AirflowRescheduleException,
        AirflowSensorTimeout,
        AirflowSkipException,
    )
except ImportError:  # Airflow 3.1
    from airflow.configuration import conf  # type: ignore[assignment]
    from airflow.exceptions import (  # type: ignore[attr-defined,no-redef]
        AirflowFailException,
        AirflowNotFoundException,
        AirflowRescheduleException,
        AirflowSensorTimeout,
        AirflowSkipException,
    )

from airflow.sdk.definitions._internal.mixins import ResolveMixin

try:
    from airflow.sdk import RetryDecision, RetryPolicy

    TAKES_RETRY_POLICY = True
    """True on an Airflow whose tasks take a ``retry_policy`` (3.3 and newer)."""
except ImportError:  # before 3.3, where no task takes a retry_policy
    RetryDecision = RetryPolicy = object  # type: ignore[assignment,misc]
    TAKES_RETRY_POLICY = False


TAKES_OBJECTS_IN_EVENTS = __version__ not in ("3.1.0", "3.1.1", "3.1.2")
"""True on an Airflow whose asset events may hold objects (3.1.3 and newer). Earlier ones fail the task."""


def get_connection(conn_id: str) -> Connection:
    """Return a connection, as ``BaseHook.get_connection`` does.

    :param conn_id: its id
    :raises AirflowNotFoundException: there is none
    """
    try:
        return BaseHook.get_connection(conn_id)
    except ImportError:  # Airflow 3.1.0 outside a task
        from airflow.models import connection

        return connection.Connection.get_connection_from_secrets(conn_id)


async def aget_connection(conn_id: str) -> Connection:
    """Return a connection, as ``BaseHook.aget_connection`` does.

    :param conn_id: its id
    :raises AirflowNotFoundException: there is none
    """
    try:
        return await BaseHook.aget_connection(conn_id)
    except ImportError:  # Airflow 3.1.0 outside a task
        return await asyncio.to_thread(get_connection, conn_id)


def shared_stream_producer() -> Any:
    """Return the class of a shared stream's producer; None before Airflow 3.3, where watchers poll one by one."""
    try:
        from airflow.triggers.shared_stream import SharedStreamProducer
    except ImportError:
        return None
    return SharedStreamProducer


def hook_lineage_collector() -> Any:
    """Return Airflow's collector of lineage, which does nothing unless a plugin reads it. Loaded late."""
    try:
        from airflow.sdk.lineage import get_hook_lineage_collector
    except ImportError:  # Airflow 3.1
        from airflow.lineage.hook import get_hook_lineage_collector  # type: ignore[no-redef,import-not-found]

    return get_hook_lineage_collector()


__all__ = [
    "TAKES_OBJECTS_IN_EVENTS",
    "TAKES_RETRY_POLICY",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowRescheduleException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "ResolveMixin",
    "RetryDecision",
    "RetryPolicy",
    "aget_connection",
    "conf",
    "get_connection",
    "hook_lineage_collector",
    "shared_stream_producer",
]
