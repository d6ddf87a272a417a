"""The workflow of an outbound journey: its tiles, as JSON. Pure.

Source: "Basic outbound marketing customer journey API operations", msdyncrm_workflowdefinition.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from airflow_provider_cij.api.column_values import json_text
from airflow_provider_cij.dataverse.guids import normalize_guid
from airflow_provider_cij.errors import CijInputError

# Table reference of msdyncrm_customerjourney.
_LONGEST = 1_048_576
_ROOT = "bpf_root"

Workflow = str | Sequence[Mapping[str, Any]]
"""JSON text, or what it would be in Python."""


def workflow_text(workflow: Workflow) -> str:
    """Return a workflow as the service takes it. A text stays as it is.

    :raises CijInputError: it can't be right: no JSON list of activities, an id that comes twice, a parent that is
        missing, no single root
    """
    activities = activities_of(workflow)
    ids = [str(activity.get("ActivityId") or "") for activity in activities]
    items = [item for activity in activities for item in _items(activity)]
    _distinct(ids, "ActivityId")
    _distinct([item["ActivityItemId"] for item in items if item.get("ActivityItemId") is not None], "ActivityItemId")
    roots = [activity for activity in activities if activity.get("ActivityTypeId") == _ROOT]
    if len(roots) != 1:
        raise CijInputError(f"The workflow has {len(roots):,} activities of the type {_ROOT}.", hint="It needs one.")
    for activity, activity_id in zip(activities, ids, strict=True):
        if not activity_id or not activity.get("ActivityTypeId"):
            raise CijInputError(f"The workflow has an activity without ActivityId or ActivityTypeId: {activity_id!r}.")
        parent = activity.get("ParentActivityId")
        if activity is not roots[0] and (parent not in ids or parent == activity_id):
            raise CijInputError(f"The workflow's activity {activity_id!r} is under {parent!r}, which is not there.")
    text = workflow if isinstance(workflow, str) else compact(workflow)
    if len(text) > _LONGEST:
        raise CijInputError(f"The workflow has {len(text):,} characters; the service takes {_LONGEST:,}.")
    return text


def activities_of(workflow: Workflow) -> list[Mapping[str, Any]]:
    """Read a workflow.

    :raises CijInputError: it is no list of activities
    """
    try:
        activities = json.loads(workflow) if isinstance(workflow, str) else list(workflow)
    except (TypeError, ValueError, RecursionError) as error:
        raise CijInputError(f"The workflow is no JSON: {error}.") from None
    if not isinstance(activities, list) or not all(isinstance(activity, Mapping) for activity in activities):
        raise CijInputError("The workflow is no list of activities.", hint="The document shows one: [{…}, {…}].")
    return activities


def _items(activity: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    properties = activity.get("Properties")
    items = properties.get("Items") if isinstance(properties, Mapping) else None
    return [activity for activity in items if isinstance(activity, Mapping)] if isinstance(items, list) else []


def _distinct(values: Sequence[object], what: str) -> None:
    texts = [str(value) for value in values]
    twice = sorted({text for text in texts if texts.count(text) > 1})
    if twice:
        raise CijInputError(f"The workflow has the same {what} more than once: {', '.join(twice)}.")


def titles_of(workflow: Workflow) -> dict[str, str]:
    """Return a title of each activity by its id: its type, and the name of its last item."""
    titles = {}
    for activity in activities_of(workflow):
        names = [str(item["Name"]) for item in _items(activity) if item.get("Name")]
        titles[str(activity.get("ActivityId"))] = f"{activity.get('ActivityTypeId')}" + (
            f" {names[-1]!r}" if names else ""
        )
    return titles


def compact(value: object) -> str:
    """Write JSON as the document does."""
    return json_text("The workflow or designer_state", value, separators=(",", ":"))


@dataclass(frozen=True)
class Tile:
    """A segment or an e-mail for a journey.

    :param row_id: its id
    :param name: as people see it
    :param unique_name: what queries call a segment; by default its name
    """

    row_id: str
    name: str
    unique_name: str = ""


def segment_email_workflow(segments: Sequence[Tile], email: Tile) -> list[dict[str, Any]]:
    """Return the workflow that sends an e-mail to the contacts of one or more segments.

    :param segments: the segments of the contacts; a contact in two of them gets one e-mail
    :param email: what they get
    """
    if not segments:
        raise CijInputError("The workflow is for no segment.")
    numbers = count(1)

    def item(kind: str, name: str, row_id: str | None = None, number: int | None = None) -> dict[str, Any]:
        return {
            "ItemId": row_id and normalize_guid(row_id),
            "ActivityTypeId": kind,
            "Title": "Undefined",
            "IsNameSystemDefined": True,
            "Name": name,
            "ActivityItemId": next(numbers) if number is None else number,
        }

    def member(segment: Tile) -> dict[str, Any]:
        return {
            **item("SegmentItem", segment.name, segment.row_id),
            "ContainmentMethod": "Inclusion",
            "SegmentSourceType": "Segment",
            "DciSegmentName": segment.unique_name or segment.name,
            "SegmentDisplayName": segment.name,
            "Description": "",
        }

    def tile(kind: str, parent: str, activity: str, items: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "ActivityTypeId": kind,
            **({"ParentActivityId": parent} if parent else {}),
            "ParentBranchId": 0,
            "ParentRelationshipType": "Default",
            "ActivityId": activity,
            "Properties": {"Items": items},
            **({"EntityTarget": "contact"} if parent else {}),
        }

    group = {**item("Segment", "New Segment group"), "SegmentMergeMethod": "Union"}
    return [
        tile(_ROOT, "", "01", [item(_ROOT, "New ActivityTypeName_bpf_root_TitleText", number=0)]),
        tile("Segment", "01", "01_0", [group, *map(member, segments)]),
        tile("Email", "01_0", "01_0_1", [item("Email", email.name, email.row_id)]),
    ]
