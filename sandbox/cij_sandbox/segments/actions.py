"""The actions of segments: members, publishing, stopping ("Create a segment using the Web API")."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from cij_sandbox.core import assumptions, errors, guid
from cij_sandbox.core.assumptions import ASSUMED, assumed
from cij_sandbox.core.store import Store
from cij_sandbox.dataverse.actions import ENTITY_COLLECTION, INTEGER, STRING, STRING_ARRAY, Action, Parameter, compact
from cij_sandbox.dataverse.privileges import READ, WRITE
from cij_sandbox.segments.definitions import segments_of
from cij_sandbox.segments.members import PAGE, Members
from cij_sandbox.segments.publishing import Publisher
from cij_sandbox.segments.tables import DEFINITION, SEGMENT


def actions(store: Store, publisher: Publisher) -> tuple[Action, ...]:
    """Return the actions."""
    members = Members(store)

    def segment_id(value: object) -> object:
        found = _guid("SegmentId")(value)
        if (wanted := assumed("segments.segment-id")) == "segment":
            return found
        of_definition = segments_of(store.reader(), found)
        if not of_definition and wanted == "definition":
            raise errors.plug_in(f"Segment definition {found} was not found")
        return of_definition[0] if of_definition else found

    segment = Parameter("SegmentId", STRING, read=segment_id)
    group = Parameter("GroupId", STRING, read=_guid("GroupId"))
    ids = Parameter("EntityIds", STRING_ARRAY, read=_packed)
    page, size = (Parameter(name, INTEGER, read=_positive(name)) for name in ("PageNo", "PageSize"))
    paging = _paging()
    result = {"StatusCode": INTEGER, "ResultText": STRING}
    stopped = {"summary": STRING, "stopSingleSegmentResults": ENTITY_COLLECTION}
    # Assumption: no document names the privileges.
    reads, changes = (SEGMENT, READ), (DEFINITION, WRITE)
    members_list = _call(members.computed_page, _result)
    add, remove = (f"segments.{verb}-answer" for verb in ("add", "remove"))
    publish, paged = _call(publisher.publish), "segments.members-paging"
    return (
        Action("msdynmkt_AddStaticMembers", (segment, group, ids), {}, _call(members.add), needs=changes, answer=add),
        Action(
            *("msdynmkt_RemoveStaticMembers", (segment, group, ids), {}, _call(members.remove)),
            needs=changes,
            answer=remove,
        ),
        Action(
            "msdynmkt_ListGroupMembers",
            (segment, group, page, size),
            {"Response": STRING},
            _call(members.group_page, lambda found: {"Response": compact(found)}),
            needs=reads,
        ),
        Action(
            *("msdynmkt_PublishSegmentDefinition", (segment,), {}, publish),
            needs=changes,
            answer="segments.publish-answer",
        ),
        Action("msdynmkt_MembersList", (segment, *paging), result, members_list, True, _written, reads, assumes=paged),
        Action(
            *("msdynmkt_SegmentStatus", (segment,), result, _call(publisher.status, _result)),
            available=ASSUMED.is_there("segments.status-action"),
            assumes="segments.status-action",
            needs=reads,
        ),
        Action(
            "msdynmkt_StopSegments",
            (Parameter("SegmentIdList", STRING_ARRAY, read=_texts),),
            stopped,
            _call(publisher.stop_segments, dict),
            available=ASSUMED.is_there("segments.stop-action"),
            assumes="segments.stop-action",
            needs=(SEGMENT, WRITE),
        ),
    )


def _call(
    method: Callable[..., object], write: Callable[[Any], Mapping[str, object]] = lambda _: {}
) -> Callable[[dict[str, object]], Mapping[str, object]]:
    """Return the run of an action: a method that takes the inputs in their order."""
    return lambda given: write(method(*given.values()))


def _result(found: Mapping[str, object]) -> Mapping[str, object]:
    return {"StatusCode": 200, "ResultText": compact(found)}


def _paging() -> tuple[Parameter, ...]:
    """Return the inputs by which MembersList is paged: its answer shows pages, no document shows its inputs."""
    names = assumed("segments.members-paging") if ASSUMED.can_play("segments.members-paging") else "none"
    if names == "none":
        return ()
    page, size = names.split(", ")
    return (Parameter(page, INTEGER, True, _positive(page), 1), Parameter(size, INTEGER, True, _positive(size), PAGE))


def _written(body: Mapping[str, object]) -> object:
    return body if assumed("segments.members-text") == "JSON" else _as_printed(body)


def _as_printed(body: Mapping[str, object]) -> bytes:
    """Write a reply of MembersList the way the documents print it: all ids in one string, one quote not escaped."""
    result = json.loads(str(body["ResultText"]))
    names = ("baseEntityLogicalName", "primaryKeyColumnName", "members", "additionalProperties")
    printed = {name: result[name] for name in names}
    printed["members"] = [", ".join(result["members"])] if result["members"] else []
    text = compact({**body, "ResultText": compact(printed)})
    return text.replace('\\"],', '"],', 1).encode()


def _guid(name: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        found = guid.parse(value)
        if found is None:
            raise errors.plug_in(f"{name} '{value!s:.100}' is not a GUID")
        return found

    return read


def _positive(name: str) -> Callable[[object], int]:
    def read(value: object) -> int:
        if not isinstance(value, int) or value < 1:
            raise errors.plug_in(f"{name} must be a number >= 1, it is {value}")
        return value

    return read


def _packed(written: object) -> list[bytes]:
    packed = []
    for value in written if isinstance(written, list) else ():
        found = guid.parse(value)
        if found is not None:
            packed.append(guid.to_bytes(found))
        elif assumed("segments.add-bad-id") != "left out":
            raise assumptions.refusal("segments.add-bad-id", f"EntityIds contains {value!r:.100}, which is not a GUID")
    return packed


def _texts(value: object) -> list[str]:
    texts = [text for text in value if isinstance(text, str)] if isinstance(value, list) else []
    if texts != value:
        raise errors.bad_parameter("Cannot convert a value to 'Edm.String'.")
    return texts
