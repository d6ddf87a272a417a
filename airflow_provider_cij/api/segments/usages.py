"""What uses a segment: msdynmkt_segmentusages.

Source: the table reference of msdynmkt_segmentusage, as public typings list it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from airflow_provider_cij.api.segments.models import Segment
from airflow_provider_cij.dataverse.odata import in_filter, query

if TYPE_CHECKING:
    from airflow_provider_cij.dataverse.client import DataverseClient

_USAGES: Mapping[object, str] = {
    1: "audience",
    2: "suppression segment",
    3: "exclusion segment",
    4: "branch",
    5: "content",
}
_JOURNEY = "_msdynmkt_journeyid_value"


async def usages_of(client: DataverseClient, segment: Segment) -> list[str]:
    """Return what uses a segment, in words, such as ``journey 'Newsletter' (id) as its audience``.

    :param client: open
    :param segment: read with ``models.FOR_DELETE``; one that no live journey uses costs no request
    :raises CijError: the organisation has no such table, or it can't be read
    """
    if not segment.live_journeys:
        return []
    where = f"_msdynmkt_segmentid_value eq {segment.segment_id}"
    columns = (_JOURNEY, "msdynmkt_usage", "msdynmkt_dependententityid")
    rows = await client.rows(query("msdynmkt_segmentusages", select=columns, where=where))
    ids = {str(row[_JOURNEY]) for row in rows if row.get(_JOURNEY)}
    names = {}
    if ids:
        where = in_filter("msdynmkt_journeyid", sorted(ids))
        found = await client.rows(query("msdynmkt_journeys", select=("msdynmkt_name",), where=where))
        names = {row["msdynmkt_journeyid"]: row.get("msdynmkt_name") for row in found}
    lines = []
    for row in rows:
        journey_id = row.get(_JOURNEY)
        user = (
            f"journey {names.get(journey_id)!r} ({journey_id})" if journey_id else row.get("msdynmkt_dependententityid")
        )
        lines.append(f"{user} as its {_USAGES.get(row.get('msdynmkt_usage'), 'segment')}")
    return lines
