"""Requests that the two documents on outbound marketing show, and the specs they come from."""

from __future__ import annotations

import json
from pathlib import Path

from airflow_provider_cij.api.outbound.segments import OutboundSegmentSpec
from airflow_provider_cij.api.outbound.workflow import Tile

DOCUMENTS = json.loads((Path(__file__).parent / "documents.json").read_text())
OF_SPECS = {
    "create static": OutboundSegmentSpec(
        "k",
        "StaticSegmentApi1",
        member_ids=("1405f4ba-1ee9-e811-a99d-000d3a35f12f", "0604cdd1-1ee9-e811-a99d-000d3a35f12f"),
    ),
    "create dynamic": OutboundSegmentSpec(
        "k",
        "Customers with name and email",
        "dynamic",
        "PROFILE(contact, contact_1).FILTER(ISNOTNULL(contact_1.emailaddress1) && ISNOTNULL(contact_1.fullname))",
    ),
    "create dynamic with a condition": OutboundSegmentSpec(
        "k",
        "MySegment2",
        "dynamic",
        "PROFILE(contact).FILTER((address1_city == 'NewYork' || address1_city == 'NewJersey'))",
    ),
    "create compound": OutboundSegmentSpec(
        "k", "my_compound_segment1", "compound", "SEGMENT(segment1) UNION SEGMENT(segment2)"
    ),
}
OF_SPECS["create dynamic going live"] = OF_SPECS["create dynamic"]
EMAIL = Tile("15bd0ab8-c12a-e911-a9b6-000d3a1e6c14", "Relationship test")
