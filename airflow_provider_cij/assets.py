"""Segments and journeys as Airflow assets: ``cij://<conn_id>/segments/<id>`` and ``cij://<conn_id>/journeys/<id>``.

Operators that change or refresh a segment or journey emit an event on its asset by themselves. No connection is read
for an asset: its name and URI are the same while a DAG file is parsed and when a task runs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from airflow.sdk import Asset, AssetAlias, AssetWatcher

from airflow_provider_cij.errors import CijInputError

if TYPE_CHECKING:
    from urllib.parse import SplitResult

__all__ = ["EVENTS", "CijJourneyWatcher", "CijSegmentWatcher", "journey_asset", "sanitize_uri", "segment_asset"]

EVENTS = AssetAlias("cij")
"""The alias through which operators emit their events. A DAG with ``schedule=[EVENTS]`` runs after each of them."""

# What Airflow accepts as the id of a connection.
# Compiled at their first use: every DAG file imports this module.
_CONN_ID = r"[\w.-]+"
_PATH = r"/(segments|journeys)/([0-9A-Fa-f-]{36})"


class CijSegmentWatcher(AssetWatcher):
    """Emit an event whenever a segment is refreshed, goes live, stops, fails or changes its size.

    Give it to an asset of its own, such as ``Asset("vip_refreshed", watchers=[CijSegmentWatcher("my_dag.create")])``,
    and a DAG with ``schedule=[that asset]`` runs for each evaluation, also those that the service makes by itself.
    Airflow may merge events that are close to one another into one run: read all of them from
    ``triggering_asset_events``. An event that comes while a run cannot be created, such as above ``max_active_runs``,
    waits for the next one; so events of one watcher are at least 5 seconds apart. Give each watcher an asset of its
    own. An event may be repeated after a crash, with the same ``execution_id``.

    What happens while no triggerer runs is reported afterwards: the watermark is kept in Airflow's asset state store.
    Before Airflow 3.3, which has none, it is not reported, and each watcher polls for itself.

    Source: the table references of msdynmkt_segment and msdynmkt_segmentexecution.

    :param segment: the ``key`` of ``CijCreateSegmentOperator``, by default ``dag_id.task_id`` of its task; or the
        segment's id. The segment need not exist yet
    :param on: ``"refreshed"`` (default): an evaluation succeeded; ``"members_changed"``: one succeeded with another
        member count; ``"failed"``: one failed or timed out; ``"live"`` and ``"stopped"``: it has become so, seen once
        every 30 seconds
    :param at_least_change: for ``"members_changed"``: how far the count must be from that of the evaluation before: a
        number of members, or a share such as ``"10%"``. Default None, any change
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :param name: the watcher's name; default ``cij_<on>_<id>``
    :raises CijInputError: an argument can't be right
    """

    def __init__(
        self,
        segment: str,
        *,
        on: str = "refreshed",
        at_least_change: int | float | str | None = None,
        cij_conn_id: str = "cij_default",
        name: str = "",
    ) -> None:
        from airflow_provider_cij.api.segments.watch import change_bound
        from airflow_provider_cij.triggers.watching import CijSegmentWatchTrigger

        segment_id = _row_id(segment_asset(segment, cij_conn_id))
        change_bound(on, at_least_change)
        trigger = CijSegmentWatchTrigger(
            cij_conn_id=cij_conn_id, on=on, segment_id=segment_id, at_least_change=at_least_change
        )
        super().__init__(name=name or f"cij_{on}_{segment_id}", trigger=trigger)


class CijJourneyWatcher(AssetWatcher):
    """Emit an event when a journey goes live, completes or is stopped. Otherwise it is as ``CijSegmentWatcher``.

    Source: the table reference of msdynmkt_journey.

    :param journey_id: the journey's id
    :param on: ``"live"`` (default); ``"completed"``: it has ended by itself; ``"stopped"``
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :param name: the watcher's name; default ``cij_<on>_<id>``
    :raises CijInputError: an argument can't be right
    """

    def __init__(self, journey_id: str, *, on: str = "live", cij_conn_id: str = "cij_default", name: str = "") -> None:
        from airflow_provider_cij.api.journeys.wait import JOURNEY_NEWS
        from airflow_provider_cij.triggers.watching import CijJourneyWatchTrigger

        journey_id = _row_id(journey_asset(journey_id, cij_conn_id))
        if on not in JOURNEY_NEWS:
            raise CijInputError(f"on is {on!r}.", hint=f"Use one of {', '.join(JOURNEY_NEWS)}.")
        trigger = CijJourneyWatchTrigger(cij_conn_id=cij_conn_id, on=on, journey_id=journey_id)
        super().__init__(name=name or f"cij_{on}_{journey_id}", trigger=trigger)


def _row_id(asset: Asset) -> str:
    return asset.uri.rpartition("/")[2]


def segment_asset(key_or_id: str, cij_conn_id: str = "cij_default") -> Asset:
    """Return the asset of a real-time segment.

    :param key_or_id: the ``key`` of ``CijCreateSegmentOperator``, by default ``dag_id.task_id`` of its task; or the
        segment's id, in any spelling. Not a definition's id, and not a display name
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: the asset ``cij://<conn_id>/segments/<id>``, whose name is its URI
    :raises CijInputError: an argument is no text, empty or a template
    """
    from airflow_provider_cij.api.segments.spec import id_of
    from airflow_provider_cij.dataverse.guids import normalize_guid, parse_guid

    _check(key_or_id=key_or_id)
    return _asset(cij_conn_id, "segments", normalize_guid(key_or_id) if parse_guid(key_or_id) else id_of(key_or_id))


def journey_asset(journey_id: str, cij_conn_id: str = "cij_default") -> Asset:
    """Return the asset of a real-time journey.

    :param journey_id: the journey's id, in any spelling: the service chooses it when the journey is created
    :param cij_conn_id: the Airflow connection; default ``cij_default``
    :return: the asset ``cij://<conn_id>/journeys/<id>``, whose name is its URI
    :raises CijInputError: the id is no GUID, or an argument is a template
    """
    from airflow_provider_cij.dataverse.guids import normalize_guid, parse_guid

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
    if not re.fullmatch(_CONN_ID, cij_conn_id):
        raise CijInputError(f"cij_conn_id is {cij_conn_id!r}.", hint="Give a connection's id: letters, digits, _ . -")
    return Asset(f"cij://{cij_conn_id}/{kind}/{row_id}")


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Check an asset's URI, and return it with its id in lower case. Airflow calls this for the scheme ``cij``.

    :param uri: the URI, split
    :raises ValueError: it names no connection, or neither a segment nor a journey
    """
    from airflow_provider_cij.dataverse.guids import parse_guid

    found = re.fullmatch(_PATH, uri.path)
    if not re.fullmatch(_CONN_ID, uri.netloc) or not found or not parse_guid(found[2]) or uri.query:
        raise ValueError(
            f"{uri.geturl()!r} is not cij://<conn_id>/segments/<id> or cij://<conn_id>/journeys/<id>: use "
            "airflow_provider_cij.assets.segment_asset() or journey_asset()."
        )
    return uri._replace(path=f"/{found[1]}/{found[2].lower()}")
