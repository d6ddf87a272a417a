"""What is assumed of the rows, the publishing and the stopping of segments."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime
from typing import Any

from airflow_provider_cij.cli.outcome import NotTriedError, accepted, members_in, names_of
from airflow_provider_cij.cli.own_rows import DEFINITIONS, SEGMENTS
from airflow_provider_cij.cli.probing import LIVE, Organisation
from airflow_provider_cij.dataverse.odata import query, row_path

_STATUS, _STOP = "msdynmkt_SegmentStatus", "msdynmkt_StopSegments"
_ERROR, _WITH_WARNINGS = 3, 7
_SKIPPED, _UNDER_WAY = 723270005, {723270000, 723270001}
# How often to publish until an evaluation is met under way.
_TRIES = 3
# Characters; memos hold 1,048,576 at most.
_LONGER_THAN_ANY = 1_100_000
_DEFINITION_STATUSES = {
    723270000: "stays live",
    723270004: "stays live",
    723270001: "becomes draft",
    723270002: "goes live again",
}


async def _publish_answer(org: Organisation) -> str:
    return (await org.publish(await org.segment())).word


async def _publish_unknown(org: Organisation) -> str:
    return accepted(await org.call("msdynmkt_PublishSegmentDefinition", {"SegmentId": str(uuid.uuid4())}))


async def _status_action(org: Organisation) -> str:
    return "there" if await org.has_action(_STATUS) else "missing"


async def _stop_action(org: Organisation) -> str:
    return "there" if await org.has_action(_STOP) else "missing"


async def _status_before_run(org: Organisation) -> str:
    outcome = await org.call(_STATUS, {"SegmentId": await org.action_id(await org.segment())})
    result = outcome.output("ResultText")
    outcome.checked()
    if not isinstance(result, dict):
        return outcome.nested_word
    if "lastExecution" not in result:
        return "missing"
    last = result["lastExecution"]
    return "null" if last is None else f"object {names_of(last)}"


async def _stop(org: Organisation, segment_id: str) -> dict[str, Any] | str:
    """Return the entry of a segment in the answer, or what the answer is instead."""
    outcome = await org.call(_STOP, {"SegmentIdList": [segment_id]})
    results = outcome.output("stopSingleSegmentResults")
    if not outcome.ok or not isinstance(results, list):
        return outcome.word
    return results[0] if results and isinstance(results[0], dict) else "no entry"


async def _stop_word(org: Organisation, segment_id: str) -> str:
    entry = await _stop(org, segment_id)
    if isinstance(entry, str):
        return entry
    return f"WasStopped {str(entry.get('WasStopped')).lower()}"


async def _stop_unknown(org: Organisation) -> str:
    if not org.writes:
        raise NotTriedError("it needs --write")
    return await _stop_word(org, str(uuid.uuid4()))


async def _stop_draft(org: Organisation) -> str:
    return await _stop_word(org, (await org.segment()).segment_id)


async def _stop_dependents(org: Organisation) -> str:
    used = await org.live()
    await org.live(msdynmkt_targetedsegmentids=used.segment_id)
    entry = await _stop(org, used.segment_id)
    found = entry.get("DependentSegments") if isinstance(entry, dict) else None
    if not found:
        raise NotTriedError("the service names no segment that builds upon another one")
    if not isinstance(found, list):
        return type(found).__name__
    return f"objects {names_of(found[0])}" if isinstance(found[0], dict) else "ids"


async def _stopped_status(org: Organisation) -> str:
    own = await org.live()
    entry = await _stop(org, own.segment_id)
    if isinstance(entry, str) or entry.get("WasStopped") is not True:
        raise NotTriedError("a live segment is not stopped")
    status = await org.settled(own, (*LIVE, 5, 6, 8))
    return f"{status} {await org.status_of_definition(own)}"


async def _stop_stopped(org: Organisation) -> str:
    own = await org.live()
    await _stop(org, own.segment_id)
    if await org.settled(own, (5, 6, 8)) in LIVE:
        raise NotTriedError("a live segment is not stopped")
    return await _stop_word(org, own.segment_id)


async def _add_when_live(org: Organisation) -> str:
    own, contacts = await org.live(), await org.contacts(2)
    if not (await org.on("Add", own, contacts[1:])).ok:
        raise NotTriedError("a live segment takes no members")
    outcome = await org.call("msdynmkt_MembersList", {"SegmentId": await org.action_id(own)})
    members = members_in(outcome, "ResultText", "members")
    return "at once" if set(contacts) <= set(members) else "at the next evaluation"


async def _republish_status(org: Organisation) -> str:
    own = await org.live()
    for _ in range(_TRIES):
        (await org.publish(own)).checked()
        if await org.settled(own, ()) not in LIVE:
            return "leaves Active"
        if set(await org.evaluations(own)) & _UNDER_WAY:
            return "stays Active"
    raise NotTriedError("the evaluation had ended already")


async def _delete_segment(org: Organisation) -> str:
    own = await org.segment()
    (await org.attempt("DELETE", row_path(SEGMENTS, own.segment_id))).checked()
    found = await org.attempt("GET", query(row_path(DEFINITIONS, own.definition_id), select=("statuscode",)))
    return "definition stays" if found.ok else "definition goes" if found.status == 404 else found.word


async def _delete_definition(org: Organisation) -> str:
    own = await org.live()
    if not await org.evaluations(own):
        raise NotTriedError("evaluations are not listed")
    if not (await org.attempt("DELETE", row_path(SEGMENTS, own.segment_id))).ok:
        raise NotTriedError("a live segment can't be deleted")
    (await org.attempt("DELETE", row_path(DEFINITIONS, own.definition_id))).checked()
    return "evaluations stay" if await org.evaluations(own) else "evaluations go"


async def _patch_status(org: Organisation) -> str:
    path = row_path(SEGMENTS, (await org.segment()).segment_id)
    return accepted(await org.attempt("PATCH", path, {"statecode": 0, "statuscode": 1}))


async def _create_live(org: Organisation) -> str:
    return accepted((await org.definition(statuscode=723270000))[1])


async def _status_names(org: Organisation) -> str:
    outcome = await org.call(_STATUS, {"SegmentId": await org.action_id(await org.shared_live())})
    result = outcome.output("ResultText")
    if not outcome.ok or not isinstance(result, dict):
        return outcome.nested_word
    return names_of(result.get("lastExecution")) or "nothing"


async def _deleted_row(org: Organisation) -> str:
    path = row_path(SEGMENTS, (await org.segment()).segment_id)
    (await org.attempt("DELETE", path)).checked()
    found = await org.attempt("GET", query(path, select=("statuscode",)))
    return f"status {found.output('statuscode')}" if found.ok else "gone" if found.status == 404 else found.word


async def _base_table(org: Organisation) -> str:
    definition_id, _ = await org.definition()
    return accepted((await org.segment_row(definition_id, msdynmkt_baseentitylogicalname="account"))[1])


async def _type(org: Organisation) -> str:
    definition_id, _ = await org.definition()
    row_id, outcome = await org.segment_row(definition_id, msdynmkt_type=10)
    outcome.checked()
    found = (await org.read(query(row_path(SEGMENTS, row_id), select=("msdynmkt_type",)))).get("msdynmkt_type")
    return "as written" if found == 10 else str(found)


async def _query_length(org: Organisation) -> str:
    column = f"{_metadata('msdynmkt_segmentdefinition')}/Attributes(LogicalName='msdynmkt_segmentquery')"
    for kind in ("Memo", "String"):
        path = query(f"{column}/Microsoft.Dynamics.CRM.{kind}AttributeMetadata", select=("LogicalName", "MaxLength"))
        outcome = await org.attempt("GET", path)
        if outcome.ok and isinstance(outcome.output("MaxLength"), int):
            return str(outcome.output("MaxLength"))
    if not org.writes:
        raise NotTriedError("the length of the column can't be read")
    _, outcome = await org.definition(msdynmkt_segmentquery="x" * _LONGER_THAN_ANY)
    told = re.search(r"maximum allowed length of '(\d+)'", outcome.message)
    if not told:
        raise NotTriedError(f"the length of the column can't be read, and a text too long for any is {outcome.word}")
    return told[1]


async def _expired_status(org: Organisation) -> str:
    column = f"{_metadata('msdynmkt_segment')}/Attributes(LogicalName='statuscode')"
    path = f"{column}/Microsoft.Dynamics.CRM.StatusAttributeMetadata"
    found = await org.read(query(path, select=("LogicalName",), expand="OptionSet($select=Options)"))
    options = (found.get("OptionSet") or {}).get("Options") or []
    for option in options:
        label = ((option.get("Label") or {}).get("UserLocalizedLabel") or {}).get("Label")
        if str(label).casefold() == "expired":
            return str(option.get("Value"))
    if not options:
        raise NotTriedError("the statuses can't be read")
    return "none" if all(isinstance(option, dict) for option in options) else "no options"


async def _too_many_groups(org: Organisation) -> str:
    return accepted((await org.definition(str(uuid.uuid4()) for _ in range(11)))[1])


async def _former_member_columns(org: Organisation) -> str:
    columns = {f"msdynmkt_{verb}members": str(uuid.uuid4()) for verb in ("included", "excluded")}
    return accepted((await org.definition(**columns))[1])


async def _created_columns(org: Organisation) -> str:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    columns = {"msdynmkt_sourcesegmentcreatedon": now, "msdynmkt_sourcesegmentcreatedby": "probe"}
    return accepted((await org.definition(**columns))[1])


async def _publish_bad_query(org: Organisation) -> str:
    own = await org.segment(msdynmkt_segmentquery="PROFILE(contact).FILTER((")
    (await org.publish(own)).checked()
    status = await org.settled(own)
    return "goes live" if status in LIVE else "fails later"


async def _publish_busy(org: Organisation) -> str:
    runs: list[int] = []
    for _ in range(_TRIES):
        own = await org.segment()
        await org.on("Add", own, await org.contacts(1))
        first, second = await org.publish(own), await org.publish(own)
        first.needed("a segment can't be published")
        second.checked()
        await org.settled(own)
        runs = await org.evaluations(own)
        if len(runs) == 1:
            return "dropped"
        if _SKIPPED in runs:
            return "replaced"
    raise NotTriedError(f"there are {len(runs):,} evaluations, none of them skipped")


async def _unknown_members(org: Organisation) -> str:
    own, unknown = await org.segment(), str(uuid.uuid4())
    await org.on("Add", own, await org.contacts(1))
    added = await org.on("Add", own, [unknown])
    if not added.ok or unknown not in await org.members(own):
        raise NotTriedError("ids of no rows are not taken into a group")
    status = await org.published(own)
    if status not in LIVE:
        return f"ends in status {status}"
    outcome = await org.call("msdynmkt_MembersList", {"SegmentId": await org.action_id(own)})
    count = len(members_in(outcome, "ResultText", "members"))
    words = "counted" if count == 2 else "left out"
    return f"{words}, with warnings" if status == _WITH_WARNINGS else words


async def _error_definition(org: Organisation) -> str:
    # The base table is contact.
    own = await org.segment(msdynmkt_segmentquery="PROFILE(lead).FILTER(ISNOTNULL(lastname))")
    status = await org.published(own)
    if status != _ERROR:
        raise NotTriedError(f"a query of another table ends in status {status}")
    return str(await org.status_of_definition(own))


async def _patch_live(org: Organisation) -> str:
    own = await org.live(msdynmkt_segmentquery="PROFILE(contact).FILTER(lastname == 'cij-probe-none')")
    change = {"msdynmkt_segmentquery": "PROFILE(contact).FILTER(lastname == 'cij-probe-nobody')"}
    (await org.attempt("PATCH", row_path(DEFINITIONS, own.definition_id), change)).checked()
    status = await org.status_of_definition(own)
    return _DEFINITION_STATUSES.get(status, f"becomes {status}")


async def _delete_live(org: Organisation) -> str:
    own = await org.live()
    return accepted(await org.attempt("DELETE", row_path(SEGMENTS, own.segment_id)), "deleted")


def _metadata(table: str) -> str:
    return f"EntityDefinitions(LogicalName='{table}')"


PROBES = {
    "segments.publish-answer": _publish_answer,
    "segments.publish-unknown": _publish_unknown,
    "segments.status-action": _status_action,
    "segments.status-before-run": _status_before_run,
    "segments.stop-action": _stop_action,
    "segments.stop-unknown": _stop_unknown,
    "segments.stop-draft": _stop_draft,
    "segments.stop-stopped": _stop_stopped,
    "segments.add-when-live": _add_when_live,
    "segments.republish-status": _republish_status,
    "segments.delete-segment": _delete_segment,
    "segments.deleted-row": _deleted_row,
    "segments.delete-definition": _delete_definition,
    "segments.patch-status": _patch_status,
    "segments.create-live": _create_live,
    "segments.status-names": _status_names,
    "segments.stop-dependents": _stop_dependents,
    "segments.stopped-status": _stopped_status,
    "segments.base-table": _base_table,
    "segments.type": _type,
    "segments.query-length": _query_length,
    "segments.expired-status": _expired_status,
    "segments.too-many-groups": _too_many_groups,
    "segments.former-member-columns": _former_member_columns,
    "segments.created-columns": _created_columns,
    "segments.publish-bad-query": _publish_bad_query,
    "segments.publish-busy": _publish_busy,
    "segments.unknown-members": _unknown_members,
    "segments.error-definition": _error_definition,
    "segments.patch-live": _patch_live,
    "segments.delete-live": _delete_live,
}
