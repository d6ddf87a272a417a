"""$filter and the segment query language against a plain Python model; sorting and paging."""

import math
import uuid
from contextlib import closing
from functools import partial
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from cij_sandbox.core.store import Store
from cij_sandbox.dataverse import filters
from cij_sandbox.dataverse.expressions import OneOf, QueryError, UnsupportedError
from cij_sandbox.dataverse.sql import ConditionSql
from cij_sandbox.dataverse.tables import CONTACT
from cij_sandbox.mql.language import REAL_TIME
from cij_sandbox.mql.language import parse as parse_query
from cij_sandbox.server.organisation import SCHEMA
from hypothesis import given, settings
from hypothesis import strategies as st

from ..model import MODEL, conditions, three_valued, two_valued

IN_MQL = {"eq": "==", "ne": "!=", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def in_filter(node):
    """Write a condition for $filter."""
    match node:
        case ("compare", column, operator, value):
            if isinstance(value, bool):
                text = str(value).lower()
            elif isinstance(value, str) and column != "birthdate":
                text = "'" + value.replace("'", "''") + "'"
            else:
                text = str(value)
            return f"{column} {operator} {text}"
        case ("null", column):
            return f"{column} eq null"
        case ("not", operand):
            return f"not ({in_filter(operand)})"
        case (word, left, right):
            return f"({in_filter(left)}) {word} ({in_filter(right)})"


def in_mql(node):
    """Write a condition for a segment query."""
    match node:
        case ("compare", "birthdate", operator, value):
            year, month, day = map(int, value.split("-"))
            return f"birthdate {IN_MQL[operator]} DATE({year}, {month}, {day})"
        case ("compare", column, operator, _):
            return f"{column} {IN_MQL[operator]} {in_filter(node).split(' ', 2)[2]}"
        case ("null", column):
            return f"ISNULL({column})"
        case ("not", operand):
            return f"NOT({in_mql(operand)})"
        case (word, left, right):
            return f"({in_mql(left)}) {'&&' if word == 'and' else '||'} ({in_mql(right)})"


@MODEL
@given(condition=conditions)
def test_filter_agrees_with_the_model(org, people, condition):
    """Any $filter selects the rows that its two-valued reading selects."""
    mark, rows = people
    text = quote(f"jobtitle eq '{mark}' and ({in_filter(condition)})")
    found = org.get(f"contacts?$select=contactid&$filter={text}")["value"]
    assert {row["contactid"] for row in found} == {row["contactid"] for row in rows if two_valued(condition, row)}


@settings(MODEL, max_examples=12)
@given(condition=conditions)
def test_segment_query_agrees_with_the_model(org, people, condition):
    """Any segment query selects the rows that its three-valued reading selects."""
    mark, rows = people
    segment, _ = org.segment(f"PROFILE(contact, c).FILTER(c.jobtitle == '{mark}' && ({in_mql(condition)}))")
    assert org.publish(segment) == 1
    assert set(org.members(segment)) == {row["contactid"] for row in rows if three_valued(condition, row)}


def test_sets_of_profiles_are_combined(org, people):
    """UNION, INTERSECT and EXCEPT combine what their sides select, in the order of writing or of brackets."""
    mark, rows = people

    def part(column):
        return f"PROFILE(contact).FILTER(jobtitle == '{mark}' && ISNULL({column}))"

    segment, _ = org.segment(f"{part('birthdate')} UNION ({part('creditlimit')} EXCEPT {part('donotemail')})")
    assert org.publish(segment) == 1
    wanted = {
        row["contactid"]
        for row in rows
        if row["birthdate"] is None or (row["creditlimit"] is None and row["donotemail"] is not None)
    }
    assert set(org.members(segment)) == wanted


@pytest.mark.parametrize(
    ("text", "decide"),
    [
        ("contains(address1_city,'OM')", lambda city: "om" in city),
        ("startswith(address1_city,'å')", lambda city: city.startswith("å")),
        ("endswith(address1_city,'''FALLON')", lambda city: city.endswith("'fallon")),
        (
            'Microsoft.Dynamics.CRM.In(PropertyName=\'address1_city\',PropertyValues=["rome","Åre"])',
            lambda city: city in ("rome", "åre"),
        ),
        (
            "Microsoft.Dynamics.CRM.In(PropertyName='address1_city',PropertyValues=['rome','O''FALLON',\"Åre\"])",
            lambda city: city in ("rome", "o'fallon", "åre"),
        ),
        (
            "Microsoft.Dynamics.CRM.NotIn(PropertyName='address1_city',PropertyValues=['Rome']) and "
            "address1_city ne null",
            lambda city: city != "rome",
        ),
    ],
)
def test_text_functions_ignore_case(org, people, text, decide):
    """contains, startswith, endswith and In compare without regard to case."""
    mark, rows = people
    found = org.get(f"contacts?$select=contactid&$filter={quote(f'{text} and jobtitle eq {mark!r}')}")["value"]
    wanted = {
        row["contactid"] for row in rows if row["address1_city"] is not None and decide(row["address1_city"].casefold())
    }
    assert {row["contactid"] for row in found} == wanted


def test_not_in_finds_rows_without_a_value(org, people):
    """NotIn() is the opposite of In(): a row without a value is in no list."""
    mark, rows = people
    text = "Microsoft.Dynamics.CRM.NotIn(PropertyName='address1_city',PropertyValues=[\"rome\"])"
    found = org.get(f"contacts?$select=address1_city&$filter={quote(f'{text} and jobtitle eq {mark!r}')}")["value"]
    assert len(found) == sum((row["address1_city"] or "").casefold() != "rome" for row in rows)
    assert None in [row["address1_city"] for row in found]


def test_between_includes_its_ends(org, people):
    """Between() finds values from the first to the second one, NotBetween() the others; one value is a bad request."""
    mark, rows = people
    limits = sorted(row["creditlimit"] for row in rows if row["creditlimit"] is not None)
    least, most = limits[1], limits[-2]
    for name, wanted in (("Between", True), ("NotBetween", False)):
        text = f"Microsoft.Dynamics.CRM.{name}(PropertyName='creditlimit',PropertyValues=['{least}','{most}'])"
        found = org.get(f"contacts?$filter={text} and jobtitle eq '{mark}'")["value"]
        assert {row["contactid"] for row in found} == {
            row["contactid"]
            for row in rows
            if (row["creditlimit"] is not None and least <= row["creditlimit"] <= most) == wanted
        }
    text = "Microsoft.Dynamics.CRM.Between(PropertyName='creditlimit',PropertyValues=['1'])"
    assert org.web.get(f"contacts?$filter={text}").status_code == 400


def test_lookups_are_expanded(org, people):
    """$expand shows the row that a lookup names, with the selected properties, or null; in sets and in single rows."""
    mark, rows = people
    unit = org.get("WhoAmI")["BusinessUnitId"]
    expand = "$expand=owningbusinessunit($select=name),parentcustomerid_account"
    whole = org.get(f"contacts?$top=1&$select=contactid&{expand}&$filter=jobtitle eq '{mark}'")["value"][0]
    single = org.get(f"contacts({rows[0]['contactid']})?$select=contactid&{expand}")
    for row in (whole, single):
        assert (row["owningbusinessunit"]["businessunitid"], row["parentcustomerid_account"]) == (unit, None)
        assert row["owningbusinessunit"].keys() == {"@odata.etag", "businessunitid", "name"}
    for wrong in ("Contact_Tasks", "owningbusinessunit($filter=name eq 'x')", "owningbusinessunit("):
        assert org.web.get(f"contacts?$expand={wrong}").status_code == 501
    assert org.web.get("contacts?$expand=owningbusinessunit($select=nothing)").status_code == 400


def test_filters_take_parameter_aliases(org, people):
    """A filter takes its values from query options @name, as the documents print them; one without a value is a 400."""
    mark, rows = people
    wanted = [row["contactid"] for row in rows[:2]]
    both = f"@v=[{','.join(repr(value) for value in wanted)}]&@p='contactid'&@mark='{mark}'"
    text = "Microsoft.Dynamics.CRM.In(PropertyName=@p,PropertyValues=@v) and jobtitle eq @mark"
    assert {row["contactid"] for row in org.get(f"contacts?$filter={text}&{both}")["value"]} == set(wanted)
    assert org.web.get(f"contacts/$count?$filter={text}&{both}").text == "2"
    reply = org.web.get("contacts?$filter=jobtitle eq @mark")
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "0x80060888")
    assert "'@mark' has no value" in reply.json()["error"]["message"]


