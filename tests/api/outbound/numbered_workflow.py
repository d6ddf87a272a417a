"""Workflows with the numbers that a document shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_cij.api.outbound.workflow import Tile, segment_email_workflow


def numbered(segments: Sequence[Tile], email: Tile, item_ids: Sequence[int], activity: int = 1) -> list[dict[str, Any]]:
    """Return a workflow of the builder with other numbers of its items, and of the activity of the e-mail."""
    workflow = segment_email_workflow(segments, email)
    items = [item for tile in workflow[1:] for item in tile["Properties"]["Items"]]
    for item, number in zip(items, item_ids, strict=True):
        item["ActivityItemId"] = number
    workflow[2]["ActivityId"] = f"01_0_{activity}"
    return workflow
