"""The query language of outbound segments, by what its queries find in an organisation."""

import calendar
import uuid
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from cij_sandbox.dataverse.expressions import QueryError, UnsupportedError
from cij_sandbox.mql.language import OUTBOUND, parse, parse_page
from hypothesis import given
from hypothesis import strategies as st

from ..outbound.helpers import fetch, found


@pytest.fixture(scope="module")
def family(org):
    """Provide six contacts of one name and two accounts; return their ids by first name, and the accounts'."""
    name = f"L{uuid.uuid4().hex}"
    accounts = {
        town: org.post("accounts", {"name": name, "address1_city": town}).headers["OData-EntityId"][-37:-1]
        for town in ("Bonn", "Oslo")
    }
    ids = {}
    for first, email, limit, town in (
        ("Ann", "ann@x.example", 10, "Bonn"),
        ("Bea", "bea@y.example", 20, "Bonn"),
        ("Cem", "CEM@X.EXAMPLE", 30, "Oslo"),
        ("Dan", None, 40, "Oslo"),
        ("O'Neil", "on@x.example", None, None),
        ("Eve", "eve@x.example", 50, None),
    ):
        body = {"firstname": first, "lastname": name, "emailaddress1": email, "creditlimit": limit}
        bind = {"parentcustomerid_account@odata.bind": f"/accounts({accounts[town]})"} if town else {}
        ids[first] = org.post("contacts", {**body, **bind}).headers["OData-EntityId"][-37:-1]
    return name, ids, accounts


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("PROFILE(contact)", "Ann Bea Cem Dan Eve O'Neil"),
        ("PROFILE(Contact, c).FILTER(c.CreditLimit >= 30)", "Cem Dan Eve"),
        ("PROFILE(contact).FILTER(emailaddress1 CONTAINS '@x.')", "Ann Cem Eve O'Neil"),
        ("PROFILE(contact).FILTER(firstname STARTSWITH 'o''n')", "O'Neil"),
        ("PROFILE(contact).FILTER(emailaddress1 ENDSWITH 'Y.example')", "Bea"),
        ("PROFILE(contact).FILTER(creditlimit > 10 AND creditlimit < 40 OR firstname == 'Eve')", "Bea Cem Eve"),
        ("PROFILE(contact).FILTER(creditlimit > 10 && (creditlimit < 40 || firstname == 'Eve'))", "Bea Cem Eve"),
        ("PROFILE(contact).FILTER(NOT(ISNULL(emailaddress1))).FILTER(creditlimit < 25)", "Ann Bea"),
        ("PROFILE(contact).FILTER(creditlimit < 25) MINUS PROFILE(contact).FILTER(firstname == 'Ann')", "Bea"),
        (
            "(PROFILE(contact).FILTER(creditlimit < 25) UNION PROFILE(contact).FILTER(creditlimit > 35)).FILTER("
            "ISNOTNULL(emailaddress1))",
            "Ann Bea Eve",
        ),
        ("PROFILE(account).FILTER(address1_city == 'Bonn').TRAVERSE(contact_account_parentcustomerid)", "Ann Bea"),
        (
            "PROFILE(account, a).FILTER(a.address1_city == 'Oslo').TRAVERSE(contact_account_parentcustomerid, c)"
            ".FILTER(ISNULL(c.emailaddress1))",
            "Dan",
        ),
        (
            "PROFILE(contact).FILTER(firstname == 'Ann').TRAVERSE(contact_account_parentcustomerid, a)"
            ".TRAVERSE(contact_account_parentcustomerid, c)",
            "Ann Bea",
        ),
        ("PROFILE(contact).FILTER(createdon > DATEADD(DAY, -1, DATETIMEUTCNOW()))", "Ann Bea Cem Dan Eve O'Neil"),
        ("PROFILE(contact).FILTER(createdon > DATEADD(hour, 1, DATETIMEUTCNOW()))", ""),
        ("PROFILE(contact).FILTER(createdon < DATE(2020, 1, 1, 0, 0, 0, 0))", ""),
        ("PROFILE(contact).FILTER(donotemail == TRUE)", ""),
    ],
)
def test_what_queries_find(org, family, query, expected):
    """Aliases, filters, relationships, texts, dates and sets find the expected contacts."""
    name, ids, _ = family
    people = found(org, f"({query}) INTERSECT PROFILE(contact).FILTER(lastname == '{name}')")
    assert people == {ids[first] for first in expected.split()}


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("PROFILE(contact, c).FILTER(d.lastname == 'x')", 400, "position 28: unknown alias 'd'"),
        ("PROFILE(contact).RELATE(x)", 400, "'RELATE' is not a step"),
        ("PROFILE(contact).FILTER(lastname CONTAINS 5)", 400, "a string expected, '5' found"),
        ("PROFILE(contact).FILTER(createdon > DATEADD(WEEK, 1, DATETIMEUTCNOW()))", 400, "'WEEK' is no part of a date"),
        ("PROFILE(contact).FILTER(createdon > DATEADD(YEAR, 9000, DATETIMEUTCNOW()))", 400, "no such date"),
        ("PROFILE(contact).FILTER(createdon > DATEADD(DAY, 1, 'x'))", 400, "DATEADD(part, number, date) expected"),
        ("PROFILE(contact) UNION", 400, "PROFILE or SEGMENT expected, ')' found"),
        ("PROFILE(lead)", 400, "selects 'lead'"),
        ("PROFILE(contact) UNION PROFILE(lead)", 400, "UNION joins 'contact' and 'lead'"),
        ("PROFILE(lead).TRAVERSE(contact_account_parentcustomerid)", 400, "no relationship"),
        ("PROFILE(contact).FILTER(numberofchildren CONTAINS 'x')", 400, "'contains'"),
        ("INTERACTION(EmailOpened, x).HAVING(COUNT() > 0)", 501, "INTERACTION"),
        ("PROFILE(contact).FILTER(DATEDIFF(day, createdon, DATETIMEUTCNOW()) < 1)", 501, "DATEDIFF"),
        ("PROFILE(contact).FILTER(firstname == lastname)", 501, "'lastname'"),
        ("PROFILE(contact).TRAVERSE(x, FILTER(a == 1))", 501, "FILTER inside TRAVERSE"),
        ("PROFILE(account, a).TRAVERSE(contact_account_parentcustomerid, c).FILTER(a.name == 'x')", 501, "alias 'a'"),
        ("PROFILE(contact).DISTINCT()", 501, "DISTINCT"),
        ("PROFILE(contact)" + ".FILTER(creditlimit > 1)" * 21, 501, "20 steps"),
        ("PROFILE(contact)" + " UNION PROFILE(contact)" * 51, 501, "50 set operations"),
        ("(" * 9 + "PROFILE(contact)" + ")" * 9, 501, "8 nested brackets"),
    ],
)
def test_queries_that_are_refused(org, query, status, words):
    """A query that does not parse is refused with its position, another with its reason or its construct."""
    assert words in fetch(org, query, expect=status)


