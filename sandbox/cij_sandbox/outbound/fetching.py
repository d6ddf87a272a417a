"""Contacts of outbound segments: the query action, and the older link in FetchXML."""

from __future__ import annotations

import sqlite3
import xml.etree.ElementTree as ET

from cij_sandbox.core import assumptions, errors, guid
from cij_sandbox.core.assumptions import assumed
from cij_sandbox.core.schema import Table
from cij_sandbox.dataverse import fetchxml
from cij_sandbox.dataverse.expressions import MismatchError, QueryError
from cij_sandbox.dataverse.rows import show
from cij_sandbox.dataverse.selecting import MAXIMUM_PAGE, Selection
from cij_sandbox.dataverse.sql import ConditionSql, Sql
from cij_sandbox.dataverse.tables import CONTACT
from cij_sandbox.mql.language import PageQuery, parse_page
from cij_sandbox.outbound.definitions import contacts_query
from cij_sandbox.outbound.tables import OUTBOUND_SEGMENT

_LINK = {"name": OUTBOUND_SEGMENT.logical_name, "from": OUTBOUND_SEGMENT.key, "to": "msdyncrm_segmentmemberid"}

_MEMBERS = (
    "SELECT member FROM outbound_member JOIN msdyncrm_segment ON msdyncrm_segmentid = segment_id "
    "WHERE segment_id = ? AND msdyncrm_lastevaluationtime IS NOT NULL"
)
_ANY_NUMBER = 2**31


def by_query(
    connection: sqlite3.Connection, query: str, fetch_xml: str, business_unit: str | None
) -> dict[str, object]:
    """Return the contacts that a query finds, with the columns of FetchXML. Both must describe the same page."""
    try:
        wanted = parse_page(query)
        found, parameters = contacts_query(connection, wanted.query)
    except QueryError as problem:
        raise errors.plug_in(f"The Query cannot be parsed. {problem.message}") from None
    except MismatchError as problem:
        raise errors.plug_in(f"The Query cannot be run. {problem}") from None
    fetch = fetchxml.parse(fetch_xml, CONTACT)
    size = min(fetch.size or MAXIMUM_PAGE, MAXIMUM_PAGE)
    _check_agreement(wanted, fetch, size)
    where, more = _condition(fetch)
    if business_unit is not None:
        where, more = f"({where}) AND owningbusinessunit = ?", [*more, business_unit]
    contacts = Selection(CONTACT, (f"({where}) AND contactid IN ({found})", [*more, *parameters]), fetch.order)
    rows, is_more = contacts.page(connection, size, offset=wanted.skip)
    total = contacts.count(connection, _ANY_NUMBER) if fetch.total else -1
    shown = [show(CONTACT, row, fetch.columns).items() for row in rows]
    entities = [{name: value for name, value in row if "@" not in name} for row in shown]
    return {"entities": entities, "totalRecordCount": total, "moreRecords": is_more}


def _check_agreement(wanted: PageQuery, fetch: fetchxml.Fetch, size: int) -> None:
    if fetch.counts or fetch.top or fetch.cookie:
        raise errors.not_implemented("aggregates, 'top' and paging cookies in FetchXml here")
    for name in wanted.select:
        if name not in CONTACT.by_name:
            raise errors.plug_in(f"The Query selects '{name}', which 'contact' has not")
    # The parsed order of FetchXML ends with the key, which the request does not name.
    order = tuple((column.name, way == "DESC") for column, way in fetch.order[:-1])
    for names, left, right in (
        ("ORDERBY and order", wanted.order, order),
        ("SKIP and page", wanted.skip, (fetch.page - 1) * size),
        ("TAKE and count", wanted.take, fetch.size),
    ):
        if left != right and assumed("outbound.pages") != "accepted":
            # The documents show them agreeing and do not say what happens otherwise.
            reason = f"Query and FetchXml disagree: {names} are {left} and {right}"
            raise assumptions.refusal("outbound.pages", reason)


def _condition(fetch: fetchxml.Fetch) -> Sql:
    if fetch.condition is None:
        return "1", []
    try:
        return ConditionSql(CONTACT, segment_query=False).compile(fetch.condition)
    except MismatchError as problem:
        raise errors.plug_in(f"The FetchXml cannot be run. {problem}") from None


def take_link(fetch_xml: str, table: Table) -> tuple[str, Sql]:
    """Take the deprecated link to a segment out of FetchXML; return the rest and the SQL condition for the link.

    Assumption: a segment that does not exist, or has never been live, links to no contact.
    """
    if table is not CONTACT or OUTBOUND_SEGMENT.logical_name not in fetch_xml:
        return fetch_xml, ("1", [])
    root = fetchxml.read_xml(fetch_xml)
    for entity in root.findall("entity"):
        for link in entity.findall("link-entity"):
            if link.get("name") == OUTBOUND_SEGMENT.logical_name:
                segment_id = _linked(link)
                entity.remove(link)
                return ET.tostring(root, "unicode"), (f"contactid IN ({_MEMBERS})", [segment_id])
    return fetch_xml, ("1", [])


def _linked(link: ET.Element) -> str:
    conditions = link.findall("filter/condition")
    if any(link.get(name) != value for name, value in _LINK.items()) or len(link) != 1 or len(conditions) != 1:
        raise errors.not_implemented("this <link-entity> in FetchXML")
    condition = conditions[0]
    if (condition.get("attribute"), condition.get("operator")) != (OUTBOUND_SEGMENT.key, "eq"):
        raise errors.not_implemented("this condition on a segment in FetchXML")
    found = guid.parse(condition.get("value"))
    if found is None:
        raise errors.ODataError(400, "0x80041108", f"'{OUTBOUND_SEGMENT.key}' is compared with what is no GUID.")
    return found
