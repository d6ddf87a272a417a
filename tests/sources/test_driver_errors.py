from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_cij.errors import CijInputError
from airflow_provider_cij.sources._driver_errors import opening_error, query_error


def _error(kind: str, *args: object, **attributes: object) -> Exception:
    error = type("SomeError", (type(kind, (Exception,), {}),), {})(*args)
    vars(error).update(attributes)
    return error


@pytest.mark.parametrize(
    ("error", "permanent"),
    [
        (_error("ProgrammingError", "x"), True),
        (_error("DataError", "x"), True),
        (_error("OperationalError", "x"), False),
        (_error("OperationalError", 1054, "Unknown column"), True),
        (_error("OperationalError", 2013, "Lost connection"), False),
        (_error("OperationalError", 1226, "max_user_connections", sqlstate="42000"), False),
        (_error("OperationalError", 1205, "Lock wait timeout", sqlstate="HY000"), False),
        (_error("DatabaseError", "x", pgcode="42P01"), True),
        (_error("OperationalError", "x", pgcode="57P01"), False),
        (_error("OperationalError", "no such table: x", sqlite_errorcode=1), True),
        (_error("OperationalError", "database is locked", sqlite_errorcode=5), False),
        (_error("InternalError", "x"), False),
    ],
)
def test_only_a_wrong_query_fails_for_good(error, permanent):
    """What no retry can mend is told by the standard's names and codes, and by those of MySQL and SQLite."""
    assert query_error(error, "It failed", "select 1", None).permanent is permanent


@pytest.mark.parametrize(
    ("message", "sql", "parameters", "shown"),
    [
        ('relation "shop.people" does not exist\nLINE 1: x\n        ^\nHINT: y', "x", None,
         'relation "shop.people" does not exist LINE 1: x HINT: y'),
        ("Unknown column 'c.id' in 'field list'", "select c.id", None, "Unknown column 'c.id' in 'field list'"),
        ("near 'WHERE e = 'ada@x.test'' at line 1", "WHERE e = 'ada@x.test'", None, "near 'WHERE e = '…'' at line 1"),
        ("near 'WHERE e = 'ada@' at line 1", "WHERE e = 'ada@x.test'", None, "near 'WHERE e = '…' at line 1"),
        ("LINE 1: ... e = 'ada@x...", "e = %s", ["ada@x.test"], "LINE 1: ... e = '……"),
        ("LINE 1: ...x.test' and b", "e = %s", ["ada@x.test"], "LINE 1: ...…' and b"),
        ("LINE 42: ... n = 42 and m = 420", "n = %s", {"n": 42}, "LINE 42: ... n = … and m = 420"),
        ('no column "ada"', 'select "ada"', None, 'no column "ada"'),
        ('near "ada": syntax error', 'select "ada"', None, 'near "…": syntax error'),
        ("ada@x.test is none", "select 1", ["ada@x.test", None, True], "… is none"),
        ("x", "select 'it''s', $a$b$a$, '', '", [[1], b"x"], "x"),
    ],
)  # fmt: skip
def test_a_message_is_told_whole_without_values(message, sql, parameters, shown):
    """A driver's message is whole but for the values of the query and of its parameters, also where it cuts them."""
    error = query_error(_error("ProgrammingError", message), "It failed", sql, parameters)
    assert str(error) == f"It failed: SomeError: {shown.replace('……', '…...')}"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ('invalid input syntax for type uuid: "ada@x.test"\nCONTEXT: ada', "invalid input syntax for type uuid: …"),
        ("Incorrect integer value: 'ada' for column", "Incorrect integer value: …"),
    ],
)
def test_what_an_error_quotes_of_rows_is_withheld(message, shown):
    """An error about data may quote a row: it is cut there."""
    assert str(query_error(_error("DataError", message), "It failed", "x", None)) == f"It failed: SomeError: {shown}"


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=4), st.integers(0, 30), st.integers(0, 30))
def test_no_part_of_a_quoted_value_is_shown_whatever_the_driver_cuts(value, before, behind):
    """Where a driver shows a piece of the query, no value within is shown."""
    secret = f"canary{value}".replace("'", "").replace("\\", "").replace('"', "")
    sql = f"select id from people where email = '{secret}' and city = 'x'"  # noqa: S608
    start, end = sql.index(secret) - before, sql.index(secret) + 6 + behind
    message = f"syntax error\nLINE 1: ...{sql[max(start, 0) : end]}..."
    assert "canary" not in str(query_error(_error("ProgrammingError", message), "It failed", sql, None))


def test_a_driver_that_is_not_installed_is_permanent():
    """A missing driver or provider fails for good; a database that does not answer may be tried again."""
    assert isinstance(opening_error(ImportError("No module named x"), "It failed"), CijInputError)
    assert isinstance(opening_error(ValueError('Unknown hook type "x"'), "It failed"), CijInputError)
    assert not opening_error(_error("OperationalError", "refused"), "It failed").permanent
