"""What is assumed of static members, and of lists of members."""

from __future__ import annotations

import uuid

from airflow_provider_cij.api.custom_apis import inputs_of
from airflow_provider_cij.cli.outcome import NotTriedError, Outcome, accepted, members_in
from airflow_provider_cij.cli.probing import Organisation, OwnSegment
from airflow_provider_cij.errors import CijError

_LIST = "msdynmkt_MembersList"
_TOO_MANY = 1001
_PAGING = (("PageNumber", "PageSize"), ("PageNo", "PageSize"), ("pageNumber", "pageSize"))


def _some_id() -> str:
    return str(uuid.uuid4())


async def _add_answer(org: Organisation) -> str:
    return (await org.on("Add", await org.segment(), await org.contacts(1))).word


async def _remove_answer(org: Organisation) -> str:
    own = await org.segment()
    await org.on("Add", own, await org.contacts(1))
    return (await org.on("Remove", own, await org.contacts(1))).word


async def _add_twice(org: Organisation) -> str:
    own, (contact,) = await org.segment(), await org.contacts(1)
    await org.on("Add", own, [contact])
    (await org.on("Add", own, [contact])).checked()
    count = (await org.members(own)).count(contact)
    return "nothing" if count == 1 else f"listed {count} times"


async def _add_unknown_id(org: Organisation) -> str:
    own, unknown = await org.segment(), _some_id()
    (await org.on("Add", own, [unknown])).checked()
    return "kept" if unknown in await org.members(own) else "left out"


async def _add_bad_id(org: Organisation) -> str:
    own, (contact,) = await org.segment(), await org.contacts(1)
    (await org.on("Add", own, [contact, "no-guid"])).checked()
    return "left out" if await org.members(own) == [contact] else "accepted"


async def _add_too_many(org: Organisation) -> str:
    own, (contact,) = await org.segment(), await org.contacts(1)
    unknown_ok = (await org.on("Add", own, [_some_id()])).ok
    ids = [_some_id() for _ in range(_TOO_MANY)] if unknown_ok else [contact] * _TOO_MANY
    return accepted(await org.on("Add", own, ids))


async def _add_none(org: Organisation) -> str:
    return accepted(await org.on("Add", await org.segment(), []))


async def _add_unknown_group(org: Organisation) -> str:
    return accepted(await org.on("Add", await org.segment(), await org.contacts(1), _some_id()))


async def _remove_not_member(org: Organisation) -> str:
    return accepted(await org.on("Remove", await org.segment(), await org.contacts(1)))


async def _remove_many(org: Organisation) -> str:
    own = await org.segment()
    if not (await org.on("Remove", own, [_some_id()])).ok:
        raise NotTriedError("an id that is not in the group is refused already")
    return accepted(await org.on("Remove", own, [_some_id() for _ in range(_TOO_MANY)]))


async def _remove_unknown_group(org: Organisation) -> str:
    return accepted(await org.on("Remove", await org.segment(), await org.contacts(1), _some_id()))


async def _list_unknown_group(org: Organisation) -> str:
    outcome = (await org.listed(await org.segment(), group_id=_some_id())).checked()
    return _emptiness(members_in(outcome, "Response", "entityIds"))


async def _list_beyond_end(org: Organisation) -> str:
    own = await org.segment()
    await org.on("Add", own, await org.contacts(1))
    outcome = (await org.listed(own, 2)).checked()
    return _emptiness(members_in(outcome, "Response", "entityIds"))


async def _list_order(org: Organisation) -> str:
    own, ordered = await org.segment(), sorted(await org.contacts(6))
    given = [ordered[place] for place in (3, 0, 5, 2, 4, 1)]
    for contact in given:
        await org.on("Add", own, [contact])
    found = await org.members(own)
    if sorted(found) != ordered:
        raise NotTriedError("the members that were added are not listed")
    return "by id" if found == ordered else "as added" if found == given else "unordered"


async def _segment_id(org: Organisation) -> str:
    own = await org.segment()
    taken = []
    for word, row_id in (("segment", own.segment_id), ("definition", own.definition_id)):
        inputs = {"SegmentId": row_id, "GroupId": own.group_id, "PageNo": 1, "PageSize": 1}
        if (await org.call("msdynmkt_ListGroupMembers", inputs)).ok:
            taken.append(word)
    if not taken:
        raise NotTriedError("msdynmkt_ListGroupMembers takes neither id")
    return " or ".join(taken)


