"""Members of outbound segments: add, remove, read how far that is, list.

Source: "Basic operations on segments using API in outbound marketing", sections "Add/Remove contacts to static
segments" and "Retrieve segment members".
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_cij.api.members.id_set import IdSet
from airflow_provider_cij.api.members.pages import Page, PageConsistencyCheck, following_pages
from airflow_provider_cij.api.members.upload import OnBatch
from airflow_provider_cij.api.outbound.models import (
    MEMBERS,
    ORGANISATION_SCOPE,
    SEGMENT_TYPES,
    OutboundSegment,
    removal_explained,
)
from airflow_provider_cij.api.outbound.responses import OperationsState, contacts_of, state_of
from airflow_provider_cij.api.segments.spec import check_query
from airflow_provider_cij.dataverse.guids import read_guids
from airflow_provider_cij.dataverse.odata import quote_option
from airflow_provider_cij.errors import CijError, CijIncompleteError, CijInputError, CijReplyError

if TYPE_CHECKING:
    from airflow_provider_cij.api.batching import BatchedActions
    from airflow_provider_cij.dataverse.client import DataverseClient

log = logging.getLogger(__name__)

IDS_A_CALL = 20_000
PAGE_SIZE = 5000

Operation = Literal["add", "remove"]
How = Literal["query", "fetchxml"]

_ACTION = "msdyncrm_SegmentMembersUpdate"
_MORE = "@Microsoft.Dynamics.CRM.morerecords"


def by_ids(segment_id: str, operation: Operation, ids: Sequence[str]) -> dict[str, str]:
    """Return the request for a change of members by their ids: JSON in a string, here without the prefix ``crm``."""
    return {
        "msdyncrm_segmentid": segment_id,
        "msdyncrm_operation": f"{operation}ByIds",
        "msdyncrm_memberids": json.dumps(list(ids)),
    }


def by_query(segment_id: str, operation: Operation, query: str) -> dict[str, str]:
    """Return the request for a change of members by a query."""
    return {
        "msdyncrm_segmentid": segment_id,
        "msdyncrm_operation": f"{operation}ByQuery",
        "msdyncrm_query": query,
    }


def get_state(segment_id: str) -> dict[str, str]:
    """Return the request for the state of the changes."""
    return {"msdyncrm_segmentid": segment_id, "msdyncrm_operation": "getState"}


def fetch_by_query(segment: OutboundSegment, number: int, size: int = PAGE_SIZE) -> dict[str, Any]:
    """Return the request for a page of members.

    :param segment: the segment
    :param number: of the page, from 1; the query and the FetchXML must mean the same
    :param size: contacts a page
    """
    # Ordered by the id: a column that is the same for several people may lose some between pages.
    return {
        "Query": f"(SEGMENT({segment.query_name})).ORDERBY(contactid ASC)"
        f".SKIP({(number - 1) * size}).TAKE({size}).SELECT(contactid)",
        "FetchXml": '<fetch version="1.0" output-format="xml-platform" mapping="logical" '
        f'count="{size}" page="{number}" returntotalrecordcount="true"><entity name="contact">'
        '<attribute name="contactid"/><order attribute="contactid" descending="false"/></entity></fetch>',
        "OwningBusinessUnit": segment.business_unit_id,
        "Scope": ORGANISATION_SCOPE if segment.scope is None else segment.scope,
        "TimeZone": None,
    }


def fetchxml(segment_id: str, number: int, size: int = PAGE_SIZE) -> str:
    """Return the deprecated FetchXML for a page of members.

    :param segment_id: the segment
    :param number: of the page, from 1
    :param size: contacts a page
    """
    return (
        '<fetch version="1.0" output-format="xml-platform" mapping="logical" returntotalrecordcount="true" '
        f'page="{number}" count="{size}" no-lock="false"><entity name="contact">'
        '<attribute name="contactid"/><order attribute="contactid" descending="false"/>'
        '<link-entity name="msdyncrm_segment" from="msdyncrm_segmentid" to="msdyncrm_segmentmemberid" alias="bb">'
        '<filter type="and"><condition attribute="msdyncrm_segmentid" operator="eq" uitype="msdyncrm_segment" '
        f'value="{segment_id}"/></filter></link-entity></entity></fetch>'
    )


class OutboundMembers:
    """The verbs on members of outbound segments, over one open client.

    :param client: open
    :param states: where the state of changes is asked for; default None, the client
    """

    def __init__(self, client: DataverseClient, states: BatchedActions | None = None) -> None:
        self._client = client
        self._states = states or client

    async def update(
        self, segment: OutboundSegment, operation: Operation, ids: IdSet, on_batch: OnBatch | None = None
    ) -> int:
        """Add contacts to a static segment or remove them, 20,000 a call.

        The service does it later: read ``state``. It ignores unknown ids. Idempotent.

        :param segment: the segment
        :param operation: ``add`` or ``remove``
        :param ids: of the contacts
        :param on_batch: is told of every call that succeeded
        :return: the number of calls
        :raises CijInputError: it is no static segment, or this is no operation; nothing was sent
        :raises CijError: a call failed after all retries; the error says how many had succeeded
        """
        _check(segment, operation)
        total, done, sent = -(-len(ids) // IDS_A_CALL), 0, 0
        for batch in ids.batches(IDS_A_CALL):
            try:
                await self._act(by_ids(segment.row_id, operation, batch))
            except CijError as error:
                if done:
                    said = f"{done:,} of {total:,} calls had succeeded; sending them again is safe."
                    error.hint = f"{error.hint} {said}".strip()
                raise
            done, sent = done + 1, sent + len(batch)
            if on_batch:
                on_batch(done, total, sent)
        return total

    async def update_by_query(self, segment: OutboundSegment, operation: Operation, query: str) -> None:
        """Add the contacts that a query finds to a static segment, or remove them. The service does it later.

        :param segment: the segment
        :param operation: ``add`` or ``remove``
        :param query: finds the contacts
        :raises CijInputError: an argument can't be right
        """
        _check(segment, operation)
        check_query(f"Outbound segment {segment.name!r}", query, MEMBERS)
        if not query.strip():
            raise CijInputError("The query for the members is empty. Nothing was sent.")
        await self._act(by_query(segment.row_id, operation, query.strip()))

    async def state(self, segment_id: str) -> OperationsState:
        """Ask how far the changes of members are.

        :param segment_id: the segment
        :return: the state
        :raises CijError: the service refuses, or is not there
        """
        # A failure in this answer is that of a change, not of the question.
        with removal_explained():
            asked = get_state(segment_id)
            return state_of(await self._states.action(_ACTION, asked, repeatable=True, refusals=False))

    async def _act(self, body: dict[str, str]) -> None:
        with removal_explained():
            await self._client.action(_ACTION, body, repeatable=True)

    async def of_segment(
        self, segment: OutboundSegment, how: How = "query", page_size: int = PAGE_SIZE
    ) -> AsyncIterator[list[str]]:
        """List the members, page by page, until a page is empty. Pages are read side by side.

        :param segment: the segment
        :param how: ``query``, or ``fetchxml``, which is deprecated and whose pages end at 50,000 contacts
        :param page_size: contacts a page; default 5000
        :return: the pages, each a list of contact ids
        :raises CijInputError: there is no such way
        :raises CijIncompleteError: a page was cut short, pages came twice, or the members changed meanwhile
        :raises CijReplyError: the answer can't be understood
        """
        if how not in ("query", "fetchxml"):
            raise CijInputError(f"how is {how!r}.", hint="Use 'query' or 'fetchxml'.")
        ask = self._by_query if how == "query" else self._by_fetchxml
        listed, last = PageConsistencyCheck(), Page([], b"")
        page = await ask(segment, 1, page_size)
        total = page.total or 0
        # Smaller than asked for, the first page is the whole list or shows the most that the service gives.
        size = len(page.ids)

        def read(number: int) -> Awaitable[Page]:
            return ask(segment, number, size)

        async with aclosing(following_pages(page, 1, read, self._client, size=page_size)) as pages:
            while page.ids:
                if listed.pages and not len(page.ids) <= size == len(last.ids):
                    raise CijIncompleteError(
                        f"The service cut a page of {size:,} members short, and goes on after it.",
                        hint="It has skipped people: list them again.",
                    )
                listed.add(page)
                yield page.ids
                last, page = page, await anext(pages)
                total = max(total, page.total or 0)
        if last.has_next:
            raise CijIncompleteError(f"The service says that there is more after page {listed.pages}, and gives none.")
        listed.check(total)

    async def _by_query(self, segment: OutboundSegment, number: int, size: int) -> Page:
        body = fetch_by_query(segment, number, size)
        with removal_explained():
            answer = await self._client.action("msdyncrm_FetchContactsByQuery", body, repeatable=True)
        return contacts_of(answer)

    async def _by_fetchxml(self, segment: OutboundSegment, number: int, size: int) -> Page:
        with removal_explained():
            answer = await self._client.get(f"contacts?fetchXml={quote_option(fetchxml(segment.row_id, number, size))}")
        rows = answer.get("value")
        ids, keys, bad = read_guids([row.get("contactid") for row in rows] if isinstance(rows, list) else [None])
        if bad:
            raise CijReplyError("GET contacts was answered with no list of contacts, or one without its id.")
        return Page(ids, keys, has_next=answer.get(_MORE) is True)


def _check(segment: OutboundSegment, operation: str) -> None:
    if operation not in ("add", "remove"):
        raise CijInputError(f"operation is {operation!r}.", hint="Use 'add' or 'remove'.")
    if segment.segment_type != SEGMENT_TYPES["static"]:
        raise CijInputError(
            f"Outbound segment {segment.name!r} ({segment.row_id}) is not static: its members can't be changed.",
            hint="Nothing was sent.",
        )
    if operation == "add" and segment.scope != ORGANISATION_SCOPE:
        log.warning(
            "Outbound segment %r may be scoped to a business unit. A contact of another unit, one that the segment's "
            "owner may not access, makes it hang forever: add none of those",
            segment.name,
        )