@given(
    start=st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)),
    months=st.integers(-1000, 1000),
)
def test_adding_months_keeps_the_day_or_takes_the_last(start, months):
    """DATEADD by months and by years agree, and the day is kept where the month has it."""
    written = f"DATE({start.year}, {start.month}, {start.day}, {start.hour})"

    def added(part, number):
        query = parse(f"PROFILE(contact).FILTER(createdon > DATEADD({part}, {number}, {written}))", OUTBOUND)
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=query.condition.literal.value)

    moment = added("MONTH", months)
    assert (moment.year * 12 + moment.month) == start.year * 12 + start.month + months
    assert moment.day == min(start.day, calendar.monthrange(moment.year, moment.month)[1])
    assert added("YEAR", months // 12) == added("MONTH", months // 12 * 12)
    assert added("MINUTE", months) - added("SECOND", 0) == timedelta(minutes=months)


PIECES = [
    "PROFILE", "SEGMENT", "(", ")", "contact", "FILTER", ".", "TRAVERSE", ",", "'x'", "5", "==", "&&", "OR", "UNION",
    "NOT", "DATEADD", "DAY", "ORDERBY", "SKIP", "ISNULL", "CONTAINS", "", " ", "é", "'",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=15).map(" ".join) | st.text(max_size=40))
def test_any_text_is_read_or_refused(text):
    """Any text is parsed, or refused with a position inside it."""
    assert 0 <= place_of_problem(partial(parse, dialect=OUTBOUND), text) <= len(text)
    assert 0 <= place_of_problem(parse_page, text) <= len(text)


def place_of_problem(parse, text):
    """Return the position of an error."""
    try:
        parse(text)
    except (QueryError, UnsupportedError) as problem:
        return problem.position
    return 0


def test_every_other_contact_has_an_account(org):
    """Every other seeded contact has one of a few accounts, to which a relationship leads and back."""
    reached = found(org, "PROFILE(account).TRAVERSE(contact_account_parentcustomerid)")
    at_work = org.get("contacts?$select=contactid&$filter=_parentcustomerid_value ne null")["value"]
    assert reached == {row["contactid"] for row in at_work}
    assert len(reached) >= 1000
    of_one = found(org, "PROFILE(account, a).FILTER(a.name == 'Contoso').TRAVERSE(contact_account_parentcustomerid)")
    assert 0 < len(of_one) < len(reached)