@pytest.mark.parametrize("path", ["contacts?$skip=10", "contacts?$top=5&$skip=0", "contacts/$count?$skip=1"])
def test_skip_is_refused(org, path):
    """$skip is refused with the words of the service, which pages by @odata.nextLink alone."""
    reply = org.web.get(path)
    error = {"code": "0x80060888", "message": "Skip Clause is not supported in CRM"}
    assert (reply.status_code, reply.json()["error"]) == (400, error)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("contacts?$apply=aggregate($count as n)", {}),
        ("contacts?$search=ada", {}),
        ("contacts?@x=1&$select=contactid", {"Prefer": "odata.track-changes"}),
        ("contacts(00000000-0000-0000-0000-000000000001)?@x=1", {}),
        ("contacts?$filter=tolower(lastname) eq 'a'", {}),
        ("contacts?$filter=contactid in ('a')", {}),
    ],
)
def test_what_is_not_implemented_is_said(org, path, headers):
    """What the service has or may have, and the sandbox has not, answers 501 and is named."""
    reply = org.web.get(path, headers=headers)
    assert reply.status_code == 501
    assert reply.json()["error"]["message"].startswith("The sandbox does not implement ")


def test_in_takes_ids_written_as_strings(org, people):
    """In() finds rows by key although its values are strings."""
    _, rows = people
    wanted = [row["contactid"] for row in rows[:3]]
    values = ",".join(f'"{value.upper()}"' for value in wanted)
    text = f"Microsoft.Dynamics.CRM.In(PropertyName='contactid',PropertyValues=[{values}])"
    assert {row["contactid"] for row in org.get(f"contacts?$filter={text}")["value"]} == set(wanted)
    assert len(org.get(f"contacts?$filter=contactid eq {wanted[0]} or contactid eq {wanted[1]}")["value"]) == 2


