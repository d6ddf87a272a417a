"""The schema of Dataverse tables: columns with kinds, limits and option sets, states with status reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

ACTIVE_OR_INACTIVE = {1: (0, "Active"), 2: (1, "Inactive")}


class Kind(Enum):
    """The kinds of column, each with its Edm type."""

    GUID = "Edm.Guid"
    STRING = "Edm.String"
    INTEGER = "Edm.Int32"
    BIGINT = "Edm.Int64"
    DECIMAL = "Edm.Decimal"
    BOOLEAN = "Edm.Boolean"
    DATETIME = "Edm.DateTimeOffset"
    DATE = "Edm.Date"


_SQL_TYPES = {
    Kind.GUID: "TEXT",
    Kind.STRING: "TEXT",
    Kind.INTEGER: "INTEGER",
    Kind.BIGINT: "INTEGER",
    Kind.DECIMAL: "NUMERIC",
    Kind.BOOLEAN: "INTEGER",
    Kind.DATETIME: "INTEGER",
    Kind.DATE: "TEXT",
}


@dataclass(frozen=True)
class Column:
    """One column.

    ``target`` makes it a lookup, ``navigation`` is the name by which it is bound, ``options`` makes it an option set.
    """

    name: str
    kind: Kind = Kind.STRING
    max_length: int = 100
    options: Mapping[int, str] = field(default_factory=dict)
    minimum: float = -2147483648
    maximum: float = 2147483647
    target: str = ""
    navigation: str = ""
    read_only: bool = False

    @property
    def property_name(self) -> str:
        """The name in JSON: a lookup is read as ``_name_value``."""
        return f"_{self.name}_value" if self.target else self.name

    @property
    def sql(self) -> str:
        """The column's part of CREATE TABLE."""
        return f'"{self.name}" {_SQL_TYPES[self.kind]}'


@dataclass(frozen=True)
class Table:
    """One table. ``statuses`` maps a status reason to (state, label); the first of a state is its default.

    ``required`` columns must have a value; ``aliases`` are other names that a body may use for a column.
    ``set_name`` defaults to the plural of the logical name.
    """

    logical_name: str
    name_column: str
    own_columns: tuple[Column, ...]
    statuses: Mapping[int, tuple[int, str]] = field(default_factory=dict)
    schema_name: str = ""
    writable: bool = True
    states: Mapping[int, str] = field(default_factory=lambda: {0: "Active"})
    required: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    set_name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "set_name", self.set_name or f"{self.logical_name}s")

    @cached_property
    def key(self) -> str:
        """The column of the primary key."""
        return f"{self.logical_name}id"

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The key, the table's own columns and those of every table."""
        states = {state: self.states.get(state, "Inactive") for state, _ in self.statuses.values()}
        status = (
            Column("statecode", Kind.INTEGER, options=states),
            Column("statuscode", Kind.INTEGER, options={code: label for code, (_, label) in self.statuses.items()}),
        )
        return (
            Column(self.key, Kind.GUID),
            *self.own_columns,
            *(status if self.statuses else ()),
            *(() if self.logical_name in _UNOWNED else _OWNER),
            Column("createdon", Kind.DATETIME, read_only=True),
            Column("modifiedon", Kind.DATETIME, read_only=True),
            Column("versionnumber", Kind.BIGINT, read_only=True),
        )

    @cached_property
    def by_property(self) -> dict[str, Column]:
        """Columns by their name in JSON."""
        return {column.property_name: column for column in self.columns}

    @cached_property
    def by_navigation(self) -> dict[str, Column]:
        """Lookups by the name by which they are bound."""
        return {column.navigation: column for column in self.columns if column.navigation}

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """Columns by their logical name."""
        return {column.name: column for column in self.columns}

    def default_status(self, state: int) -> int:
        """Return the status reason of a row for which only the state is given."""
        return next(code for code, (of_state, _) in self.statuses.items() if of_state == state)


@dataclass(frozen=True)
class Schema:
    """The tables of an organisation. ``sql`` creates the sandbox's own tables and indexes."""

    tables: tuple[Table, ...]
    sql: str = ""

    @cached_property
    def by_set(self) -> dict[str, Table]:
        """Tables by the name of their entity set."""
        return {table.set_name: table for table in self.tables}

    @cached_property
    def by_name(self) -> dict[str, Table]:
        """Tables by their logical name."""
        return {table.logical_name: table for table in self.tables}


_OWNER = (
    Column("owningbusinessunit", Kind.GUID, target="businessunit", navigation="owningbusinessunit"),
    Column("ownerid", Kind.GUID, target="systemuser", navigation="ownerid", read_only=True),
)
_UNOWNED = frozenset({"organization", "businessunit", "systemuser", "systemuserroles", "msdynmkt_journeyinstance"})
