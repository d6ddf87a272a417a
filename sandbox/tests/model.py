"""Contacts of every combination, conditions on them, and what a condition means, in plain Python."""

import random
import uuid

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

CITIES = ["Åre", "åre", "O'Fallon", "Rome", "ROME", "", None]
COLUMNS = "contactid,address1_city,numberofchildren,creditlimit,donotemail,birthdate"
MODEL = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def made_up(mark):
    """Return contacts set apart by their job title."""
    dice = random.Random(7)  # noqa: S311 - made-up people
    return [
        {
            "contactid": str(uuid.uuid4()),
            "jobtitle": mark,
            "address1_city": dice.choice(CITIES),
            "numberofchildren": dice.choice([None, 0, 1, 2, 3]),
            "creditlimit": dice.choice([None, 0, 10.5, 99.99, 100]),
            "donotemail": dice.choice([None, True, False]),
            "birthdate": dice.choice([None, "1980-01-31", "1999-12-31", "2000-01-01"]),
        }
        for _ in range(40)
    ]


OPERATORS = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
}
ordered = st.sampled_from(sorted(OPERATORS))
comparisons = st.one_of(
    st.tuples(st.just("address1_city"), ordered, st.sampled_from(["åRE", "o'fallon", "rome", "", "x"])),
    st.tuples(st.just("numberofchildren"), ordered, st.integers(-1, 4)),
    st.tuples(st.just("creditlimit"), ordered, st.sampled_from([0, 10.5, 99.99, 100])),
    st.tuples(st.just("donotemail"), st.sampled_from(["eq", "ne"]), st.booleans()),
    st.tuples(st.just("birthdate"), ordered, st.sampled_from(["1980-01-31", "1999-12-31", "2024-02-29"])),
)
leaves = st.one_of(
    comparisons.map(lambda c: ("compare", *c)),
    st.sampled_from(COLUMNS.split(",")[1:]).map(lambda name: ("null", name)),
)
conditions = st.recursive(
    leaves,
    lambda inner: st.one_of(st.tuples(st.just("not"), inner), st.tuples(st.sampled_from(["and", "or"]), inner, inner)),
    max_leaves=8,
)


def compare(row, column, operator, value):
    """Compare two values that are there, strings without regard to case."""
    left = row[column]
    if isinstance(value, str):
        left, value = left.casefold(), value.casefold()
    return OPERATORS[operator](left, value)


def two_valued(node, row):
    """Decide as OData does: a missing value is unequal to everything."""
    match node:
        case ("compare", column, operator, value):
            return operator == "ne" if row[column] is None else compare(row, column, operator, value)
        case ("null", column):
            return row[column] is None
        case ("not", operand):
            return not two_valued(operand, row)
        case (word, left, right):
            return (all if word == "and" else any)([two_valued(left, row), two_valued(right, row)])


def three_valued(node, row):
    """Decide as SQL does: a comparison with a missing value is neither true nor false."""
    match node:
        case ("compare", column, operator, value):
            return None if row[column] is None else compare(row, column, operator, value)
        case ("null", column):
            return row[column] is None
        case ("not", operand):
            inner = three_valued(operand, row)
            return None if inner is None else not inner
        case (word, left, right):
            both = [three_valued(left, row), three_valued(right, row)]
            decisive = word == "or"
            return decisive if decisive in both else None if None in both else not decisive