def test_in_takes_as_many_values_as_a_url_holds(org, people):
    """In() with a URL full of strings or ids finds the rows that exist."""
    mark, rows = people
    values = [row["contactid"] for row in rows] + [str(uuid.uuid4()) for _ in range(650)]
    for column, wanted in (("contactid", values), ("jobtitle", [mark.upper(), *(f"nobody-{n}" for n in range(1700))])):
        listed = ",".join(f"%22{value}%22" for value in wanted)
        text = f"Microsoft.Dynamics.CRM.In(PropertyName='{column}',PropertyValues=[{listed}])"
        path = f"contacts?$select=contactid&$filter={text}"
        assert 28_000 < len(path) < 32_000
        assert {row["contactid"] for row in org.get(path)["value"]} == {row["contactid"] for row in rows}


@pytest.mark.parametrize("count", [1, 700, 8000])
@pytest.mark.parametrize(
    ("column", "index"), [("emailaddress1", "contact_by_email"), ("contactid", "sqlite_autoindex_contact_1")]
)
def test_in_looks_up_its_values(tmp_path, count, column, index):
    """In() uses the index of its column, whatever the number of its values."""
    wanted = OneOf(column, tuple(str(uuid.UUID(int=number)) for number in range(count)))
    where, parameters = ConditionSql(CONTACT, segment_query=False).compile(wanted)
    plan = f"EXPLAIN QUERY PLAN SELECT * FROM contact WHERE {where} ORDER BY contactid LIMIT 5001"  # noqa: S608
    with closing(Store(tmp_path / "state.sqlite", SCHEMA).reader()) as reader:
        steps = [row["detail"] for row in reader.execute(plan, parameters)]
    assert steps[0].startswith(f"SEARCH contact USING INDEX {index}")


@pytest.mark.parametrize("text", ["nan", "inf", "1e5", "", "0x1", "1" * 400])
def test_in_refuses_what_is_no_number(org, text):
    """A value of In() that does not fit its column is a bad request."""
    path = f"contacts?$filter=Microsoft.Dynamics.CRM.In(PropertyName='creditlimit',PropertyValues=[%22{text}%22])"
    assert org.web.get(path).status_code == 400


@pytest.mark.parametrize("order", ["", "address1_city", "address1_city desc,numberofchildren", "creditlimit desc"])
@pytest.mark.parametrize("size", [1, 7, 40])
def test_pages_make_up_the_whole(org, people, order, size):
    """Following nextLink verbatim meets every row once and in order, whatever the sorting and the page size."""
    mark, _ = people
    path = f"contacts?$count=true&$filter={quote(f'jobtitle eq {mark!r}')}" + (f"&$orderby={order}" if order else "")
    whole = [row["contactid"] for row in org.get(path)["value"]]
    prefer = {"Prefer": f"odata.maxpagesize={size}"}
    found = []
    pages = 0
    while path:
        reply = org.web.get(path, headers=prefer)
        assert reply.headers["Preference-Applied"] == f"odata.maxpagesize={size}"
        assert reply.json()["@odata.count"] == 40
        found += [row["contactid"] for row in reply.json()["value"]]
        pages += 1
        path = reply.json().get("@odata.nextLink")
        assert path is None or path.startswith(f"{org.sandbox.base_url}/api/data/v9.2/contacts?")
    assert found == whole
    assert pages == math.ceil(40 / size)


