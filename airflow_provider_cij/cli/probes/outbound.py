"""What is assumed of outbound marketing, where an organisation still has it."""

from __future__ import annotations

import json
from typing import Any

from airflow_provider_cij.cli.outcome import NotTriedError, Outcome, accepted
from airflow_provider_cij.cli.own_rows import OUTBOUND_SEGMENTS
from airflow_provider_cij.cli.probing import Organisation
from airflow_provider_cij.dataverse.odata import query, row_path
from airflow_provider_cij.errors import CijError, CijRefusedError

_STATIC, _DYNAMIC = 192350001, 192350000
_DRAFT, _STOPPING = 192350000, 192350007
_QUERY = "(PROFILE(contact)).ORDERBY(fullname ASC).SKIP(0).TAKE(1).SELECT(contactid)"
_FETCH = (
    '<fetch version="1.0" mapping="logical" count="1" page="1" returntotalrecordcount="true"><entity name="contact">'
    '<attribute name="contactid"/><order attribute="fullname"/></entity></fetch>'
)


async def _marketing(org: Organisation) -> str:
    try:
        await org.client.get(query(OUTBOUND_SEGMENTS, select=("msdyncrm_segmentid",), top=1))
    except CijRefusedError as error:  # after the removal the roles lack the privilege
        if error.http_status in (403, 404, 501):
            return "removed"
        raise NotTriedError(f"the segments can't be read ({error.http_status})") from None
    except CijError as error:
        raise NotTriedError(f"there was no answer ({type(error).__name__})") from None
    return "there"


async def _segment(org: Organisation, **columns: Any) -> tuple[str, Outcome]:
    if await _marketing(org) == "removed":
        raise NotTriedError("outbound marketing was removed")
    row = {"msdyncrm_segmentname": org.name, "msdyncrm_segmenttype": _STATIC, "statuscode": _DRAFT, "statecode": 0}
    return await org.make(OUTBOUND_SEGMENTS, {**row, **columns})


async def _static(org: Organisation) -> str:
    row_id, outcome = await _segment(org)
    outcome.needed("a draft segment can't be made")
    return row_id


async def _get_state(org: Organisation) -> str:
    inputs = {"msdyncrm_segmentid": await _static(org), "msdyncrm_operation": "getState"}
    return (await org.call("msdyncrm_SegmentMembersUpdate", inputs)).nested_word


async def _change_answer(org: Organisation) -> str:
    inputs = {"msdyncrm_segmentid": await _static(org), "msdyncrm_operation": "addByIds"}
    ids = json.dumps(await org.contacts(1))
    return (await org.call("msdyncrm_SegmentMembersUpdate", {**inputs, "msdyncrm_memberids": ids})).word


async def _fetch(org: Organisation) -> str:
    return (await org.call("msdyncrm_FetchContactsByQuery", {"Query": _QUERY, "FetchXml": _FETCH})).nested_word


async def _pages(org: Organisation) -> str:
    other_page = {"Query": _QUERY, "FetchXml": _FETCH.replace('page="1"', 'page="2"')}
    return accepted(await org.call("msdyncrm_FetchContactsByQuery", other_page))


async def _bad_transition(org: Organisation) -> str:
    path = row_path(OUTBOUND_SEGMENTS, await _static(org))
    return accepted(await org.attempt("PATCH", path, {"statuscode": _STOPPING}))


async def _query_column(org: Organisation) -> str:
    columns = {"msdyncrm_segmenttype": _DYNAMIC, "msdyncrm_query": "PROFILE(contact)"}
    return accepted((await _segment(org, **columns))[1])


PROBES = {
    "outbound.marketing": _marketing,
    "outbound.get-state": _get_state,
    "outbound.change-answer": _change_answer,
    "outbound.fetch": _fetch,
    "outbound.pages": _pages,
    "outbound.bad-transition": _bad_transition,
    "outbound.query-column": _query_column,
}
