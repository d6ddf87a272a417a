"""The arguments of an upsert that a DAG file checks. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from airflow_provider_cij.errors import CijInputError

MODES = ("upsert", "update_only", "create_only")
DUPLICATES = ("refuse", "first", "last")
MULTIPLE_MATCHES = ("refuse", "oldest", "all")
LARGEST_BATCH = 1000
"""The most rows in a request (Dataverse docs, "Use bulk operation messages")."""

_SHOWN = 1e15
LOGICAL_NAME = r"[a-z][a-z0-9_]*"
"""The pattern of a logical name."""


@dataclass(frozen=True)
class Lookup:
    """A lookup column whose values are looked up in another table. Created by ``lookup``.

    :param table: the logical name of the table that it refers to
    :param key: the column of that table that holds the value. Default None, the value is the row's id
    :param column: the lookup's logical name. Default None, the name of the column of the rows
    """

    table: str
    key: str | None = None
    column: str | None = None


def lookup(table: str, key: str | None = None, *, column: str | None = None) -> Lookup:
    """Map a column of the rows to a lookup, by a value of the row that it refers to.

    :param table: the logical name of the table that it refers to, such as ``account``
    :param key: the column of that table that holds the value, such as ``accountnumber``. Default None, the value is the
        row's id
    :param column: the lookup's logical name, such as ``parentcustomerid``. Default None, the name of the column of the
        rows
    :raises CijInputError: a name is malformed
    """
    for name in (table, key, column):
        if name is not None and not (isinstance(name, str) and re.fullmatch(LOGICAL_NAME, name)):
            raise CijInputError("lookup() has a malformed name.", hint="Give logical names, such as 'account'.")
    return Lookup(table, key, column)


Columns = Mapping[str, str | Lookup]


def check_batch_size(value: object, name: str = "batch_size") -> int:
    """Check the number of rows a request, and return it.

    :param value: the number
    :param name: the argument's name, for the error; default ``batch_size``
    :raises CijInputError: the number is no whole number from 1 to 1,000
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_BATCH:
        shown = value if isinstance(value, (int, float)) and abs(value) < _SHOWN else f"a {type(value).__name__}"
        raise CijInputError(f"{name} is {shown}.", hint=f"Give a whole number from 1 to {LARGEST_BATCH:,}.")
    return value


def check_columns(columns: object, name: str = "columns") -> None:
    """Check a mapping of columns.

    :param columns: logical names, or lookups, by the names of the rows' columns
    :param name: the argument's name, for the error; default ``columns``
    :raises CijInputError: the argument is no mapping, a name is malformed, or two columns are mapped to the same name
    """
    if not isinstance(columns, Mapping) or not columns:
        hint = 'Give {"name in the rows": "logical name"}.'
        raise CijInputError(f"{name} is {'an empty' if columns == {} else 'a'} {type(columns).__name__}.", hint=hint)
    names = [logical_name(source, target) for source, target in columns.items()]
    for logical in names:
        if not isinstance(logical, str) or not re.fullmatch(LOGICAL_NAME, logical):
            raise CijInputError(f"{name} has a malformed logical name.", hint="Give names such as 'emailaddress1'.")
        if names.count(logical) > 1:
            raise CijInputError(f"{name} maps two columns to {logical!r}.")


def logical_name(source: str, target: str | Lookup) -> str:
    """Return the logical name that a column of the rows is mapped to.

    :param source: the name in the rows
    :param target: the logical name or the lookup that it is mapped to
    """
    return (target.column or source) if isinstance(target, Lookup) else target