def test_a_page_is_not_disturbed_by_new_rows(org, people):
    """A row that is inserted before the end of a page neither repeats nor hides another row."""
    mark, rows = people
    prefer = {"Prefer": "odata.maxpagesize=10"}
    first = org.get(f"contacts?$select=contactid&$filter={quote(f'jobtitle eq {mark!r}')}", **prefer)
    early = "00000000-0000-4000-8000-0000000000ff"
    org.post("contacts", {"contactid": early, "jobtitle": mark})
    try:
        found, link = first["value"], first["@odata.nextLink"]
        while link:
            page = org.get(link, **prefer)
            found, link = found + page["value"], page.get("@odata.nextLink")
        assert sorted(row["contactid"] for row in found) == sorted(row["contactid"] for row in rows)
    finally:
        org.web.delete(f"contacts({early})")


def test_a_page_token_cannot_be_changed(org):
    """A $skiptoken that was tampered with or moved to another query is refused."""
    link = org.get("contacts?$select=contactid", Prefer="odata.maxpagesize=2")["@odata.nextLink"]
    token = parse_qs(urlsplit(link).query)["$skiptoken"][0]
    middle = len(token) // 2
    changed = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
    for path in (f"contacts?$select=contactid&$skiptoken={quote(changed)}", f"leads?$skiptoken={quote(token)}"):
        reply = org.web.get(path)
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "0x80060888")


def test_top_limits_and_count_does_not(org):
    """$top cuts the rows and leaves no link; $count counts what the filter found."""
    reply = org.get("leads?$top=3&$count=true&$orderby=createdon desc")
    assert len(reply["value"]) == 3
    assert reply["@odata.count"] == 200
    assert "@odata.nextLink" not in reply


TOKENS = """PROFILE ( ) contact . FILTER && || NOT ISNULL == != a 'x' 1 -1 , DATE and or not eq null contains [ ] / \" '
In = ! \x00 é"""
words = st.lists(st.sampled_from(TOKENS.split()), max_size=40).map(" ".join)


@settings(max_examples=300)
@given(
    text=st.one_of(words, st.text(max_size=40), st.sampled_from(["(", "NOT ", "not "]).map(lambda part: part * 5000))
)
def test_no_text_breaks_the_parsers(text):
    """Any text is parsed, or refused with a position inside it."""
    for parse in (filters.parse, partial(parse_query, dialect=REAL_TIME)):
        position = 0
        try:
            parse(text)
        except (QueryError, UnsupportedError) as problem:
            position = problem.position
        assert 0 <= position <= len(text)


def test_deep_and_long_queries_are_evaluated(org, people):
    """The deepest and longest queries that the parser accepts can be evaluated."""
    mark, rows = people
    part = f"PROFILE(contact).FILTER(jobtitle == '{mark}')"
    deep = f"{part} INTERSECT (" * 8 + part + ")" * 8
    wide = f"PROFILE(contact).FILTER(jobtitle == '{mark}' && ({' || '.join(['numberofchildren >= 0'] * 2000)}))"
    nested = f"PROFILE(contact).FILTER({'NOT(' * 10}jobtitle == '{mark}'{')' * 10})"
    for query, count in (
        (deep, len(rows)),
        (wide, sum(row["numberofchildren"] is not None for row in rows)),
        (nested, len(rows)),
    ):
        segment, _ = org.segment(query)
        assert org.publish(segment) == 1
        assert len(org.members(segment)) == count
    knots = "statecode eq 0 and (" * 20 + "donotemail eq true" + ")" * 20
    assert org.web.get(f"contacts?$filter={quote(knots)}").status_code == 200
    for knots in ("not (" * 500, "statecode eq 0 and (" * 21 + "donotemail eq true" + ")" * 21):
        assert org.web.get(f"contacts?$filter={quote(knots)}").status_code == 501
