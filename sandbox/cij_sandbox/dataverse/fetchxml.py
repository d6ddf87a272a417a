"""FetchXML ("Query data using FetchXML"): text to query, for one table. Links and groups are refused.

As in ``$filter``, a missing value matches ``ne`` and ``not-...``: Dataverse adds "or is null" to these.
"""

from __future__ import annotations

import re
import sqlite3
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from cij_sandbox.core import assumptions, errors, values
from cij_sandbox.core.schema import Column, Kind, Table
from cij_sandbox.core.values import SqlValue
from cij_sandbox.dataverse.expressions import (
    MAXIMUM_DEPTH,
    Compare,
    Condition,
    Every,
    IsNull,
    Literal,
    Match,
    Not,
    OneOf,
    Some,
)
from cij_sandbox.dataverse.selecting import Order
from cij_sandbox.dataverse.sql import from_string

_COMPARISONS = {"eq": "=", "ne": "<>", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_MATCHES = {"like": "like", "not-like": "like", "begins-with": "startswith", "ends-with": "endswith"}
# Attributes that ask for what happens anyway, or that do not concern the rows.
_WITHOUT_EFFECT = frozenset(["version", "mapping", "output-format", "no-lock", "latematerialize"])
_OF_THE_DESIGNER = frozenset(["uiname", "uitype", "uihidden"])


@dataclass(frozen=True)
class Fetch:
    """A FetchXML query. ``counts`` are the aliases under which an aggregate counts its rows."""

    columns: tuple[str, ...]
    counts: tuple[str, ...]
    condition: Condition | None
    order: Order
    top: int | None
    size: int | None
    page: int
    cookie: str
    total: bool


def parse(text: str, table: Table) -> Fetch:
    """Parse a FetchXML query of a table."""
    root = read_xml(text)
    if root.tag != "fetch" or [child.tag for child in root] != ["entity"]:
        raise _invalid("a <fetch> with one <entity> is expected")
    allowed = ("aggregate", "distinct", "top", "count", "page", "paging-cookie", "returntotalrecordcount")
    given = _attributes(root, allowed, _WITHOUT_EFFECT)
    if _flag(given, "distinct"):
        raise errors.not_implemented("the attribute 'distinct' of <fetch>")
    top, total = _number(given, "top"), _flag(given, "returntotalrecordcount")
    if top is not None and (total or given.keys() & {"count", "page", "paging-cookie"}):
        raise _invalid("'top' does not go with paging or 'returntotalrecordcount'")
    entity, aggregate = root[0], _flag(given, "aggregate")
    _check(entity, table, ("attribute", "filter") if aggregate else ("attribute", "filter", "order", "all-attributes"))
    attributes = entity.findall("attribute")
    # No attribute at all is the same as <all-attributes>.
    named = not aggregate and entity.find("all-attributes") is None
    return Fetch(
        columns=tuple(dict.fromkeys(_named(child, table).property_name for child in attributes)) if named else (),
        counts=tuple(_count(child, table) for child in attributes) if aggregate else (),
        condition=_joined([_filter(child, table, 1) for child in entity.findall("filter")], Every),
        order=[*(_order(child, table) for child in entity.findall("order")), (table.by_name[table.key], "ASC")],
        top=top,
        size=_number(given, "count"),
        page=_number(given, "page") or 1,
        cookie=given.get("paging-cookie", ""),
        total=total,
    )


def write_cookie(fetch: Fetch, first: sqlite3.Row, last: sqlite3.Row) -> str:
    """Return the paging cookie of a page: XML in XML, the inner one encoded twice as a URL."""
    cookie = ET.Element("cookie", page=str(fetch.page))
    for column, _ in fetch.order:
        place: dict[str, str] = {}
        for name, row in (("last", last), ("first", first)):
            value = row[column.name]
            place |= {f"{name}null": "1"} if value is None else {name: _written(column, value)}
        ET.SubElement(cookie, column.name, place)
    # .NET writes %3c where Python writes %3C.
    encoded = re.sub("%..", lambda found: found[0].lower(), quote(ET.tostring(cookie, "unicode"), safe=""))
    return f'<cookie pagenumber="{fetch.page + 1}" pagingcookie="{quote(encoded, safe="")}" istracking="False" />'


def read_cookie(fetch: Fetch) -> list[SqlValue]:
    """Return the position in a cookie; an empty one without a cookie, or with that of an earlier page."""
    if not fetch.cookie:
        return []
    cookie = read_xml(fetch.cookie)
    if cookie.get("page") != str(fetch.page - 1):
        return []
    if [child.tag for child in cookie] != [column.name for column, _ in fetch.order]:
        raise _invalid("the paging cookie belongs to another query")
    return [
        None if child.get("lastnull") else from_string(column, child.get("last", ""))
        for child, (column, _) in zip(cookie, fetch.order, strict=True)
    ]


def _written(column: Column, value: SqlValue) -> str:
    if column.kind is Kind.GUID:
        return f"{{{value!s}}}".upper()
    return str(values.to_json(column, value))


def read_xml(text: str) -> ET.Element:
    """Parse XML that is not trusted."""
    if "<!DOCTYPE" in text:
        raise _invalid("a document type is not allowed")
    try:
        return ET.fromstring(text)  # noqa: S314 - there is no DTD in it
    except (ET.ParseError, ValueError) as problem:
        raise _invalid(str(problem)) from None


def _attributes(element: ET.Element, known: tuple[str, ...], ignored: frozenset[str] = frozenset()) -> dict[str, str]:
    for name in element.attrib:
        if name not in known and name not in ignored:
            raise errors.not_implemented(f"the attribute '{name}' of <{element.tag}>")
    return dict(element.attrib)


def _flag(given: Mapping[str, str], name: str) -> bool:
    value = given.get(name, "false").lower()
    if value not in ("true", "false", "1", "0"):
        raise _invalid(f"{name}='{value}' is neither true nor false")
    return value in ("true", "1")


def _number(given: Mapping[str, str], name: str) -> int | None:
    if name not in given:
        return None
    if not re.fullmatch("0*[1-9][0-9]{0,8}", given[name]) or (name == "top" and int(given[name]) > 5000):
        raise _invalid(f"{name}='{given[name]}' is out of range")
    return int(given[name])


def _column(name: str | None, table: Table) -> Column:
    if name not in table.by_name:
        raise errors.ODataError(
            400, "0x80041103", f"'{table.logical_name}' entity doesn't contain attribute with Name = '{name}'."
        )
    return table.by_name[name]


def _check(entity: ET.Element, table: Table, tags: tuple[str, ...]) -> None:
    name = _attributes(entity, ("name",)).get("name", "")
    if name != table.logical_name:
        # The documents ask for the matching entity set and do not show the answer to another.
        refusal = assumptions.status_and_code("platform.fetchxml-of-another-set")
        raise errors.ODataError(
            *refusal, f"The entity '{name}' of the fetch element does not belong to '{table.set_name}'."
        )
    for child in entity:
        if child.tag not in tags:
            raise errors.not_implemented(f"<{child.tag}> in this <entity> of FetchXML")
    if "order" not in tags and entity.find("attribute") is None:
        raise _invalid("an aggregate needs an attribute")


def _named(element: ET.Element, table: Table) -> Column:
    return _column(_attributes(element, ("name",)).get("name"), table)


def _order(element: ET.Element, table: Table) -> tuple[Column, str]:
    given = _attributes(element, ("attribute", "descending"))
    return _column(given.get("attribute"), table), "DESC" if _flag(given, "descending") else "ASC"


def _count(element: ET.Element, table: Table) -> str:
    given = _attributes(element, ("name", "alias", "aggregate"))
    _column(given.get("name"), table)
    if given.get("aggregate") != "count":
        raise errors.not_implemented(f"aggregate='{given.get('aggregate')}' in FetchXML")
    if not given.get("alias"):
        raise _invalid("an aggregate needs an alias")
    return given["alias"]


def _filter(element: ET.Element, table: Table, depth: int) -> Condition | None:
    if depth > MAXIMUM_DEPTH:
        raise errors.not_implemented(f"filters nested more than {MAXIMUM_DEPTH} deep")
    how = _attributes(element, ("type",)).get("type", "and")
    if how not in ("and", "or"):
        raise _invalid(f"a filter of type '{how}'")
    operands: list[Condition | None] = []
    for child in element:
        if child.tag == "filter":
            operands.append(_filter(child, table, depth + 1))
        elif child.tag == "condition":
            operands.append(_condition(child, table))
        else:
            raise errors.not_implemented(f"<{child.tag}> in a filter of FetchXML")
    return _joined(operands, Every if how == "and" else Some)


def _joined(operands: list[Condition | None], join: type[Every] | type[Some]) -> Condition | None:
    found = tuple(operand for operand in operands if operand is not None)
    return join(found) if found else None


def _condition(element: ET.Element, table: Table) -> Condition:
    given = _attributes(element, ("attribute", "operator", "value"), _OF_THE_DESIGNER)
    column = _column(given.get("attribute"), table).property_name
    operator = given.get("operator", "")
    condition: Condition
    if operator in ("null", "not-null"):
        condition = IsNull(column)
    elif operator in ("in", "not-in"):
        wanted = tuple(child.text or "" for child in element if child.tag == "value")
        if not wanted:
            raise _invalid(f"the operator '{operator}' needs values")
        condition = OneOf(column, wanted)
    elif operator not in _COMPARISONS and operator not in _MATCHES:
        raise errors.not_implemented(f"the operator '{operator}' in FetchXML")
    elif (value := given.get("value")) is None:
        raise _invalid(f"the operator '{operator}' needs a value")
    elif operator in _COMPARISONS:
        condition = Compare(column, _COMPARISONS[operator], Literal("written", value))
    elif "[" in value and _MATCHES[operator] == "like":
        raise errors.not_implemented("sets of characters in a pattern of FetchXML")
    else:
        condition = Match(column, _MATCHES[operator], value)
    return Not(condition) if operator.startswith("not-") else condition


def _invalid(why: str) -> errors.ODataError:
    # Assumption: recordings show this code and the first two words, not what follows them.
    return errors.ODataError(400, "0x80040201", f"Invalid XML: {why}.")
