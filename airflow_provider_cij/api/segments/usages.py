"""What uses a segment, and when an unused one expires.

Sources: the table reference of msdynmkt_segmentusage, as public typings list it; the table reference of
msdynmkt_segment; "Automated segment management".
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_cij.api.segments.models import Segment
from airflow_provider_cij.api.segments.spec import SEGMENTS
from airflow_provider_cij.api.timestamps import format_utc
from airflow_provider_cij.dataverse.odata import in_filter, query, row_path
from airflow_provider_cij.errors import CijError

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

log = logging.getLogger(__name__)

UNUSED_DAYS = 120
"""An unused segment expires after so many days."""
_USAGE_SET = "msdynmkt_segmentusages"
_OF_SEGMENT = "_msdynmkt_segmentid_value"
_USAGES: Mapping[object, str] = {
    1: "audience",
    2: "suppression segment",
    3: "exclusion segment",
    4: "branch",
    5: "content",
}
_JOURNEY, _USER = "_msdynmkt_journeyid_value", "msdynmkt_dependententityid"
_COUNT = "msdynmkt_publishedjourneycount"


async def usages_of(client: DataverseClient, segment: Segment) -> list[str]:
    """Return what uses a segment, in words, such as ``journey 'Newsletter' (id) as its audience``.

    :param client: open
    :param segment: read with ``models.FOR_DELETE``; one that no live journey uses costs no request
    :raises CijError: the organisation has no such table, or it can't be read
    """
    if not segment.live_journeys:
        return []
    where = f"{_OF_SEGMENT} eq {segment.segment_id}"
    columns = (_JOURNEY, "msdynmkt_usage", _USER)
    rows = await client.rows(query(_USAGE_SET, select=columns, where=where))
    ids = {str(row[_JOURNEY]) for row in rows if row.get(_JOURNEY)}
    names = {}
    if ids:
        where = in_filter("msdynmkt_journeyid", sorted(ids))
        found = await client.rows(query("msdynmkt_journeys", select=("msdynmkt_name",), where=where))
        names = {row["msdynmkt_journeyid"]: row.get("msdynmkt_name") for row in found}
    lines = []
    for row in rows:
        journey_id = row.get(_JOURNEY)
        user = f"journey {names.get(journey_id)!r} ({journey_id})" if journey_id else row.get(_USER)
        lines.append(f"{user} as its {_USAGES.get(row.get('msdynmkt_usage'), 'segment')}")
    return lines


async def use_of(client: DataverseClient, segment_id: str) -> dict[str, Any]:
    """Return how much uses a live segment, and when the service lets it expire unless something begins to.

    The 120 days count from when a journey used it last; of a segment that none has used, from its creation. A publish
    is no use. An end of them that has passed is left out: the segment is live, so the service counts from later.

    :param client: open
    :param segment_id: the segment
    :return: ``used_by``: how many live journeys use it; where none does, how many segments and e-mails do, 0 for an
        unused segment; ``expires_at``: ISO 8601, of an unused segment. A key is missing when the organisation lacks
        what says it, or the application may not read that
    :raises CijError: the organisation can't be reached
    """
    try:
        # Without $select a column that the organisation lacks is left out of the row, and fails nothing.
        row = await client.get(row_path(SEGMENTS.entity_set, segment_id))
        journeys = row.get(_COUNT)
        if _COUNT not in row or journeys:
            others = []
        else:
            # Usages by journeys that are not live do not count, where the live ones are counted.
            where = f"{_OF_SEGMENT} eq {segment_id}{'' if journeys is None else f' and {_JOURNEY} eq null'}"
            others = await client.rows(query(_USAGE_SET, select=(_JOURNEY, _USER), where=where))
    except CijError as error:
        if not error.permanent:
            raise
        log.info("What uses segment %s is not known: %s", segment_id, error)
        return {}
    if _COUNT not in row:
        return {}
    used_by = (journeys or 0) + len({usage.get(_JOURNEY) or usage.get(_USER) for usage in others})
    now = datetime.now(UTC) + timedelta(seconds=client.service_ahead)
    expires = None if used_by else _expiry(row)
    return {"used_by": used_by} | ({"expires_at": format_utc(expires)} if expires and expires > now else {})


def _expiry(row: Mapping[str, Any]) -> datetime | None:
    if "msdynmkt_lastusedinjourney" not in row:
        return None
    try:
        since = datetime.fromisoformat(row["msdynmkt_lastusedinjourney"] or row["createdon"])
        return since + timedelta(days=UNUSED_DAYS)
    except (KeyError, OverflowError, TypeError, ValueError):
        return None
