"""The options of an upsert, and its report. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from airflow_provider_cij.api.bounds import Bound, bound_of
from airflow_provider_cij.errors import CijInputError

MODES = ("upsert", "update_only", "create_only")
DUPLICATES = ("refuse", "first", "last")
MULTIPLE_MATCHES = ("refuse", "oldest", "all")
LARGEST_BATCH = 1000
"""The most rows in a request (Dataverse docs, "Use bulk operation messages")."""

_SHOWN = 1e15
_NAME = r"[a-z][a-z0-9_]*"


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
        if name is not None and not (isinstance(name, str) and re.fullmatch(_NAME, name)):
            raise CijInputError("lookup() has a malformed name.", hint="Give logical names, such as 'account'.")
    return Lookup(table, key, column)


Columns = Mapping[str, str | Lookup]


@dataclass(frozen=True)
class UpsertSpec:
    """The options of an upsert.

    :param table: the table's logical name, such as ``contact``
    :param key: the logical names of the key columns: those of an alternate key, the primary id, or others such as
        ``emailaddress1``
    :param columns: logical names, or lookups, by the names of the rows' columns. Default None, the same names
    :param mode: ``upsert`` (default), ``update_only`` or ``create_only``
    :param batch_size: rows a request; default 100
    :param on_multiple_matches: which row is written when several have a key: ``refuse`` (default) none, ``oldest``, or
        ``all``
    :param duplicates: what several rows with one key do: ``refuse`` (default) everything, or the ``first`` or ``last``
        of them counts
    :param clear_empty: True clears columns whose value is empty. Default False, they are left alone
    :param skip_unchanged: True (default) sends changed rows and columns only
    :param max_invalid: how many rows may be invalid; default 0
    :param max_failed: how many rows may be refused by the service; default 0
    :param suppress_duplicate_detection: False applies the organisation's duplicate detection rules. Default True, as
        the service does by itself
    :param bypass_business_logic: True bypasses the organisation's own plug-ins. Default False
    """

    table: str
    key: tuple[str, ...]
    columns: Columns | None = None
    mode: str = "upsert"
    batch_size: int = 100
    on_multiple_matches: str = "refuse"
    duplicates: str = "refuse"
    clear_empty: bool = False
    skip_unchanged: bool = True
    max_invalid: Bound = field(default_factory=lambda: bound_of("max_invalid", 0))
    max_failed: Bound = field(default_factory=lambda: bound_of("max_failed", 0))
    suppress_duplicate_detection: bool = True
    bypass_business_logic: bool = False

    def __post_init__(self) -> None:
        for name, value, words in (
            ("mode", self.mode, MODES),
            ("duplicates", self.duplicates, DUPLICATES),
            ("on_multiple_matches", self.on_multiple_matches, MULTIPLE_MATCHES),
        ):
            if value not in words:
                raise CijInputError(f"{name} is {value!r}.", hint=f"Use {', '.join(map(repr, words))}.")
        check_batch_size(self.batch_size)
        if not isinstance(self.table, str) or not re.fullmatch(_NAME, self.table):
            raise CijInputError("table is no logical name.", hint="Give a name such as 'contact'.")
        if not self.key or not all(isinstance(name, str) and re.fullmatch(_NAME, name) for name in self.key):
            raise CijInputError("key names no column.", hint="Give a column's logical name, or a list of them.")
        if len(set(self.key)) < len(self.key):
            raise CijInputError("key names a column twice.")
        if self.columns is not None:
            check_columns(self.columns)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of each write (Dataverse docs, "Manage duplicate detection", "Bypass custom business logic")."""
        detect = {} if self.suppress_duplicate_detection else {"MSCRM.SuppressDuplicateDetection": "false"}
        bypass = {"MSCRM.BypassBusinessLogicExecution": "CustomSync,CustomAsync"} if self.bypass_business_logic else {}
        return detect | bypass


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
        if not isinstance(logical, str) or not re.fullmatch(_NAME, logical):
            raise CijInputError(f"{name} has a malformed logical name.", hint="Give names such as 'emailaddress1'.")
        if names.count(logical) > 1:
            raise CijInputError(f"{name} maps two columns to {logical!r}.")


def logical_name(source: str, target: str | Lookup) -> str:
    """Return the logical name that a column of the rows is mapped to.

    :param source: the name in the rows
    :param target: the logical name or the lookup that it is mapped to
    """
    return (target.column or source) if isinstance(target, Lookup) else target


@dataclass(frozen=True)
class UpsertReport:
    """The result of an upsert, as counts of rows.

    :param read: rows read
    :param invalid: rows that can't be sent
    :param duplicate: rows whose key another row has
    :param created: rows that were created
    :param updated: rows that were changed
    :param unchanged: rows whose values were all there already
    :param not_found: rows of ``update_only`` whose key no row has
    :param existing: rows of ``create_only`` whose key a row has; it was not changed
    :param failed: rows that the service refused, and those whose key several rows have
    :param requests: write requests of this try
    :param resumed_from: rows that an earlier try had completed
    """

    read: int = 0
    invalid: int = 0
    duplicate: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    not_found: int = 0
    existing: int = 0
    failed: int = 0
    requests: int = 0
    resumed_from: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)