async def _unknown_segment(org: Organisation) -> str:
    outcome = (await org.call(_LIST, {"SegmentId": _some_id()})).checked()
    return _emptiness(_computed(outcome))


async def _error_text(org: Organisation) -> str:
    outcome = await org.call(_LIST, {"SegmentId": _some_id()})
    if outcome.ok:
        raise NotTriedError("an id of no segment is not refused")
    return "framed" if "'WebException' occured" in outcome.message else "plain"


async def _members_paging(org: Organisation) -> str:
    try:
        inputs = [str(row.get("uniquename")) for row in await inputs_of(org.client, _LIST)]
    except CijError:
        inputs = []
    if inputs:
        names = [name for name in inputs if name != "SegmentId"]
        # Which of two is the size is told by its name.
        return ", ".join(sorted(names, key=lambda name: ("size" in name.lower(), name))) or "none"
    if not org.writes:
        raise NotTriedError("the inputs of actions can't be read, and --write was not given")
    return await _tried_paging(org)


async def _tried_paging(org: Organisation) -> str:
    """Return the inputs of the usual names that turn pages, found out on a segment of two members."""
    own = await org.segment()
    await org.on("Add", own, await org.contacts(2))
    await org.published(own)
    first = await org.action_id(own)
    for page, size in _PAGING:
        outcome = await org.call(_LIST, {"SegmentId": first, page: 2, size: 1})
        if outcome.ok and len(_computed(outcome)) == 1:
            return f"{page}, {size}"
    whole = await org.call(_LIST, {"SegmentId": first})
    if whole.ok and len(_computed(whole)) == 2:
        return "none"
    raise NotTriedError("none of the usual names turns pages")


async def _members_text(org: Organisation) -> str:
    outcome = await _of(org, await org.shared_live())
    if isinstance(outcome.body, dict):
        return "JSON" if isinstance(outcome.output("ResultText"), dict) else outcome.nested_word
    return "as printed" if '"members' in outcome.text.replace("\\", "") else "no JSON"


async def _members_keys(org: Organisation) -> str:
    result = (await _of(org, await org.shared_live())).output("ResultText")
    if not isinstance(result, dict):
        raise NotTriedError("ResultText is no JSON")
    paging = {"totalCount", "pageNumber", "pageSize", "hasNextPage"} & set(result)
    return "paged" if len(paging) == 4 else "as documented" if not paging else f"with {', '.join(sorted(paging))}"


async def _members_before_run(org: Organisation) -> str:
    own, contacts = await org.segment(), await org.contacts(1)
    await org.on("Add", own, contacts)
    outcome = (await org.call(_LIST, {"SegmentId": await org.action_id(own)})).checked()
    found = _computed(outcome)
    return "static members" if found == contacts else _emptiness(found)


async def _of(org: Organisation, own: OwnSegment) -> Outcome:
    return (await org.call(_LIST, {"SegmentId": await org.action_id(own)})).needed(
        f"{_LIST} of a live segment is refused"
    )


def _computed(outcome: Outcome) -> list[str]:
    """Return the members in an answer of MembersList; that of the documents is no JSON."""
    if outcome.ok and outcome.body is None:
        return []
    return [member for member in members_in(outcome, "ResultText", "members") if member]


def _emptiness(found: list[str]) -> str:
    return "members" if found else "empty"


PROBES = {
    "segments.add-answer": _add_answer,
    "segments.remove-answer": _remove_answer,
    "segments.add-twice": _add_twice,
    "segments.add-unknown-id": _add_unknown_id,
    "segments.add-bad-id": _add_bad_id,
    "segments.add-too-many": _add_too_many,
    "segments.add-none": _add_none,
    "segments.add-unknown-group": _add_unknown_group,
    "segments.remove-not-member": _remove_not_member,
    "segments.remove-many": _remove_many,
    "segments.remove-unknown-group": _remove_unknown_group,
    "segments.list-unknown-group": _list_unknown_group,
    "segments.list-beyond-end": _list_beyond_end,
    "segments.list-order": _list_order,
    "segments.segment-id": _segment_id,
    "segments.unknown-segment": _unknown_segment,
    "segments.error-text": _error_text,
    "segments.members-paging": _members_paging,
    "segments.members-text": _members_text,
    "segments.members-keys": _members_keys,
    "segments.members-before-run": _members_before_run,
}
