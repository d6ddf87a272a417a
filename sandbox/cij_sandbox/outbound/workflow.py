"""The workflow definition of an outbound journey ("Customer Journey workflow definition"): its faults."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

ERROR, WARNING = "Error", "Warning"
_ROOT = "bpf_root"
_TYPES = frozenset([
    _ROOT, "Email", "LandingPage", "Event", "CreateCrmActivity", "InvokeWorkflow", "CreateLead", "Scheduler",
    "Trigger", "Splitter", "SplitterBranch", "Segment", "Survey", "RecordUpdate", "LinkedInCampaign",
    "MarketingForm",
])  # fmt: skip
_BRANCHES = ("yesbranch", "nobranch")


@dataclass(frozen=True)
class Fault:
    """One problem, of an activity or of the journey as a whole.

    Assumption: a document names only one fault; the other names are the sandbox's own.
    """

    name: str
    activity: str = ""
    severity: str = ERROR
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Activity:
    """One activity, a tile in the designer."""

    activity_id: str
    kind: str
    parent: str | None
    branch: str
    target: str
    items: tuple[dict[str, object], ...]


def read(text: object) -> tuple[Activity, ...] | None:
    """Read a workflow definition; return None when it is no array of activities."""
    try:
        written = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(written, list) or not all(isinstance(entry, dict) for entry in written):
        return None
    return tuple(_activity(entry) for entry in written)


def _activity(entry: dict[str, object]) -> Activity:
    properties = entry.get("Properties")
    items = properties.get("Items") if isinstance(properties, dict) else None
    parent = entry.get("ParentActivityId")
    return Activity(
        str(entry.get("ActivityId") or ""),
        str(entry.get("ActivityTypeId") or ""),
        None if parent is None else str(parent),
        str(entry.get("ParentRelationshipType") or "Default").lower(),
        str(entry.get("EntityTarget") or "").lower(),
        tuple(item for item in items if isinstance(item, dict)) if isinstance(items, list) else (),
    )


def faults(activities: tuple[Activity, ...], target: str) -> Iterator[Fault]:
    """Yield the faults of the activities and their tree; ``target`` is the table of the journey."""
    roots = [activity for activity in activities if activity.kind == _ROOT]
    if len(roots) != 1:
        yield Fault("ErrorWorkflowRootMissing" if not roots else "ErrorWorkflowHasSeveralRoots")
    elif len(activities) == 1:
        yield Fault("WarningWorkflowHasNoActivities", severity=WARNING)
    kinds: dict[str, str] = {}
    numbers: set[object] = set()
    for activity in activities:
        if not activity.activity_id:
            yield Fault("ErrorActivityIdMissing")
        elif activity.activity_id in kinds:
            yield Fault("ErrorActivityIdNotUnique", activity.activity_id)
        kinds.setdefault(activity.activity_id, activity.kind)
        for item in activity.items:
            number = str(item.get("ActivityItemId"))
            if number in numbers:
                yield Fault("ErrorActivityItemIdNotUnique", activity.activity_id, arguments=(number,))
            numbers.add(number)
    yield from (fault for activity in activities for fault in _faults_of(activity, kinds, target))
    parents = {activity.activity_id: activity.parent for activity in activities if activity.parent is not None}
    for activity in activities:
        if _is_own_ancestor(activity.activity_id, parents):
            yield Fault("ErrorActivityIsItsOwnAncestor", activity.activity_id)


def _faults_of(activity: Activity, kinds: dict[str, str], target: str) -> Iterator[Fault]:
    name = activity.activity_id
    if activity.kind not in _TYPES:
        yield Fault("ErrorActivityTypeUnknown", name, arguments=(activity.kind,))
    if activity.kind == _ROOT:
        if activity.parent is not None:
            yield Fault("ErrorRootHasParent", name, arguments=(activity.parent,))
        return
    if activity.parent not in kinds:
        yield Fault("ErrorParentActivityNotFound", name, arguments=(activity.parent or "",))
    elif (kinds[activity.parent] == "Trigger") != (activity.branch in _BRANCHES):
        yield Fault("ErrorParentRelationshipNotValid", name, arguments=(activity.branch,))
    if not activity.items:
        yield Fault("ErrorActivityHasNoItems", name)
    if activity.target and activity.target != target:
        yield Fault("WarningEntityTargetDiffers", name, WARNING, (activity.target,))
    if activity.kind == "Segment" and not segments_of(activity):
        yield Fault("ErrorSegmentMissing", name)


def _is_own_ancestor(start: str, parents: dict[str, str]) -> bool:
    at, seen = start, set()
    while at in parents and at not in seen:
        seen.add(at)
        at = parents[at]
    return at == start and start in seen


def segments_of(activity: Activity) -> list[str]:
    """Return the ids of the segments of an activity, as written."""
    return [str(item.get("ItemId") or "") for item in activity.items if item.get("ActivityTypeId") == "SegmentItem"]
