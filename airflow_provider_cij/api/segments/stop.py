"""The action that stops segments, and what its response says of each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.api.segments.models import Segment
from airflow_provider_cij.api.segments.spec import SEGMENTS
from airflow_provider_cij.dataverse.guids import normalize_guid
from airflow_provider_cij.dataverse.odata import query, row_path
from airflow_provider_cij.dataverse.texts import wrong_with
from airflow_provider_cij.errors import CijError, CijReplyError, CijUnavailableError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

_NOT_MENTIONED: Mapping[str, Any] = {"Message": "the service says nothing about it"}


async def stop_results(client: DataverseClient, segment_ids: list[str]) -> dict[str, Mapping[str, Any]]:
    """Send the request to stop segments, and return what the service says of each, by id. Idempotent.

    :param client: open
    :param segment_ids: the segments
    :raises CijReplyError: the response can't be read
    :raises CijUnavailableError: the organisation's version has no such action
    """
    try:
        answer = await client.action("msdynmkt_StopSegments", {"SegmentIdList": segment_ids}, repeatable=True)
    except CijUnavailableError as error:
        error.hint = f"{error.hint} Stopping segments by API came with the release of April 2026.".strip()
        raise
    results = stop_results_of(answer)
    return {segment_id: results.get(segment_id, _NOT_MENTIONED) for segment_id in segment_ids}


def stop_results_of(answer: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Read what ``msdynmkt_StopSegments`` says of each segment, by id.

    :param answer: the outputs of the action
    :raises CijReplyError: the outputs can't be read, so no segment counts as stopped
    """
    results = next((value for name, value in answer.items() if name.lower() == "stopsinglesegmentresults"), None)
    try:
        entries: Iterable[Any] = json.loads(results) if isinstance(results, str) else results or ()
        return {normalize_guid(entry["SegmentId"]): entry for entry in entries}
    except (CijError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise CijReplyError(f"The result of stopping the segments can't be read: {wrong_with(error)}.") from None


async def refusal_reason(client: DataverseClient, segment: Segment, result: Mapping[str, Any]) -> str:
    """Return a sentence that says why a segment was not stopped, with the names of what uses it.

    :param client: open
    :param segment: the segment
    :param result: what the service says of it
    """
    journeys = await _named(client, "msdynmkt_journeys", "msdynmkt_name", result.get("DependentJourneys"))
    others = await _named(client, SEGMENTS.entity_set, "msdynmkt_displayname", result.get("DependentSegments"))
    users = [f"{what} {', '.join(names)}" for what, names in (("journeys", journeys), ("segments", others)) if names]
    said = str(result.get("Message") or "").strip().rstrip(".")
    return (
        f"{segment.display_name!r} ({segment.segment_id})"
        + (f" is used by {' and '.join(users)}" if users else "")
        + (f": {said}." if said else ".")
    )


async def _named(client: DataverseClient, entity_set: str, name_column: str, users: Any) -> list[str]:
    """Return the names of what uses a segment. Whether the service gives ids or more is in no document."""
    names = []
    for user in users if isinstance(users, list) else [users] if users else []:
        try:
            row = await client.get(query(row_path(entity_set, user), select=(name_column,)))
            names.append(f"{row.get(name_column)!r} ({user})")
        except CijError:
            names.append(user if isinstance(user, str) else json.dumps(user))
    return names
