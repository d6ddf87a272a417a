"""Contacts of outbound segments: the query action, and the FetchXML link that came before it."""

# ruff: noqa: S608 - the names are those of tables.py, every value is a parameter

from __future__ import annotations

import sqlite3
import xml.etree.ElementTree as Xml
from dataclasses import dataclass

from .. import errors, guid
from ..expressions import MismatchError, QueryError, UnsupportedError
from ..rows import show
from ..schema import Column
from ..sql import Sql, comparable
from ..tables import CONTACT
from . import language
from .sql import contacts_query
from .tables import OUTBOUND_SEGMENT

_PAGE = 5000
_LINK = {"name": "msdyncrm_segment", "from": "msdyncrm_segmentid", "to": "msdyncrm_segmentmemberid"}


@dataclass(frozen=True)
class Fetch:
    """What a FetchXML query for contacts asks for; ``segment_id`` is that of the link to a segment, if it has one."""

    columns: tuple[str, ...]
    order: tuple[tuple[str, bool], ...]
    skip: int
    take: int | None
    total: bool
    segment_id: str | None


@dataclass(frozen=True)
class Page:
    """Some of the contacts that were asked for."""

    columns: tuple[str, ...]
    rows: list[dict[str, object]]
    total: int
    more: bool


def read_fetch(text: str) -> Fetch:
    """Read the FetchXML of the documents' examples; what goes beyond is refused as not implemented."""
    try:
        if "<!" in text:
            raise ValueError("a document type or comment is not allowed")
        root = Xml.fromstring(text)  # noqa: S314 - without a document type there are no entities to expand
    except (Xml.ParseError, ValueError) as problem:
        raise errors.ODataError(400, "0x80040201", f"Invalid XML. {problem}") from None
    entities = root.findall("entity")
    if root.tag != "fetch" or len(root) != 1 or len(entities) != 1:
        raise errors.ODataError(400, "0x80040201", "Invalid XML. A fetch with one entity is expected.")
    if entities[0].get("name") != CONTACT.logical_name:
        raise errors.ODataError(400, "0x80041102", "The fetch must be for the entity 'contact'.")
    columns: list[str] = []
    order: list[tuple[str, bool]] = []
    segment_id = None
    for part in entities[0]:
        if part.tag == "attribute":
            columns.append(_column(part.get("name", "")).property_name)
        elif part.tag == "order":
            order.append((part.get("attribute", ""), part.get("descending") in ("true", "1")))
        elif part.tag == "link-entity" and segment_id is None:
            segment_id = _linked(part)
        else:
            raise errors.not_implemented(f"'{part.tag}' in FetchXML here")
    page, count = _number(root, "page"), _number(root, "count")
    skip = ((page or 1) - 1) * (count or _PAGE)
    wanted = tuple(dict.fromkeys([*columns, CONTACT.key]))
    return Fetch(wanted, tuple(order), skip, count, root.get("returntotalrecordcount") == "true", segment_id)


def _linked(link: Xml.Element) -> str:
    conditions = link.findall("filter/condition")
    if any(link.get(name) != value for name, value in _LINK.items()) or len(link) != 1 or len(conditions) != 1:
        raise errors.not_implemented(f"this link-entity '{link.get('name')}' in FetchXML")
    condition = conditions[0]
    if (condition.get("attribute"), condition.get("operator")) != (OUTBOUND_SEGMENT.key, "eq"):
        raise errors.not_implemented("this condition on the segment in FetchXML")
    found = guid.loose(condition.get("value", ""))
    if found is None:
        raise errors.ODataError(400, "0x80040203", "The condition on msdyncrm_segmentid has no GUID.")
    return found


def _number(root: Xml.Element, name: str) -> int | None:
    text = root.get(name)
    if text is None:
        return None
    if not text.isdecimal() or not 0 < len(text) < 10 or int(text) < 1:
        raise errors.ODataError(400, "0x80040201", f"Invalid XML. {name}='{text[:20]}' is not a number from 1.")
    return int(text)


def _column(name: str) -> Column:
    column = CONTACT.by_name.get(name)
    if column is None:
        raise errors.ODataError(
            400, "0x80041103", f"'contact' entity doesn't contain attribute with Name = '{name[:100]}'."
        )
    return column


def by_query(connection: sqlite3.Connection, query: str, fetch_xml: str, business_unit: str | None) -> Page:
    """Answer the action: the query finds the contacts, the FetchXML says what of them; both must mean one page."""
    try:
        selection = language.parse_selection(query)
        found, parameters = contacts_query(connection, selection.query)
    except UnsupportedError as problem:
        raise errors.not_implemented(problem.message) from None
    except QueryError as problem:
        raise errors.plug_in(f"The Query cannot be parsed. {problem.message}") from None
    except MismatchError as problem:
        raise errors.plug_in(f"The Query cannot be run. {problem}") from None
    fetch = read_fetch(fetch_xml)
    for name, left, right in (
        ("ORDERBY and order", selection.order, fetch.order),
        ("SKIP and page", selection.skip, fetch.skip),
        ("TAKE and count", selection.take, fetch.take),
    ):
        if left != right:
            # Assumption: the documents show them agreeing and do not say what happens otherwise.
            raise errors.plug_in(f"Query and FetchXml disagree: {name} are {left} and {right}")
    if fetch.segment_id is not None:
        raise errors.not_implemented("a link to a segment in FetchXml here")
    for name in selection.select:
        _column(name)
    if business_unit is not None:
        found = f"SELECT contactid FROM contact WHERE contactid IN ({found}) AND owningbusinessunit = ?"
        parameters = [*parameters, business_unit]
    return _page(connection, (found, parameters), fetch)


def members_by_link(connection: sqlite3.Connection, fetch_xml: str) -> Page:
    """Answer the deprecated query: contacts linked to a segment. Assumption: an unknown segment links to nobody."""
    fetch = read_fetch(fetch_xml)
    if fetch.segment_id is None:
        raise errors.not_implemented("FetchXML about segments without a link to one")
    found = (
        "SELECT member FROM outbound_member JOIN msdyncrm_segment ON msdyncrm_segmentid = segment_id "
        "WHERE segment_id = ? AND msdyncrm_lastevaluationtime IS NOT NULL"
    )
    return _page(connection, (found, [fetch.segment_id]), fetch)


def _page(connection: sqlite3.Connection, contacts: Sql, fetch: Fetch) -> Page:
    found, parameters = contacts
    where = f"FROM contact WHERE contactid IN ({found})"
    order = [f"{comparable(_column(name))} {'DESC' if down else 'ASC'}" for name, down in fetch.order]
    limit = min(fetch.take or _PAGE, _PAGE)
    rows = connection.execute(
        f"SELECT * {where} ORDER BY {', '.join([*order, 'contactid'])} LIMIT ? OFFSET ?",
        [*parameters, limit + 1, fetch.skip],
    ).fetchall()
    total = int(connection.execute(f"SELECT count(*) {where}", parameters).fetchone()[0]) if fetch.total else -1
    return Page(fetch.columns, [show(CONTACT, row, fetch.columns) for row in rows[:limit]], total, len(rows) > limit)
