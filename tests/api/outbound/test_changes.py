"""The changes that a create or an update of an outbound row returns."""

from __future__ import annotations

from airflow_provider_cij.api.outbound.journeys import OutboundJourneySpec
from airflow_provider_cij.api.outbound.segments import OutboundSegmentSpec

QUERY = "PROFILE(contact)"


def test_changes_name_old_and_new_values(organisation, key):
    """Creates and updates of outbound segments and journeys return old and new value of each changed argument."""

    async def main(cij):
        segments, journeys = cij.outbound.segments, cij.outbound.journeys
        made = await segments.create(OutboundSegmentSpec(key, "A", "dynamic", QUERY))
        assert made.changes == {}
        made = await segments.create(OutboundSegmentSpec(key, "B", "dynamic", QUERY, description="d"))
        assert made.changes == {"display_name": {"old": "A", "new": "B"}, "description": {"old": None, "new": "d"}}
        made = await segments.update(made.row_id, query="PROFILE(contact).FILTER(ISNULL(lastname))")
        assert list(made.changes) == ["query"]
        assert made.changes["query"]["old"] == QUERY
        journey = await journeys.create(key, OutboundJourneySpec(name="A", recurring=False))
        made = await journeys.update(journey.row_id, OutboundJourneySpec(name="B", recurring=False))
        assert made.changes == {"name": {"old": "A", "new": "B"}}

    organisation(main)
