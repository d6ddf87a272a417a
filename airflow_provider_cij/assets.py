"""Segments and journeys as Airflow assets: ``cij://<conn_id>/segments/<id>`` and ``cij://<conn_id>/journeys/<id>``.

Operators that change or refresh a segment or journey emit an event on its asset by themselves. No connection is read
for an asset: its name and URI are the same while a DAG file is parsed and when a task runs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from airflow.sdk import Asset, AssetAlias

from airflow_provider_cij.dataverse.guids import normalize_guid, parse_guid
from airflow_provider_cij.errors import CijInputError

if TYPE_CHECKING:
    from urllib.parse import SplitResult

__all__ = ["EVENTS", "journey_asset", "sanitize_uri", "segment_asset"]

EVENTS = AssetAlias("cij")
"""The alias through which operators emit their events. A DAG with ``schedule=[EVENTS]`` runs after each of them."""

# What Airflow accepts as the id of a connection.
_CONN_ID = re.compile(r"[\w.-]+")
_PATH = re.compile(r"/(segments|journeys)/([0-9A-Fa-f-]{36})")


def segment_asset(key_or_id: str, cij_conn_id: str = "cij_default") -> Asset:
    """Return the asset of a real-time segment.

    :param key_or_id: the ``key`` of ``CijCreateSegmentOperator``, by default ``dag_id.task_id`` of its task; or the
        segment's id, in any spelling. Not a definition's id, and not a display name
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: the asset ``cij://<conn_id>/segments/<id>``, whose name is its URI
    :raises CijInputError: an argument is no text, empty or a template
    """
    from airflow_provider_cij.api.segments.spec import id_of

    _check(key_or_id=key_or_id)
    return _asset(cij_conn_id, "segments", normalize_guid(key_or_id) if parse_guid(key_or_id) else id_of(key_or_id))


def journey_asset(journey_id: str, cij_conn_id: str = "cij_default") -> Asset:
    """Return the asset of a real-time journey.

    :param journey_id: the journey's id, in any spelling: the service chooses it when the journey is created
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: the asset ``cij://<conn_id>/journeys/<id>``, whose name is its URI
    :raises CijInputError: the id is no GUID, or an argument is a template
    """
    _check(journey_id=journey_id)
    if not parse_guid(journey_id):
        raise CijInputError(
            f"journey_id is {journey_id[:40]!r}, which is no id.",
            hint="Give its GUID: a name is looked up in the organisation, and an asset is named without it.",
        )
    return _asset(cij_conn_id, "journeys", normalize_guid(journey_id))


def _check(**texts: str) -> None:
    for name, value in texts.items():
        if not isinstance(value, str) or not value.strip():
            raise CijInputError(f"{name} is {value!r}.", hint="Give text.")
        if "{{" in value or value.startswith("name:"):
            raise CijInputError(f"{name} is {value!r}.", hint="An asset is named while the DAG file is parsed.")


def _asset(cij_conn_id: str, kind: str, row_id: str) -> Asset:
    _check(cij_conn_id=cij_conn_id)
    if not _CONN_ID.fullmatch(cij_conn_id):
        raise CijInputError(f"cij_conn_id is {cij_conn_id!r}.", hint="Give a connection's id: letters, digits, _ . -")
    return Asset(f"cij://{cij_conn_id}/{kind}/{row_id}")


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Check an asset's URI, and return it with its id in lower case. Airflow calls this for the scheme ``cij``.

    :param uri: the URI, split
    :raises ValueError: it names no connection, or neither a segment nor a journey
    """
    found = _PATH.fullmatch(uri.path)
    if not _CONN_ID.fullmatch(uri.netloc) or not found or not parse_guid(found[2]) or uri.query:
        raise ValueError(
            f"{uri.geturl()!r} is not cij://<conn_id>/segments/<id> or cij://<conn_id>/journeys/<id>: use "
            "airflow_provider_cij.assets.segment_asset() or journey_asset()."
        )
    return uri._replace(path=f"/{found[1]}/{found[2].lower()}")
